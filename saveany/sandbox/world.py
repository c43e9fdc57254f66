"""What there is in this little Telegram: accounts, chats, messages and files, the same in every data centre.

Nothing here depends on who looks; `view` turns it into what one account is shown.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from saveany.sandbox.content import Content
from saveany.sandbox.errors import RpcFailure

EPOCH = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)  # when a message is from that names no date


@dataclass(eq=False, kw_only=True)
class Account:
    """A bot (it has a token) or a user (a phone number)."""

    id: int
    name: str
    username: str = ""
    token: str = ""
    phone: str = ""

    @property
    def bot(self) -> bool:
        """Whether it is a bot."""
        return bool(self.token)


@dataclass(frozen=True)
class Picture:
    """One size of a photo; `type` is Telegram's letter for it (s, m, x, y, w: growing)."""

    type: str
    width: int
    height: int
    content: Content


@dataclass(eq=False, kw_only=True)
class File:
    """A document, or a photo if it has pictures (then `content` is the largest of them)."""

    id: int
    content: Content
    name: str | None = None
    mime: str = "application/octet-stream"
    attributes: tuple[Any, ...] = ()  # TL document attributes besides the file name
    pictures: tuple[Picture, ...] = ()
    dc: int = 2
    date: datetime = EPOCH
    generation: int = 1  # file references given out for an earlier generation have expired

    def part(self, kind: str) -> Content:
        """What is served for a `thumb_size`: "" is the file itself."""
        for picture in self.pictures:
            if picture.type == kind:
                return picture.content
        if kind or self.pictures:
            raise RpcFailure(400, "LOCATION_INVALID")
        return self.content


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message in a chat. `thread` is the topic, or the post that this comments; `topic` tells which."""

    id: int
    text: str = ""
    file: File | None = None
    date: datetime = EPOCH
    edited: datetime | None = None
    album: int | None = None
    sender: int | None = None  # an account; None: the chat itself
    reply_to: int | None = None
    thread: int | None = None
    topic: bool = False
    opens_topic: str = ""  # a service message: the title of the topic that starts here
    service: bool = False
    protected: bool = False
    forwarded: tuple[int, int] | None = None  # (channel, post) that was forwarded here automatically

    @property
    def threads(self) -> set[int]:
        """Ids of the messages under which this one is listed."""
        return {thread for thread in (self.thread, self.reply_to) if thread}


@dataclass(eq=False, kw_only=True)
class Chat:
    """A channel (`broadcast`) or a supergroup, possibly a forum; public if it has a username."""

    id: int
    title: str
    username: str = ""
    broadcast: bool = True
    forum: bool = False
    protected: bool = False
    date: datetime = EPOCH
    members: set[int] = field(default_factory=set)
    linked: int | None = None  # the discussion group of a channel, the channel of a discussion group
    messages: dict[int, Message] = field(default_factory=dict)

    def newest_first(self) -> list[Message]:
        """All messages, highest id first."""
        return [self.messages[id_] for id_ in sorted(self.messages, reverse=True)]

    def comments(self, post: int) -> Message | None:
        """The automatic forward of a channel's post in this discussion group, under which comments go."""
        return next((m for m in self.messages.values() if m.forwarded == (self.linked, post)), None)


class World:
    """All of it, with the rules of who holds which access hash and which file reference."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.chats: dict[int, Chat] = {}
        self.files: dict[int, File] = {}

    # -- making it

    def add_account(self, account: Account) -> Account:
        """Add a bot or a user."""
        self.accounts[account.id] = account
        return account

    def add_chat(self, chat: Chat) -> Chat:
        """Add a channel or group; its first message says that it was created."""
        self.chats[chat.id] = chat
        chat.messages.setdefault(1, Message(id=1, date=chat.date, service=True))
        return chat

    def add_file(self, file: File) -> File:
        """Add a document or a photo."""
        self.files[file.id] = file
        return file

    def post(self, chat: Chat, message: Message) -> Message:
        """Put a message into a chat, in the place of one with the same id."""
        chat.messages[message.id] = message
        return message

    # -- changing it

    def delete(self, chat: Chat, message_id: int) -> None:
        """Delete a message: from now on there is an empty one in its place."""
        chat.messages.pop(message_id, None)

    def edit(self, chat: Chat, message_id: int, **changes: Any) -> Message:
        """Change fields of a message, as its author would."""
        now = datetime.now(UTC)
        return self.post(chat, replace(chat.messages[message_id], **{"edited": now, **changes}))

    def expire(self, file: File) -> None:
        """Let every file reference given out so far expire."""
        file.generation += 1

    def holders(self, file_id: int) -> Iterator[tuple[Chat, Message]]:
        """Every message that carries a file."""
        for chat in self.chats.values():
            for message in list(chat.messages.values()):
                if message.file is not None and message.file.id == file_id:
                    yield chat, message

    # -- looking at it

    def by_username(self, username: str) -> Chat | Account | None:
        """The chat or account of a public name, which is not case-sensitive."""
        wanted = username.lower()
        named: Iterator[Chat | Account] = chain(self.chats.values(), self.accounts.values())
        return next((one for one in named if one.username.lower() == wanted), None)

    def chat(self, account: Account, chat_id: int, access_hash: int) -> Chat:
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

    def file(self, account: Account, file_id: int, access_hash: int, reference: bytes) -> File:
        """The file an account names by id, access hash and reference, if all three are right."""
        file = self.files.get(file_id)
        if file is None or access_hash != self.access_hash(account, file_id):
            raise RpcFailure(400, "LOCATION_INVALID")
        if not reference:
            raise RpcFailure(400, "FILE_REFERENCE_EMPTY")
        if reference != self.file_reference(account, file):
            raise RpcFailure(400, f"FILE_REFERENCE_{self._reference_fault(account, file, reference)}")
        return file

    def access_hash(self, account: Account, id_: int) -> int:
        """The 64-bit number by which this account, and no other, may name a chat, user or file."""
        digest = hashlib.sha256(b"access hash %d %d" % (account.id, id_)).digest()
        return int.from_bytes(digest[:8], "little", signed=True)

    def file_reference(self, account: Account, file: File, generation: int | None = None) -> bytes:
        """What this account must show to read the file; it changes when references expire."""
        number = file.generation if generation is None else generation
        label = struct.pack("<I", number)
        return label + hmac.digest(b"%d" % account.id, b"%d %s" % (file.id, label), "sha256")[:12]

    def _reference_fault(self, account: Account, file: File, reference: bytes) -> str:
        number = int.from_bytes(reference[:4], "little")
        genuine = number < file.generation and reference == self.file_reference(account, file, number)
        return "EXPIRED" if genuine else "INVALID"
