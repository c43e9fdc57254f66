"""The supervisor with real child processes: small Python programs that write files as evidence."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from saveany import supervisor
from saveany.supervisor import CONFIG_EXIT, Program, Supervisor
from tests.fixtures.waiting import until

#: Writes its pid, then waits; SIGTERM ends it after it left a note.
GOOD = """
import os, signal, sys, time
from pathlib import Path
trace = Path(sys.argv[1])
def stop(*_):
    with open(trace.parent / "stopped", "a") as notes:
        notes.write(trace.name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with open(trace, "a") as pids:
    pids.write(f"{os.getpid()}\\n")
while True:
    signal.pause()
"""

STUBBORN = GOOD.replace(
    "signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
)


def child(name: str, folder: Path, program: str = GOOD) -> Program:
    return Program(name, [sys.executable, "-c", program, str(folder / name)])


def pids(trace: Path) -> list[int]:
    """The process id of each start so far."""
    return [int(line) for line in trace.read_text().splitlines()] if trace.exists() else []


def has_exited(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@asynccontextmanager
async def running(subject: Supervisor) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(subject.run())
    try:
        yield task
    finally:
        subject.stop()
        subject.stop()
        await task


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays before restarts, recorded instead of waited."""
    noted: list[float] = []

    async def note(self: Supervisor, seconds: float) -> None:
        noted.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(Supervisor, "_sleep", note)
    return noted


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    subject = Supervisor([child("worker", tmp_path)])
    async with running(subject):
        await until(lambda: len(pids(tmp_path / "worker")) == 1)
        (first,) = pids(tmp_path / "worker")
        assert subject.pids == {"worker": first}
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(pids(tmp_path / "worker")) == 2)
        assert subject.pids == {"worker": pids(tmp_path / "worker")[1]}
    assert subject.pids == {}
    assert all(has_exited(pid) for pid in pids(tmp_path / "worker"))


async def test_restarts_are_delayed_more_and_more(tmp_path: Path, delays: list[float]) -> None:
    subject = Supervisor([Program("bad", [sys.executable, "-S", "-E", "-c", "raise SystemExit(3)"])])
    async with running(subject):
        await until(lambda: len(delays) >= 8)
    assert delays[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


async def test_a_child_that_ran_long_is_restarted_quickly(
    tmp_path: Path, delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_STEADY_S", 0.0)
    subject = Supervisor([Program("flaky", [sys.executable, "-S", "-E", "-c", ""])])
    async with running(subject):
        await until(lambda: len(delays) >= 3)
    assert delays[:3] == [0.2, 0.2, 0.2]


async def test_a_missing_program_is_tried_again(delays: list[float]) -> None:
    subject = Supervisor([Program("missing", ["/nonexistent/program"])])
    async with running(subject):
        await until(lambda: len(delays) >= 2)


async def test_a_configuration_error_stops_everything(tmp_path: Path) -> None:
    trace = str(tmp_path / "good")
    wait = f"import os, sys\nwhile not (os.path.exists({trace!r}) and os.path.getsize({trace!r})): pass\n"
    wrong = wait + "sys.exit(2)"
    subject = Supervisor([child("good", tmp_path), Program("wrong", [sys.executable, "-c", wrong])])
    assert await subject.run() == CONFIG_EXIT
    assert (tmp_path / "stopped").read_text() == "good\n"
    assert len(pids(tmp_path / "good")) == 1


WORKED = "from saveany.supervisor import report_working; report_working()\n"


async def test_a_child_that_has_worked_never_stops_the_others(tmp_path: Path, delays: list[float]) -> None:
    wrong = Program("wrong", [sys.executable, "-c", WORKED + "raise SystemExit(2)"])
    async with running(Supervisor([child("good", tmp_path), wrong])) as task:
        await until(lambda: len(delays) >= 2 and bool(pids(tmp_path / "good")))
        assert not task.done()
        assert len(pids(tmp_path / "good")) == 1


async def test_a_child_that_worked_in_an_earlier_run_never_stops_the_others(
    tmp_path: Path, delays: list[float]
) -> None:
    """It was killed, and the state it finds afterwards looks like a wrong configuration."""
    mark = str(tmp_path / "mark")
    first = WORKED + "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    code = f"import os\nif os.path.exists({mark!r}): raise SystemExit(2)\nopen({mark!r}, 'w')\n{first}"
    async with running(Supervisor([Program("wrong", [sys.executable, "-c", code])])) as task:
        await until(lambda: len(delays) >= 3)
        assert not task.done()


async def test_stop_drains_all_and_returns_0(tmp_path: Path) -> None:
    names = ["api", "worker1", "worker2"]
    subject = Supervisor([child(name, tmp_path) for name in names])
    async with running(subject) as task:
        await until(lambda: all(pids(tmp_path / name) for name in names))
        subject.stop()
        assert await task == 0
    assert sorted((tmp_path / "stopped").read_text().split()) == names


async def test_sigterm_is_sent_in_the_given_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["c", "a", "b"]
    sent: list[int] = []
    send = supervisor._signal

    def spy(process: asyncio.subprocess.Process, signum: signal.Signals) -> None:
        sent.append(process.pid)
        send(process, signum)

    monkeypatch.setattr(supervisor, "_signal", spy)
    subject = Supervisor([child(name, tmp_path) for name in names])
    async with running(subject) as task:
        await until(lambda: all(pids(tmp_path / name) for name in names))
        subject.stop()
        await task
    assert sent == [pids(tmp_path / name)[0] for name in names]


async def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    subject = Supervisor([child("stubborn", tmp_path, STUBBORN)], drain_s=0.3)
    async with running(subject) as task:
        await until(lambda: len(pids(tmp_path / "stubborn")) == 1)
        subject.stop()
        assert await asyncio.wait_for(task, 30) == 0
    assert has_exited(pids(tmp_path / "stubborn")[0])


async def test_a_child_started_during_the_stop_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn = supervisor._spawn
    born: list[int] = []

    async def stop_meanwhile(program: Program, tells: int) -> asyncio.subprocess.Process:
        process = await spawn(program, tells)
        born.append(process.pid)
        subject.stop()
        for _ in range(3):  # the signals to all go out
            await asyncio.sleep(0)
        return process

    monkeypatch.setattr(supervisor, "_spawn", stop_meanwhile)
    subject = Supervisor([child("newborn", tmp_path)])
    assert await asyncio.wait_for(subject.run(), 30) == 0
    assert [has_exited(pid) for pid in born] == [True]


async def test_processes_started_by_a_dead_child_are_killed(tmp_path: Path) -> None:
    grandchild = (
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]])\n"
    )
    program = child("parent", tmp_path, grandchild + "import signal\nsignal.pause()")
    subject = Supervisor([Program(program.name, [*program.argv, STUBBORN])])
    async with running(subject):
        await until(lambda: len(pids(tmp_path / "parent")) == 1)
        (orphan,) = pids(tmp_path / "parent")
        os.kill(subject.pids["parent"], signal.SIGKILL)
        await until(lambda: has_exited(orphan))


async def test_on_exit_is_called_before_the_restart(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    async def on_exit(name: str, pid: int) -> None:
        told.append((name, pid, len(pids(tmp_path / "worker"))))
        raise RuntimeError("its errors are only logged")

    subject = Supervisor([child("worker", tmp_path)], on_exit=on_exit)
    async with running(subject):
        await until(lambda: len(pids(tmp_path / "worker")) == 1)
        (first,) = pids(tmp_path / "worker")
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(pids(tmp_path / "worker")) == 2)
        assert told == [("worker", first, 1)]


async def test_output_goes_to_the_log_file_and_the_environment_is_extended(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    log_file.write_text("before\n")
    program = (
        "import os, sys; print(os.environ['WORD'], 'PATH' in os.environ); sys.stdout.flush(); sys.exit('bad')"
    )
    talker = Program("talker", [sys.executable, "-c", program], env={"WORD": "hello"}, log_file=log_file)
    async with running(Supervisor([talker])):
        await until(lambda: "bad" in log_file.read_text())
    assert log_file.read_text().startswith("before\nhello True\nbad\n")


async def test_each_start_has_an_environment_of_its_own(tmp_path: Path, delays: list[float]) -> None:
    file = tmp_path / "words"
    code = f"import os; open({str(file)!r}, 'a').write(os.environ['WORD'] + ' ')"
    words = iter(map(str, range(1000)))
    program = Program("child", [sys.executable, "-c", code], new_env=lambda: {"WORD": next(words)})
    async with running(Supervisor([program])):
        await until(lambda: file.exists() and file.read_text().startswith("0 1 "), within=30)


async def test_canceling_run_kills_the_children(tmp_path: Path) -> None:
    task = asyncio.create_task(Supervisor([child("worker", tmp_path)]).run())
    await until(lambda: len(pids(tmp_path / "worker")) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_exited(pids(tmp_path / "worker")[0])


class TestAsAProcess:
    """The supervisor itself as a process that receives signals."""

    MAIN = textwrap.dedent(
        """
        import asyncio, json, sys
        from saveany.supervisor import Program, Supervisor
        programs = [Program(name, argv) for name, argv in json.loads(sys.argv[1])]
        sys.exit(asyncio.run(Supervisor(programs).run()))
        """
    )

    def start(self, programs: Sequence[Program]) -> subprocess.Popen[bytes]:
        described = json.dumps([(program.name, list(program.argv)) for program in programs])
        return subprocess.Popen(
            [sys.executable, "-c", self.MAIN, described], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    async def test_the_first_signal_drains(self, signum: signal.Signals, tmp_path: Path) -> None:
        process = self.start([child("worker", tmp_path)])
        await until(lambda: len(pids(tmp_path / "worker")) == 1)
        process.send_signal(signum)
        assert process.wait(10) == 0
        assert (tmp_path / "stopped").read_text() == "worker\n"

    async def test_a_second_signal_kills_at_once(self, tmp_path: Path) -> None:
        process = self.start([child("stubborn", tmp_path, STUBBORN), child("good", tmp_path)])
        await until(lambda: bool(pids(tmp_path / "stubborn") and pids(tmp_path / "good")))
        process.send_signal(signal.SIGINT)
        await until(lambda: has_exited(pids(tmp_path / "good")[0]))
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert has_exited(pids(tmp_path / "stubborn")[0])

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
    async def test_children_of_a_killed_supervisor_are_killed(self, tmp_path: Path) -> None:
        process = self.start([child("stubborn", tmp_path, STUBBORN)])
        await until(lambda: len(pids(tmp_path / "stubborn")) == 1)
        process.kill()
        process.wait()
        await until(lambda: has_exited(pids(tmp_path / "stubborn")[0]))
