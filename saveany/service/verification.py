"""Compares the receipts of archives with the catalogue and the storages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from saveany.catalogue.archive_models import ArchivedCopy, ArchivedMessage, MessageOutcome
from saveany.config import Config
from saveany.errors import Permanent
from saveany.service.archives import ArchiveService, refusals
from saveany.service.principal import Principal
from saveany.store import Store
from saveany.store.archives import Archive

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue
    from saveany.telegram.accounts import Accounts

#: Number of storage queries at the same time.
_QUERIES = 16
#: Seconds that a storage has to read a file, besides one for each of so many bytes.
_MIN_SECONDS, _BYTES_PER_SECOND = 10, 4 << 20

Problem = Literal["not_in_catalogue", "missing", "changed", "unverifiable", "deleted"]


#: Problems that saving the file again may solve.
_REPAIRED = ("not_in_catalogue", "missing", "changed")


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A message whose file is not as the receipt says, or that was deleted in Telegram since."""

    message: ArchivedMessage
    problem: Problem
    storage: str = ""
    path: str = ""
    is_replaced: bool = False  # whether it is about a file that an edit has replaced

    @property
    def can_be_repaired(self) -> bool:
        """Whether saving the message again may solve it. Telegram no longer has what was replaced."""
        return self.problem in _REPAIRED and not self.is_replaced


@dataclass(frozen=True, slots=True)
class Verification:
    """What some of the messages of an archive have been compared with. `cursor` leads to the others."""

    checked: int
    discrepancies: list[Discrepancy]
    cursor: str


class ArchiveVerifier:
    """Verifies archives. Raises as `ArchiveService`."""

    def __init__(
        self,
        archives: ArchiveService,
        config: Config,
        store: Store,
        catalogue: Catalogue,
        accounts: Callable[[], Awaitable[Accounts]],
    ) -> None:
        self._archives = archives
        self._config = config
        self._accounts = accounts
        self._store = store
        self._catalogue = catalogue

    async def verify(
        self,
        principal: Principal,
        archive_id: str,
        *,
        repair: bool = False,
        with_hash: bool = False,
        with_telegram: bool = False,
        limit: int = 200,
        cursor: str = "",
    ) -> Verification:
        """Compare at most `limit` messages after `cursor` with the catalogue and the sizes of the copies, or
        `with_hash` with their contents: a file whose SHA-256 is not known gets it. So are files that edits
        have replaced since. With `repair`, files that are missing or changed are saved again, except for the
        replaced ones. `with_telegram` also finds messages that were deleted since;
        the comments of a group that no account is in are left out of that."""
        wanted = (MessageOutcome.SAVED, MessageOutcome.DUPLICATE)
        page = await self._archives.messages(principal, archive_id, wanted, limit, cursor)
        slots = asyncio.Semaphore(_QUERIES)
        versions = await self._catalogue.receipts.versions(archive_id, page.messages)
        older = [each for m in page.messages for each in versions.get((m.chat, m.message), ())]
        found = await asyncio.gather(
            *(self._compare(each, slots, with_hash) for each in page.messages),
            *(self._compare(each, slots, with_hash, is_replaced=True) for each in older),
        )
        discrepancies = [each for each in found if each]
        if with_telegram:
            archive = await self._archives.find(principal, archive_id)
            discrepancies += await self._deleted(archive, page.messages)
        if repair:
            lost = [each.message for each in discrepancies if each.can_be_repaired]
            await self._archives.reopen(archive_id, lost)
        return Verification(len(page.messages), discrepancies, page.cursor)

    async def _deleted(self, archive: Archive, messages: Sequence[ArchivedMessage]) -> list[Discrepancy]:
        """Those messages that do not exist in Telegram any more."""
        history = (await self._accounts()).history
        user = self._config.user(archive.user_id)
        deleted: list[Discrepancy] = []
        for chat in dict.fromkeys(each.chat for each in messages):
            of_chat = [each for each in messages if each.chat == chat]
            numbers = {each.message: each for each in of_chat if each.message > 0}  # not stories and photos
            if not numbers:
                continue
            account = archive.reader_of(chat)
            only = (account,) if account else user.accounts if user else ()
            with refusals():
                try:
                    there = await history.existing(
                        chat, list(numbers), username=archive.username, prefer=archive.account, only=only
                    )
                except Permanent:
                    if chat != archive.discussion:
                        raise
                    continue
            deleted += [Discrepancy(each, "deleted") for n, each in numbers.items() if n not in there]
        return deleted

    async def _compare(
        self,
        message: ArchivedMessage,
        slots: asyncio.Semaphore,
        with_hash: bool,
        *,
        is_replaced: bool = False,
    ) -> Discrepancy | None:
        copies = await self._catalogue.receipts.copies(message)
        if not copies:
            return Discrepancy(message, "not_in_catalogue", is_replaced=is_replaced)
        for copy in copies:
            async with slots:
                problem = await self._problem(copy, with_hash)
            if problem:
                return Discrepancy(message, problem, copy.storage, copy.path, is_replaced)
        return None

    async def _problem(self, copy: ArchivedCopy, with_hash: bool) -> Problem | None:
        """How a copy differs from the record; None if it does not."""
        result = await self._store.queries.send(copy.storage, "size", {"path": copy.path})
        if result.error:
            return "unverifiable"
        if result.result != copy.size:
            return "missing" if result.result is None else "changed"
        if not with_hash:
            return None
        seconds = _MIN_SECONDS + copy.size // _BYTES_PER_SECOND
        args = {"path": copy.path, "lengths": []}
        result = await self._store.queries.send(copy.storage, "sha256", args, seconds=seconds)
        if result.error:
            return "unverifiable"
        if result.result and not copy.sha256:
            await self._catalogue.inventory.set_sha256(copy.file_id, result.result[0])
            return None
        return None if result.result == [copy.sha256] else "changed"
