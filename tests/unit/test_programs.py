"""Finding and ending programs."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from saveany.programs import end_group, find_program, signal_group


def test_programs_installed_by_pip_precede_those_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("venv", "usr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "usr"))
    assert find_program("tool") == str(tmp_path / "venv" / "tool")


def test_a_program_that_is_not_installed_is_none() -> None:
    assert find_program("no-such-program-here") is None


async def test_a_program_that_ignores_sigterm_is_killed() -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 60; done"
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", script, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    await process.stdout.readline()
    began = time.monotonic()
    await end_group(process, seconds=0.2)
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 5
    signal_group(process.pid, signal.SIGKILL)  # it has ended: nothing happens
