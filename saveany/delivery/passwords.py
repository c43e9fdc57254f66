"""Links with a password: it is entered once, and then a cookie opens the link in that browser.

The cookie is valid for one link and its present password, and only for the addresses of that link. Neither of
them is ever part of an address, which people pass on.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from saveany.catalogue.link_models import Link
from saveany.errors import TooMany, Unauthorized
from saveany.password_hash import password_matches
from saveany.store import Store

#: Number of passwords that one address may try for a link, and the seconds of the window in which they count.
_TRIES, _WINDOW = 10, 600
#: Seconds for which a link stays open in a browser.
COOKIE_SECONDS = 24 * 3600


class PasswordNeeded(Unauthorized):
    """This link has a password; open its page to enter it."""


class Passwords:
    """Checks passwords of links."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._secret = b""

    async def check(self, link: Link, cookies: Mapping[str, str]) -> None:
        """Raise `PasswordNeeded` unless the link has no password, or one of the cookies is for it."""
        if link.password:
            given = cookies.get(cookie_name(link.token), "")
            if not hmac.compare_digest(given.encode(), (await self._value(link)).encode()):
                raise PasswordNeeded

    async def cookie(self, link: Link, password: str, address: str) -> str:
        """The value of the cookie that opens the link. Raises `PasswordNeeded` for a wrong password, and
        `TooMany` if the address has tried too many."""
        tries = await self._store.openings.count_try(link.token, address, _WINDOW)
        if tries > _TRIES:
            raise TooMany("too many wrong passwords; try again later", _TRIES, after=_WINDOW)
        if link.password and not await password_matches(password, link.password):
            raise PasswordNeeded("this password is wrong")
        return await self._value(link)

    async def _value(self, link: Link) -> str:
        if not self._secret:
            self._secret = (await self._store.secret("links", secrets.token_hex(32))).encode()
        text = f"{link.token}\n{link.password}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()


def cookie_name(token: str) -> str:
    """The name of the cookie of a link."""
    return f"link_{token}"
