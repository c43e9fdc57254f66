"""The addresses of Telegram's data centers, and the order in which they are tried.

Telegram lists several addresses for each data center (https://core.telegram.org/constructor/dcOption). Any of
them may not work from this machine: it is blocked, needs IPv6, or is down. Every suitable address is tried,
each for a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum
from typing import Any, TypeVar

from saveany.telegram.errors import NETWORK, unknown_key

T = TypeVar("T")
Address = tuple[str, int]

#: Seconds for which an address that failed is tried after the others. The time doubles with each failure.
_AVOID_SECONDS = 600.0
_MAX_AVOID_SECONDS = 86_400.0
_MAX_DOUBLINGS = 8  # enough to reach the maximum
#: Fraction of the connection timeout that an address gets while other addresses are left to try.
_TIMEOUT_SHARE = 0.5


class Purpose(Enum):
    """What a connection is for."""

    CONTROL = "control"
    FILES = "files"
    CDN = "cdn"


def usable(options: Iterable[Any], dc_id: int, purpose: Purpose, *, proxied: bool) -> list[Address]:
    """The addresses of a data center, best first: dedicated addresses before general ones, IPv4 before IPv6.

    Addresses that require an obfuscated transport or a secret are left out, because neither is supported.
    Through a proxy, static addresses come first: Telegram keeps them for that purpose.
    """
    suitable = [each for each in options if each.id == dc_id and _is_suitable(each, purpose)]
    suitable.sort(key=lambda each: (not each.media_only, bool(each.ipv6), bool(each.static) != proxied))
    return [(each.ip_address, each.port) for each in suitable]


def _is_suitable(option: Any, purpose: Purpose) -> bool:
    if option.tcpo_only or option.secret:
        return False
    if bool(option.cdn) != (purpose is Purpose.CDN):
        return False
    return purpose is not Purpose.CONTROL or not option.media_only


class AddressBook:
    """Remembers which addresses failed, and tries the others first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[Address, tuple[int, float]] = {}  # consecutive failures, time of the last one

    def mark_failed(self, address: Address) -> None:
        """Record a failed connection: the other addresses are tried first for a while."""
        failures, _ = self._failed.get(address, (0, 0.0))
        self._failed[address] = (failures + 1, self._clock())

    def mark_working(self, address: Address) -> None:
        """Forget the failures of an address."""
        self._failed.pop(address, None)

    def ordered(self, addresses: Iterable[Address]) -> list[Address]:
        """Each address once, in the given order, followed by those that failed, the latest failure last."""
        return sorted(dict.fromkeys(addresses), key=self._avoided)

    async def connect_first(
        self,
        addresses: Sequence[Address],
        connect: Callable[[Address, float], Awaitable[T]],
        seconds: float,
    ) -> T:
        """The result of `connect(address, seconds)` for the first address that works. The last address gets
        the full timeout of `seconds`, the others a part of it. Raises the last error."""
        *others, last = self.ordered(addresses)
        for address in others:
            try:
                return await self._try(address, connect, seconds * _TIMEOUT_SHARE)
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
                self.mark_failed(address)
            raise
        self.mark_working(address)
        return result

    def _avoided(self, address: Address) -> float:
        """The time of the last failure, or 0 if there was none recently."""
        failures, when = self._failed.get(address, (0, 0.0))
        seconds = min(_MAX_AVOID_SECONDS, _AVOID_SECONDS * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
        return when if failures and self._clock() - when < seconds else 0.0
