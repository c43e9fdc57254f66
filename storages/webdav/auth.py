"""Login at a WebDAV server."""

from __future__ import annotations

import re
from collections.abc import Generator

import httpx

from storages.webdav.options import WebdavOptions


class Credentials(httpx.Auth):
    """Basic or Digest, by the options or by what the server asks for first."""

    def __init__(self, options: WebdavOptions) -> None:
        who = options.username, options.password.get_secret_value()
        self._known = {"digest": httpx.DigestAuth(*who), "basic": httpx.BasicAuth(*who)}
        self._scheme = options.auth
        self._anyone = not options.username

    @property
    def settled(self) -> bool:
        """Whether no request can meet a challenge: a Digest nonce may grow old at any time."""
        return self._anyone or self._scheme == "basic"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As httpx wants it."""
        if self._anyone:
            yield request
            return
        if self._scheme == "auto":
            answer = yield request
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return
            asked = " ".join(answer.headers.get_list("WWW-Authenticate")).lower()
            self._scheme = "digest" if re.search(r"\bdigest\b", asked) else "basic"
        yield from self._known[self._scheme].auth_flow(request)
