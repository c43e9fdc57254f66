"""The most memory a worker ever has resident."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from bench import files
from bench.results import Measurement
from bench.site import site
from saveany.store import Event


async def one_large() -> list[Measurement]:
    """A file of 4 GiB."""
    _require(files.size(files.GIB_4))
    async with site() as running:
        saved = await running.save(files.GIB_4)
        peak = running.workers[0].peak_mb()
    return [Measurement("mem_4gib_mb", peak, "MB", note=f"in {saved.seconds:.0f} s")]


async def eight_at_once() -> list[Measurement]:
    """Eight files of 256 MiB."""
    _require(sum(map(files.size, files.EIGHT)))
    async with site(slots=len(files.EIGHT)) as running:
        await asyncio.gather(*map(running.save, files.EIGHT))
        peak = running.workers[0].peak_mb()
        events = await running.store.events.after("0-0")
    if max(_times(events, "task.running")) > min(_times(events, "task.completed")):
        raise RuntimeError("the files were not saved all at once")
    return [Measurement("mem_8_files_mb", peak, "MB")]


async def one_into(table: Mapping[str, Any]) -> float:
    """MB, when a file of 1 GiB goes from Telegram into that storage."""
    async with site(storage=table) as running:
        since = await running.store.events.last_id()
        task_id = await running.post(files.GIB_1)
        await running.ended(task_id, since)
        await running.completed(task_id, files.GIB_1)
        return running.workers[0].peak_mb()


def _times(events: Iterable[Event], type_: str) -> list[int]:
    return [event.at for event in events if event.type == type_]


def _require(size: int) -> None:
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < 2 * size:
        raise RuntimeError(f"{folder} has too little room: set TMPDIR to a folder with {2 * size >> 30} GiB")
