"""The last lines of the log, which several processes share."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from saveany import logs
from saveany.log_tail import KEPT, VARIABLE, LogTail


@pytest.fixture
def tail(monkeypatch: pytest.MonkeyPatch) -> LogTail:
    monkeypatch.delenv(VARIABLE, raising=False)
    found = LogTail.open()
    assert found
    return found


def test_lines_come_in_their_order_and_later_ones_alone(tail: LogTail) -> None:
    tail.write("one")
    first = tail.read()
    tail.write("\x1b[32mtwo\x1b[0m\nthree")
    later = tail.read(first.end)
    assert (first.lines, later.lines) == (["one"], ["two", "three"])
    assert tail.read(later.end).lines == []


def test_old_lines_are_forgotten_and_their_memory_is_given_back(tail: LogTail) -> None:
    for number in range(40_000):
        tail.write(f"line {number} {'x' * 50}")
    lines = tail.read().lines
    assert lines[-1].startswith("line 39999 ")
    assert lines[0].startswith("line ")
    assert KEPT / 2 < sum(map(len, lines)) <= KEPT
    assert os.fstat(tail.fd).st_blocks * 512 <= 3 * KEPT


def test_a_position_of_another_program_begins_anew(tail: LogTail) -> None:
    tail.write("one")
    assert tail.read(10**9).lines == ["one"]


def test_a_process_that_is_started_writes_to_the_same_memory(tail: LogTail) -> None:
    script = "from saveany.log_tail import LogTail; LogTail.open().write('from the child')"
    subprocess.run([sys.executable, "-c", script], pass_fds=[tail.fd], check=True)
    assert tail.read().lines == ["from the child"]


def test_a_closed_memory_is_not_taken_for_another_file(tail: LogTail) -> None:
    script = "from saveany.log_tail import LogTail; LogTail.open().write('lost')"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert tail.read().lines == []


@pytest.mark.usefixtures("restored_logging")
def test_secrets_are_masked(tail: LogTail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_tail", tail)
    logs.setup("info", "text")
    logs.register_secret("a-very-secret-value")
    logs.get_logger("test").info("said", what="a-very-secret-value")
    (line,) = tail.read().lines
    assert "said" in line
    assert "a-very-secret-value" not in line
