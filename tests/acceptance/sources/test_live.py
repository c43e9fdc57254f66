"""Chats that go live are recorded: one complete MP4 per stream, whatever happens meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from saveany.sandbox.group_calls import GroupCall, LiveStream
from tests.fixtures.servers import program
from tests.fixtures.stack import USER_ID, Stack
from tests.fixtures.streams import make_parts
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 24
SPEED = 6.0
SEGMENT = 10
CHAT = "@channel"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return make_parts(tmp_path_factory.mktemp("parts"), SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    tables = {"live": {"segment_seconds": SEGMENT}}
    async with Stack(tmp_path_factory.mktemp("live"), workers=1, tables=tables) as stack:
        yield stack


def start(stack: Stack, parts: list[bytes], **fields: Any) -> GroupCall:
    stream = LiveStream(parts=parts, **({"speed": SPEED, "kept": 1000} | fields))
    return stack.sandbox.world.calls.start(
        stack.sandbox.world.chats[samples.CHANNEL], title="News", stream=stream
    )


async def get(stack: Stack, path: str, **params: Any) -> Any:
    reply = await stack.client.get(f"/api/v1/{path}", params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def watch(stack: Stack, **fields: Any) -> dict[str, Any]:
    """Have the channel recorded; returns the watch, once its stream is noticed."""
    reply = await stack.client.post("/api/v1/live", json={"chat": CHAT, "user_id": USER_ID, **fields})
    assert reply.status_code == 201, reply.text
    watch: dict[str, Any] = {}

    async def noticed() -> bool:
        nonlocal watch
        (watch,) = (await get(stack, "live"))["live"]
        return bool(watch["is_live"])

    await until(noticed, within=30)
    return watch


async def unwatch(stack: Stack, watch: dict[str, Any]) -> None:
    await stack.request("DELETE", f"/live/{watch['id']}")


async def end_when_read(stack: Stack, call: GroupCall) -> None:
    """End a stream when all of it has been served for a while."""
    stream = call.stream
    assert stream is not None
    await until(lambda: stream.available == len(stream.parts), within=60)
    last = stack.sandbox.counters.requests(method="upload.getFile", file=call.id)
    await until(
        lambda: stack.sandbox.counters.requests(method="upload.getFile", file=call.id) > last + 3, within=30
    )
    stack.sandbox.world.calls.end(call)


def probe(path: Path) -> dict[str, Any]:
    command = [program("ffprobe"), "-v", "error", "-show_format", "-show_streams", "-count_packets"]
    found: dict[str, Any] = json.loads(subprocess.check_output([*command, "-of", "json", str(path)]))
    return found


def frames(path: Path) -> list[bytes]:
    """A hash of each picture."""
    command = [program("ffmpeg"), "-v", "error", "-i", str(path), "-map", "0:v", "-f", "framemd5", "-"]
    lines = subprocess.check_output(command).splitlines()
    return [line.rpartition(b",")[2].strip() for line in lines if not line.startswith(b"#")]


async def test_a_stream_becomes_one_mp4_in_the_library(stack: Stack, parts: list[bytes]) -> None:
    call = start(stack, parts)
    watched = await watch(stack, dir_path="streams")
    task_id = watched["task_id"]

    async def has_segment() -> bool:
        return bool((await get(stack, "recordings"))["recordings"])

    await until(has_segment, within=30)
    await end_when_read(stack, call)
    task = await stack.ended(task_id)
    assert task["status"] == "completed", task
    (recording,) = (await get(stack, "recordings"))["recordings"]
    (file,) = recording["files"]
    assert recording["seconds"] == file["seconds"] == SECONDS
    (name,) = [name for name in stack.files() if name.startswith("streams/")]
    found = probe(stack.storage_dir / name)
    assert float(found["format"]["duration"]) == pytest.approx(SECONDS, abs=0.1)
    assert {each["codec_type"] for each in found["streams"]} == {"video", "audio"}
    await unwatch(stack, watched)
