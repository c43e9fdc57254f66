"""HTTP as storages speak it: one client each, its time limits, its errors in the words of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Final

import httpcore
import httpx

from saveany.errors import InvalidInput, StorageError, StorageUnavailable
from saveany.net.client import describe, guarded_client, plain_client
from saveany.net.guard import AddressGuard, Network
from storages.reachability import REPLY_TIMEOUT, ServerActivity, check_url, silent_server
from storages.remote import Chunks

_CONNECT, _SILENCE = 15.0, 60.0
#: How long a server may think about a file that it got or moves: some keep files elsewhere, and take minutes.
_THINK: Final = 600.0
_BIG: Final = 1 << 20
_REDIRECTS: Final = 10
#: Bytes of a list of files, some hundred thousand of them.
_LONGEST: Final = 128 << 20


class Web:
    """Requests to the operator's own server. Connects at first use, in the running event loop.

    With `own`, the address of that server, its answers may name others: those are guarded, as URLs of users
    are, and of private networks only those in `allow` are reached.
    """

    def __init__(
        self, name: str, auth: httpx.Auth | None = None, own: str = "", allow: Sequence[Network] = ()
    ) -> None:
        self._name = name
        self._auth = auth
        self._own = _origin(httpx.URL(own)) if own else None
        self._guard = AddressGuard(allow, what="address that the server names")
        self._client: httpx.AsyncClient | None = None
        self._theirs: httpx.AsyncClient | None = None
        #: For requests that others make to the same server.
        self.activity = ServerActivity()

    async def reach(self, url: str) -> None:
        """As `Storage.reach`. A request is sent only while the server owes us an answer to another one."""
        await check_url(self._name, url)
        if not self.activity.is_silent:
            return
        where = httpx.URL(url)
        client = self._for(where)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                answer = await client.send(client.build_request("HEAD", where), auth=self._auth, stream=True)
                await answer.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise silent_server(self._name, where.netloc.decode("ascii", "replace")) from error
        except (httpx.HTTPError, httpx.InvalidURL):
            return  # something answers; what is wrong the others will be told

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
        """An answer, its body not yet read. What breaks before the block ends is `StorageUnavailable`.

        `slow` is for what a server may take minutes to do, `follow` goes where the server sends us.
        """
        with self.activity.request(), self._errors():
            request = self._for(httpx.URL(url)).build_request(
                method,
                url,
                headers=headers,
                content=content,
                timeout=httpx.Timeout(_SILENCE, connect=_CONNECT, read=_THINK if slow else _SILENCE),
            )
            answer = await self._for(request.url).send(request, auth=self._auth, stream=True)
            for _ in range(_REDIRECTS if follow else 0):
                if answer.next_request is None:
                    break
                await answer.aclose()
                request = answer.next_request
                answer = await self._for(request.url).send(request, stream=True)
            try:
                yield answer
            finally:
                await answer.aclose()

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
                "storage {storage!r}: the file has not the size it should have", storage=self._name
            ) from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            raise StorageUnavailable(
                "storage {storage!r}: {reason}", storage=self._name, reason=describe(error)
            ) from error

    def _for(self, url: httpx.URL) -> httpx.AsyncClient:
        if self._own and _origin(url) != self._own:
            self._theirs = self._theirs or guarded_client(self._guard, timeout=_SILENCE)
            return self._theirs
        self._client = self._client or plain_client(timeout=_SILENCE)
        return self._client

    async def text(self, answer: httpx.Response) -> bytes:
        """A body that is read in one: a list, an error. Raises `StorageError` if it has no end in sight."""
        pieces, size = [], 0
        async for piece in answer.aiter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > _LONGEST:
                raise StorageError(
                    "storage {storage!r}: the server's answer does not end", storage=self._name
                )
        return b"".join(pieces)

    async def file(self, answer: httpx.Response, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to `end` of a file, of an answer to a request for them.

        A server that knows no ranges sends the whole file (RFC 9110, 14.2): what comes before is skipped.
        Raises `StorageUnavailable` if the answer ends too early.
        """
        coding = answer.headers.get("Content-Encoding", "").lower()
        if coding not in ("", "identity") and "Content-Length" not in answer.headers:
            raise StorageError(  # what is stored so has its length; what is packed on the way has none
                "storage {storage!r}: the server compresses files on their way ({position}) though "
                "it was asked not to; have it or its gateway leave that",
                storage=self._name,
                position=coding[:40],
            )
        at = start if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
        async with aclosing(body(answer)) as pieces:
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
        """Hang up."""
        clients, self._client, self._theirs = (self._client, self._theirs), None, None
        for client in clients:
            if client:
                await client.aclose()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host.lower(), url.port


async def body(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The bytes of an answer. After the first of them, a big one is read from the connection itself, which is
    of no use to others then: the library would copy each byte four times."""
    coded = "Transfer-Encoding" in answer.headers
    left = 0 if coded else int(answer.headers.get("Content-Length", 0))
    pieces = answer.aiter_raw()  # kept to the end: letting it go would close the connection
    async for piece in pieces:
        yield piece
        left -= len(piece)
        if left >= _BIG:
            break
    connection = answer.extensions["network_stream"]
    while left > 0 and (piece := await _read(connection)):
        yield piece
        left -= len(piece)


async def _read(connection: httpcore.AsyncNetworkStream) -> bytes:
    """What has come, nothing at the end."""
    try:
        return await connection.read(_BIG, _SILENCE)
    except httpcore.ReadTimeout as error:
        raise httpx.ReadTimeout("in time") from error
    except httpcore.ReadError as error:
        raise httpx.ReadError("it broke") from error


async def as_body(chunks: Chunks) -> AsyncGenerator[bytes, None]:
    """Chunks as the body of a request."""
    async for chunk in chunks:
        yield bytes(chunk)
