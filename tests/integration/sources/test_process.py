"""Programs started by sources: their environment, and how they end."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from saveany.errors import NoSpace, Permanent, Retryable
from tests.fixtures.waiting import until
from tests.integration.sources.conftest import all_gone
from workers.sources import process
from workers.sources.base import Tools


async def shell(script: str, tools: Tools) -> list[str]:
    """The output lines of a script."""
    said: list[str] = []
    command = ["/bin/sh", "-c", script]
    await process.run(command, folder=tools.scratch / "t", guard=tools.guard, proxy="", on_line=said.append)
    return said


async def test_programs_do_not_inherit_our_environment(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVEANY_API_TOKENS", "hush")
    monkeypatch.setenv("no_proxy", "*")
    seen = dict(line.split("=", 1) for line in await shell("env", tools))
    assert "hush" not in str(seen)
    assert "no_proxy" not in seen
    assert seen["HOME"] == str(tools.scratch / "t")
    ways = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    assert all(seen[name].startswith("http://saveany:") for name in ways)


async def test_writing_files_counts_as_progress(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging and recoding print nothing for a long time."""
    monkeypatch.setattr(process, "SILENCE", 0.8)
    writes = "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i >> out; sleep 0.2; done; echo done"
    assert await shell(writes, tools) == ["done"]
    with pytest.raises(Retryable, match="was idle"):
        await shell("sleep 600", tools)
    await all_gone(tools.scratch)


async def test_child_processes_of_a_program_are_killed(tools: Tools) -> None:
    assert await shell("sleep 600 >/dev/null 2>&1 & echo started", tools) == ["started"]
    await all_gone(tools.scratch)


async def test_programs_of_a_killed_worker_are_killed(tools: Tools) -> None:
    """The kernel kills the program with its worker, but not the processes that the program has started."""
    folder = tools.scratch / "t"
    folder.mkdir(parents=True)
    stray = await asyncio.create_subprocess_exec("/bin/sleep", "600", cwd=folder)
    await shell("true", tools)
    assert await stray.wait() == -signal.SIGKILL
    stray = await asyncio.create_subprocess_exec("/bin/sleep", "600", cwd=folder)
    await process.remove_folder(folder)
    assert await stray.wait() == -signal.SIGKILL
    assert not folder.exists()


async def test_a_program_that_ignores_sigterm_is_killed_even_during_a_cancel(tools: Tools) -> None:
    script = "trap 'echo > told' TERM; echo > ready; while :; do sleep 600 & wait; done"
    work = asyncio.create_task(shell(script, tools))
    await until((tools.scratch / "t" / "ready").exists)
    work.cancel()
    await until((tools.scratch / "t" / "told").exists)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await all_gone(tools.scratch, 3)  # less than it would be given to end by itself


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("echo 'ERROR: [x] 7: unable: [Errno 28] No space left on device' >&2; exit 1", NoSpace, "disk"),
        ("echo 'ERROR: Connection reset by peer' >&2; exit 1", Retryable, "Connection reset"),
        ("echo 'ERROR: odd; please report this issue on  https://x' >&2; exit 1", Permanent, "^sh: odd$"),
        ("echo 'ERROR: ext. If you believe this is an error, please' >&2; exit 1", Permanent, "^sh: ext$"),
        ("echo 'sh: error: no such option: --x' >&2; exit 2", Permanent, "^sh is too old"),
        ("echo 'sh: error: invalid rate' >&2; exit 2", Permanent, "^sh: invalid rate$"),
        ("echo 'ERROR: at https://me:hush@host/x' >&2; exit 1", Permanent, "at https://host/x$"),
        ("echo 'what it said' >&2; exit 3", Permanent, "what it said"),
        ("exit 3", Permanent, "exit code 3"),
        ("kill -9 $$", Retryable, "exit code -9"),
        ("head -c 9999999 /dev/zero | tr '\\0' x", Permanent, "too long"),
    ],
)
async def test_the_reason_of_a_failure_is_taken_from_the_output(
    script: str, error: type[Exception], words: str, tools: Tools
) -> None:
    with pytest.raises(error, match=words):
        await shell(script, tools)
    await all_gone(tools.scratch)


def test_cookie_files_readable_by_others_are_refused(tmp_path: Path) -> None:
    assert process.cookies_file(tmp_path, 1) is None
    file = tmp_path / "cookies" / "1.txt"
    file.parent.mkdir()
    file.touch(mode=0o600)
    assert process.cookies_file(tmp_path, 1) == file
    file.chmod(0o640)
    with pytest.raises(Permanent, match=r"cookies/1\.txt.*600"):
        process.cookies_file(tmp_path, 1)
