"""All there is, the same in every data centre, and how it changes.

Nothing here depends on who looks; `view` turns it into what one account is shown.
"""

import hashlib
import hmac
import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from saveany.sandbox.content import ContentStore, Parts
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.message_boxes import MessageEvent, MessageEventKind
from saveany.sandbox.model import (
    EPOCH,
    Chat,
    Group,
    Origin,
    Picture,
    SandboxAccount,
    StoredFile,
    StoredMessage,
    Wrapping,
)
from saveany.sandbox.privacy import meant_for
from saveany.sandbox.private_chats import PrivateChats

__all__ = [
    "EPOCH",
    "Chat",
    "Group",
    "Origin",
    "Picture",
    "SandboxAccount",
    "StoredFile",
    "StoredMessage",
    "World",
    "Wrapping",
]


_RUN = 1_000_000  # more than happens before a restart


class World:
    """All of it, with the rules of who holds which access hash and which file reference."""

    def __init__(self) -> None:
        self.accounts: dict[int, SandboxAccount] = {}
        self.chats: dict[int, Chat] = {}
        self.files: dict[int, StoredFile] = {}
        self.stories: dict[tuple[int, int], StoredFile] = {}  # by who has posted it and its number
        self.store = ContentStore()
        self.uploads: dict[tuple[int, int], Parts] = {}  # by account and the number it gave the file
        self.sent: dict[tuple[int, int], tuple[int, int]] = {}  # chat and message, by account and random id
        self.presses: dict[int, Any] = {}  # buttons that wait for a bot's answer, by query id
        self.patience = 10.0  # seconds for which they do
        self.tokens: dict[bytes, Any] = {}  # QR codes that are shown
        self.token_lifetime = 30.0  # seconds
        self.watchers: list[Callable[[MessageEvent], None]] = []  # called with everything that happens
        self.private_chats = PrivateChats(self.accounts)
        self._ids = itertools.count(50_000_000)

    def go_on(self, runs: int) -> None:
        """After a restart, number what happens from where no client has been yet."""
        for chat in self.chats.values():
            chat.box.pts += runs * _RUN
        self.private_chats.start = runs * _RUN

    # -- making it

    def add_account(self, account: SandboxAccount) -> SandboxAccount:
        """Add a bot or a user."""
        self.accounts[account.id] = account
        return account

    def add_chat(self, chat: Chat) -> Chat:
        """Add a channel or group; its first message says that it was created."""
        self.chats[chat.id] = chat
        self.post(chat, StoredMessage(id=1, date=chat.date, service=True))
        return chat

    def add_file(self, file: StoredFile) -> StoredFile:
        """Add a document or a photo."""
        self.files[file.id] = file
        return file

    def post(self, chat: Chat, message: StoredMessage) -> StoredMessage:
        """Put a message into a chat, in the place of one with the same id; who is there is told."""
        kind = MessageEventKind.EDITED if message.id in chat.messages else MessageEventKind.NEW
        chat.messages[message.id] = message
        self._happened(chat, kind, message.id)
        return message

    def send(self, chat: Chat, message: StoredMessage) -> StoredMessage:
        """Put a message at the end of a chat, whatever id it has; in a talk all sides get it."""
        if not chat.private:
            return self.post(chat, replace(message, id=chat.box.last_id + 1))
        letter = replace(message, letter=self.new_id())
        for side in self.private_chats.others(chat):
            if meant_for(self.accounts[side.owner or 0], chat, letter):
                self._deliver(side, replace(letter, reply_to=self.private_chats.answered(chat, side, letter)))
        return self._deliver(chat, letter)

    def _deliver(self, side: Chat, letter: StoredMessage) -> StoredMessage:
        message = replace(letter, id=side.box.last_id + 1)
        self.private_chats.file(side, message)
        return self.post(side, message)

    def new_id(self) -> int:
        """A number that nothing else has."""
        return next(self._ids)

    def saved(self, account: SandboxAccount) -> Chat:
        """The Saved Messages of an account."""
        return self.private_chats.of(account, account)

    # -- changing it

    def delete(self, chat: Chat, *message_ids: int) -> None:
        """Delete messages: from now on there are empty ones in their place."""
        gone = [id_ for id_ in message_ids if chat.messages.pop(id_, None)]
        if gone:
            self._happened(chat, MessageEventKind.DELETED, *gone)

    def edit(self, chat: Chat, message_id: int, **changes: Any) -> StoredMessage:
        """Change fields of a message, as its author would; in a talk all copies change."""
        now = datetime.now(UTC)
        for side, copy in self.private_chats.copies(chat, message_id):
            self.post(side, replace(copy, **{"edited": now, **changes}))
        return self.post(chat, replace(chat.messages[message_id], **{"edited": now, **changes}))

    def _happened(self, chat: Chat, kind: MessageEventKind, *message_ids: int) -> None:
        event = chat.box.log(kind, chat, *message_ids)
        for watcher in self.watchers:
            watcher(event)

    def expire(self, file: StoredFile) -> None:
        """Let every file reference given out so far expire."""
        file.generation += 1

    def holders(self, file_id: int) -> Iterator[tuple[Chat, StoredMessage]]:
        """Every message that carries a file."""
        for chat in (*self.chats.values(), *self.private_chats):
            for message in list(chat.messages.values()):
                if any(file.id == file_id for file in message.files):
                    yield chat, message

    # -- looking at it

    def by_username(self, username: str) -> Chat | SandboxAccount | None:
        """The chat or account of a public name, which is not case-sensitive."""
        wanted = username.lower()
        named: Iterator[Chat | SandboxAccount] = chain(self.chats.values(), self.accounts.values())
        return next((one for one in named if one.username.lower() == wanted), None)

    def chat(self, account: SandboxAccount, chat_id: int, access_hash: int) -> Chat:
        """The chat an account names by id and access hash, if it may see it.

        A bot may say 0 for the hash of a chat that it is a member of.
        """
        chat = self.chats.get(chat_id)
        if chat is None:
            raise RpcFailure(400, "CHANNEL_INVALID")
        member = account.id in chat.members
        known = access_hash == self.access_hash(account, chat_id)
        if not known and not (account.bot and access_hash == 0 and member):
            raise RpcFailure(400, "CHANNEL_INVALID")
        if not member and not chat.username:
            raise RpcFailure(400, "CHANNEL_PRIVATE")
        return chat

    def file(self, account: SandboxAccount, file_id: int, access_hash: int, reference: bytes) -> StoredFile:
        """The file an account names by id, access hash and reference, if all three are right."""
        file = self.files.get(file_id)
        if file is None or access_hash != self.access_hash(account, file_id):
            raise RpcFailure(400, "LOCATION_INVALID")
        if not reference:
            raise RpcFailure(400, "FILE_REFERENCE_EMPTY")
        if reference != self.file_reference(account, file):
            raise RpcFailure(400, f"FILE_REFERENCE_{self._reference_fault(account, file, reference)}")
        return file

    def access_hash(self, account: SandboxAccount, id_: int) -> int:
        """The 64-bit number by which this account, and no other, may name a chat, user or file."""
        digest = hashlib.sha256(b"access hash %d %d" % (account.id, id_)).digest()
        return int.from_bytes(digest[:8], "little", signed=True)

    def file_reference(
        self, account: SandboxAccount, file: StoredFile, generation: int | None = None
    ) -> bytes:
        """What this account must show to read the file; it changes when references expire."""
        number = file.generation if generation is None else generation
        label = struct.pack("<I", number)
        return label + hmac.digest(b"%d" % account.id, b"%d %s" % (file.id, label), "sha256")[:12]

    def _reference_fault(self, account: SandboxAccount, file: StoredFile, reference: bytes) -> str:
        number = int.from_bytes(reference[:4], "little")
        genuine = number < file.generation and reference == self.file_reference(account, file, number)
        return "EXPIRED" if genuine else "INVALID"
