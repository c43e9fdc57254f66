"""Clients for the tests: unmodified Telethon, and a raw one for messages that Telethon never sends."""

import asyncio
import logging
import struct
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from io import BytesIO
from typing import Any

from telethon import TelegramClient, events
from telethon.crypto import rsa
from telethon.network.mtprotostate import MTProtoState
from telethon.sessions import MemorySession, StringSession
from telethon.tl import functions as fn
from telethon.tl import types as tl
from telethon.tl.core import MessageContainer

from saveany.sandbox import Sandbox, samples
from tests.fixtures.tcp import connection


@asynccontextmanager
async def telethon(
    sandbox: Sandbox, session: str | MemorySession = "", dc: int | None = None, **options: Any
) -> AsyncIterator[Any]:
    """A connected client, at one of the data centers; with a session it is logged in. The session object of
    an earlier client also knows the position of its updates."""
    rsa.add_key(sandbox.public_key, old=False)
    TelegramClient._config = None  # Telethon keeps the data centers' addresses for the whole process
    memory = StringSession(session) if isinstance(session, str) and session else session or MemorySession()
    if not session:
        id_ = dc or sandbox.dc_id
        memory.set_dc(id_, *sandbox.addresses[id_])
    defaults = {"receive_updates": False, "flood_sleep_threshold": 0}
    client = TelegramClient(memory, 1, "hash", **{**defaults, **options})
    try:
        await client.connect()
        yield client
    finally:  # always: a client that is left alone tries to reconnect, and will not be canceled
        await client.disconnect()


@asynccontextmanager
async def bot(sandbox: Sandbox, **options: Any) -> AsyncIterator[Any]:
    """A client that has just logged in as the bot."""
    async with telethon(sandbox, **options) as client:
        await client.sign_in(bot_token=sandbox.bot_token)
        yield client


def user(sandbox: Sandbox, **options: Any) -> AbstractAsyncContextManager[Any]:
    """A client with the user's session."""
    return telethon(sandbox, sandbox.user_session, **options)


def named(data: bytes, name: str) -> BytesIO:
    """A file to send."""
    file = BytesIO(data)
    file.name = name
    return file


def location(message: Any, **changes: Any) -> Any:
    """The location of a message's document, as getFile expects it."""
    document = message.media.document
    fields = {"id": document.id, "access_hash": document.access_hash, "thumb_size": ""}
    return tl.InputDocumentFileLocation(**{**fields, "file_reference": document.file_reference, **changes})


async def part(client: Any, message: Any, offset: int = 0, limit: int = 4096) -> bytes:
    """One part of a message's document."""
    result = await client(fn.upload.GetFileRequest(location(message), offset, limit))
    return bytes(result.bytes)


class Person:
    """A user with a client; `received` are new and edited messages, in order. Telethon reports no messages
    sent by the same client, so `received` has only those of others."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.received: list[Any] = []
        self._new = asyncio.Condition()
        for kind in (events.NewMessage, events.MessageEdited):
            client.add_event_handler(self._hear, kind())

    async def send(self, to: Any, what: str | BytesIO, **options: Any) -> Any:
        """A text, or a file; returns the message."""
        if isinstance(what, str):
            return await self.client.send_message(to, what, **options)
        return await self.client.send_file(to, what, force_document=True, **options)

    async def forward(self, to: Any, messages: Any) -> Any:
        """Forward messages of one chat, also an album; returns the new messages."""
        return await self.client.forward_messages(to, messages)

    async def press(self, message: Any, label: str) -> Any:
        """Press the button whose text contains `label`; returns the bot's reply."""
        found = [
            button for row in await message.get_buttons() or () for button in row if label in button.text
        ]
        assert found, f"no button {label!r} under {message.text!r}"
        request = fn.messages.GetBotCallbackAnswerRequest(
            await message.get_input_chat(), message.id, data=found[0].data
        )
        return await self.client(request)

    async def receives(self, fits: Callable[[Any], bool], seconds: float = 60) -> Any:
        """Wait for a message that meets the condition; returns the newest, or its newest edit."""
        async with asyncio.timeout(seconds), self._new:
            while not (found := [message for message in self.received if fits(message)]):
                await self._new.wait()
        return found[-1]

    async def _hear(self, event: Any) -> None:
        async with self._new:
            self.received.append(event.message)
            self._new.notify_all()


@asynccontextmanager
async def person(sandbox: Sandbox, account: int = samples.PERSON.id, **options: Any) -> AsyncIterator[Person]:
    """A connected user who receives updates."""
    options = {"receive_updates": True, "sequential_updates": True, **options}
    async with telethon(sandbox, sandbox.session(account), **options) as client:
        yield Person(client)


class Raw:
    """A connection over Intermediate, encrypted by Telethon's own code, that can send anything; with the key
    of the home data center, also to another one."""

    def __init__(self, sandbox: Sandbox, dc: int = 0) -> None:
        key = StringSession(sandbox.user_session).auth_key
        self.state = MTProtoState(key, defaultdict(lambda: logging.getLogger("raw")))
        self.state.salt = sandbox.centers[sandbox.dc_id].salt
        self.sequence = 0  # of the message that was received last
        self._opened: deque[Any] = deque()
        self._connection = connection(*sandbox.addresses[dc or sandbox.dc_id])

    async def __aenter__(self) -> "Raw":
        self.reader, self.writer = await self._connection.__aenter__()
        self.writer.write(b"\xee" * 4)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._connection.__aexit__(*error)

    def write(self, packet: bytes) -> None:
        self.writer.write(struct.pack("<I", len(packet)) + packet)

    def send(self, *bodies: bytes) -> list[int]:
        """Seal one message, or several in a container; returns their ids."""
        buffer = BytesIO()
        ids = [self.state.write_data_as_message(buffer, body, content_related=True) for body in bodies]
        if len(bodies) > 1:
            packed, buffer = struct.pack("<Ii", 0x73F1F8DC, len(bodies)) + buffer.getvalue(), BytesIO()
            self.state.write_data_as_message(buffer, packed, content_related=False)
        self.write(self.state.encrypt_message_data(buffer.getvalue()))
        return ids

    async def packet(self) -> bytes:
        """The next packet, still encrypted."""
        length = struct.unpack("<I", await self.reader.readexactly(4))[0]
        return await self.reader.readexactly(length)

    async def receive(self) -> Any:
        """The next message, decrypted; messages of a container are returned one by one."""
        while not self._opened:
            message = self.state.decrypt_message_data(await self.packet())
            inside = isinstance(message.obj, MessageContainer)
            self._opened.extend(message.obj.messages if inside else [message])
        self.sequence = self._opened[0].seq_no
        return self._opened.popleft().obj
