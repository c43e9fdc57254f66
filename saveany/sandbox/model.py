"""The objects of the sandbox: accounts, chats, messages, files, and the events of messages.

Telegram numbers events per box: each channel is one, and all private messages of an account are another
(https://core.telegram.org/api/updates). `pts` is the number of the last event; a deletion of three messages
counts as three.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal, NamedTuple

from saveany.sandbox.content import FileContent
from saveany.sandbox.errors import RpcFailure

EPOCH = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)  # default date of messages and files


@dataclass(eq=False, kw_only=True)
class SandboxAccount:
    """A bot (it has a token) or a user (a phone number)."""

    id: int
    name: str
    username: str = ""
    token: str = ""
    phone: str = ""
    premium: bool = False
    password: str = ""  # of two-step verification; "" if it is not enabled
    code_by: str = "app"  # how login codes are sent: a key of `handlers.auth.CODES`
    language: str = "en"  # language of the person's client
    reads_groups: bool = False  # a bot without privacy mode, which sees all messages in groups
    photos: "list[StoredFile]" = field(default_factory=list)  # profile photos, the current one last
    blocked: set[int] = field(default_factory=set)  # ids of accounts that cannot write to this one
    commands: dict[tuple[bytes, str], tuple[Any, ...]] = field(default_factory=dict)  # by scope, language
    qts: int = 1  # number of the last event in `stops`
    #: The user who blocked or unblocked the bot, and the TL update.
    stops: list[tuple["SandboxAccount", Any]] = field(default_factory=list)

    @property
    def bot(self) -> bool:
        """Whether it is a bot."""
        return bool(self.token)


@dataclass(frozen=True)
class Picture:
    """One size of a photo; `type` is Telegram's letter for it (in ascending order s, m, x, y, w)."""

    type: str
    width: int
    height: int
    content: FileContent
    declared: int | None = None  # the size in bytes that Telegram states, if it is wrong


@dataclass(eq=False, kw_only=True)
class StoredFile:
    """A document, or a photo if it has pictures; `content` is the largest of them then."""

    id: int
    content: FileContent
    name: str | None = None
    mime: str = "application/octet-stream"
    attributes: tuple[Any, ...] = ()  # TL document attributes besides the file name
    pictures: tuple[Picture, ...] = ()
    cover: "StoredFile | None" = None  # the picture that was chosen for a video
    live: "StoredFile | None" = None  # the video of a live photo
    thumbs: tuple[Picture, ...] = ()  # small pictures of a document
    dc: int = 2
    date: datetime = EPOCH
    generation: int = 1  # file references of earlier generations have expired

    def part(self, kind: str) -> FileContent:
        """The content for a `thumb_size`; "" stands for the file itself."""
        for picture in (*self.pictures, *self.thumbs):
            if picture.type == kind:
                return picture.content
        if kind or self.pictures:
            raise RpcFailure(400, "LOCATION_INVALID")
        return self.content


Wrapper = Literal[
    "paid",
    "invoice",
    "product",
    "preview",
    "instant view",
    "long instant view",
    "game",
    "story",
    "poll",
    "rich text",
    "long rich text",
    "chat photo",
    "suggested photo",
    "wallpaper",
]


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """Files of a message that are not its media, but part of something else."""

    how: Wrapper
    files: tuple[StoredFile, ...]
    buyers: frozenset[int] | None = None  # accounts that have paid for them; None: they are free
    story: tuple[int, int] | None = None  # the account or channel that posted it, and its id


class Origin(NamedTuple):
    """The source of a forwarded message."""

    date: datetime
    account: int | None = None
    channel: int | None = None
    post: int | None = None


class CallNotice(NamedTuple):
    """What a service message says about a group call: that it has started, or how long it was."""

    id: int
    seconds: int | None


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """A message in a chat. `thread` is the topic if `topic` is set, else the post that this is a comment on.

    Outside of channels each side has a copy with a separate id; all copies have the same `copy_group`.
    """

    id: int
    text: str = ""
    file: StoredFile | None = None
    wrapped: Wrapping | None = None
    date: datetime = EPOCH
    edited: datetime | None = None
    album: int | None = None
    sender: int | None = None  # an account; None: the chat itself
    reply_to: int | None = None
    thread: int | None = None
    topic: bool = False
    opens_topic: str = ""  # for a service message that starts a topic: its title
    service: bool = False
    call: CallNotice | None = None  # for a service message about a group call
    protected: bool = False
    expired: bool = False  # its file destroyed itself
    forwarded: tuple[int, int] | None = None  # (channel, post) that was forwarded here automatically
    origin: Origin | None = None
    entities: tuple[Any, ...] = ()  # TL message entities
    markup: Any = None  # TL reply markup: buttons
    copy_group: int = 0

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All files in the message."""
        own = (self.file,) if self.file else ()
        return own + (self.wrapped.files if self.wrapped else ())

    @property
    def threads(self) -> set[int]:
        """Ids of the messages whose threads contain this one."""
        return {thread for thread in (self.thread, self.reply_to) if thread}


class MessageEventKind(Enum):
    """What happened to messages."""

    NEW = "new"
    EDITED = "edited"
    DELETED = "deleted"


@dataclass(frozen=True, eq=False)
class MessageEvent:
    """An event of messages of a chat; `pts` is the state of the box after it."""

    kind: MessageEventKind
    chat: "Chat"
    ids: tuple[int, ...]
    pts: int
    date: datetime

    @property
    def count(self) -> int:
        """The number of events that it counts as."""
        return len(self.ids)


@dataclass(eq=False)
class MessageBox:
    """Numbers the ids and events of a group of messages."""

    pts: int = 1
    last_id: int = 0
    events: list[MessageEvent] = field(default_factory=list)

    def log(self, kind: MessageEventKind, chat: "Chat", *ids: int) -> MessageEvent:
        """Record an event that happened now."""
        self.pts += len(ids)
        self.last_id = max(self.last_id, *ids)
        event = MessageEvent(kind, chat, ids, self.pts, datetime.now(UTC))
        self.events.append(event)
        return event

    def since(self, pts: int) -> list[MessageEvent]:
        """The events after a state."""
        return [event for event in self.events if event.pts > pts]


@dataclass(eq=False, kw_only=True)
class Chat:
    """A channel (`broadcast`) or a supergroup, possibly a forum; public if it has a username.

    With an `owner` it is that account's side of a private chat, or of a small group; `id` is the other
    account or the group.
    """

    id: int
    title: str
    username: str = ""
    broadcast: bool = True
    forum: bool = False
    protected: bool = False
    photo: StoredFile | None = None  # the profile photo
    date: datetime = EPOCH
    members: set[int] = field(default_factory=set)
    admins: set[int] | None = None  # None: all members of a channel, no member of a group
    restricted: set[int] = field(default_factory=set)  # members who may not write
    invite: str = ""  # link that joins it; "" until one is made
    linked: int | None = None  # the discussion group of a channel, the channel of a discussion group
    withheld: set[int] = field(default_factory=set)  # messages that pages of the history count but lack
    migrated_from: int | None = None  # the small group that became this supergroup
    owner: int | None = None
    group: bool = False  # whether it is a small group
    messages: MutableMapping[int, StoredMessage] = field(default_factory=dict)
    box: MessageBox = field(default_factory=MessageBox)
    _sorted: tuple[tuple[int, int], list[int]] | None = None

    @property
    def private(self) -> bool:
        """Whether it is a private chat, a small group or Saved Messages, not a channel or supergroup."""
        return self.owner is not None

    def is_administered_by(self, account: int) -> bool:
        """Whether an account may post in the channel and delete messages of others."""
        admins = (self.members if self.broadcast else set()) if self.admins is None else self.admins
        return account in admins & self.members

    def sorted_ids(self) -> list[int]:
        """The ids of all messages, ascending. They are sorted only after one was added or deleted."""
        state = (len(self.messages), self.box.pts)
        if self._sorted is None or self._sorted[0] != state:
            self._sorted = state, sorted(self.messages)
        return self._sorted[1]

    @property
    def newest(self) -> StoredMessage:
        """The message with the highest id."""
        return self.messages[self.sorted_ids()[-1]]

    def newest_first(self) -> list[StoredMessage]:
        """All messages, highest id first."""
        return [self.messages[id_] for id_ in sorted(self.messages, reverse=True)]

    def comments(self, post: int) -> StoredMessage | None:
        """The automatic forward of a channel's post in this discussion group; comments belong to its
        thread."""
        return next((m for m in self.messages.values() if m.forwarded == (self.linked, post)), None)


@dataclass(kw_only=True)
class Group:
    """A small group. It is not a channel: each member has separate copies of the messages, with other ids."""

    id: int
    title: str
    members: set[int]
    migrated_to: int | None = None  # the supergroup that it became
