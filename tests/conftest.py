"""Fixtures for all tests."""

import gc
import logging
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Generator, Iterator

import pytest
import structlog
from hypothesis import settings

from saveany import advice, logs

pytest_plugins = ["tests.fixtures.leaks", "tests.fixtures.redis", "tests.fixtures.catalogue"]

# How long an example takes says nothing about it while other programs run.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

# In the background a shell has Ctrl-C ignored, and programs inherit that: those under test, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def unchanged_logging() -> Iterator[None]:
    """A test that sets up the log restores it, or later tests in this process would not see theirs."""
    yield
    if isinstance(structlog.get_config()["logger_factory"], structlog.stdlib.LoggerFactory):
        structlog.reset_defaults()
        pytest.fail("this test has set up the log: it needs the fixture restored_logging")


@pytest.fixture
def restored_logging(unchanged_logging: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restores what `logs.setup` and `logs.register_secret` change."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    monkeypatch.setattr(logs, "_secrets", set())
    monkeypatch.setattr(logs, "_pattern", None)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def plain_commands() -> Iterator[None]:
    """Messages name commands as `saveany …`, whatever command an earlier test has run in this process."""
    yield
    os.environ.pop(advice.VARIABLE, None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing that is made here is garbage: do not search it, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_repository = ""  # its state when the tests began


def _state_of_the_repository(config: pytest.Config) -> str:
    """What `git status` lists; nothing outside of CI and in the processes that run the tests."""
    if os.environ.get("CI") != "true" or hasattr(config, "workerinput"):
        return ""
    command = ["git", "status", "--porcelain", "--untracked-files=all"]
    return subprocess.run(command, cwd=config.rootpath, capture_output=True, text=True, check=True).stdout


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note the state of the repository."""
    global _repository
    _repository = _state_of_the_repository(session.config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, fail if a test has left something in the repository: it belongs into `tmp_path`."""
    if (state := _state_of_the_repository(session.config)) != _repository:
        print(f"\nthe tests have changed the repository:\n{state}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


#: Files with many variants of the same tests, or with slow ones. CI, which has 20 minutes, runs a third of
#: them: another one each day. `make test` runs all.
_ROTATED = (
    "tests/contract/test_rclone.py",
    "tests/contract/test_ftp.py",
    "tests/contract/test_sftp.py",
    "tests/integration/store/test_damaged_records.py",
    "tests/integration/catalogue/test_trash.py",
    "tests/integration/sources/test_aria2.py",
    "tests/integration/sources/test_bad_proxies.py",
    "tests/integration/sources/test_hostile_redirects.py",
    "tests/integration/sources/test_ytdlp.py",
    "tests/integration/backup/test_backup.py",
    "tests/acceptance/cli/test_check.py",
    "tests/acceptance/cli/test_tasks.py",
    "tests/acceptance/cli/test_waiting.py",
    "tests/acceptance/compat/test_calls.py",
    "tests/acceptance/sources/test_proxies.py",
    "tests/acceptance/sources/test_tasks.py",
    "tests/acceptance/promises/test_crash_with_many_files.py",
    "tests/acceptance/promises/test_crash_with_many_tasks.py",
    "tests/acceptance/promises/test_crash_at_finish.py",
    "tests/acceptance/archives/test_long_chats.py",
    "tests/acceptance/promises/test_refusals.py",
    "tests/acceptance/compat/test_load.py",
    "tests/acceptance/cli/test_proxy.py",
    "tests/acceptance/sources/test_other_media.py",
    "tests/acceptance/web/test_prefix.py",
    "tests/integration/store/test_refusals.py",
    "tests/integration/telegram/test_playable_parts.py",
    "tests/integration/delivery/test_clients.py",
    "tests/integration/delivery/test_dav_clients.py",
)


#: Tests that take from half a minute to some minutes.
_LONG = (
    "tests/chaos/",
    "tests/integration/api/test_schemathesis.py",
    "tests/acceptance/archives/test_receipt_property.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no process still runs one when the others have none left. In CI,
    leave out the variants of other days."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))
    if os.environ.get("CI") != "true":
        return
    today = int(time.time() // 86400) % 3
    others = [
        item
        for item in items
        if item.nodeid.startswith(_ROTATED) and zlib.crc32(item.nodeid.encode()) % 3 != today
    ]
    config.hook.pytest_deselected(items=others)
    left_out = set(others)
    items[:] = [item for item in items if item not in left_out]
