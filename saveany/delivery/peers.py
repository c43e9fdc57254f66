"""API processes on other machines: they deliver files from disks and with logins that are only there.

Each process with `api.internal_url` announces the disks in its machine. A process that lacks a file asks
another one for it. Such requests are signed with a secret that all machines share.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
from collections.abc import AsyncGenerator, Mapping
from typing import Final
from urllib.parse import quote, urlencode

import httpx
import msgspec

from saveany.catalogue.link_models import LinkedFile, TelegramMedia
from saveany.delivery.conditions import seconds_of
from saveany.delivery.content import Content, Piece
from saveany.errors import StorageError, StorageUnavailable, Unauthorized
from saveany.ids import new_id
from saveany.logs import get_logger
from saveany.net.client import describe, plain_client
from saveany.storage_set import StorageSet
from saveany.store import Store
from saveany.store.api_processes import ApiProcess

#: Seconds between two announcements.
ANNOUNCE_SECONDS: Final = 5.0
#: Milliseconds for which a signature is valid, by the clock of Redis.
_VALID_MS: Final = 60_000
#: Seconds for connecting, and for each read.
_TIMEOUT: Final = 20.0
#: Headers without which a response is not that of another API process.
_NEEDED = frozenset({"content-length", "content-type", "etag"})
_TIME, _SIGNATURE = "x-saveany-time", "x-saveany-signature"

log = get_logger("saveany.delivery")


class Peers:
    """The other API processes."""

    def __init__(self, store: Store, storages: StorageSet, url: str) -> None:
        """`url` is where others reach this process; "" if they cannot."""
        self._store = store
        self._storages = storages
        self._url = url.rstrip("/")
        self._id = new_id()
        self._secret = b""
        self._client: httpx.AsyncClient | None = None

    @property
    def is_announced(self) -> bool:
        """Whether others can reach this process."""
        return bool(self._url)

    async def announce(self) -> None:
        """Let the others know which disks are in this machine."""
        here = [name for name, handle in self._storages.items() if await handle.is_here()]
        await self._store.api_processes.heartbeat(
            ApiProcess(self._id, socket.gethostname(), self._url, tuple(here))
        )

    async def close(self) -> None:
        """Leave, and close all connections."""
        if self.is_announced:
            await self._store.api_processes.leave(self._id)
        if self._client is not None:
            await self._client.aclose()

    async def file(self, file: LinkedFile) -> Content | None:
        """A saved file whose disk or login is in another machine; None if no process there can be reached."""
        others = [each for each in await self._others() if file.reference or file.storage in each.storages]
        return await self._first(others, f"/internal/files/{quote(file.id)}", file.name)

    async def media(self, media: TelegramMedia, name: str) -> Content | None:
        """A file in Telegram that only a login of another machine can read; None if there is none."""
        source = base64.urlsafe_b64encode(msgspec.msgpack.encode(media.source)).decode()
        return await self._first(
            await self._others(), f"/internal/media?{urlencode({'source': source})}", name
        )

    async def whereabouts(self, storage: str) -> StorageUnavailable:
        """The error for a storage that no reachable process has."""
        for worker in await self._store.workers.living():
            if worker.storages.get(storage) == "":
                return StorageUnavailable(
                    "storage {storage!r} is on the machine {machine}, and no API process there can be "
                    "reached: start one there, with api.internal_url set",
                    storage=storage,
                    machine=worker.host,
                )
        return StorageUnavailable("storage {storage!r} is not on this machine", storage=storage)

    async def verify(self, headers: Mapping[str, str], target: str) -> None:
        """Raise `Unauthorized` unless a request for `target` (path and query) comes from another process."""
        at, given = headers.get(_TIME, ""), headers.get(_SIGNATURE, "")
        expected = await self._sign(at, target)
        if not hmac.compare_digest(expected.encode(), given.encode()):
            raise Unauthorized
        if abs(await self._store.db.time_ms() - int(at)) > _VALID_MS:
            raise Unauthorized

    async def _others(self) -> list[ApiProcess]:
        return [each for each in await self._store.api_processes.living() if each.id != self._id]

    async def _first(self, others: list[ApiProcess], target: str, name: str) -> Content | None:
        """The file from the first process that can open it."""
        for each in others:
            try:
                reply = await self._request("HEAD", each.url + target, target)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                log.warning("api_unreachable", host=each.host, reason=str(describe(error)))
                continue
            if reply.status_code == 200 and reply.headers.keys() >= _NEEDED:
                return _PeerContent(self, each.url, target, reply.headers, name)
            log.info("not_at_other_api", host=each.host, status=reply.status_code)
        return None

    async def _request(
        self, method: str, url: str, target: str, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The response to a signed request, whose body is not read yet."""
        self._client = self._client or plain_client(timeout=_TIMEOUT)
        at = str(await self._store.db.time_ms())
        signed = {_TIME: at, _SIGNATURE: await self._sign(at, target), "accept-encoding": "identity"}
        request = self._client.build_request(method, url, headers={**(headers or {}), **signed})
        return await self._client.send(request, stream=method == "GET")

    async def read(self, url: str, target: str, headers: Mapping[str, str]) -> AsyncGenerator[Piece, None]:
        """The body of a file. Raises `StorageUnavailable` if it breaks off, `StorageError` if the file has
        changed."""
        try:
            reply = await self._request("GET", url + target, target, headers)
            try:
                if reply.status_code == 412:
                    raise StorageError("the file has changed on the other machine")
                if reply.status_code != 206:
                    raise StorageUnavailable(
                        "the API of the other machine replied with status {status}", status=reply.status_code
                    )
                async for piece in reply.aiter_raw():
                    yield piece
            finally:
                await reply.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StorageUnavailable(describe(error)) from error

    async def _sign(self, at: str, target: str) -> str:
        if not self._secret:
            self._secret = (await self._store.secret("peers", secrets.token_hex(32))).encode()
        return hmac.new(self._secret, f"{at}\n{target}".encode(), hashlib.sha256).hexdigest()


class _PeerContent(Content):
    """A file that another API process reads."""

    def __init__(self, peers: Peers, url: str, target: str, head: Mapping[str, str], name: str) -> None:
        modified = seconds_of(head.get("last-modified")) or 0
        super().__init__(name, int(head["content-length"]), head["content-type"], head["etag"], modified)
        self._peers, self._url, self._target = peers, url, target

    async def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        """As in the contract."""
        headers = {"range": f"bytes={start}-{end - 1}", "if-match": self.etag}
        at = start
        async for piece in self._peers.read(self._url, self._target, headers):
            at += len(piece)
            yield piece
        if at != end:
            raise StorageUnavailable("the API of the other machine ended the file early")
