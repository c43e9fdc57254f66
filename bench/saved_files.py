"""Measures the list of a million saved files: pages, searches, and changes of a large folder."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

from msgspec.structs import replace
from sqlalchemy import Table

from bench.filled import (
    ENGINES,
    FEW,
    MANY,
    Case,
    Filled,
    Row,
    compare,
    filled,
    milliseconds,
    name_of,
    p95,
    searched,
)
from bench.history import started
from bench.results import Measurement
from saveany.catalogue import FileFilter, FileKind, FileOrder, rows
from saveany.catalogue.cursors import make_cursor
from saveany.catalogue.search import fold
from saveany.catalogue.tables import files, folders
from saveany.models import Item
from saveany.store import Store

_PAGE = 50
#: Number of the page that is reached by following the cursors; at least a tenth of the rows must follow.
_DEEP_PAGE = 10_000
_START = 1_700_000_000_000
_USERS = 4
#: Id of the folder with a tenth of the files, and of an empty one.
_LARGE, _EMPTY = 1, 2
_FILTERS = (
    FileFilter(),
    FileFilter(order=FileOrder.NAME),
    FileFilter(order=FileOrder.LARGEST),
    FileFilter(user_id=2),
    FileFilter(kind=FileKind.VIDEO),
    FileFilter(storage="local1"),
    FileFilter(folder_id=_LARGE),
)
_CHANGES = 100


async def files_1m() -> list[Measurement]:
    """Pages in several orders and with one filter, the 10,000th page, searches, and changes."""
    measured = []
    cases: dict[str, Case] = {str(wanted): partial(_page, wanted) for wanted in _FILTERS}
    cases[f"page {_DEEP_PAGE:,}"] = _deep_page
    for engine, suffix in ENGINES.items():
        name = f"files_1m{suffix}"
        async with (
            filled(engine, FEW, folders_and_files) as few,
            filled(engine, MANY, folders_and_files) as many,
        ):
            measured.append(await compare(name, few, many, cases))
            measured.append(await searched(f"{name}_search_p95", many, partial(_search, many)))
            measured.append(Measurement(f"{name}_change_p95", await _change(many), "ms"))
    return measured


async def _page(wanted: FileFilter, filled: Filled) -> None:
    page = await filled.catalogue.files.page(wanted, _PAGE)
    if len(page.files) != _PAGE:
        raise RuntimeError(f"a page of {wanted} has {len(page.files)} files")


async def _deep_page(filled: Filled) -> None:
    """The page to which the cursor of the one before leads; its row is known."""
    last = max(filled.count - _PAGE * _DEEP_PAGE, _PAGE * 2)
    cursor = make_cursor((_START + last, f"{last:020d}"))
    page = await filled.catalogue.files.page(FileFilter(), _PAGE, cursor)
    if len(page.files) != _PAGE:
        raise RuntimeError(f"page {_DEEP_PAGE} has {len(page.files)} files")


async def _search(filled: Filled, text: str) -> None:
    await filled.catalogue.files.page(FileFilter(q=text), _PAGE)


async def _change(filled: Filled) -> float:
    """The worst 95th percentile of renaming and moving a file in the large folder, and the folder itself."""
    catalogue, numbers = filled.catalogue, iter(range(10**9))

    def any_file() -> str:
        return f"{random.randrange(filled.count // 10) * 10:020d}"

    async def rename() -> None:
        await catalogue.files.change(any_file(), name=f"renamed {next(numbers)}.mp4")

    async def move() -> None:
        await catalogue.files.change(any_file(), folder_id=_EMPTY)

    async def rename_folder() -> None:
        await catalogue.folders.change(_LARGE, name=f"large {next(numbers)}")

    async def move_folder() -> None:
        await catalogue.folders.change(_LARGE, parent_id=_EMPTY * (next(numbers) % 2))

    return max(
        [p95(await milliseconds(each, _CHANGES)) for each in (rename, move, rename_folder, move_folder)]
    )


async def folders_and_files(count: int, store: Store) -> list[tuple[Table, Iterator[Row]]]:
    """Folders, and copies of the row of a file."""
    item = Item(index=0, name="file.mp4", path="file.mp4", size=7, source={"mime": "video/mp4"})
    claim = await started(store, item)
    row = rows.file_row(claim.task, replace(item, storage="local1"), 0)
    made = [{"id": _LARGE, "name": "large"}, {"id": _EMPTY, "name": "empty"}]
    named = iter([{"user_id": 1, "parent_id": 0, **each} for each in made])
    return [(folders, named), (files, _files(row, count))]


def _files(row: Row, count: int) -> Iterator[Row]:
    for n in range(count):
        name = name_of(n, count)
        of_user = {"user_id": 1, "folder_id": _LARGE} if n % 10 == 0 else {"user_id": 1 + n % _USERS}
        place = {"id": f"{n:020d}", "added_at": _START + n, "size": n * 7919 % 10**9, "item": n}
        yield {**row, "folder_id": 0, **of_user, **place, "name": name, "search": fold(name)}
