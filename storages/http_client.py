"""HTTP for storages: a client with time limits, whose errors are those of the contract."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Final

import httpcore
import httpx

from saveany.errors import InvalidInput, StorageError, StorageUnavailable
from saveany.net.client import describe, guarded_client, plain_client
from saveany.net.guard import AddressGuard, Network
from saveany.texts import Text
from storages.chunks import Chunks
from storages.reachability import REPLY_TIMEOUT, ServerActivity, check_url, silent_server

#: Seconds to connect, and seconds in which a server must send or accept more bytes.
_CONNECT, _SILENCE = 15.0, 60.0
#: Seconds in which a server must reply after it has received or moved a file: some store it elsewhere first.
_SLOW_REPLY: Final = 600.0
#: A body with at least this many bytes left is read directly from the connection.
_DIRECT: Final = 1 << 20
_REDIRECTS: Final = 10
#: Maximum bytes of a reply that is read at once: a listing of some hundred thousand files.
_MAX_TEXT: Final = 128 << 20


def checked_server_url(url: str) -> str:
    """`url`, if it is the address of a server, for an option of a storage. Otherwise raises `ValueError`."""
    if not re.match("https?://[^/]", url):
        raise ValueError("must begin with http:// or https:// and name a host")
    if "@" in url.split("/")[2]:
        raise ValueError("must not contain a password; use username and password")
    return url


class HttpClient:
    """Requests to the server of a storage. Connects when it is first used, in the running event loop.

    With `own_url`, the URL of that server, replies may lead to other hosts. Requests to those are guarded
    like URLs of users: in private networks only addresses in `allow` are reached.
    """

    def __init__(
        self, name: str, auth: httpx.Auth | None = None, own_url: str = "", allow: Sequence[Network] = ()
    ) -> None:
        self._name = name
        self._auth = auth
        self._own_origin = _origin(httpx.URL(own_url)) if own_url else None
        self._guard = AddressGuard(allow, name=Text("address that the server gives"))
        self._client: httpx.AsyncClient | None = None
        self._other_hosts: httpx.AsyncClient | None = None
        #: Requests to the same server that do not go through this object are counted here, too.
        self.activity = ServerActivity()

    async def reach(self, url: str) -> None:
        """As `Storage.reach`. Sends a request only while another one waits for its reply."""
        await check_url(self._name, url)
        if not self.activity.is_silent:
            return
        address = httpx.URL(url)
        client = self._client_for(address)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                response = await client.send(
                    client.build_request("HEAD", address), auth=self._auth, stream=True
                )
                await response.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise silent_server(self._name, address.netloc.decode("ascii", "replace")) from error
        except (httpx.HTTPError, httpx.InvalidURL):
            return  # the server replied; the pending request reports what is wrong

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        slow: bool = False,
        follow: bool = False,
    ) -> AsyncIterator[httpx.Response]:
        """A response whose body is not yet read. A connection that breaks in the block raises
        `StorageUnavailable`.

        `slow` is for operations that may take the server minutes; `follow` follows redirects.
        """
        with self.activity.request(), self._errors():
            request = self._client_for(httpx.URL(url)).build_request(
                method,
                url,
                headers=headers,
                content=content,
                timeout=httpx.Timeout(_SILENCE, connect=_CONNECT, read=_SLOW_REPLY if slow else _SILENCE),
            )
            response = await self._client_for(request.url).send(request, auth=self._auth, stream=True)
            for _ in range(_REDIRECTS if follow else 0):
                if response.next_request is None:
                    break
                await response.aclose()
                request = response.next_request
                response = await self._client_for(request.url).send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InvalidInput as error:
            raise StorageError(
                "storage {storage!r}: {reason}", storage=self._name, reason=error.text
            ) from error
        except httpx.LocalProtocolError as error:
            raise StorageError(
                "storage {storage!r}: the file does not have the announced size", storage=self._name
            ) from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            raise StorageUnavailable(
                "storage {storage!r}: {reason}", storage=self._name, reason=describe(error)
            ) from error

    def _client_for(self, url: httpx.URL) -> httpx.AsyncClient:
        if self._own_origin and _origin(url) != self._own_origin:
            self._other_hosts = self._other_hosts or guarded_client(self._guard, timeout=_SILENCE)
            return self._other_hosts
        self._client = self._client or plain_client(timeout=_SILENCE)
        return self._client

    async def text(self, response: httpx.Response) -> bytes:
        """A whole body, such as a listing or an error. Raises `StorageError` above `_MAX_TEXT` bytes."""
        pieces, size = [], 0
        async for piece in response.aiter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > _MAX_TEXT:
                raise StorageError("storage {storage!r}: the server's reply does not end", storage=self._name)
        return b"".join(pieces)

    async def file(self, response: httpx.Response, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `start` to `end`, from the response to a request for them.

        A server without support for ranges sends the whole file (RFC 9110, 14.2); the bytes before `start`
        are skipped then. Raises `StorageUnavailable` if the body ends too early.
        """
        coding = response.headers.get("Content-Encoding", "").lower()
        if coding not in ("", "identity") and "Content-Length" not in response.headers:
            raise StorageError(  # a file compressed on the fly has no length
                "storage {storage!r}: the server compresses files in transit ({encoding}), although it was "
                "asked not to; turn that off on the server or its gateway",
                storage=self._name,
                encoding=coding[:40],
            )
        at = start if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
        async with aclosing(body(response)) as pieces:
            async for piece in pieces:
                wanted = piece[max(0, start - at) : max(0, end - at)]
                at += len(piece)
                if wanted:
                    yield wanted
                if at >= end:
                    return
        raise StorageUnavailable(
            "storage {storage!r}: the file ended at byte {position:,} of {end:,}",
            storage=self._name,
            position=at,
            end=end,
        )

    async def close(self) -> None:
        """Close connections."""
        clients, self._client, self._other_hosts = (self._client, self._other_hosts), None, None
        for client in clients:
            if client:
                await client.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host.lower(), url.port


async def body(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The bytes of a response. The rest of a large body is read directly from the connection, which cannot be
    reused then: the library would copy each byte four times."""
    coded = "Transfer-Encoding" in response.headers
    left = 0 if coded else int(response.headers.get("Content-Length", 0))
    pieces = response.aiter_raw()  # kept until the end: garbage collection would close the connection
    async for piece in pieces:
        yield piece
        left -= len(piece)
        if left >= _DIRECT:
            break
    connection = response.extensions["network_stream"]
    while left > 0 and (piece := await _read(connection)):
        yield piece
        left -= len(piece)


async def _read(connection: httpcore.AsyncNetworkStream) -> bytes:
    """The bytes that have arrived, b"" at the end."""
    try:
        return await connection.read(_DIRECT, _SILENCE)
    except httpcore.ReadTimeout as error:
        raise httpx.ReadTimeout("no bytes in time") from error
    except httpcore.ReadError as error:
        raise httpx.ReadError("the connection broke") from error


async def as_body(chunks: Chunks) -> AsyncGenerator[bytes, None]:
    """Chunks, as the body of a request."""
    async for chunk in chunks:
        yield bytes(chunk)
