"""kill -9 of the worker that records a stream, again and again, while Telegram fails in every way it can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from saveany.sandbox import samples
from saveany.sandbox.content import FileContent
from saveany.sandbox.group_calls import PART_MS, GroupCall, LiveStream
from saveany.sandbox.model import Chat
from tests.chaos.installation import ChaosInstallation, Plan
from tests.chaos.result import ScenarioResult
from tests.fixtures.stack import STORAGE, USER_ID
from tests.fixtures.streams import FILM, RATE, SOUND_SECONDS, make_parts, packet_times, pictures
from tests.fixtures.waiting import until

_SECONDS, _KILL_EVERY, _MISSING = 600, 60, 12
_SEGMENT_SECONDS = 25
#: At most so far apart may picture and sound be.
_SYNC_SECONDS = 0.05
_DCS = (4, 2)  # between which the stream moves
_FAULTS = (
    "flood_wait=3,every=151",
    "kick,every=97",
    "drop,every=67",
    "lose,every=331",
    "silent,after=1500000,count=3",
    "timeout,every=59",
    "error=500:RPC_CALL_FAIL,every=31",
    "short=500,every=43",
)
_EVENTS = ["live_started", "live_ended", "recording_finished"]


@dataclass(eq=False, kw_only=True)
class _ObservedStream(LiveStream):
    """Notes which parts were served."""

    served: set[int] = field(default_factory=set)

    def part(self, time_ms: int) -> FileContent:
        content = super().part(time_ms)
        self.served.add((time_ms - self.start_ms) // PART_MS)
        return content

    async def reaches(self, seconds: int) -> None:
        """Wait until so much was streamed."""
        await until(lambda: self.available >= seconds, within=_SECONDS, what=f"second {seconds}")


class LiveInstallation(ChaosInstallation):
    """An installation that records a channel."""

    def __init__(self, plan: Plan) -> None:
        tables = {"live": {"segment_seconds": _SEGMENT_SECONDS}, "api": {"webhook_events": _EVENTS}}
        super().__init__(plan, tables=tables)
        self.chat = Chat(id=1600000004, title="Live", username="chaos_live", members={samples.USER.id})

    async def get(self, path: str) -> dict[str, Any]:
        """A reply of the API."""
        reply = await self.client.get(f"/api/v1/{path}")
        assert reply.is_success, reply.text
        found: dict[str, Any] = reply.json()
        return found

    async def watch(self) -> None:
        """Have the channel recorded."""
        body = {"chat": "@chaos_live", "user_id": USER_ID, "storage": STORAGE, "dir_path": "live"}
        reply = await self.client.post("/api/v1/live", json=body)
        assert reply.status_code == httpx.codes.CREATED, reply.text

    async def task_of_stream(self) -> str:
        """The id of the task that records, once there is one."""
        found: list[str | None] = []

        async def is_noticed() -> bool:
            found[:] = [each["task_id"] for each in (await self.get("live"))["live"]]
            return any(found)

        await until(is_noticed, within=30)
        return str(found[0])

    async def kill_recorder(self, result: ScenarioResult, task_id: str) -> None:
        """Kill the worker that records, and start another one. Half of the deaths are reported, as a
        supervisor does."""
        pid = await self.pid_of_worker(task_id)
        victim = next(role for role in self.roles if role.pid == pid)
        self.roles.remove(victim)
        await victim.kill()
        if self.plan.random.random() < 0.5:
            await self.state.claims.expire_leases(victim.worker_id)
        await self.add_worker()
        result.injected["worker kills"] += 1

    async def read_to_the_end(self, call: GroupCall, stream: _ObservedStream) -> None:
        """Wait until the last part was served, and more is asked for."""
        counters, last = self.sandbox.counters, len(stream.parts) - 1
        await until(lambda: last in stream.served, within=120, what="the last second of the stream")
        asked = counters.requests(method="upload.getFile", file=call.id)
        await until(lambda: counters.requests(method="upload.getFile", file=call.id) > asked + 5)


async def run(plan: Plan) -> ScenarioResult:
    """A stream of ten minutes becomes one file, with each second that was served once and in order."""
    result = ScenarioResult("live")
    if not plan.long:
        result.skipped = "long form only; tests/acceptance/sources/test_live.py covers two kills"
        return result
    parts = make_parts(plan.folder, _SECONDS)
    async with LiveInstallation(plan) as installation:
        await installation.launch(2)
        calls = installation.sandbox.world.calls
        await _record(installation, result, parts)
        result.check(calls.of(installation.chat) is None, "the stream goes on")
    return result


async def _record(installation: LiveInstallation, result: ScenarioResult, parts: Sequence[bytes]) -> None:
    plan, sandbox = installation.plan, installation.sandbox
    stream = _ObservedStream(parts=parts, missing=set(plan.random.sample(range(20, _SECONDS - 20), _MISSING)))
    sandbox.world.add_chat(installation.chat)
    await installation.watch()
    call = sandbox.world.calls.start(installation.chat, title="Chaos", stream=stream)
    faults = [sandbox.faults.add(f"{each},method=upload.getFile,file={call.id}") for each in _FAULTS]
    task_id = await installation.task_of_stream()
    visible = [0]
    for number in range(1, _SECONDS // _KILL_EVERY):
        await stream.reaches(number * _KILL_EVERY)
        visible.append(await _visible_seconds(installation, task_id))
        await installation.kill_recorder(result, task_id)
        sandbox.world.calls.move(call, _DCS[number % len(_DCS)])
        result.injected["moves"] += 1
    await stream.reaches(_SECONDS)
    visible.append(await _visible_seconds(installation, task_id))
    result.injected["faults"] = sum(each.fired for each in faults)
    for fault, text in zip(faults, _FAULTS, strict=True):
        result.check(fault.fired > 0, f"{text} never happened")
        sandbox.faults.remove(fault)
    await installation.read_to_the_end(call, stream)
    sandbox.world.calls.end(call)
    end = await installation.ended(task_id, 120)
    result.check((end["status"], end["error"]) == ("completed", ""), f"the task: {end}")
    result.check(all(a < b for a, b in pairwise(visible)), f"seconds in visible segments: {visible}")
    result.notes.append(f"{len(stream.served)} of {_SECONDS - _MISSING} s served; visible: {visible}")
    result.check(stream.served >= set(range(_SECONDS)) - stream.missing, "some seconds were never asked for")
    await _audit(installation, result, stream, task_id)


async def _visible_seconds(installation: LiveInstallation, task_id: str) -> int:
    """The length of the segments that are listed."""
    found = (await installation.get("recordings"))["recordings"]
    return sum(each["seconds"] for each in found if each["task_id"] == task_id)


async def _audit(
    installation: LiveInstallation, result: ScenarioResult, stream: _ObservedStream, task_id: str
) -> None:
    """Compare the recording, its records and webhooks with what was served."""
    found = (await installation.get("recordings"))["recordings"]
    tasks = [each["task_id"] for each in found]
    result.check(tasks == [task_id], f"the recordings are of the tasks {tasks}, not of {task_id}")
    listed = [each["path"] for each in (await installation.get("files"))["files"]]
    result.check(len(listed) == 1, f"the library lists {listed}")
    files = installation.files()
    result.leftovers += [name for name in files if name.endswith(".partial")]
    videos = [name for name in files if name.endswith(".mp4")]
    result.duplicated += videos[1:]
    if videos:
        video, film = installation.storage_dir / videos[0], installation.plan.folder / FILM
        await asyncio.to_thread(_compare, result, video, film, sorted(stream.served))
    else:
        result.lost.append(f"the recording: {files}")
    logs = [log.read_text() for log in installation.logs.glob("worker-*.log")]
    unread = sum(text.count("could not be read") for text in logs)
    result.check(not unread, f"{unread} replies of Telegram could not be read")
    await until(lambda: len(_told(installation, task_id)) >= len(_EVENTS), within=60)
    told = _told(installation, task_id)
    result.check(told == _EVENTS, f"webhooks: {told}")


def _told(installation: LiveInstallation, task_id: str) -> list[str]:
    """The events of the webhooks about a task, in order; those that were sent again count once."""
    bodies = {each.headers["webhook-id"]: json.loads(each.body) for each in installation.receiver.requests}
    return [each["event"] for each in bodies.values() if each["task_id"] == task_id]


def _compare(result: ScenarioResult, video: Path, film: Path, served: Sequence[int]) -> None:
    """The video has the pictures of the seconds of the film that were served, and its sound fits."""
    all_pictures = pictures(film)
    expected = {number: all_pictures[number * RATE : (number + 1) * RATE] for number in served}
    saved = pictures(video)
    found = [saved[n : n + RATE] for n in range(0, len(saved), RATE)]
    lost = [number for number, each in expected.items() if each not in found]
    result.lost += [f"second {number}" for number in lost]
    result.done += len(expected) - len(lost)
    if found != list(expected.values()):
        result.corrupt.append(f"{len(saved)} pictures, not {len(expected) * RATE}, or in another order")
    shown, heard = packet_times(video, "v:0"), packet_times(video, "a:0")
    ends = [shown[-1] + 1 / RATE, heard[-1] + SOUND_SECONDS]
    apart = max(abs(shown[0] - heard[0]), abs(ends[0] - ends[1]))
    result.check(apart <= _SYNC_SECONDS, f"picture and sound are {apart * 1000:.0f} ms apart")
    gaps = [
        max(after - before for before, after in pairwise(times)) - usual
        for times, usual in ((shown, 1 / RATE), (heard, SOUND_SECONDS))
    ]
    result.check(max(gaps) <= _SYNC_SECONDS, f"gaps of {gaps} s in picture and sound")
    result.notes.append(
        f"{ends[0]:.2f} s of picture, {ends[1]:.2f} s of sound, at most {apart * 1000:.0f} ms apart"
    )
