"""Downloads from Telegram's CDN: https://core.telegram.org/cdn.

Popular files of large public channels are stored there, encrypted. The file's own data center redirects the
download (`upload.fileCdnRedirect`) and supplies the key and the hashes. The CDN is not trusted: it learns
nothing about the account, its RSA keys are valid only for CDN connections, and every byte is checked against
the hashes.

    CdnPool      connections to a CDN data center, with keys that are not tied to the account
    CdnRedirect  one file on the CDN
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from types import FunctionType, SimpleNamespace
from typing import Any

from telethon.crypto import rsa
from telethon.errors import SecurityError
from telethon.network import MTProtoPlainSender, authenticator
from telethon.tl import functions, types
from telethon.tl.alltlobjects import LAYER
from telethon.tl.tlobject import TLRequest

from saveany.errors import Retryable
from saveany.telegram.addresses import Address, Purpose
from saveany.telegram.client import wait_connected
from saveany.telegram.pool import ConnectionPool, abort
from saveany.telegram.wire import MtprotoSender, TcpConnection

#: Minimum size of a part, in bytes; each hash covers a piece of this size.
_MIN_PART = 128 << 10
_CTR_BLOCK = 16

Call = Callable[[TLRequest], Awaitable[Any]]


class CdnFailed(Retryable):
    """The CDN sent wrong data."""


class CdnRedirect:
    """Reads one file of `size` bytes from the CDN, decrypts it and checks its hashes."""

    def __init__(self, reply: types.upload.FileCdnRedirect, size: int) -> None:
        self.dc_id = int(reply.dc_id)
        self._size = size
        self._token = bytes(reply.file_token)
        self._key = bytes(reply.encryption_key)
        self._iv = bytes(reply.encryption_iv)
        self._hashes: dict[int, types.FileHash] = {}
        self._add_hashes(reply.file_hashes)

    async def part(self, offset: int, limit: int, call_cdn: Call, call_home: Call) -> bytes:
        """The `limit` bytes from `offset` on, checked against their hashes. A part never crosses a 1 MiB
        block.

        `call_cdn` sends a request to the CDN, `call_home` to the data center that redirected the download.
        """
        start, length = _covering_part(offset, limit)
        request = _anonymous(functions.upload.GetCdnFileRequest(self._token, start, length))
        reply = await call_cdn(request)
        if isinstance(reply, types.upload.CdnFileReuploadNeeded):  # the CDN has dropped the file
            again = functions.upload.ReuploadCdnFileRequest(self._token, bytes(reply.request_token))
            self._add_hashes(await call_home(again))
            reply = await call_cdn(request)
        if not isinstance(reply, types.upload.CdnFile):
            raise CdnFailed("The CDN does not have the file.")
        data = self._decrypt(start, reply.bytes)
        if len(data) != min(length, self._size - start):
            raise CdnFailed(
                "The CDN sent {received} bytes at {offset}; {expected} were expected.",
                received=len(data),
                offset=start,
                expected=length,
            )
        await self._verify(start, data, call_home)
        return data[offset - start : offset - start + limit]

    def _decrypt(self, offset: int, data: Any) -> bytes:
        # imported here, because few files are on a CDN
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        counter = self._iv[:-4] + (offset // _CTR_BLOCK).to_bytes(4, "big")
        return Cipher(algorithms.AES(self._key), modes.CTR(counter)).decryptor().update(data)

    async def _verify(self, start: int, data: bytes, call_home: Call) -> None:
        view, at, end = memoryview(data), start, start + len(data)
        while at < end:
            if at not in self._hashes:
                self._add_hashes(await call_home(functions.upload.GetCdnFileHashesRequest(self._token, at)))
            known = self._hashes.get(at)
            if known is None or known.limit <= 0 or at + known.limit > max(end, self._size):
                raise CdnFailed("Telegram supplied no hash for the bytes at {offset}.", offset=at)
            if sha256(view[at - start : at - start + known.limit]).digest() != known.hash:
                raise CdnFailed("The CDN sent wrong bytes at {offset}.", offset=at)
            at += known.limit

    def _add_hashes(self, hashes: Iterable[types.FileHash]) -> None:
        self._hashes |= {each.offset: each for each in hashes}


def _covering_part(offset: int, limit: int) -> tuple[int, int]:
    """The smallest part that the CDN serves and that covers these bytes: a power of two, aligned to its
    size."""
    size = _MIN_PART
    while offset + limit > offset // size * size + size:
        size *= 2
    return offset // size * size, size


def _anonymous(query: TLRequest) -> TLRequest:
    """The request, wrapped in an initial request that does not identify the client."""
    unknown = dict.fromkeys(("device_model", "system_version", "app_version"), "n/a")
    init = functions.InitConnectionRequest(
        api_id=1, **unknown, system_lang_code="en", lang_pack="", lang_code="en", query=query
    )
    return functions.InvokeWithLayerRequest(LAYER, init)


class CdnPool(ConnectionPool):
    """The connections to a CDN data center. They share a key that belongs to no account and is not stored."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._key: bytes | None = None
        self._key_lock = asyncio.Lock()

    async def renew_key(self, generation: int) -> None:
        """See `ConnectionPool.renew_key`."""
        if generation == self.generation:
            self.generation += 1
            self._key = None
            await self._disconnect_all()

    async def _connect(self) -> MtprotoSender:
        if self._key is not None:
            return await self._connect_with(())
        async with self._key_lock:
            public_keys = () if self._key else await self._client.data_centers.cdn_keys(self._dc_id)
            sender = await self._connect_with(public_keys)
            self._key = sender.auth_key.key
            return sender

    async def _connect_with(self, public_keys: Iterable[str]) -> MtprotoSender:
        async def connect(address: Address, seconds: float) -> MtprotoSender:
            loggers, proxy = self._client.loggers, self._client.settings.proxy
            sender = _Sender(self._key, self._salt, public_keys, loggers=loggers, connect_timeout=seconds)
            connection = TcpConnection(*address, self._dc_id, loggers=loggers, proxy=proxy)
            try:
                await wait_connected(sender, sender.connect(connection), seconds)
            except BaseException:
                await abort(sender)
                raise
            return sender

        return await self._client.data_centers.connect(self._dc_id, Purpose.CDN, connect)


class _Sender(MtprotoSender):
    """A sender that exchanges keys only with owners of the given RSA keys, not with Telegram's main
    servers."""

    def __init__(self, key: bytes | None, salt: int, public_keys: Iterable[str], **options: Any) -> None:
        super().__init__(key, salt, **options)
        self._authenticate = _authentication(public_keys)

    async def _try_gen_auth_key(self, attempt: int) -> bool:
        """Overrides Telethon's method."""
        plain = MTProtoPlainSender(self._connection, loggers=self._loggers)
        try:
            self.auth_key.key, self._state.time_offset = await self._authenticate(plain)
        except (SecurityError, AssertionError):
            return False
        return True


def _authentication(public_keys: Iterable[str]) -> Callable[[Any], Awaitable[tuple[Any, int]]]:
    """Telethon's key exchange with other RSA keys. Telethon's keys are global to the process, and a key of
    the CDN must not be accepted on any other connection."""
    known = {}
    for text in public_keys:
        public = rsa.rsa.PublicKey.load_pkcs1(text.encode())
        known[rsa._compute_fingerprint(public)] = (public, False)
    encrypt = _with_globals(rsa.encrypt, _server_keys=known)
    keys = SimpleNamespace(encrypt=encrypt, get_byte_array=rsa.get_byte_array)
    return _with_globals(authenticator.do_authentication, rsa=keys)


def _with_globals(function: Any, **changes: Any) -> Callable[..., Any]:
    """A copy of the function with some globals replaced."""
    made = FunctionType(function.__code__, function.__globals__ | changes)
    made.__kwdefaults__ = function.__kwdefaults__
    return made
