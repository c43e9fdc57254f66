"""Catalogues with a million rows, in SQLite and in PostgreSQL, and small ones to compare them with
(CA2)."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
from sqlalchemy import Table

from bench.results import Measurement
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.database import FILE_NAME
from saveany.embedded import EmbeddedRedis
from saveany.store import Store, open_store
from tests.fixtures.catalogue import Postgres, postgres_database, running_postgres

#: Rows of the small and of the large catalogue. `BENCH_SHORT` makes the large one small enough for a
#: quick look.
FEW, MANY = 1_000, 100_000 if os.environ.get("BENCH_SHORT") else 1_000_000
#: Engine -> end of the names of its measurements.
ENGINES = {"sqlite": "", "postgresql": "_pg"}
_REPETITIONS, _SEARCHES = 50, 20
#: Parts of names. The first is in every name, each other one in as many as its share.
_COMMON, _CHINESE = "Holiday video", "电影"

Row = Mapping[str, Any]
Fill = Callable[[int, Store], Awaitable[Iterable[tuple[Table, Iterator[Row]]]]]


@dataclass(frozen=True)
class Filled:
    """A catalogue and the number of its rows."""

    catalogue: Catalogue
    store: Store
    count: int
    engine: str


Case = Callable[[Filled], Awaitable[object]]


@asynccontextmanager
async def filled(engine: str, count: int, fill: Fill) -> AsyncIterator[Filled]:
    """A catalogue of which `fill` makes the rows of some tables."""
    with (
        TemporaryDirectory(prefix="saveany-bench-") as name,
        running_postgres() if engine == "postgresql" else nullcontext() as server,
    ):
        async with _database(server) as url:
            redis = EmbeddedRedis(Path(name))
            store = await open_store(redis.start())
            catalogue = Catalogue(url, Path(name), store)
            try:
                await catalogue.open()
                for table, rows in await fill(count, store):
                    await _insert(url, Path(name), table, rows)
                yield Filled(catalogue, store, count, engine)
            finally:
                await catalogue.close()
                await store.db.close()
                redis.stop()


@asynccontextmanager
async def _database(server: Postgres | None) -> AsyncIterator[str]:
    if server is None:
        yield ""
        return
    async with postgres_database(server) as url:
        yield url


async def _insert(url: str, folder: Path, table: Table, rows: Iterator[Row]) -> None:
    first = next(rows)
    names = list(first)
    values = _values(first, rows, names)
    if url:
        connection = await asyncpg.connect(url)
        await connection.copy_records_to_table(table.name, records=values, columns=names)
        await connection.execute(f"VACUUM ANALYZE {table.name}")
        await connection.close()
        return
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        database.execute("PRAGMA synchronous = OFF")
        marks = ", ".join("?" * len(names))
        statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"
        database.executemany(statement, values)
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _values(first: Row, rows: Iterator[Row], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    yield tuple(first[name] for name in names)
    for row in rows:
        yield tuple(row[name] for name in names)


def name_of(number: int, count: int) -> str:
    """The name of a row. A tenth of the oldest rows contain a word that no newer one has."""
    old = " Archive" if number < count // 10 else ""
    chinese = " 电影合集" if number < count // 100 else f" 第{number % 977}集"
    return f"{_COMMON} {number:07d}{old}{chinese}.mp4"


def queries(count: int) -> dict[str, str]:
    """What is searched for, by a name: words that are in all, in the oldest, in one and in no row."""
    return {
        "in all": "liday",
        "in the oldest tenth": "archive",
        "in one": f"{count // 2:07d}",
        "in none": "nothing like it",
        "two Chinese characters": _CHINESE,
        "two Chinese characters in none": "音乐",
        "one Chinese character": "影",
        "two letters in the oldest tenth": "rc",
        "two letters in none": "qx",
    }


async def milliseconds(call: Callable[[], Awaitable[object]], repetitions: int = _REPETITIONS) -> list[float]:
    """The durations of a call, after one that is not counted."""
    await call()
    spent = []
    for _ in range(repetitions):
        began = time.perf_counter()
        await call()
        spent.append((time.perf_counter() - began) * 1000)
    return spent


def p95(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return quantiles(values, n=20)[-1]


async def compare(name: str, few: Filled, many: Filled, cases: Mapping[str, Case]) -> Measurement:
    """The worst ratio of the medians of calls with many and with few rows, which alternate."""
    worst = (0.0, 0.0, "")
    for case, call in cases.items():
        spent: tuple[list[float], list[float]] = ([], [])
        for _ in range(_REPETITIONS):
            for each, times in zip((few, many), spent, strict=True):
                times += await milliseconds(partial(call, each), 1)
        pair = median(spent[0]), median(spent[1]), case
        worst = max(worst, pair, key=lambda pair: pair[1] / (pair[0] or 1))
    reference, value, case = worst
    note = f"the worst of {len(cases)} kinds of pages ({case}); ratio = at {many.count:,} / at {few.count:,}"
    return Measurement(name, value, "ms", reference, value / reference, note)


async def searched(name: str, many: Filled, search: Callable[[str], Awaitable[object]]) -> Measurement:
    """The worst 95th percentile of the first page for any query."""
    costs = {
        case: p95(await milliseconds(partial(search, text), _SEARCHES))
        for case, text in queries(many.count).items()
    }
    worst = max(costs, key=lambda case: costs[case])
    note = f"the first page of the slowest of {len(costs)} queries: {worst}"
    return Measurement(name, costs[worst], "ms", note=note)
