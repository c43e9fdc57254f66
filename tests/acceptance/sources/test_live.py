"""Chats that go live are recorded: one complete MP4 per stream, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from saveany.sandbox import samples
from saveany.sandbox.content import LiteralContent
from saveany.sandbox.group_calls import CallRecording, GroupCall
from saveany.store import connect
from tests.fixtures.servers import answering, program
from tests.fixtures.stack import USER_ID, Stack
from tests.fixtures.streams import check_video, length, make_parts, start_stream
from tests.fixtures.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 24
SPEED = 6.0
SEGMENT = 10
CHAT = "@channel"
ADVICE = "apt install ffmpeg"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return make_parts(tmp_path_factory.mktemp("parts"), SECONDS)


class Receiver(BaseHTTPRequestHandler):
    """Keeps the webhooks that it gets."""

    received: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[str]:
    with answering(Receiver) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A link to it, which a test may remove."""
    link = tmp_path_factory.mktemp("bin") / "ffmpeg"
    link.symlink_to(program("ffmpeg"))
    return link


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, receiver: str, ffmpeg: Path
) -> AsyncIterator[Stack]:
    tables = {
        "convert": {"ffmpeg": str(ffmpeg)},
        "live": {"segment_seconds": SEGMENT},
        "compat": {"streamapi": {"enable": True}},
        "api": {
            "webhook_url": receiver,
            "webhook_events": ["live_started", "live_ended", "recording_finished"],
        },
    }
    async with Stack(tmp_path_factory.mktemp("live"), workers=1, tables=tables) as stack:
        yield stack


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(stack: Stack) -> AsyncIterator[None]:
    """After each test nothing is watched, and nothing is live; the account is a member of the channel."""
    members = stack.sandbox.world.chats[samples.CHANNEL].members.copy()
    yield
    stack.sandbox.world.chats[samples.CHANNEL].members |= members
    stack.sandbox.faults.clear()
    for watch in (await get(stack, "live"))["live"]:
        await stack.request("DELETE", f"/live/{watch['id']}")
    while call := stack.sandbox.world.calls.of(stack.sandbox.world.chats[samples.CHANNEL]):
        stack.sandbox.world.calls.end(call)


def start(stack: Stack, parts: list[bytes], **fields: Any) -> GroupCall:
    return start_stream(stack, parts, **({"speed": SPEED} | fields))


async def look(stack: Stack) -> None:
    """Have the watched chats checked now, not within the next ten seconds."""
    db = connect(stack.redis_url)
    try:
        await db.do("PUBLISH", "sa:archives", "")
    finally:
        await db.close()


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

    await until(noticed, within=30, what=lambda: str(watch))
    return watch


def served(stack: Stack, call: GroupCall, count: int) -> Callable[[], bool]:
    """A condition: about so many more parts have been served."""
    assert call.stream is not None

    def sent() -> int:
        return stack.sandbox.counters.bytes(method="upload.getFile", file=call.id)

    wanted = sent() + count * len(call.stream.parts[0])
    return lambda: sent() >= wanted


async def end_when_read(stack: Stack, call: GroupCall) -> None:
    """End a stream of which everything has been read: requests for more bring nothing."""
    stream, counters = call.stream, stack.sandbox.counters
    assert stream is not None
    await until(lambda: stream.available == len(stream.parts), within=60)
    asked = sent = -1

    def is_read() -> bool:
        nonlocal asked, sent
        now = counters.requests(method="upload.getFile", file=call.id)
        if sent != (sent := counters.bytes(method="upload.getFile", file=call.id)):
            asked = now
        return sent > 0 and now > asked + 5

    await until(is_read, within=30)
    stack.sandbox.world.calls.end(call)


async def recording_of(stack: Stack, task_id: str, **params: Any) -> dict[str, Any]:
    """The recording that a task has made; empty if it is not listed."""
    found = (await get(stack, "recordings", **params))["recordings"]
    return next((each for each in found if each["task_id"] == task_id), {})


def videos(stack: Stack, folder: str) -> list[Path]:
    return [stack.storage_dir / name for name in stack.files() if name.startswith(f"{folder}/")]


async def test_a_stream_becomes_one_mp4_in_the_library(stack: Stack, parts: list[bytes]) -> None:
    """The stack has one worker: while it records, downloads are done, and segments are listed. In the end
    there is one file, which the library plays."""
    call = start(stack, parts)
    watched = await watch(stack, dir_path="streams")
    task_id = watched["task_id"]

    await stack.wait(task_id, lambda task: task["progress"]["downloaded_bytes"] > 0)
    assert await recording_of(stack, task_id) == {}, "what has come is shown before it is in a file"

    async def has_segment() -> bool:
        found = await recording_of(stack, task_id)
        return bool(found) and found["status"] == "running" and found["seconds"] == SEGMENT

    await until(has_segment, within=30)
    download = await stack.add("https://t.me/channel/123", dir_path="others")
    assert (await stack.ended(download["task_id"]))["status"] == "completed"
    assert (await stack.task(task_id))["status"] == "running"
    await end_when_read(stack, call)
    task = await stack.ended(task_id)
    assert (task["status"], task["error"]) == ("completed", "")
    recording = await recording_of(stack, task_id, chat=CHAT)
    (file,) = recording["files"]
    assert recording["seconds"] == file["seconds"] == SECONDS
    (path,) = videos(stack, "streams")
    assert task["progress"]["downloaded_bytes"] == path.stat().st_size
    check_video(path, parts)
    played = await stack.client.get(
        f"/api/v1/files/{file['file_id']}/content", headers={"Range": "bytes=0-9"}
    )
    assert (played.status_code, played.content) == (206, path.read_bytes()[:10])
    assert (await get(stack, "recordings", to="2020-01-01"))["recordings"] == []
    events = [(each["event"], each["chat"]) for each in Receiver.received if each["task_id"] == task_id]
    assert events == [(event, CHAT) for event in ("live_started", "live_ended", "recording_finished")]


async def test_a_recording_survives_faults_of_telegram_and_the_death_of_its_worker(
    stack: Stack, parts: list[bytes], ffmpeg: Path
) -> None:
    call = start(stack, parts)
    of_call = f"file={call.id}"
    faults = [
        "flood_wait=1,method=upload.getFile,every=13",
        "kick,method=upload.getFile,every=9",
        "drop,method=upload.getFile,every=11",
        "error=500:RPC_CALL_FAIL,method=upload.getFile,every=7",
        "move_call=4,method=upload.getFile,count=1",
    ]
    added = [stack.sandbox.faults.add(f"{each},{of_call}") for each in faults]
    watched = await watch(stack, dir_path="faults")
    for has_ffmpeg in (False, True):  # for the next worker
        await until(served(stack, call, 4), within=30)
        await stack.kill(stack.workers[0])
        if has_ffmpeg:
            ffmpeg.symlink_to(program("ffmpeg"))
        else:
            ffmpeg.unlink()
        await stack.start_worker()
        await stack.ready()
        if not has_ffmpeg:  # it records all the same, and says what is missing
            await stack.wait(
                watched["task_id"], lambda task: ADVICE in task["waiting"] and task["status"] == "running"
            )
            assert ADVICE in (await get(stack, "live"))["live"][0]["problem"]
            listed = await stack.saveany("live", "list", "--json")
            assert ADVICE in listed.out
    await end_when_read(stack, call)
    task = await stack.ended(watched["task_id"])
    assert (task["status"], task["error"]) == ("completed", "")
    assert sum(each.fired for each in added) > 0
    (path,) = videos(stack, "faults")
    check_video(path, parts)
    stack.sandbox.faults.clear()


@pytest.mark.parametrize("end", ["stop", "DELETE"])
async def test_stop_keeps_a_recording_and_cancel_removes_it(
    end: str, stack: Stack, parts: list[bytes]
) -> None:
    call = start(stack, parts, speed=3.0)
    folder = f"ended by {end}"
    watched = await watch(stack, dir_path=folder)
    task_id = watched["task_id"]
    await until(lambda: len(videos(stack, folder)) == 1, within=30)
    if end == "stop":
        await stack.request("POST", f"/tasks/{task_id}/stop")
        assert (await stack.ended(task_id))["status"] == "completed"
        (path,) = videos(stack, folder)
        count = length(path)
        assert SEGMENT <= count < SECONDS
        check_video(path, parts[:count])
    else:
        await stack.request("DELETE", f"/tasks/{task_id}")
        assert (await stack.ended(task_id))["status"] == "canceled"
        await until(lambda: videos(stack, folder) == [], within=10)
        assert await recording_of(stack, task_id) == {}
    # The stream goes on, and is not recorded again.
    assert (await get(stack, "live"))["live"][0]["task_id"] == task_id
    stack.sandbox.world.calls.end(call)


async def test_gaps_are_closed_and_a_chat_that_goes_away_ends_the_recording(
    stack: Stack, parts: list[bytes]
) -> None:
    call = start(stack, parts, missing={3, 4, 12})
    watched = await watch(stack, dir_path="gaps")
    stream = call.stream
    assert stream is not None
    await until(lambda: stream.available == len(parts), within=30)
    call.chat.members.clear()
    username, call.chat.username = call.chat.username, ""
    try:
        task = await stack.ended(watched["task_id"])
    finally:
        call.chat.username = username
    assert task["status"] == "completed", task
    (path,) = videos(stack, "gaps")
    seconds = length(path)
    kept = [part for number, part in enumerate(parts) if number not in {3, 4, 12}]
    check_video(path, kept[:seconds])
    assert seconds > len(kept) // 2
    stack.sandbox.world.calls.end(call)


async def test_a_stream_that_ends_and_starts_again_is_recorded_twice(
    stack: Stack, parts: list[bytes]
) -> None:
    first = start(stack, parts[:6])
    watched = await watch(stack, dir_path="again")
    await end_when_read(stack, first)
    second = start(stack, parts[6:12])
    await look(stack)

    async def is_second() -> bool:
        (shown,) = (await get(stack, "live"))["live"]
        return shown["task_id"] not in (None, watched["task_id"])

    await until(is_second, within=30)
    await end_when_read(stack, second)
    (shown,) = (await get(stack, "live"))["live"]
    for task_id in (watched["task_id"], shown["task_id"]):
        assert (await stack.ended(task_id))["status"] == "completed"
    assert [length(path) for path in videos(stack, "again")] == [6, 6]
    whole = (await get(stack, "recordings"))["recordings"]
    assert [each["task_id"] for each in whole[-2:]] == [watched["task_id"], shown["task_id"]]
    paged, page = list[Any](), dict[str, Any](next_cursor="")
    while page["next_cursor"] is not None:
        page = await get(stack, "recordings", limit=1, cursor=page["next_cursor"])
        assert len(page["recordings"]) == 1
        paged += page["recordings"]
    assert paged == whole
    refused = await stack.client.get("/api/v1/recordings", params={"cursor": "nonsense"})
    assert refused.status_code == 400


async def test_telegram_records_a_call_for_its_administrator(stack: Stack) -> None:
    """Telegram sends the recording late, in two files, and the worker dies meanwhile: each is saved once."""
    film = LiteralContent(b"film" * 1000)
    world = stack.sandbox.world
    channel = world.chats[samples.CHANNEL]
    call = world.calls.start(channel, video=True, recorded=film, recorded_files=2, delays_files=True)
    watched = await watch(stack, dir_path="calls")
    task_id = watched["task_id"]
    await until(lambda: call.recording is not None, within=30)
    recording = call.recording
    assert recording is not None
    assert recording.video
    await stack.kill(stack.workers[0])
    world.calls.end(call)
    await stack.start_worker()
    await stack.ready()
    world.calls.deliver(call)
    task = await stack.ended(task_id)
    assert (task["status"], task["error"]) == ("completed", "")
    saved = videos(stack, "calls")
    assert [path.read_bytes() for path in saved] == [film.data] * 2
    assert all(recording.title in path.name for path in saved)
    found = await recording_of(stack, task_id, chat=CHAT)
    assert len({each["file_id"] for each in found["files"]}) == 2
    events = [(each["event"], each["chat"]) for each in Receiver.received if each["task_id"] == task_id]
    assert events == [(event, CHAT) for event in ("live_started", "live_ended", "recording_finished")]


@pytest.mark.parametrize("end", ["stop", "DELETE"])
async def test_stop_and_cancel_end_the_recording_of_a_call(end: str, stack: Stack) -> None:
    folder = f"call ended by {end}"
    world = stack.sandbox.world
    call = world.calls.start(world.chats[samples.CHANNEL], recorded=LiteralContent(b"voices" * 100))
    watched = await watch(stack, dir_path=folder)
    await until(lambda: call.recording is not None, within=30)
    assert not (call.recording and call.recording.video)
    if end == "DELETE":
        await stack.request("DELETE", f"/tasks/{watched['task_id']}")
        assert (await stack.ended(watched["task_id"]))["status"] == "canceled"
        await until(lambda: call.recording is None, within=10)
        assert videos(stack, folder) == []
        return
    await stack.request("POST", f"/tasks/{watched['task_id']}/stop")
    assert (await stack.ended(watched["task_id"]))["status"] == "completed"
    assert call.recording is None
    (path,) = videos(stack, folder)
    assert path.suffix == ".ogg"


async def test_a_call_that_cannot_be_recorded_is_left_alone(stack: Stack) -> None:
    """Without the right to manage calls, or if another administrator records it, the watch says so."""
    world = stack.sandbox.world
    channel = world.chats[samples.CHANNEL]
    made = await stack.client.post("/api/v1/live", json={"chat": CHAT, "user_id": USER_ID})
    assert made.status_code == 201

    async def problem() -> str:
        (shown,) = (await get(stack, "live"))["live"]
        return str(shown["problem"] or "")

    async def has(words: str) -> bool:
        return words in await problem()

    other = CallRecording(samples.BOT, "Theirs", False, datetime.now(UTC))
    call = world.calls.start(channel, recording=other)
    await look(stack)
    await until(lambda: has("recording this call already"), within=30)
    admins, channel.admins = channel.admins, set()
    await look(stack)
    try:
        await until(lambda: has("only be recorded by an administrator"), within=30)
        assert call.recording is other
    finally:
        channel.admins = admins


async def test_what_cannot_be_watched_is_refused(stack: Stack) -> None:
    async def refused(**body: Any) -> tuple[int, str]:
        reply = await stack.client.post("/api/v1/live", json={"user_id": USER_ID, **body})
        return reply.status_code, reply.json()["message"]

    assert (await refused(chat="@nobodyhasthisname"))[0] == 404
    assert (await refused(chat=CHAT, storage="nowhere"))[0] == 404
    assert (await refused(chat=""))[0] == 400
    made = await stack.client.post("/api/v1/live", json={"chat": CHAT, "user_id": USER_ID})
    status, message = await refused(chat="https://t.me/channel")
    assert (status, message) == (409, f"this chat is recorded already, as {made.json()['id']}")
    await stack.request("DELETE", f"/live/{made.json()['id']}")
    reply = await stack.client.delete(f"/api/v1/live/{made.json()['id']}")
    assert reply.status_code == 404


async def test_the_calls_of_streamapi_show_streams_and_recordings(stack: Stack, parts: list[bytes]) -> None:
    made = await stack.saveany("key", "add", "old", "--user", str(USER_ID), "--compat", "--readable")
    key = dict(re.findall(r"^([^:]+): +(.*)$", made.out, re.MULTILINE))
    numbers = itertools.count(int(time.time() * 1000))

    async def ask(call: str, method: str = "GET", **given: str) -> str:
        query = {"key": key["login"], **given}
        rid = str(next(numbers))
        signed = "".join(query[name] for name in sorted(query)) + key["key"] + rid
        query |= {"rid": rid, "sig": hashlib.md5(signed.encode()).hexdigest()}
        part: dict[str, Any] = {"data" if method == "POST" else "params": query}
        reply = await stack.client.request(method, f"/service/{call}", **part)
        assert "<code>0</code>" in reply.text, reply.text
        return reply.text

    created = await ask("session/create", "POST", username="Channel")
    (public,) = re.findall(r"<public_hostid>(\d+)</public_hostid>", created)
    assert "<is_live>false</is_live>" in await ask("session/live", public_hostid=public)
    call = start(stack, parts[:6])
    await look(stack)

    async def is_live() -> bool:
        return "<is_live>true</is_live>" in await ask("session/live", public_hostid=public)

    await until(is_live, within=30)
    assert "<session>" in await ask("session/live/list")
    (watch,) = (await get(stack, "live"))["live"]
    await end_when_read(stack, call)
    await stack.ended(watch["task_id"])
    listed = await ask("video/list", public_hostid=public)
    assert "<duration>6</duration>" in listed
    (url,) = re.findall(r"<url>([^<]+)</url>", listed)[-1:]
    assert (await stack.client.get(url)).content[4:8] == b"ftyp"

    async def is_over() -> bool:
        return not await is_live()

    await look(stack)
    await until(is_over, within=30)


async def test_commands(stack: Stack) -> None:
    async def run(*words: str) -> str:
        result = await stack.saveany("live", *words)
        assert result.code == 0, result.err
        return result.out

    made = await run("add", CHAT, "--user", str(USER_ID), "--path", "x")
    live_id = made.split()[0]
    assert live_id in await run("list")
    assert json.loads(await run("list", "--json"))["live"][0]["dir_path"] == "x"
    assert "recordings" in json.loads(await run("recordings", "--json", "--from", "2020-01-01"))
    assert (await run("remove", live_id)).strip() == "chat no longer recorded"
    again = await stack.saveany("live", "remove", live_id)
    assert again.code == 1
    assert "there is no live watch" in again.err
