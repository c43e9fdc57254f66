"""Makes tasks of lists of links."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import TextIO

from saveany.config import Config, User
from saveany.errors import Forbidden, InsufficientSpace, InvalidInput
from saveany.planning.requests import TaskRequest, check_private_chats
from saveany.planning.source_choice import canonical_links, source_for, source_of
from saveany.service.list_reader import ListEntry, ListFormat, ListReader
from saveany.service.principal import Principal
from saveany.service.streamed_text import text_of
from saveany.service.tasks import TaskService
from saveany.sources import MAX_LINKS, SourceSpec
from saveany.texts import Text

#: Maximum number of links in a list, and of those that are a task each, because their source takes only one.
MAX_LIST_LINKS, MAX_SINGLE_LINKS = 1_000_000, 1_000
#: Maximum number of problems that are reported one by one.
MAX_PROBLEMS = 1_000

#: Number of lists that are read at the same time, for one user and for all. Each occupies a thread, for as
#: long as its client sends.
_AT_ONCE, _THREADS = 2, 32
#: Memory for the links of a list, in KiB; the rest is in a temporary file.
_CACHE_KIB = 8192
#: A link for checking whether a user may have tasks for a storage and a folder.
_ANY_LINK = "https://t.me/c/1/1"


@dataclass(frozen=True, slots=True)
class ListTask:
    """A task that was made of a list."""

    id: str
    type: str
    links: int


@dataclass(frozen=True, slots=True)
class ListProblem:
    """Why entries of a list were left out."""

    place: int  # the number of the line or, in an export, of the message; the first one of several
    count: int  # of entries; more than one only in exports
    link: str
    reason: Text


@dataclass(slots=True)
class SavedList:
    """What has become of a list."""

    format: ListFormat
    tasks: list[ListTask] = field(default_factory=list)
    links: int = 0  # that are part of a task
    duplicates: int = 0
    refused: int = 0
    without_file: int = 0  # messages of an export
    is_truncated: bool = False  # whether an export ends in the middle
    problems: list[ListProblem] = field(default_factory=list)  # the first ones


class ListService:
    """Makes tasks of lists of links; see `saveany.service.list_reader` for what a list may be."""

    def __init__(self, config: Config, tasks: TaskService) -> None:
        self._config = config
        self._tasks = tasks
        self._turns: dict[int, asyncio.Semaphore] = {}  # by user
        self._threads = ThreadPoolExecutor(_THREADS, "list")

    async def save(
        self,
        principal: Principal,
        request: TaskRequest,
        body: AsyncIterator[bytes],
        *,
        column: str = "",
        key: str = "",
    ) -> SavedList:
        """Create tasks for the links of a list, as many links in each as it may have. `request` has all but
        the links; `column` is the name of the column of CSV with them. A link that occurs again is left out.
        A list with the same idempotency `key` within 24 h returns the first tasks.

        Raises as `TaskService.submit`, and `InvalidInput` for a list that is none, has no links, or has too
        many. Then there is no task. Entries that are wrong are reported."""
        user_id = await self._tasks.check(principal, replace(request, links=[_ANY_LINK], type="tgfiles"))
        user = self._config.user(user_id)
        assert user is not None  # noqa: S101  # `check` raises for others
        given = source_of(self._config, request.type) if request.type else None
        loop = asyncio.get_running_loop()
        async with self._turns.setdefault(user_id, asyncio.Semaphore(_AT_ONCE)):
            with closing(_LinkTable()) as links:
                collector = _Collector(self._config, user, given, links)
                read = partial(_read, collector, body, loop, column)
                saved = await loop.run_in_executor(self._threads, read)
                await self._create(principal, request, links, saved, key)
        return saved

    async def _create(
        self, principal: Principal, request: TaskRequest, links: _LinkTable, saved: SavedList, key: str
    ) -> None:
        if saved.links > 1:
            some = [_ANY_LINK, f"{_ANY_LINK}0"]  # several links, with which not all requests are possible
            await self._tasks.check(principal, replace(request, links=some, type="tgfiles"))
        body_hash = blake2b(f"{links.digest}\n{request}".encode(), digest_size=16).hexdigest()
        batches = links.batches()
        while batch := await asyncio.to_thread(next, batches, None):
            type_, some = batch
            accepted = await self._tasks.submit(
                principal,
                replace(request, type=type_, links=some),
                key=key and f"{key}:{len(saved.tasks)}",
                body_hash=body_hash,
            )
            saved.tasks.append(ListTask(accepted.id, type_, len(some)))


class _Collector:
    """Collects the links of a list that are right, in one thread."""

    def __init__(self, config: Config, user: User, source: SourceSpec | None, links: _LinkTable) -> None:
        self._config = config
        self._user = user
        self._source = source
        self._links = links

    def read(self, file: TextIO, column: str) -> SavedList:
        reader = ListReader(file, column)
        saved = SavedList(reader.format)
        try:
            for entry in reader.entries():
                self._take(entry, saved)
        except sqlite3.OperationalError as error:
            raise InsufficientSpace(
                "the list does not fit into the folder of this machine for temporary files: {reason}",
                reason=str(error),
            ) from None
        saved.without_file, saved.is_truncated = reader.without_file, reader.is_truncated
        if not (saved.links or saved.refused or saved.without_file):
            raise InvalidInput("there are no links in this list")
        return saved

    def _take(self, entry: ListEntry, saved: SavedList) -> None:
        link, problem = entry.link, entry.problem
        if problem is None:
            try:
                source, link = self._checked(link)
            except (InvalidInput, Forbidden) as error:
                problem = error.text
        if problem is not None:
            saved.refused += 1
            _report(saved, entry, problem)
        elif not self._links.add(source, link):
            saved.duplicates += 1
        else:
            saved.links += 1
            if saved.links > MAX_LIST_LINKS:
                raise InvalidInput(
                    "the list has more than {maximum} links; split it", maximum=f"{MAX_LIST_LINKS:,}"
                )

    def _checked(self, link: str) -> tuple[SourceSpec, str]:
        """The source of a link, and its canonical form."""
        source = self._source or source_for(self._config, link)
        (canonical,) = canonical_links(self._config, source, [link])
        check_private_chats([canonical], self._user)
        return source, canonical


def _read(
    collector: _Collector, body: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop, column: str
) -> SavedList:
    return collector.read(text_of(body, loop), column)


def _report(saved: SavedList, entry: ListEntry, reason: Text) -> None:
    """Note a problem: for a chat of an export that cannot be saved, once."""
    last = saved.problems[-1] if saved.problems else None
    if entry.chat and last and last.reason == reason:
        saved.problems[-1] = replace(last, count=last.count + 1)
    elif len(saved.problems) < MAX_PROBLEMS:
        saved.problems.append(ListProblem(entry.place, 1, entry.link[:200], reason))


class _LinkTable:
    """Different links in their order, with their sources. Only some are in memory."""

    def __init__(self) -> None:
        # The name "" means a temporary database, which SQLite removes.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute(
            "CREATE TABLE links (number INTEGER PRIMARY KEY, type TEXT, link TEXT, key BLOB UNIQUE)"
        )
        self._db.execute("BEGIN")
        self._hash = blake2b(digest_size=16)
        self._types: dict[str, int] = {}  # type -> maximum number of links in a task
        self._single = 0
        self.close = self._db.close

    @property
    def digest(self) -> str:
        """A hash that is equal for equal links."""
        return self._hash.hexdigest()

    def add(self, source: SourceSpec, link: str) -> bool:
        """Add a link. Returns whether it is new; the names of chats have no case."""
        key = blake2b((link.lower() if source.type == "tgfiles" else link).encode(), digest_size=16).digest()
        row = (source.type, link, key)
        added = self._db.execute(
            "INSERT OR IGNORE INTO links (type, link, key) VALUES (?, ?, ?)", row
        ).rowcount
        if not added:
            return False
        self._hash.update(key)
        most = self._types.setdefault(source.type, _links_per_task(source))
        self._single += most == 1
        if self._single > MAX_SINGLE_LINKS:
            raise InvalidInput(
                "the list has more than {maximum} links like {link}, each of which becomes a task; split it",
                maximum=f"{MAX_SINGLE_LINKS:,}",
                link=link[:200],
            )
        return True

    def batches(self) -> Iterator[tuple[str, list[str]]]:
        """The types and links of the tasks."""
        for type_, most in self._types.items():
            rows = self._db.execute("SELECT link FROM links WHERE type = ? ORDER BY number", (type_,))
            while some := [link for (link,) in islice(rows, most)]:
                yield type_, some


def _links_per_task(source: SourceSpec) -> int:
    """Maximum number of links in a task."""
    is_list = source.params.model_fields[source.params.link_field].annotation is not str
    return MAX_LINKS if is_list else 1
