"""Login at a WebDAV server."""

from __future__ import annotations

import re
from collections.abc import Generator

import httpx

from storages.webdav.options import WebdavOptions


class Credentials(httpx.Auth):
    """Basic or Digest authentication: the configured one, or the one in the first challenge."""

    def __init__(self, options: WebdavOptions) -> None:
        login = options.username, options.password.get_secret_value()
        self._known = {"digest": httpx.DigestAuth(*login), "basic": httpx.BasicAuth(*login)}
        self._scheme = options.auth
        self._anonymous = not options.username

    @property
    def is_preemptive(self) -> bool:
        """Whether every request already contains all that the server needs. Digest does not: its nonce can
        expire at any time."""
        return self._anonymous or self._scheme == "basic"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As in `httpx.Auth`."""
        if self._anonymous:
            yield request
            return
        if self._scheme == "auto":
            response = yield request
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return
            challenge = " ".join(response.headers.get_list("WWW-Authenticate")).lower()
            self._scheme = "digest" if re.search(r"\bdigest\b", challenge) else "basic"
        yield from self._known[self._scheme].auth_flow(request)
