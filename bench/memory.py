"""Measures the peak resident memory of a worker."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from bench import files
from bench.installation import installation
from bench.results import Measurement
from saveany.store import Event


async def one_large() -> list[Measurement]:
    """The peak while a file of 4 GiB is saved."""
    require_space(files.size(files.GIB_4))
    async with installation() as running:
        saved = await running.save(files.GIB_4)
        peak = running.workers[0].peak_mb()
    return [Measurement("mem_4gib_mb", peak, "MB", note=f"in {saved.seconds:.0f} s")]


async def eight_at_once() -> list[Measurement]:
    """The peak while eight files of 256 MiB are saved at the same time."""
    require_space(sum(map(files.size, files.EIGHT)))
    async with installation(slots=len(files.EIGHT)) as running:
        await asyncio.gather(*map(running.save, files.EIGHT))
        peak = running.workers[0].peak_mb()
        events = await running.store.events.after("0-0")
    if max(_times(events, "task.running")) > min(_times(events, "task.completed")):
        raise RuntimeError("the files were not all saved at the same time")
    return [Measurement("mem_8_files_mb", peak, "MB")]


async def one_into(table: Mapping[str, Any]) -> float:
    """The peak in MB while a file of 1 GiB is saved from Telegram to the storage of `table`."""
    async with installation(storage=table) as running:
        since = await running.store.events.last_id()
        task_id = await running.post(files.GIB_1)
        await running.ended(task_id, since)
        await running.completed(task_id, files.GIB_1)
        return running.workers[0].peak_mb()


def _times(events: Iterable[Event], type_: str) -> list[int]:
    return [event.at for event in events if event.type == type_]


def require_space(size: int) -> None:
    """Raise if the folder for temporary files has no room for files of `size` bytes."""
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < 2 * size:
        raise RuntimeError(
            f"{folder} has too little free space; set TMPDIR to a folder with {2 * size >> 30} GiB"
        )
