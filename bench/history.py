"""Measures a page of the history with a million ended tasks, compared with the same page of a thousand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.results import Measurement
from saveany.catalogue import HistoryFilter, rows
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.database import Database
from saveany.catalogue.tables import task_records, tasks
from saveany.embedded import EmbeddedRedis
from saveany.models import Progress, Status, TaskSpec, title
from saveany.store import Store, codec, open_store

_FEW, _MANY = 1_000, 1_000_000
_BATCH = 5_000
_PAGE = 50
_REPETITIONS = 150
#: End of the first task, in ms since 1970; each of the others ends 1 ms after the previous one.
_START = 1_700_000_000_000
_USERS = 4
_FILTERS = (
    HistoryFilter(),
    HistoryFilter(status="completed"),
    HistoryFilter(type="tgfiles"),
    HistoryFilter(user_id=2),
    HistoryFilter(storage="local1"),
)


@dataclass(frozen=True)
class Case:
    """One page: a filter, and whether it is the first page or a deep one."""

    filter: HistoryFilter
    deep: bool

    def cursor(self, count: int) -> str:
        """The cursor of the first page, or of one after three quarters of all tasks."""
        number = count // 4
        return f"{_START + number}-{number:020d}" if self.deep else ""


async def history_1m() -> list[Measurement]:
    """The worst ratio over all pages with one filter, first and deep, in milliseconds."""
    async with filled_catalogue(_FEW) as few, filled_catalogue(_MANY) as many:
        costs = [await _costs(few, many, Case(wanted, deep)) for wanted in _FILTERS for deep in (False, True)]
    reference, value = max(costs, key=lambda pair: pair[1] / pair[0])
    note = f"the worst of {len(costs)} kinds of pages; ratio = at {_MANY:,} / at {_FEW:,}"
    return [Measurement("history_1m", value, "ms", reference, value / reference, note)]


async def _costs(few: Catalogue, many: Catalogue, case: Case) -> tuple[float, float]:
    """Median milliseconds of a page in both, which are queried alternately."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(_REPETITIONS):
        for catalogue, count, times in ((few, _FEW, spent[0]), (many, _MANY, spent[1])):
            began = time.perf_counter()
            page = await catalogue.history.page(case.filter, _PAGE, case.cursor(count))
            times.append((time.perf_counter() - began) * 1000)
            if len(page.tasks) != _PAGE:
                raise RuntimeError(f"a page of {case.filter} has {len(page.tasks)} tasks")
    return median(spent[0]), median(spent[1])


@asynccontextmanager
async def filled_catalogue(count: int) -> AsyncIterator[Catalogue]:
    """A catalogue with `count` ended tasks in SQLite, and one that was recorded."""
    with TemporaryDirectory(prefix="saveany-bench-") as name:
        redis = EmbeddedRedis(Path(name))
        store = await open_store(redis.start())
        catalogue = Catalogue("", Path(name), store)
        try:
            record = await _ended_task(store)
            await catalogue.open()
            await _fill(Path(name), record, count)
            yield catalogue
        finally:
            await catalogue.close()
            await store.db.close()
            redis.stop()


async def _ended_task(store: Store) -> dict[bytes, bytes]:
    """The record of a task that has ended."""
    spec = TaskSpec(id="real", type="tgfiles", links=("https://t.me/a/1",), user_id=1, storage="local1")
    await store.tasks.accept(spec, title(spec.type, "file.pdf", spec.storage, spec.path))
    claim = await store.claims.claim("bench", [spec.lane])
    if claim is None:
        raise RuntimeError("the store did not hand out the task")
    await claim.plan(title(spec.type, "file.pdf", spec.storage, spec.path), [], Progress(total_files=1), [])
    await claim.finish(Status.COMPLETED)
    return (await store.recording.records([spec.id]))[spec.id]


async def _fill(folder: Path, record: dict[bytes, bytes], count: int) -> None:
    """Add copies of an ended task, without items: no page of the history reads items."""
    task = codec.decode_task("real", record)
    row, database = rows.task_row(task), Database("", folder)
    for first in range(0, count, _BATCH):
        added, records = [], []
        for n in range(first, min(first + _BATCH, count)):
            task_id, user = f"{n:020d}", 1 + n % _USERS
            status = "failed" if n % 10 == 0 else "completed"
            added.append(row | {"id": task_id, "user_id": user, "status": status, "ended_at": _START + n})
            spec = record[b"spec"].replace(b'"real"', f'"{task_id}"'.encode())
            kept = record | {b"spec": spec, b"status": status.encode(), b"user": str(user).encode()}
            records.append({"task_id": task_id, "record": rows.encode_record(kept)})
        async with database.write() as connection:
            await connection.execute(tasks.insert(), added)
            await connection.execute(task_records.insert(), records)
    await database.close()
