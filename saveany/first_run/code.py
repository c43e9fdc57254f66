"""The one-time code that proves that somebody can read the log of this SaveAny."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

from saveany.errors import Forbidden, TooMany

#: Seconds for which a code is valid, and wrong attempts after which it is replaced.
CODE_SECONDS: Final = 15 * 60
MAX_ATTEMPTS: Final = 5
#: Seconds without any attempt after that many wrong ones.
PAUSE_SECONDS: Final = 30
#: Characters that nobody confuses; 10 of them are 50 bits.
_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_LENGTH: Final = 10


class SetupCode:
    """A code that works once, for a quarter of an hour, and changes after some wrong attempts."""

    def __init__(self, announce: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`announce` shows each new code to those who can read the log."""
        self._announce = announce
        self._clock = clock
        self._paused_until = clock()
        self._code, self._attempts, self._expires_at = "", 0, 0.0
        self._renew()

    def check(self, given: str) -> None:
        """Use the code up. Raises `Forbidden` for a wrong one, and `TooMany` after too many of them."""
        wait = self._paused_until - self._clock()
        if wait > 0:
            raise TooMany("too many wrong codes; wait a little", MAX_ATTEMPTS, round(wait) + 1)
        self.renew_expired()
        typed = "".join(each for each in given.upper() if each.isalnum())
        if not hmac.compare_digest(typed.encode(), self._code.encode()):
            self._count_wrong()
            raise Forbidden("this is not the code that is in the log now")
        self._code = secrets.token_hex()  # nobody is told

    def renew_expired(self) -> None:
        """Announce a new code if the present one has expired."""
        if self._clock() > self._expires_at:
            self._renew()

    def restore(self) -> None:
        """Announce a new code, because nothing came of the one that was used up."""
        self._renew()

    def _count_wrong(self) -> None:
        self._attempts += 1
        if self._attempts >= MAX_ATTEMPTS:
            self._paused_until = self._clock() + PAUSE_SECONDS
            self._renew()

    def _renew(self) -> None:
        self._code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        self._attempts = 0
        self._expires_at = self._clock() + CODE_SECONDS
        self._announce(f"{self._code[:5]}-{self._code[5:]}")
