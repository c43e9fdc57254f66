"""Counts what was sent for links. Counts stay in memory until they are written, a few seconds later."""

from __future__ import annotations

from collections import Counter
from typing import Final

from saveany.catalogue.links import Links
from saveany.errors import Unavailable
from saveany.store import Store
from saveany.store.counters import LINK_BYTES, LINK_DOWNLOADS

_MAX_READERS: Final = 10_000


class LinkUsage:
    """The numbers of downloads and bytes of links."""

    def __init__(self, links: Links, store: Store) -> None:
        self._links = links
        self._counters = store.counters
        self._traffic = store.traffic
        self._sent: Counter[str] = Counter()  # bytes by token, not written yet
        self._opened: Counter[str] = Counter()  # openings by token that could not be written
        self._total = 0  # bytes of all links, not written yet
        #: Bytes that an address has received of a link, since it last had as many as the file has.
        self._received: dict[tuple[str, str], int] = {}

    async def opened(self, token: str, *, limited: bool) -> bool:
        """Count an opening; returns whether the link may be opened once more. During an outage of the
        catalogue, links that are not `limited` may. Raises `Unavailable` for the others."""
        try:
            return await self._links.count_download(token)
        except Unavailable:
            if limited:
                raise
            self._opened[token] += 1
            return True

    def sent(self, token: str, address: str, size: int, whole: int) -> None:
        """Count bytes that were sent of a file of `whole` bytes. As many as that are a download. Without a
        link `token` is "": then they count for all files together only."""
        if token:
            self._sent[token] += size
        self._total += size
        self._counters.add(LINK_BYTES, size)
        received = self._received.pop((token, address), 0) + size
        if received >= whole:
            self._counters.add(LINK_DOWNLOADS, 1)
            return
        self._received[token, address] = received
        while len(self._received) > _MAX_READERS:
            del self._received[next(iter(self._received))]

    async def write(self) -> None:
        """Write all counts. Those that cannot be written are kept for the next time."""
        await self._counters.flush()
        total, self._total = self._total, 0
        try:
            if total:
                await self._traffic.add(total)
        except BaseException:
            self._total += total
            raise
        sent, self._sent = self._sent, Counter()
        try:
            if sent:
                await self._links.count_bytes(sent)
        except BaseException:
            self._sent.update(sent)
            raise
        for token in list(self._opened):
            for _ in range(self._opened[token]):
                await self._links.count_download(token)
                self._opened[token] -= 1
            del self._opened[token]
