"""Measures how many small files are saved per second, compared with a bare Telethon client."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench import files
from bench.everything import Everything, everything
from bench.installation import AUTHORIZATION, new_task, task_of_links
from bench.process import child
from bench.results import Measurement, compared
from saveany.models import ENDED, ItemStatus
from tests.fixtures import s3
from tests.fixtures.tables import table

_REPETITIONS = 3
_DELAY = "delay=0.05"
_CLIENTS = 8  # that post tasks at the same time
_TIMEOUT_SECONDS, _POLL_SECONDS = 120.0, 0.2
_COUNT = len(files.SMALL)

#: The bodies of requests that save all small files in a folder of the storage.
MakeTasks = Callable[[str], list[dict[str, Any]]]


@dataclass(frozen=True)
class Rates:
    """Medians of several rounds."""

    ours: float  # files per second
    theirs: float
    cpu_ms: float  # CPU time of all processes of `saveany run` per file
    their_cpu_ms: float


async def small_range() -> list[Measurement]:
    """One task for a range of 1,000 messages, on loopback."""
    return [await _compare("small_range", _range)]


async def small_range_rtt50() -> list[Measurement]:
    """The same with a round trip of 50 ms."""
    return [await _compare("small_range_rtt50", _range, _DELAY)]


async def small_links_rtt50() -> list[Measurement]:
    """One task of 1,000 links, with a round trip of 50 ms."""
    return [await _compare("small_links_rtt50", _links, _DELAY)]


async def small_tasks() -> list[Measurement]:
    """1,000 tasks of one file, on loopback: the speed, and the CPU time."""
    async with everything() as running:
        rates = await _measure(running, _tasks)
    return [
        compared("small_tasks", rates.ours, "files/s", rates.theirs),
        compared("small_task_cpu_ms", rates.cpu_ms, "CPU-ms", rates.their_cpu_ms),
    ]


async def small_tasks_live() -> list[Measurement]:
    """1,000 tasks of one file while three streams are recorded, compared with the same without them."""
    alone: list[float] = []
    recording: list[float] = []
    async with everything() as running:
        for chat in files.LIVE:
            reply = await running.http.post("/api/v1/live", json={"chat": chat, "user_id": running.user})
            reply.raise_for_status()
        await running.warm_up()
        for round_ in range(_REPETITIONS):
            alone.append((await _ours(running, _tasks(f"/{round_}")))[0])
            await running.telegram.toggle_streams()
            await _recordings(running, len(files.LIVE))
            recording.append((await _ours(running, _tasks(f"/{round_} live")))[0])
            await _recordings(running, len(files.LIVE))
            await running.telegram.toggle_streams()
            await _recordings(running, 0)
    note = ", ".join(f"{_COUNT / seconds:.0f}" for seconds in recording) + " files/s, "
    note += "without recordings " + ", ".join(f"{_COUNT / seconds:.0f}" for seconds in alone)
    rate, rate_alone = (_COUNT / median(seconds) for seconds in (recording, alone))
    return [compared("small_tasks_live", rate, "files/s", rate_alone, note)]


async def small_tasks_rtt50() -> list[Measurement]:
    """1,000 tasks of one file, with a round trip of 50 ms."""
    return [await _compare("small_tasks_rtt50", _tasks, _DELAY)]


async def small_s3_rtt50() -> list[Measurement]:
    """The range, saved to S3, whose server is on loopback without a delay."""
    with tempfile.TemporaryDirectory(prefix="saveany-bench-") as name:
        try:
            with s3.rclone(Path(name)) as server:
                options = server.options(server.bucket(), base_path="")
                return [await _compare("small_s3_rtt50", _range, _DELAY, storage=table(options))]
        except (pytest.skip.Exception, pytest.fail.Exception) as missing:
            raise RuntimeError(str(missing)) from None


def _range(folder: str) -> list[dict[str, Any]]:
    return [new_task(f"{files.link(files.SMALL[0])}-{files.SMALL[-1]}", folder)]


def _links(folder: str) -> list[dict[str, Any]]:
    return [task_of_links([files.link(number) for number in files.SMALL], folder)]


def _tasks(folder: str) -> list[dict[str, Any]]:
    return [new_task(files.link(number), folder) for number in files.SMALL]


async def _compare(
    name: str, make: MakeTasks, *faults: str, storage: Mapping[str, Any] | None = None
) -> Measurement:
    async with everything(*faults, storage=storage) as running:
        rates = await _measure(running, make)
    note = f"{rates.cpu_ms:.1f} CPU-ms per file, the reference {rates.their_cpu_ms:.1f}"
    return compared(name, rates.ours, "files/s", rates.theirs, note)


async def _measure(running: Everything, make: MakeTasks) -> Rates:
    """Save all small files several times, alternating with the bare client."""
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    await running.warm_up()
    for round_ in range(_REPETITIONS):
        ours.append(await _ours(running, make(f"/{round_}")))
        shutil.rmtree(running.folder / "files" / str(round_), ignore_errors=True)
        theirs.append(await _theirs(running))
    seconds, cpu = (median(column) for column in zip(*ours, strict=True))
    their_seconds, their_cpu = (median(column) for column in zip(*theirs, strict=True))
    return Rates(_COUNT / seconds, _COUNT / their_seconds, cpu * 1000 / _COUNT, their_cpu * 1000 / _COUNT)


async def _ours(running: Everything, bodies: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Seconds and CPU seconds from the first request to the end of the last task."""
    since = await running.store.events.last_id()
    before = running.process.family_cpu()
    began = time.monotonic()
    posting = asyncio.create_task(_post(running, bodies))
    await _all_ended(running, since, len(bodies))
    seconds, cpu = time.monotonic() - began, running.process.family_cpu() - before
    await _verify(running, await posting)
    return seconds, cpu


async def _post(running: Everything, bodies: Sequence[dict[str, Any]]) -> list[str]:
    """Create the tasks with several clients, each with one connection; returns their ids. A client of the
    standard library is used, since it shares the two cores with everything that is measured."""
    posts = (asyncio.to_thread(_post_all, running.site.port, bodies[n::_CLIENTS]) for n in range(_CLIENTS))
    return [task_id for ids in await asyncio.gather(*posts) for task_id in ids]


def _post_all(port: int, bodies: Sequence[dict[str, Any]]) -> list[str]:
    http, ids = HTTPConnection("127.0.0.1", port, timeout=30), []
    for body in bodies:
        http.request(
            "POST",
            "/api/v1/tasks",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", **AUTHORIZATION},
        )
        reply = json.loads(http.getresponse().read())
        if "task_id" not in reply:
            raise RuntimeError(f"the API replied {reply}")
        ids.append(reply["task_id"])
    http.close()
    return ids


async def _all_ended(running: Everything, since: str, count: int) -> None:
    """Wait until `count` tasks have ended."""
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        async for event in running.store.events.follow(since):
            count -= event.status in ENDED
            if not count:
                return


async def _recordings(running: Everything, count: int) -> None:
    """Wait until so many streams are recorded and received, and no other task is left."""
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        while True:
            tasks = (await running.http.get("/api/v1/tasks")).json()["tasks"]
            received = [each for each in tasks if each["progress"]["speed_bps"]]
            if len(tasks) == len(received) == count:
                return
            await asyncio.sleep(_POLL_SECONDS)


async def _verify(running: Everything, ids: Sequence[str]) -> None:
    """Check that the tasks have saved all small files, each once."""
    saved = []
    for task_id in ids:
        for item in await running.store.tasks.all_items(task_id):
            number = item.source["message"]
            if item.status is not ItemStatus.COMPLETED or item.sha256 != files.digest(number):
                raise RuntimeError(f"{files.link(number)} was not saved: {item.error or item.status}")
            saved.append(number)
    if sorted(saved) != list(files.SMALL):
        raise RuntimeError(f"{len(saved)} files were saved instead of {_COUNT}, or some of them twice")


async def _theirs(running: Everything) -> tuple[float, float]:
    """Seconds and CPU seconds that the bare client takes."""
    facts = json.dumps(running.telegram.facts["telegram"])
    with tempfile.TemporaryDirectory(prefix="saveany-bench-") as name:
        numbers = str(files.SMALL[0]), str(files.SMALL[-1])
        async with child(running.folder / "bare.log", "bench.bare", facts, *numbers, name) as bare:
            report = await bare.read_json()
        if _sizes(Path(name)) != [files.size(number) for number in files.SMALL]:
            raise RuntimeError("the bare client did not save all files")
    return report["seconds"], report["cpu"]


def _sizes(folder: Path) -> list[int]:
    return [file.stat().st_size for file in folder.iterdir()]
