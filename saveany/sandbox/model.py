"""What there is in this little Telegram: accounts, chats, messages and files."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from saveany.sandbox.content import Content
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.message_boxes import MessageBox

EPOCH = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)  # when a message is from that names no date


@dataclass(eq=False, kw_only=True)
class SandboxAccount:
    """A bot (it has a token) or a user (a phone number)."""

    id: int
    name: str
    username: str = ""
    token: str = ""
    phone: str = ""
    premium: bool = False
    password: str = ""  # of two-step verification; "": there is none
    code_by: str = "app"  # how login codes are sent: a key of `handlers.auth.CODES`
    language: str = "en"  # of a person's client
    reads_groups: bool = False  # a bot without privacy mode: it is shown everything that is said in groups
    blocked: set[int] = field(default_factory=set)  # accounts that cannot write to this one
    commands: dict[tuple[bytes, str], tuple[Any, ...]] = field(default_factory=dict)  # by scope, language
    qts: int = 1  # of what only bots are told: `stops`
    stops: list[tuple["SandboxAccount", Any]] = field(
        default_factory=list
    )  # who blocked the bot, the TL update

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
    declared: int | None = None  # bytes that Telegram says it has, if those are not its bytes


@dataclass(eq=False, kw_only=True)
class StoredFile:
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


Wrapper = Literal[
    "paid",
    "invoice",
    "product",
    "preview",
    "game",
    "story",
    "poll",
    "rich text",
    "chat photo",
    "suggested photo",
    "wallpaper",
]


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """Files that a message carries in another way than as its own media."""

    how: Wrapper
    files: tuple[StoredFile, ...]
    buyers: frozenset[int] | None = None  # accounts that have paid for them; None: nobody has to
    story: tuple[int, int] | None = None  # who has posted it (an account or a channel), and its number


class Origin(NamedTuple):
    """From where a message was forwarded."""

    date: datetime
    account: int | None = None
    channel: int | None = None
    post: int | None = None


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """A message in a chat. `thread` is the topic, or the post that this comments; `topic` tells which.

    Outside of channels each side has a copy with an id of its own; `letter` is the same in all of them.
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
    opens_topic: str = ""  # a service message: the title of the topic that starts here
    service: bool = False
    protected: bool = False
    forwarded: tuple[int, int] | None = None  # (channel, post) that was forwarded here automatically
    origin: Origin | None = None
    entities: tuple[Any, ...] = ()  # TL message entities
    markup: Any = None  # TL reply markup: buttons
    letter: int = 0

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All files that it carries."""
        own = (self.file,) if self.file else ()
        return own + (self.wrapped.files if self.wrapped else ())

    @property
    def threads(self) -> set[int]:
        """Ids of the messages under which this one is listed."""
        return {thread for thread in (self.thread, self.reply_to) if thread}


@dataclass(eq=False, kw_only=True)
class Chat:
    """A channel (`broadcast`) or a supergroup, possibly a forum; public if it has a username.

    Or, with an `owner`, what that account sees of its talk with the account, or of the small group, whose id
    this is.
    """

    id: int
    title: str
    username: str = ""
    broadcast: bool = True
    forum: bool = False
    protected: bool = False
    date: datetime = EPOCH
    members: set[int] = field(default_factory=set)
    admins: set[int] | None = None  # None: all members of a channel, nobody in a group
    linked: int | None = None  # the discussion group of a channel, the channel of a discussion group
    owner: int | None = None
    group: bool = False  # the talk is a small group
    messages: dict[int, StoredMessage] = field(default_factory=dict)
    box: MessageBox = field(default_factory=MessageBox)

    @property
    def private(self) -> bool:
        """Whether it is no channel but a talk: of two, of a small group, or with oneself."""
        return self.owner is not None

    def governed_by(self, account: int) -> bool:
        """Whether an account may post in the channel and delete what others wrote."""
        admins = (self.members if self.broadcast else set()) if self.admins is None else self.admins
        return account in admins & self.members

    def newest_first(self) -> list[StoredMessage]:
        """All messages, highest id first."""
        return [self.messages[id_] for id_ in sorted(self.messages, reverse=True)]

    def comments(self, post: int) -> StoredMessage | None:
        """The automatic forward of a channel's post in this discussion group, under which comments go."""
        return next((m for m in self.messages.values() if m.forwarded == (self.linked, post)), None)


@dataclass(frozen=True, kw_only=True)
class Group:
    """A small group: not a channel, so each member has messages, and ids of messages, of its own."""

    id: int
    title: str
    members: set[int]
