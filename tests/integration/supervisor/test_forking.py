"""Processes that are forked, under a supervisor in a process of its own: a fork needs one without a loop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saveany.forking import ForkServer
from tests.fixtures.waiting import blocking_until
from tests.integration.supervisor.test_supervisor import GOOD, has_exited, pids

pytestmark = pytest.mark.skipif(not ForkServer.is_available(), reason="only Linux has pidfds")

#: A supervisor of the roles named on its command line. Each writes facts about itself into a file.
SUPERVISOR = f"""
import asyncio, json, os, signal, sys, time
from pathlib import Path
from saveany.forking import ForkServer
from saveany.supervisor import Program, Supervisor, report_working

FOLDER = Path(sys.argv[1])
shared = object()
BEFORE = id(shared)
GOOD = {GOOD!r}

def note(name, **facts):
    with open(FOLDER / name, "a") as file:
        file.write(json.dumps(facts) + "\\n")

def waiting():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    note("waiting.json", word=os.environ["WORD"], shared=id(shared) == BEFORE, stdin=sys.stdin.read(),
         leader=os.getsid(0) == os.getpid(), interrupts=signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
         open=sorted(os.readlink(f"/proc/self/fd/{{n}}").split(":")[0] for n in os.listdir("/proc/self/fd")
                     if os.path.exists(f"/proc/self/fd/{{n}}") and int(n) > 2))
    with open(FOLDER / "waiting", "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    while True:
        signal.pause()

def wrong():
    return 2

def crashing():
    note("crashing.json", parent=os.getppid())
    report_working()
    raise ValueError("on purpose")

def talking():
    print("to stdout", flush=True)
    print("to stderr", file=sys.stderr)
    return waiting()

async def main(forks):
    argv = [sys.executable, "-c", GOOD, str(FOLDER / "executed")]
    logs = {{"talking": FOLDER / "log"}}
    programs = [Program(name, argv, {{"WORD": "hello"}}, logs.get(name), name) for name in sys.argv[2:]]
    code = await Supervisor(programs, drain_s=5, forks=forks).run()
    forks.close()
    sys.exit(code)

forks = ForkServer({{"waiting": waiting, "wrong": wrong, "crashing": crashing, "talking": talking}})
(FOLDER / "server").write_text(f"{{forks._pid}}\\n")
asyncio.run(main(forks))
"""

#: Roles that are started without a supervisor. A copy is not ready before there is a file "go".
STARTS = """
import asyncio, os, signal, sys
from pathlib import Path
from saveany.forking import ForkServer

GO = Path(sys.argv[1]) / "go"
setsid, calls = os.setsid, []

def slow_setsid():  # the server calls it first, then each copy
    calls.append(1)
    while len(calls) > 1 and not GO.exists():
        pass
    setsid()

def forever():
    while True:
        signal.pause()

async def signal_early():
    process = await forks.start("forever", {}, 2, "X")
    process.send_signal(signal.SIGTERM)
    GO.touch()
    assert await process.wait() == -signal.SIGTERM

async def cancel():
    GO.touch()
    canceled = asyncio.create_task(forks.start("three", {}, 2, "X"))
    await asyncio.sleep(0)
    canceled.cancel()
    process = await forks.start("four", {}, 2, "X")
    assert await process.wait() == 4

async def main(test):
    async with asyncio.timeout(20):
        await test()
    forks.close()

os.setsid = slow_setsid
forks = ForkServer({"forever": forever, "three": lambda: 3, "four": lambda: 4})
asyncio.run(main(globals()[sys.argv[2]]))
"""


@contextmanager
def supervisor(folder: Path, *roles: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder), *roles], stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_pid(trace: Path) -> int:
    blocking_until(lambda: pids(trace))
    return pids(trace)[-1]


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_process_has_a_session_an_environment_and_descriptors_of_its_own(tmp_path: Path) -> None:
    with supervisor(tmp_path, "waiting") as process:
        pid = first_pid(tmp_path / "waiting")
        (facts,) = lines(tmp_path / "waiting.json")
        assert facts == {
            "word": "hello",
            "shared": True,  # the object has not been made again
            "stdin": "",
            "leader": True,
            "interrupts": True,
            "open": ["pipe"],  # for `report_working`
        }
        assert Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0") == "saveany\0waiting"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert has_exited(pid)
    assert has_exited(first_pid(tmp_path / "server"))


def test_the_output_of_a_process_is_appended_to_its_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("old\n")
    with supervisor(tmp_path, "talking"):
        first_pid(tmp_path / "waiting")
    assert (tmp_path / "log").read_text() == "old\nto stdout\nto stderr\n"


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    with supervisor(tmp_path, "waiting"):
        first = first_pid(tmp_path / "waiting")
        os.kill(first, signal.SIGKILL)
        blocking_until(lambda: len(pids(tmp_path / "waiting")) == 2)
        assert has_exited(first)
        assert not (tmp_path / "executed").exists()


def test_the_exit_code_of_a_wrong_configuration_stops_everything(tmp_path: Path) -> None:
    with supervisor(tmp_path, "waiting", "wrong") as process:
        assert process.wait(30) == 2


def test_an_exception_ends_only_its_process(tmp_path: Path) -> None:
    with supervisor(tmp_path, "crashing", "waiting"):
        blocking_until(lambda: len(lines(tmp_path / "crashing.json")) == 2)
        assert len(pids(tmp_path / "waiting")) == 1
        (server,) = pids(tmp_path / "server")
        assert [each["parent"] for each in lines(tmp_path / "crashing.json")[:2]] == [server] * 2


def test_processes_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    with supervisor(tmp_path, "waiting") as process:
        pid = first_pid(tmp_path / "waiting")
        process.kill()
        blocking_until(lambda: has_exited(pid) and has_exited(first_pid(tmp_path / "server")))


def test_without_the_fork_server_programs_are_executed(tmp_path: Path) -> None:
    with supervisor(tmp_path, "waiting") as process:
        pid = first_pid(tmp_path / "waiting")
        os.kill(first_pid(tmp_path / "server"), signal.SIGKILL)
        executed = first_pid(tmp_path / "executed")
        assert has_exited(pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert has_exited(executed)


@pytest.mark.parametrize("case", ["signal_early", "cancel"])
def test_a_start(tmp_path: Path, case: str) -> None:
    """A process gets a signal that was sent before it was ready; a canceled start does not reply to the next
    one."""
    subprocess.run([sys.executable, "-c", STARTS, str(tmp_path), case], check=True, timeout=60)
