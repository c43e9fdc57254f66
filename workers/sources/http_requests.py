"""Requests for files of web servers: guarded, redirected, and with the headers and cookies of a user."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx

from saveany.errors import InvalidInput, Offline, Permanent, Retryable
from saveany.net.client import describe, guarded_client, is_offline
from saveany.net.guard import AddressGuard
from saveany.net.http import retry_after_s
from saveany.texts import gettext_noop
from workers.sources.http_body import check_encoding

_MAX_REDIRECTS = 10
#: Seconds of silence after which a server is given up.
_SILENCE = 60.0
#: A wait that a server asks for does not count as a failure, except for every 20th in a row for a URL.
_MAX_WAITS = 20
#: Headers that a user cannot set, because they belong to the transfer and not to the file.
_RESERVED_HEADERS = (
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-range",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
)
_REFUSED = {
    401: gettext_noop("the server requires a login (HTTP {status}); give it as `headers` or `cookies`"),
    403: gettext_noop("the server refuses access to the file (HTTP {status})"),
    404: gettext_noop("the file does not exist on the server (HTTP {status})"),
    410: gettext_noop("the file was removed from the server (HTTP {status})"),
    451: gettext_noop("the file is blocked for legal reasons (HTTP {status})"),
}


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A file to request from a server."""

    url: str
    headers: dict[str, str]
    cookies: dict[str, str]
    max_bytes: int = 0  # 0: no limit


class DownloadClient:
    """Sends requests to web servers. Errors are `Permanent`, `Retryable` and `Offline`."""

    def __init__(self, guard: AddressGuard, proxy: str) -> None:
        self._guard = guard
        self._client = guarded_client(guard, timeout=_SILENCE, proxy=proxy)
        self._waits = Counter[str]()  # by URL, since its server last sent anything

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def request(
        self, download: DownloadRequest, headers: dict[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """The response to a GET request with these additional headers; its body is not read yet. Follows
        redirects."""
        url, jar = download.url, httpx.Cookies()
        own_headers = {"Accept-Encoding": "identity", **headers}
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                self._guard.check_url(url)
                request = self._client.build_request("GET", url, headers=_user_headers(download, url))
                request.headers.update(own_headers)
                _add_cookies(request, jar)
                async with _sent(self._client, request) as response:
                    if not response.has_redirect_location:
                        self._check(download.url, response)
                        yield response
                        return
                    jar.extract_cookies(response)
                    url = _redirect_target(url, response.headers["Location"])
        except InvalidInput as error:
            raise Permanent(error.text) from error
        except zlib.error as error:
            raise Retryable(
                "{host}: the compressed data is damaged", host=urlsplit(url).hostname or ""
            ) from error
        except httpx.LocalProtocolError as error:
            raise Permanent("`headers` or `cookies` contain characters that HTTP does not allow") from error
        except httpx.HTTPError as error:
            kind = Offline if is_offline(error) else Retryable
            raise kind(
                "{host}: {reason}", host=urlsplit(url).hostname or "", reason=describe(error)
            ) from error
        raise Permanent("the server redirects more than {count} times", count=_MAX_REDIRECTS)

    def _check(self, url: str, response: httpx.Response) -> None:
        """Raise the error for the status of a response, unless the download of `url` can continue."""
        status = response.status_code
        # 416: an empty file has no ranges.
        if status == 200 or ("Range" in response.request.headers and status in (206, 416)):
            self._waits.pop(url, None)
            check_encoding(response)
            return
        if status not in (408, 425, 429) and status < 500:
            refusal = _REFUSED.get(status, gettext_noop("the server refuses (HTTP {status})"))
            raise Permanent(refusal, status=status)
        self._waits[url] += 1
        after = 0.0
        if self._waits[url] % _MAX_WAITS:
            after = retry_after_s(response.headers.get("Retry-After", ""), round(time.time() * 1000))
        raise Retryable(
            "the server responds with HTTP {status}; that may be temporary", status=status, after=after
        )


def _user_headers(download: DownloadRequest, url: str) -> httpx.Headers:
    """The user's headers and cookies: only for the host of the download, because they may contain a login."""
    if urlsplit(url)[:2] != urlsplit(download.url)[:2]:
        return httpx.Headers()
    cookies = "; ".join(f"{name}={value}" for name, value in download.cookies.items())
    headers = {
        name: value for name, value in download.headers.items() if name.lower() not in _RESERVED_HEADERS
    }
    if cookies:
        headers["Cookie"] = cookies
    return httpx.Headers([(name.encode(), value.strip().encode()) for name, value in headers.items()])


def _add_cookies(request: httpx.Request, jar: httpx.Cookies) -> None:
    """Add the cookies that this host has set during redirects; they replace the user's of the same names."""
    from_user = request.headers.pop("Cookie", "")
    jar.set_cookie_header(request)
    from_server = request.headers.get("Cookie", "")
    replaced = {cookie.partition("=")[0] for cookie in from_server.split("; ")}
    kept = [c for c in from_user.split("; ") if c.partition("=")[0] not in replaced] if from_user else []
    if cookies := "; ".join([*kept, *([from_server] if from_server else [])]):
        request.headers["Cookie"] = cookies


@asynccontextmanager
async def _sent(client: httpx.AsyncClient, request: httpx.Request) -> AsyncIterator[httpx.Response]:
    response = await client.send(request, stream=True)
    try:
        yield response
    finally:
        await response.aclose()


def _redirect_target(url: str, location: str) -> str:
    try:
        target = str(httpx.URL(urljoin(url, location)))
        scheme = urlsplit(target).scheme
    except (httpx.InvalidURL, ValueError) as error:
        raise Permanent("the server redirects to an invalid URL") from error
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise Permanent("the server redirects from https to an unencrypted address")
    return target
