"""The sandbox's CDN is as strict as Telegram's."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from telethon import errors
from telethon.crypto import rsa
from telethon.network import MTProtoSender
from telethon.network.connection import ConnectionTcpFull
from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import Sandbox
from saveany.sandbox.cdn import CDN_DC
from saveany.sandbox.handshake import fingerprint
from saveany.sandbox.key_store import pem
from tests.sandbox.clients import bot, location, part

FILE, BLOCK = 1004, 128 << 10


@asynccontextmanager
async def at_cdn(sandbox: Sandbox) -> AsyncIterator[Callable[[Any], Awaitable[Any]]]:
    """Sends requests to the CDN."""
    [option] = [each for each in sandbox._shared.options if each.cdn]
    loggers: dict[str, logging.Logger] = defaultdict(lambda: logging.getLogger("cdn"))
    cdn = sandbox.centers[CDN_DC]
    rsa.add_key(pem(cdn.rsa), old=False)
    sender = MTProtoSender(None, loggers=loggers)
    try:
        address = (option.ip_address, option.port)
        await sender.connect(ConnectionTcpFull(*address, CDN_DC, loggers=loggers))
        yield sender.send
    finally:
        await sender.disconnect()
        del rsa._server_keys[fingerprint(cdn.rsa)]


async def redirect(client: Any, offset: int = 0) -> Any:
    message = await client.get_messages("channel", ids=126)
    request = fn.upload.GetFileRequest(location(message), offset, 4096, cdn_supported=True)
    return await client(request)


async def test_only_clients_that_support_a_cdn_are_redirected(sandbox: Sandbox) -> None:
    async with bot(sandbox) as client:
        assert isinstance(await redirect(client), tl.upload.File)
        await sandbox.open_cdn(FILE)
        answer = await redirect(client)
        assert (type(answer), answer.dc_id) == (tl.upload.FileCdnRedirect, CDN_DC)
        assert len(await part(client, await client.get_messages("channel", ids=126))) == 4096


async def test_the_cdn_serves_encrypted_bytes_and_their_hashes(sandbox: Sandbox) -> None:
    cdn = await sandbox.open_cdn(FILE)
    content = sandbox.world.files[FILE].content
    async with bot(sandbox) as client, at_cdn(sandbox) as there:
        answer = await redirect(client)
        keys = (await client(fn.help.GetCdnConfigRequest())).public_keys
        assert [(each.dc_id, each.public_key) for each in keys] == [(CDN_DC, cdn.public_key)]
        sealed = await there(fn.upload.GetCdnFileRequest(answer.file_token, BLOCK, BLOCK))
        counter = answer.encryption_iv[:12] + (BLOCK // 16).to_bytes(4, "big")
        cipher = Cipher(algorithms.AES(answer.encryption_key), modes.CTR(counter))
        plain = cipher.decryptor().update(sealed.bytes)
        assert plain == content.read(BLOCK, BLOCK)
        assert sealed.bytes != plain
        hashes = await client(fn.upload.GetCdnFileHashesRequest(answer.file_token, BLOCK))
        assert (hashes[0].offset, hashes[0].limit) == (BLOCK, BLOCK)
        assert hashes[0].hash == hashlib.sha256(plain).digest()
        assert sum(each.limit for each in hashes) == content.size - BLOCK


async def test_invalid_cdn_requests_are_refused(sandbox: Sandbox) -> None:
    cdn = await sandbox.open_cdn(FILE)
    async with bot(sandbox) as client, at_cdn(sandbox) as there:
        token = (await redirect(client)).file_token
        hashes = fn.upload.GetCdnFileHashesRequest(token, 0)
        with pytest.raises(errors.CdnMethodInvalidError):
            await there(hashes)
        with pytest.raises(errors.RPCError, match="method is invalid"):
            await client(fn.upload.GetCdnFileRequest(token, 0, BLOCK))
        for offset, limit in ((1024, BLOCK), (0, 1024), (0, 3 << 12)):
            with pytest.raises(errors.BadRequestError, match=r"offset|limit"):
                await there(fn.upload.GetCdnFileRequest(token, offset, limit))
        cdn.forget([FILE])
        needed = await there(fn.upload.GetCdnFileRequest(token, 0, BLOCK))
        assert isinstance(needed, tl.upload.CdnFileReuploadNeeded)
        with pytest.raises(errors.RPCError, match="REQUEST_TOKEN_INVALID"):
            await client(fn.upload.ReuploadCdnFileRequest(token, b"wrong"))
        await client(fn.upload.ReuploadCdnFileRequest(token, needed.request_token))
        assert (await there(fn.upload.GetCdnFileRequest(token, 0, BLOCK))).bytes
        cdn.generation += 1
        for refused in (there(fn.upload.GetCdnFileRequest(token, 0, BLOCK)), client(hashes)):
            with pytest.raises(errors.RPCError, match="FILE_TOKEN_INVALID"):
                await refused
