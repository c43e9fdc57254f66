"""The one-time code that proves that somebody can read the log of this SaveAny."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from saveany.errors import Forbidden, TooMany

#: Seconds for which a code is valid.
CODE_SECONDS: Final = 15 * 60
#: Wrong attempts after which an address has to wait, and for how many seconds.
MAX_ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 30
#: Addresses whose attempts are remembered at most; others take the places of the oldest.
_MAX_ADDRESSES: Final = 1000
#: Characters that nobody confuses; 10 of them are 50 bits.
_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_LENGTH: Final = 10


@dataclass(slots=True)
class _Attempts:
    """The wrong codes that came from one address."""

    count: int = 0
    paused_until: float = 0.0


class SetupCode:
    """A code that works once, for a quarter of an hour.

    Wrong attempts neither replace it nor stop those of other addresses: otherwise anybody in the network
    could prevent the setup. The length of the code makes guessing hopeless in that time.
    """

    def __init__(self, announce: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`announce` shows each new code to those who can read the log."""
        self._announce = announce
        self._clock = clock
        self._attempts: OrderedDict[str, _Attempts] = OrderedDict()
        self._code, self._expires_at = "", 0.0
        self._renew()

    def check(self, given: str, address: str) -> None:
        """Use the code up. Raises `Forbidden` for a wrong one, and `TooMany` after too many of them from this
        address."""
        before = self._attempts.get(address, _Attempts())
        wait = before.paused_until - self._clock()
        if wait > 0:
            raise TooMany("too many wrong codes; wait a little", MAX_ATTEMPTS, round(wait) + 1)
        self.renew_expired()
        typed = "".join(each for each in given.upper() if each.isalnum())
        if not hmac.compare_digest(typed.encode(), self._code.encode()):
            self._count_wrong(address, before)
            raise Forbidden("this is not the code that is in the log now")
        self._code = secrets.token_hex()  # nobody is told

    def renew_expired(self) -> None:
        """Announce a new code if the present one has expired."""
        if self._clock() > self._expires_at:
            self._renew()

    def restore(self) -> None:
        """Announce a new code, because nothing came of the one that was used up."""
        self._renew()

    def _count_wrong(self, address: str, before: _Attempts) -> None:
        before.count += 1
        if before.count >= MAX_ATTEMPTS:
            before = _Attempts(paused_until=self._clock() + PAUSE_SECONDS)
        self._attempts[address] = before
        self._attempts.move_to_end(address)
        if len(self._attempts) > _MAX_ADDRESSES:
            self._attempts.popitem(last=False)

    def _renew(self) -> None:
        self._code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        self._expires_at = self._clock() + CODE_SECONDS
        self._announce(f"{self._code[:5]}-{self._code[5:]}")
