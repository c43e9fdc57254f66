"""`saveany demo`: one at a time in a folder and on a port."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from saveany.supervisor import die_with_parent
from tests.fixtures.stack import free_port


async def demo(*words: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "saveany", "demo", *words),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=die_with_parent(signal.SIGKILL),
    )


async def refused(*words: str) -> str:
    process = await demo(*words)
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    [line] = err.decode().splitlines()
    return line


async def test_a_second_demo_says_in_one_line_that_one_runs(tmp_path: Path) -> None:
    port = str(free_port())
    first = await demo("--json", "--data", str(tmp_path / "a"), "--port", port)
    assert first.stdout
    facts = json.loads(await first.stdout.readline())  # it is up
    assert facts["api"].endswith(port)
    assert "a demo runs in" in await refused("--data", str(tmp_path / "a"))
    assert f"another SaveAny has port {port} already" in await refused(
        "--data", str(tmp_path / "b"), "--port", port
    )
    first.send_signal(signal.SIGINT)
    assert await first.wait() == 0
