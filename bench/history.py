"""Measures the history with a million ended tasks, compared with one of a thousand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sqlalchemy import Table

from bench.filled import ENGINES, FEW, MANY, Filled, Row, compare, filled, name_of, searched
from bench.results import Measurement
from saveany.catalogue import HistoryFilter, rows
from saveany.catalogue.search import fold
from saveany.catalogue.tables import task_records, tasks
from saveany.ids import new_id
from saveany.models import Item, Progress, Status, TaskSpec, title
from saveany.store import Claim, Store, codec

_PAGE = 50
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


async def history_1m() -> list[Measurement]:
    """Pages with one filter, first and deep, and the first pages of searches."""
    measured = []
    cases = {
        f"{'deep' if deep else 'first'}, {wanted}": partial(_page, wanted, deep)
        for wanted in _FILTERS
        for deep in (False, True)
    }
    for engine, suffix in ENGINES.items():
        name = f"history_1m{suffix}"
        async with (
            filled(engine, FEW, tasks_and_records) as few,
            filled(engine, MANY, tasks_and_records) as many,
        ):
            measured.append(await compare(name, few, many, cases))
            measured.append(await searched(f"{name}_search_p95", many, partial(_search, many)))
    return measured


async def _search(filled: Filled, text: str) -> None:
    await filled.catalogue.history.page(HistoryFilter(q=text), _PAGE)


async def _page(wanted: HistoryFilter, deep: bool, filled: Filled) -> None:
    number = filled.count // 4
    cursor = f"{_START + number}-{number:020d}" if deep else ""
    page = await filled.catalogue.history.page(wanted, _PAGE, cursor)
    if len(page.tasks) != _PAGE:
        raise RuntimeError(f"a page of {wanted} has {len(page.tasks)} tasks")


async def tasks_and_records(count: int, store: Store) -> list[tuple[Table, Iterator[Row]]]:
    """Copies of a task that has ended, without items: no page of the history reads items."""
    claim = await started(store)
    await claim.finish(Status.COMPLETED)
    record = (await store.recording.records([claim.task.id]))[claim.task.id]
    real = claim.task.id
    return [(tasks, _tasks(record, real, count)), (task_records, _records(record, real, count))]


async def started(store: Store, *items: Item) -> Claim:
    """A task that is running."""
    spec = TaskSpec(id=new_id(), type="tgfiles", links=("https://t.me/a/1",), user_id=1, storage="local1")
    name = title(spec.type, "file.pdf", spec.storage, spec.path)
    await store.tasks.accept(spec, name)
    claim = await store.claims.claim("bench", [spec.lane])
    if claim is None:
        raise RuntimeError("the store did not hand out the task")
    await claim.plan(name, list(items), Progress(total_files=len(items)), [])
    return claim


def _tasks(record: dict[bytes, bytes], real: str, count: int) -> Iterator[Row]:
    row = rows.task_row(codec.decode_task(real, record))
    for n in range(count):
        name = name_of(n, count)
        changes = {"id": f"{n:020d}", "user_id": 1 + n % _USERS, "status": _status(n), "ended_at": _START + n}
        yield row | changes | {"title": name, "search": fold(name)}


def _records(record: dict[bytes, bytes], real: str, count: int) -> Iterator[Row]:
    for n in range(count):
        task_id = f"{n:020d}"
        spec = record[b"spec"].replace(f'"{real}"'.encode(), f'"{task_id}"'.encode())
        kept = record | {b"spec": spec, b"status": _status(n).encode(), b"user": b"%d" % (1 + n % _USERS)}
        yield {"task_id": task_id, "record": rows.encode_record(kept)}


def _status(number: int) -> str:
    return "failed" if number % 10 == 0 else "completed"
