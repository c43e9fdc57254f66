"""The state of the sandbox, shared by all its data centers, and the operations that change it.

Nothing here depends on the viewer; `view` converts it into what one account sees.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from saveany.sandbox import access
from saveany.sandbox.content import ContentStore, UploadedParts
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.group_calls import GroupCalls
from saveany.sandbox.long_chats import LongMessages
from saveany.sandbox.model import (
    EPOCH,
    Chat,
    Group,
    MessageEvent,
    MessageEventKind,
    Origin,
    Picture,
    SandboxAccount,
    StoredFile,
    StoredMessage,
    Wrapping,
)
from saveany.sandbox.privacy import is_visible
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


_EVENTS_PER_RUN = 1_000_000  # more than happen before a restart


class World:
    """All accounts, chats and files, and the rules for access hashes and file references."""

    def __init__(self) -> None:
        self.accounts: dict[int, SandboxAccount] = {}
        self.chats: dict[int, Chat] = {}
        self.files: dict[int, StoredFile] = {}
        self.stories: dict[tuple[int, int], StoredFile] = {}  # by owner (account or channel) and id
        self.pinned: set[tuple[int, int]] = set()  # those of them that stay when they have expired
        self.store = ContentStore()
        self.uploads: dict[tuple[int, int], UploadedParts] = {}  # by account and the client's file id
        self.sent: dict[tuple[int, int], tuple[int, int]] = {}  # account, random id -> chat, message
        self.callback_queries: dict[int, Any] = {}  # callback queries without a reply, by id
        self.callback_timeout = 10.0  # seconds that a bot has to reply to a callback query
        self.takeouts: dict[int, int] = {}  # account -> id of its open takeout
        self.takeout_delay = 0  # seconds until a takeout is permitted
        self.in_takeouts: Counter[str] = Counter()  # requests in takeouts, by the name of their class
        self.tokens: dict[bytes, Any] = {}  # active QR codes
        self.token_lifetime = 30.0  # seconds
        self.observers: list[Callable[[MessageEvent], None]] = []  # called with every event
        self.private_chats = PrivateChats(self.accounts)
        self.calls = GroupCalls(self)
        self._ids = itertools.count(50_000_000)

    def continue_numbering(self, runs: int) -> None:
        """After a restart, continue with numbers that no client has seen in the previous runs."""
        for chat in self.chats.values():
            chat.box.pts += runs * _EVENTS_PER_RUN
        self.private_chats.start = runs * _EVENTS_PER_RUN

    # Creating.

    def add_account(self, account: SandboxAccount) -> SandboxAccount:
        """Add a bot or a user."""
        self.accounts[account.id] = account
        return account

    def add_chat(self, chat: Chat) -> Chat:
        """Add a channel or group. Its first message is the service message about its creation."""
        self.chats[chat.id] = chat
        self.post(chat, StoredMessage(id=1, date=chat.date, service=True))
        return chat

    def fill(self, chat: Chat, count: int, make: Callable[[int], StoredMessage]) -> None:
        """Give a new chat the messages 1 to `count`, made when they are read. Nobody is notified of them."""
        chat.messages = LongMessages(count, make)
        chat.box.last_id = count
        chat.box.pts += count

    def add_file(self, file: StoredFile) -> StoredFile:
        """Add a document or a photo."""
        self.files[file.id] = file
        return file

    def post(self, chat: Chat, message: StoredMessage) -> StoredMessage:
        """Add a message to a chat, or replace the one with the same id, and notify observers."""
        kind = MessageEventKind.EDITED if message.id in chat.messages else MessageEventKind.NEW
        chat.messages[message.id] = message
        self._record_event(chat, kind, message.id)
        return message

    def send(self, chat: Chat, message: StoredMessage) -> StoredMessage:
        """Add a message at the end of a chat with the next id. Outside of channels, all sides get a copy."""
        if not chat.private:
            return self.post(chat, replace(message, id=chat.box.last_id + 1))
        original = replace(message, copy_group=self.new_id())
        for side in self.private_chats.other_sides(chat):
            if is_visible(self.accounts[side.owner or 0], chat, original):
                reply_to = self.private_chats.reply_target(chat, side, original)
                self._deliver(side, replace(original, reply_to=reply_to))
        return self._deliver(chat, original)

    def _deliver(self, side: Chat, original: StoredMessage) -> StoredMessage:
        message = replace(original, id=side.box.last_id + 1)
        self.private_chats.add_copy(side, message)
        return self.post(side, message)

    def new_id(self) -> int:
        """A unique number."""
        return next(self._ids)

    def saved(self, account: SandboxAccount) -> Chat:
        """The Saved Messages of an account."""
        return self.private_chats.side(account, account)

    def migrate(self, group: Group, chat: Chat) -> Chat:
        """Turn a small group into the supergroup `chat`, which is added. Its history stays where it is."""
        chat.migrated_from, group.migrated_to = group.id, chat.id
        return self.add_chat(chat)

    # Changing.

    def delete(self, chat: Chat, *message_ids: int) -> None:
        """Delete messages; clients get empty messages in their place."""
        gone = [id_ for id_ in message_ids if chat.messages.pop(id_, None)]
        if gone:
            self._record_event(chat, MessageEventKind.DELETED, *gone)

    def edit(self, chat: Chat, message_id: int, **changes: Any) -> StoredMessage:
        """Change fields of a message, as its author would. Outside of channels, all copies change."""
        now = datetime.now(UTC)
        for side, copy in self.private_chats.copies(chat, message_id):
            self.post(side, replace(copy, **{"edited": now, **changes}))
        return self.post(chat, replace(chat.messages[message_id], **{"edited": now, **changes}))

    def _record_event(self, chat: Chat, kind: MessageEventKind, *message_ids: int) -> None:
        event = chat.box.log(kind, chat, *message_ids)
        for observer in self.observers:
            observer(event)

    def expire(self, file: StoredFile) -> None:
        """Expire all file references of a file issued so far."""
        file.generation += 1

    def messages_with(self, file_id: int) -> Iterator[tuple[Chat, StoredMessage]]:
        """Every message that contains a file."""
        for chat in (*self.chats.values(), *self.private_chats):
            for message in list(chat.messages.values()):
                if any(file.id == file_id for file in message.files):
                    yield chat, message

    # Reading.

    def by_username(self, username: str) -> Chat | SandboxAccount | None:
        """The chat or account with a username, in any case."""
        wanted = username.lower()
        named: Iterator[Chat | SandboxAccount] = chain(self.chats.values(), self.accounts.values())
        return next((one for one in named if one.username.lower() == wanted), None)

    def chat(self, account: SandboxAccount, chat_id: int, access_hash: int) -> Chat:
        """The chat with that id, if the access hash is right and the account may see it.

        A bot may use access hash 0 for a chat that it is a member of.
        """
        chat = self.chats.get(chat_id)
        if chat is None:
            raise RpcFailure(400, "CHANNEL_INVALID")
        member = account.id in chat.members
        known = access_hash == access.access_hash(account, chat_id)
        if not known and not (account.bot and access_hash == 0 and member):
            raise RpcFailure(400, "CHANNEL_INVALID")
        if not member and not chat.username:
            raise RpcFailure(400, "CHANNEL_PRIVATE")
        return chat

    def file(self, account: SandboxAccount, file_id: int, access_hash: int, reference: bytes) -> StoredFile:
        """The file with that id, if access hash and file reference are right."""
        file = self.files.get(file_id)
        if file is None or access_hash != access.access_hash(account, file_id):
            raise RpcFailure(400, "LOCATION_INVALID")
        if not reference:
            raise RpcFailure(400, "FILE_REFERENCE_EMPTY")
        if reference != access.file_reference(account, file):
            raise RpcFailure(400, f"FILE_REFERENCE_{access.reference_fault(account, file, reference)}")
        return file
