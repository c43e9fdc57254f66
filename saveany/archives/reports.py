"""Reports archives that are complete, and those that cannot be read: as events and as webhooks."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from msgspec.structs import replace

from saveany.catalogue.archive_models import ArchiveReceipt, MessageOutcome
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.store import Store
from saveany.store.archives import Archive
from saveany.texts import loaded
from saveany.webhooks.builder import DeliveryBuilder

ReportKind = Literal["archive_complete", "archive_problem"]

#: Milliseconds after which a problem that lasts is reported: most pass sooner.
_PROBLEM_MS = 60_000


class ArchiveReports:
    """Reports each archive once. After a crash a report may be repeated, as a webhook with the same id."""

    def __init__(self, store: Store, catalogue: Catalogue, config: Config) -> None:
        self._store = store
        self._catalogue = catalogue
        self._deliveries = DeliveryBuilder.of(config, store.db.time_ms)

    async def report(self, archive: Archive) -> None:
        """Report what is due for an archive. One that began as a watched chat is never complete."""
        now = time.time_ns() // 1_000_000
        if archive.problem:
            if not archive.problem_reported and archive.problem_since + _PROBLEM_MS < now:
                await self._send(archive, "archive_problem", archive.problem_since, ArchiveReceipt())
                await self._change(archive, lambda each: replace(each, problem_reported=True))
            return
        if archive.start == "now" or not archive.is_read or archive.completed_at or archive.has_unassigned:
            return
        receipt = await self._catalogue.receipts.get(archive.id)
        if not receipt[MessageOutcome.PENDING]:
            # Each completion has an id of its own, after a retry, too.
            since = archive.created_at + archive.completions
            await self._send(archive, "archive_complete", since, receipt)
            done = partial(replace, completed_at=now, completions=archive.completions + 1)
            await self._change(archive, done)

    async def _send(self, archive: Archive, kind: ReportKind, since: int, receipt: ArchiveReceipt) -> None:
        problem = str(loaded(archive.problem) or "")
        deliveries = await self._deliveries.for_archive(archive, kind, since, receipt.counts(), problem)
        await self._store.outbox.add(deliveries)
        await self._store.events.add_archive_event(kind, archive.id, archive.user_id, archive.title, problem)

    async def _change(self, archive: Archive, update: Callable[[Archive], Archive]) -> None:
        await self._store.archives.change(archive.id, update)
