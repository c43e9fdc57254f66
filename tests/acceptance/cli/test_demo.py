"""`saveany demo`: only one per folder and port."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from saveany.programs import die_with_parent
from tests.fixtures.servers import free_port


async def demo(*words: str, stdin: int = DEVNULL) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "saveany", "demo", *words),
        stdin=stdin,
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


async def test_a_second_demo_is_refused_with_one_line(tmp_path: Path) -> None:
    port = str(free_port())
    first = await demo("--json", "--data", str(tmp_path / "a"), "--port", port)
    assert first.stdout
    facts = json.loads(await first.stdout.readline())  # it is up
    assert facts["api"].endswith(port)
    assert "a demo is already running in" in await refused("--data", str(tmp_path / "a"))
    assert f"another SaveAny is using port {port}" in await refused(
        "--data", str(tmp_path / "b"), "--port", port
    )
    first.send_signal(signal.SIGINT)
    assert await first.wait() == 0


async def test_the_demo_chat_saves_a_file(tmp_path: Path) -> None:
    process = await demo("--chat", "--data", str(tmp_path / "a"), "--port", "0", stdin=PIPE)
    assert process.stdin
    assert process.stdout
    said = ""

    async def expect(text: str) -> None:
        nonlocal said
        assert process.stdout
        async with asyncio.timeout(60):
            while text not in said:
                line = (await process.stdout.readline()).decode()
                assert line, f"{text!r} was never said: {said}"
                said += line

    def types(line: str) -> None:
        assert process.stdin
        process.stdin.write(f"{line}\n".encode())

    await expect("You are chatting with the bot.")
    types("99")
    await expect("! There is no button 99.")
    types("!file /no/such/file")
    await expect("! Cannot send /no/such/file")
    types("https://t.me/channel/123")
    await expect("Where should I save this?")
    await expect("[1]")
    types("1")
    await expect("file.pdf")
    process.stdin.close()
    assert await process.wait() == 0
    logs = (tmp_path / "a/logs").glob("*.log")
    assert all("Traceback" not in log.read_text() for log in logs)


async def test_the_demo_chat_ends_at_the_end_of_its_input(tmp_path: Path) -> None:
    process = await demo("--chat", "--data", str(tmp_path / "a"), "--port", "0")
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"You are chatting with the bot." in out
