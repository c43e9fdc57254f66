"""Under which addresses a data centre is tried, and in which order.

Telegram lists several for each (https://core.telegram.org/constructor/dcOption), and any of them may be dead
for this machine: blocked, without IPv6, or simply down. All that fit are tried, each for a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum
from typing import Any, TypeVar

from saveany.telegram.errors import NETWORK, unknown_key

T = TypeVar("T")
Address = tuple[str, int]

#: Seconds for which an address that failed is tried after the others. They double with each failure more.
_AVOIDED_SECONDS = 600.0
_LONGEST_AVOIDED = 86_400.0
_MOST_DOUBLINGS = 8  # enough to reach the longest time
#: The part of the time for a connection that an address is given while there are others.
_SHARE = 0.5


class Purpose(Enum):
    """What a connection is for."""

    CONTROL = "control"
    FILES = "files"
    CDN = "cdn"


def usable(options: Iterable[Any], dc_id: int, purpose: Purpose, *, proxied: bool) -> list[Address]:
    """The addresses of a data centre, best first: those made for the purpose, and IPv4 before IPv6.

    Addresses that want an obfuscated transport or a secret do not fit, as neither is spoken here. Through a
    proxy the static ones come first, which Telegram keeps for that.
    """
    fits = [each for each in options if each.id == dc_id and _fits(each, purpose)]
    fits.sort(key=lambda each: (not each.media_only, bool(each.ipv6), bool(each.static) != proxied))
    return [(each.ip_address, each.port) for each in fits]


def _fits(option: Any, purpose: Purpose) -> bool:
    if option.tcpo_only or option.secret:
        return False
    if bool(option.cdn) != (purpose is Purpose.CDN):
        return False
    return purpose is not Purpose.CONTROL or not option.media_only


class AddressBook:
    """Remembers which addresses did not work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[Address, tuple[int, float]] = {}  # how often in a row, and when last

    def failed(self, address: Address) -> None:
        """Nobody answers there: try the others first for a while."""
        times, _ = self._failed.get(address, (0, 0.0))
        self._failed[address] = (times + 1, self._clock())

    def worked(self, address: Address) -> None:
        """Avoid it no more."""
        self._failed.pop(address, None)

    def ordered(self, addresses: Iterable[Address]) -> list[Address]:
        """Each address once, as they come, but those that failed at the end, the last one last."""
        return sorted(dict.fromkeys(addresses), key=self._avoided)

    async def first(
        self,
        addresses: Sequence[Address],
        connect: Callable[[Address, float], Awaitable[T]],
        seconds: float,
    ) -> T:
        """What `connect(address, seconds)` returns for the first address where that works. The last one is
        given `seconds`, the others less. Raises the last error."""
        *others, last = self.ordered(addresses)
        for address in others:
            try:
                return await self._try(address, connect, seconds * _SHARE)
            except NETWORK as error:
                if unknown_key(error):
                    raise
        return await self._try(last, connect, seconds)

    async def _try(
        self, address: Address, connect: Callable[[Address, float], Awaitable[T]], seconds: float
    ) -> T:
        try:
            result = await connect(address, seconds)
        except NETWORK as error:
            if not unknown_key(error):
                self.failed(address)
            raise
        self.worked(address)
        return result

    def _avoided(self, address: Address) -> float:
        """When it failed, 0 if that was long ago or never."""
        times, when = self._failed.get(address, (0, 0.0))
        avoided = min(_LONGEST_AVOIDED, _AVOIDED_SECONDS * 2.0 ** min(times - 1, _MOST_DOUBLINGS))
        return when if times and self._clock() - when < avoided else 0.0
