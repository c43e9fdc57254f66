"""Measures a page of the history with a million ended tasks, compared with the same page of a thousand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.results import Measurement
from saveany.embedded import EmbeddedRedis
from saveany.models import Progress, Status, TaskSpec, title
from saveany.store import HistoryFilter, Store, codec, open_store
from saveany.store.db import PREFIX

_FEW, _MANY = 1_000, 1_000_000
_BATCH = 5_000
_PAGE = 50
_REPETITIONS = 150
#: End of the first task, in ms since 1970; each of the others ends 1 ms after the previous one.
_START = 1_700_000_000_000
_USERS = 4
_SPEC = TaskSpec(id="ID", type="tgfiles", links=("https://t.me/channel/123",), user_id=1, storage="local1")
_FILTERS = (
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
    async with filled_store(_FEW) as few, filled_store(_MANY) as many:
        costs = [await _costs(few, many, Case(wanted, deep)) for wanted in _FILTERS for deep in (False, True)]
    reference, value = max(costs, key=lambda pair: pair[1] / pair[0])
    note = f"the worst of {len(costs)} kinds of pages; ratio = at {_MANY:,} / at {_FEW:,}"
    return [Measurement("history_1m", value, "ms", reference, value / reference, note)]


async def _costs(few: Store, many: Store, case: Case) -> tuple[float, float]:
    """Median milliseconds of a page in both stores, which are queried alternately."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(_REPETITIONS):
        for store, count, times in ((few, _FEW, spent[0]), (many, _MANY, spent[1])):
            began = time.perf_counter()
            page = await store.history.page(case.filter, _PAGE, case.cursor(count))
            times.append((time.perf_counter() - began) * 1000)
            if len(page.tasks) != _PAGE:
                raise RuntimeError(f"a page of {case.filter} has {len(page.tasks)} tasks")
    return median(spent[0]), median(spent[1])


@asynccontextmanager
async def filled_store(count: int) -> AsyncIterator[Store]:
    """A store with `count` ended tasks. It is in memory only, because only reading is measured."""
    with TemporaryDirectory(prefix="saveany-bench-") as name:
        redis = EmbeddedRedis(Path(name))
        store = await open_store(redis.start())
        try:
            await store.db.do("CONFIG", "SET", "appendonly", "no")
            await _fill(store, count)
            await _check(store)
            yield store
        finally:
            await store.db.close()
            redis.stop()


async def _fill(store: Store, count: int) -> None:
    """Add ended tasks, without items: no page of the history reads items."""
    library = (files("saveany.store") / "lua" / "_lib.lua").read_text()
    body = (Path(__file__).parent / "fill.lua").read_text()
    script = await store.db.do("SCRIPT", "LOAD", f"local P = '{PREFIX}'\n{library}\n{body}")
    shown = title(_SPEC.type, "file.pdf", _SPEC.storage, _SPEC.path)
    progress = codec.encode(Progress(total_bytes=9, downloaded_bytes=9, total_files=1, done_files=1))
    args = (_START, codec.encode(_SPEC), shown, _SPEC.type, _SPEC.lane, _SPEC.storage, progress, _USERS)
    for first in range(0, count, _BATCH):
        await store.db.do("EVALSHA", script, 0, first, min(_BATCH, count - first), *args)


async def _check(store: Store) -> None:
    """Check that the added records have the same fields as one written by the store itself."""
    accepted = await store.tasks.accept(
        TaskSpec(id="real", type="x", links=("x",), user_id=99, storage="x"), "real"
    )
    claim = await store.claims.claim("bench", ["x/x"])
    if accepted is None or claim is None:
        raise RuntimeError("the store did not accept a task")
    await claim.plan("real", [], Progress(), [])
    await claim.finish(Status.COMPLETED)
    real, filled = await store.db.many([("HKEYS", f"{PREFIX}task:{i}") for i in ("real", f"{1:020d}")])
    if set(real) != set(filled):
        raise RuntimeError(f"fill.lua does not match the store: {set(real) ^ set(filled)}")
