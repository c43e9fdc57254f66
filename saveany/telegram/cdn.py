"""Files that Telegram keeps on a foreign network: https://core.telegram.org/cdn.

Popular files of large public channels lie there, encrypted. The file's own data centre sends us there
(`upload.fileCdnRedirect`) and tells the key and the hashes; the CDN is not trusted with anything: it is told
nothing about the account, its RSA keys are good for nothing else, and each byte is compared with the hashes.

    CdnPool   connections to a CDN data centre, with keys of their own
    Redirect  one file there
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from types import FunctionType, SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from telethon.crypto import rsa
from telethon.errors import SecurityError
from telethon.network import MTProtoPlainSender, authenticator
from telethon.tl import functions, types
from telethon.tl.alltlobjects import LAYER
from telethon.tl.tlobject import TLRequest

from saveany.errors import Retryable
from saveany.telegram.addresses import Address, Purpose
from saveany.telegram.client import connected
from saveany.telegram.pool import ConnectionPool, hang_up_line
from saveany.telegram.wire import MtprotoSender, TcpConnection

#: The smallest part that is asked for; hashes are for pieces of this size.
_SMALLEST = 128 << 10
_CTR_BLOCK = 16

Ask = Callable[[TLRequest], Awaitable[Any]]


class CdnFailed(Retryable):
    """The CDN did not send what it should."""


class Redirect:
    """Where a file of `size` bytes lies, how to decrypt it, and what its bytes must be."""

    def __init__(self, answer: types.upload.FileCdnRedirect, size: int) -> None:
        self.dc_id = int(answer.dc_id)
        self._size = size
        self._token = bytes(answer.file_token)
        self._key = algorithms.AES(bytes(answer.encryption_key))
        self._iv = bytes(answer.encryption_iv)
        self._hashes: dict[int, types.FileHash] = {}
        self._learn(answer.file_hashes)

    async def part(self, offset: int, limit: int, ask_cdn: Ask, ask_home: Ask) -> bytes:
        """The bytes from `offset` on, compared with their hashes; a part never crosses a block of 1 MiB.

        `ask_cdn` sends a request to the CDN, `ask_home` to the data centre that sent us there.
        """
        start, length = _covering(offset, limit)
        request = _anonymous(functions.upload.GetCdnFileRequest(self._token, start, length))
        answer = await ask_cdn(request)
        if isinstance(answer, types.upload.CdnFileReuploadNeeded):  # the CDN has dropped the file
            again = functions.upload.ReuploadCdnFileRequest(self._token, bytes(answer.request_token))
            self._learn(await ask_home(again))
            answer = await ask_cdn(request)
        if not isinstance(answer, types.upload.CdnFile):
            raise CdnFailed("the CDN does not have the file")
        data = self._decrypt(start, answer.bytes)
        if len(data) != min(length, self._size - start):
            raise CdnFailed(f"the CDN sent {len(data)} bytes where {length} were due, at {start}")
        await self._verify(start, data, ask_home)
        return data[offset - start : offset - start + limit]

    def _decrypt(self, offset: int, data: Any) -> bytes:
        counter = self._iv[:-4] + (offset // _CTR_BLOCK).to_bytes(4, "big")
        return Cipher(self._key, modes.CTR(counter)).decryptor().update(data)

    async def _verify(self, start: int, data: bytes, ask_home: Ask) -> None:
        view, at, end = memoryview(data), start, start + len(data)
        while at < end:
            if at not in self._hashes:
                self._learn(await ask_home(functions.upload.GetCdnFileHashesRequest(self._token, at)))
            known = self._hashes.get(at)
            if known is None or known.limit <= 0 or at + known.limit > max(end, self._size):
                raise CdnFailed(f"Telegram tells no hash of the bytes at {at}")
            if sha256(view[at - start : at - start + known.limit]).digest() != known.hash:
                raise CdnFailed(f"the CDN sent wrong bytes at {at}")
            at += known.limit

    def _learn(self, hashes: Iterable[types.FileHash]) -> None:
        self._hashes |= {each.offset: each for each in hashes}


def _covering(offset: int, limit: int) -> tuple[int, int]:
    """The smallest part that the CDN gives, and that has these bytes: a power of two, aligned to its size."""
    size = _SMALLEST
    while offset + limit > offset // size * size + size:
        size *= 2
    return offset // size * size, size


def _anonymous(query: TLRequest) -> TLRequest:
    """A request that tells nothing about who asks."""
    unknown = dict.fromkeys(("device_model", "system_version", "app_version"), "n/a")
    init = functions.InitConnectionRequest(
        api_id=1, **unknown, system_lang_code="en", lang_pack="", lang_code="en", query=query
    )
    return functions.InvokeWithLayerRequest(LAYER, init)


class CdnPool(ConnectionPool):
    """The connections to a CDN data centre. They share a key that belongs to no account and is not kept."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._key: bytes | None = None
        self._making = asyncio.Lock()

    async def renew_key(self, generation: int) -> None:
        """As in `ConnectionPool`."""
        if generation == self.generation:
            self.generation += 1
            self._key = None
            await self._hang_up()

    async def _connect(self) -> MtprotoSender:
        if self._key is not None:
            return await self._open(())
        async with self._making:
            public_keys = () if self._key else await self._client.cdn_keys(self._dc_id)
            sender = await self._open(public_keys)
            self._key = sender.auth_key.key
            return sender

    async def _open(self, public_keys: Iterable[str]) -> MtprotoSender:
        async def connect(address: Address, seconds: float) -> MtprotoSender:
            loggers, proxy = self._client.loggers, self._client.settings.proxy
            sender = _Sender(self._key, self._salt, public_keys, loggers=loggers, connect_timeout=seconds)
            connection = TcpConnection(*address, self._dc_id, loggers=loggers, proxy=proxy)
            try:
                await connected(sender, sender.connect(connection), seconds)
            except BaseException:
                await hang_up_line(sender)
                raise
            return sender

        return await self._client.reach(self._dc_id, Purpose.CDN, connect)


class _Sender(MtprotoSender):
    """A sender that agrees on a key with whoever has one of these RSA keys, and none of Telegram's own."""

    def __init__(self, key: bytes | None, salt: int, public_keys: Iterable[str], **options: Any) -> None:
        super().__init__(key, salt, **options)
        self._authenticate = _authentication(public_keys)

    async def _try_gen_auth_key(self, attempt: int) -> bool:
        """As Telethon's."""
        plain = MTProtoPlainSender(self._connection, loggers=self._loggers)
        try:
            self.auth_key.key, self._state.time_offset = await self._authenticate(plain)
        except (SecurityError, AssertionError):
            return False
        return True


def _authentication(public_keys: Iterable[str]) -> Callable[[Any], Awaitable[tuple[Any, int]]]:
    """Telethon's key exchange with other RSA keys. Its own are the same for all connections of a process, and
    what a CDN may sign must not open any other."""
    known = {}
    for text in public_keys:
        public = rsa.rsa.PublicKey.load_pkcs1(text.encode())
        known[rsa._compute_fingerprint(public)] = (public, False)
    encrypt = _with_globals(rsa.encrypt, _server_keys=known)
    keys = SimpleNamespace(encrypt=encrypt, get_byte_array=rsa.get_byte_array)
    return _with_globals(authenticator.do_authentication, rsa=keys)


def _with_globals(function: Any, **changes: Any) -> Callable[..., Any]:
    """The same function with other globals."""
    made = FunctionType(function.__code__, function.__globals__ | changes)
    made.__kwdefaults__ = function.__kwdefaults__
    return made
