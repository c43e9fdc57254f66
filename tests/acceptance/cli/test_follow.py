"""`saveany add --follow` and `saveany watch`: on a terminal, in a pipe, and through interruptions."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import httpx
import pytest

from saveany.config import folders
from tests.acceptance.cli.conftest import slow_down
from tests.acceptance.cli.terminal import Terminal
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.stack import Stack
from tests.fixtures.tcp import connection, forward, tcp_server
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PDF, BIG, SLOW = (f"https://t.me/channel/{number}" for number in (123, 127, 128))
MISSING = "https://t.me/channel/9999"


_lines: WeakKeyDictionary[Process, deque[str]] = WeakKeyDictionary()  # the last ones that each has printed


async def event(running: Stack, process: Process, name: str) -> dict[str, Any]:
    """The next event with that name among the printed ones."""
    assert process.stdout is not None
    lines = _lines.setdefault(process, deque(maxlen=20))
    try:
        async with asyncio.timeout(90):  # parts that a canceled task had asked for may still be on the line
            async for line in process.stdout:
                lines.append(line.decode())
                found: dict[str, Any] = json.loads(line)
                if found["event"] == name:
                    return found
    except TimeoutError:
        raise AssertionError(f"no {name} in time; {await circumstances(running, lines)}") from None
    assert process.stderr is not None
    errors = (await process.stderr.read()).decode()
    raise AssertionError(f"no {name}: {errors}; {await circumstances(running, lines)}")


async def circumstances(running: Stack, lines: Iterable[str]) -> str:
    """What a command has printed last, and what the API says about these tasks."""
    said = []
    for task_id in sorted({str(json.loads(line).get("task_id")) for line in lines}):
        try:
            said.append((await running.client.get(f"/api/v1/tasks/{task_id}")).text)
        except httpx.HTTPError as error:
            said.append(f"{task_id}: {error!r}")
    return "\n".join(["the command printed", *map(str.strip, lines), "and the API says", *said])


async def end(process: Process) -> int:
    """Wait until a command ends without a signal."""
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode


async def test_a_pipe_gets_lines_of_json(running: Stack) -> None:
    result = await running.saveany("add", "--follow", PDF, BIG)
    assert (result.code, result.err) == (0, "")
    events = [json.loads(line) for line in result.out.splitlines()]
    created = {one["task_id"]: one["link"] for one in events if one["event"] == "created"}
    assert list(created.values()) == [PDF, BIG]
    for task_id in created:
        own = [one for one in events if one["task_id"] == task_id]
        assert own[1]["event"] == "snapshot"
        assert own[-1]["status"] == "completed"
        assert all(one["status"] != "completed" for one in own[1:-1])


async def test_every_folder_of_data_dir_is_refused_to_storages(running: Stack) -> None:
    result = await running.saveany("add", "--follow", PDF)
    assert result.code == 0
    assert {each.name for each in running.data_dir.iterdir()} <= set(folders.RESERVED)


async def test_a_failed_task_sets_the_exit_code(running: Stack) -> None:
    result = await running.saveany("add", "-F", PDF, MISSING)
    assert result.code == 1
    events = [json.loads(line) for line in result.out.splitlines()]
    ends = {one["task_id"]: one.get("status") for one in events}
    assert [*ends.values()] == ["completed", "failed"]


async def test_a_terminal_gets_bars(running: Stack) -> None:
    async with Terminal(running.argv("add", "--follow", SLOW, MISSING)) as terminal:
        await terminal.expect("failed    [tgfiles]")
        await terminal.expect("does not exist")
        await terminal.expect("slow-64MiB.bin")
        await terminal.expect(" of 67.1 MB ")
        task_id = terminal.shown.split()[0]
        await running.request("DELETE", f"/tasks/{task_id}")
        await terminal.expect("canceled  [tgfiles]")
        assert await terminal.end() == 1


async def test_waiting_tasks_are_counted(running: Stack) -> None:
    busy = [(await running.add(SLOW))["task_id"] for _ in range(3)]  # as many large files as run at a time
    for task_id in busy:
        await running.wait(task_id, lambda task: task["status"] == "running")
    async with Terminal(running.argv("add", "--follow", BIG, f"{BIG}?single")) as terminal:
        await terminal.expect("waiting: 2")
        for task_id in busy:
            await running.request("DELETE", f"/tasks/{task_id}")
        await terminal.expect("completed [tgfiles]")
        await terminal.expect("completed [tgfiles]")
        assert await terminal.end() == 0


async def test_ctrl_c_does_not_cancel_the_tasks(running: Stack) -> None:
    async with Terminal(running.argv("add", "--follow", SLOW)) as terminal:
        await terminal.expect(" of 67.1 MB ")
        terminal.type("\x03")
        await terminal.expect("accepted tasks continue")
        assert await terminal.end() == 130
        assert "Traceback" not in terminal.shown
        task_id = terminal.shown.split()[0]
    assert (await running.task(task_id))["status"] == "running"
    await running.request("DELETE", f"/tasks/{task_id}")


async def test_the_command_continues_after_a_restart_of_the_api(running: Stack) -> None:
    process = await running.popen("add", "--follow", SLOW)
    task_id = (await event(running, process, "task.progress"))["task_id"]
    await running.request("POST", f"/tasks/{task_id}/pause")  # so the file lasts as long as the API needs
    await event(running, process, "task.queued")
    assert running.api is not None
    await running.kill(running.api)
    await running.start_api()
    await running.ready()
    slow_down(running)  # anew: parts that were requested before the pause occupy the line for half a minute
    await running.request("POST", f"/tasks/{task_id}/resume")
    await event(running, process, "task.progress")
    await running.request("DELETE", f"/tasks/{task_id}")
    assert (await event(running, process, "task.canceled"))["task_id"] == task_id
    assert await end(process) == 1


@pytest.mark.parametrize("command", ["add", "watch"])
async def test_events_continue_after_a_long_outage_of_the_api(running: Stack, command: str) -> None:
    async with fault_proxy(running.port) as proxy:
        words = ("add", "--follow", SLOW) if command == "add" else ("watch",)
        process = await running.popen(*words, "--url", f"http://127.0.0.1:{proxy.port}")
        if command == "watch":
            await running.add(SLOW)
        task_id = (await event(running, process, "task.progress"))["task_id"]
        proxy.cut_after, before = 0, proxy.connections
        proxy.drop()

        async def was_tried_often() -> bool:
            return proxy.connections >= before + 14  # by then streams that do not work would be given up

        await until(was_tried_often, within=90)
        proxy.cut_after = None
        await event(running, process, "task.progress")
        await running.request("DELETE", f"/tasks/{task_id}")
        assert (await event(running, process, "task.canceled"))["task_id"] == task_id
        with suppress(ProcessLookupError):  # `add` ends with its task
            process.kill()
        await process.communicate()


async def test_watch_prints_events(running: Stack) -> None:
    task_id = (await running.add(SLOW))["task_id"]
    await running.wait(task_id, lambda task: task["status"] == "running")
    process = await running.popen("watch")
    assert (await event(running, process, "snapshot"))["task_id"] == task_id  # it was there before
    new = (await running.add(PDF))["task_id"]
    assert (await event(running, process, "task.completed"))["task_id"] == new
    await running.request("DELETE", f"/tasks/{task_id}")
    assert (await event(running, process, "task.canceled"))["task_id"] == task_id
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_watch_shows_bars_on_a_terminal(running: Stack) -> None:
    async with Terminal(running.argv("watch")) as terminal:
        task_id = (await running.add(SLOW, filename="slow.bin"))["task_id"]
        await terminal.expect("slow.bin")
        await running.request("DELETE", f"/tasks/{task_id}")
        await terminal.expect("canceled  [tgfiles]")
        await running.add(PDF, filename="seen.bin")
        await terminal.expect("completed [tgfiles](seen.bin->local1:/seen.bin)")
        terminal.type("\x03")
        assert await terminal.end() == 130
        assert "Traceback" not in terminal.shown


@asynccontextmanager
async def proxy_without_streams(target: int) -> AsyncIterator[str]:
    """The URL of a reverse proxy to that port which lets no event stream through."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/events " in head:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        async with connection("127.0.0.1", target) as far:
            far[1].write(head.replace(b"keep-alive", b"close"))  # else later requests would pass unseen
            await forward((reader, writer), far)

    async with tcp_server(serve) as server:
        yield server.url()


async def test_without_streams_the_tasks_are_polled(running: Stack) -> None:
    async with proxy_without_streams(running.port) as url:
        following = await running.popen("add", "--follow", SLOW, "--url", url)
        watching = await running.popen("watch", "--url", url)
        for process in (following, watching):
            while not (seen := await event(running, process, "snapshot"))["progress"]["downloaded_bytes"]:
                pass
        await running.request("DELETE", f"/tasks/{seen['task_id']}")
        while (await event(running, watching, "snapshot"))["status"] != "canceled":
            pass
        assert await end(following) == 1
        watching.send_signal(signal.SIGINT)
        assert await end(watching) == 130
