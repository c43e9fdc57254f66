"""Links to Telegram messages: one parser for every form in which people copy and paste them.

The forms are those of https://core.telegram.org/api/links#message-links. Parsing needs no network, so a link
that parses may name a chat or message that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from saveany.errors import InvalidInput
from saveany.texts import Field, Text

#: Message ids are positive signed 32-bit integers.
MAX_MESSAGE_ID = 2**31 - 1
#: Maximum number of message ids in one link.
MAX_RANGE = 10_000
#: The largest possible channel id (https://core.telegram.org/api/bots/ids).
MAX_CHANNEL_ID = 997_852_516_352
#: Start of the canonical links to messages in chats with the bot.
BOT_CHAT_PREFIX = "tg://openmessage?"
#: The largest possible user id (https://core.telegram.org/api/bots/ids).
MAX_USER_ID = 2**40 - 1

_BOT_API_OFFSET = 10**12  # the Bot API writes channel 1234567890 as -1001234567890: -(10**12 + id)
_ADVICE = Text(
    "Send the link of one message, such as https://t.me/channel/123 (in Telegram: Copy Message Link)."
)
_ARCHIVE_ADVICE = Text(
    "Send the link of one message, such as https://t.me/channel/123, or archive the whole chat: /archive in "
    "the bot, `archive add` on the command line, POST /api/v1/archives in the API."
)

#: First path segments of links that lead to something other than a chat; none of them is a username.
_NOT_A_CHAT = {
    "addemoji": Text("a set of emoji"),
    "addlist": Text("a chat folder"),
    "addstickers": Text("a sticker set"),
    "addstyle": Text("a style"),
    "addtheme": Text("a theme"),
    "auction": Text("an auction"),
    "auth": Text("a login link"),
    "boost": Text("a boost link"),
    "call": Text("a call"),
    "confirmphone": Text("a login link"),
    "contact": Text("a contact"),
    "giftcode": Text("a gift code"),
    "invoice": Text("an invoice"),
    "login": Text("a login link"),
    "msg_url": Text("a share link"),
    "proxy": Text("a proxy"),
    "setlanguage": Text("a language"),
    "share": Text("a share link"),
    "socks": Text("a proxy"),
}
#: In the path of a link to a profile photo.
_PHOTO = "photo"
_INVITES = frozenset({"join", "joinchat"})

_WEB = re.compile(
    r"""(?:https?://)?
    (?:(?P<subdomain>[a-z0-9_-]+)\.)?(?:t\.me|telegram\.me|telegram\.dog)(?::(?:80|443))?
    (?:/(?P<path>[^?#]*))?(?:\?(?P<query>[^#]*))?(?:\#.*)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_APP = re.compile(r"tg:(?://)?(?P<action>[^/?#]*)/?(?:\?(?P<query>[^#]*))?(?:#.*)?", re.IGNORECASE)
# Any text may precede a scheme ("看https://…"). Without a scheme a preceding letter would belong to the host,
# so only punctuation is removed.
_BEFORE = re.compile(r"^(?:[^0-9A-Za-z]*(?=(?:https?://|tg:))|[\W_]+)", re.IGNORECASE)
_AFTER = re.compile(r"[^0-9A-Za-z]+$")
_INVITE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:t\.me|telegram\.me|telegram\.dog)/(?:joinchat/|\+)([\w-]{6,64})/?"
    r"|tg:(?://)?join\?invite=([\w-]{6,64})",
    re.IGNORECASE | re.ASCII,
)
_ASCII = re.compile(r"[!-~]*")

_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{3,31}")  # names of four letters are sold as collectibles
_NUMBER = re.compile(r"0*([0-9]{1,13})")
_PHOTO_ID = re.compile(r"[0-9]{10,19}")
_RANGE = re.compile(r"([0-9]+)-([0-9]+)")
_ANY_ID = re.compile(r"-?[1-9][0-9]{0,12}")
_BOT_API_ID = re.compile(r"-([0-9]{13})")
_TIMES = (
    re.compile(r"(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,8})m)?(?:(?P<s>[0-9]{1,10})s?)?"),
    re.compile(r"(?:(?P<h>[0-9]{1,6}):)?(?P<m>[0-9]{1,8}):(?P<s>[0-9]{1,2})"),
)


BotChatKind = Literal["user", "chat"]


@dataclass(frozen=True, slots=True, eq=False)
class MessageLink:
    """One message of a chat, or a range of messages. Two links are equal if they differ only in the case of
    the username."""

    chat: str | int  # username as written, or the positive channel id of a /c/ link (without -100)
    message: int
    last: int | None = None  # our own t.me/name/<message>-<last>: the last message of a range
    topic: int | None = None  # t.me/name/<topic>/<message>
    comment: int | None = None  # message id in the discussion group; `message` is the channel's post
    single: bool = False  # only this file, not the album around it
    thread: int | None = None  # ?thread=, the other notation for a topic or a thread of replies
    timestamp: int | None = None  # seconds into the video
    story: bool = False  # it is a story, not a message: t.me/name/s/<number>
    photo: bool = False  # it is a profile photo, not a message: our own t.me/c/<id>/photo/<id of the photo>
    bot_chat: BotChatKind | None = None  # in a chat with the bot: `chat` is the id of the user or small group

    @property
    def bot_chat_id(self) -> int:
        """For a message in a chat with the bot, the marked id of the user or small group; else 0."""
        if self.bot_chat is None:
            return 0
        return int(self.chat) if self.bot_chat == "user" else -int(self.chat)

    @property
    def url(self) -> str:
        """The canonical form; parsing it returns an equal link."""
        if self.bot_chat:
            if self.photo:
                return f"{BOT_CHAT_PREFIX}{self.bot_chat}_id={self.chat}&photo_id={self.message}"
            single = "&single" if self.single else ""
            return f"{BOT_CHAT_PREFIX}{self.bot_chat}_id={self.chat}&message_id={self.message}{single}"
        chat = f"c/{self.chat}" if isinstance(self.chat, int) else self.chat
        if self.story:
            return f"https://t.me/{chat}/s/{self.message}"
        if self.photo:
            return f"https://t.me/{chat}/{_PHOTO}/{self.message}"
        messages = self.message if self.last is None else f"{self.message}-{self.last}"
        path = "/".join(str(part) for part in (chat, self.topic, messages) if part is not None)
        numbers = {"thread": self.thread, "comment": self.comment, "t": self.timestamp}
        query = urlencode({key: value for key, value in numbers.items() if value is not None})
        options = "&".join(filter(None, ["single" if self.single else "", query]))
        return f"https://t.me/{path}" + (f"?{options}" if options else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessageLink) and self.url.lower() == other.url.lower()

    def __hash__(self) -> int:
        return hash(self.url.lower())


def parse(text: str) -> MessageLink:
    """The message or range that `text` links to. Brackets, Markdown and words around the link are ignored.

    Raises `InvalidInput` (field `links`) with the reason: no Telegram link, two different ones, or a
    link to something other than a message.
    """
    links = {_web_link(m) if m.re is _WEB else _app_link(m) for m in _matches(text)}
    if not links:
        raise _refused("This is not a Telegram link.")
    if len(links) > 1:
        raise _refused("This text contains several links.")
    return links.pop()


def looks_like(text: str) -> bool:
    """Whether `text` contains a Telegram link, valid or not: one with the host t.me or a sibling, or with
    tg:."""
    return bool(_matches(text))


def chat_of(text: str) -> str:
    """The channel or group that `text` names, as @name or -100…. Accepts @name, -100… and links into the
    chat.

    Raises `InvalidInput`.
    """
    word = text.strip().rstrip("/")
    if _BOT_API_ID.fullmatch(word):
        return word
    if _USERNAME.fullmatch(word.removeprefix("@")):
        return f"@{word.removeprefix('@')}"
    try:
        link = parse(word)
    except InvalidInput:
        link = parse(f"{word}/1")  # a link to a chat lacks only the message
    if link.bot_chat:
        raise _refused("This is a chat with the bot, not a channel or group.")
    return f"@{link.chat}" if isinstance(link.chat, str) else f"-{_BOT_API_OFFSET + link.chat}"


def any_chat_of(text: str) -> str:
    """As `chat_of`; also `me` for Saved Messages, and the id of a person or of a basic group (-id)."""
    word = text.strip()
    return word if word == "me" or _ANY_ID.fullmatch(word) else chat_of(word)


def invite_of(text: str) -> str:
    """The code of an invite link as `+CODE`; "" if `text` is none."""
    found = _INVITE.fullmatch(text.strip())
    return f"+{found[1] or found[2]}" if found else ""


def is_whole_chat(text: str) -> bool:
    """Whether `text` is a link to a chat: to no message, or an invite."""
    word = text.strip()
    if invite_of(word):
        return True
    found = _WEB.fullmatch(word)
    if found is None or found["subdomain"] not in (None, "www"):
        return False
    try:
        link = parse(f"{word.partition('?')[0].rstrip('/')}/1")
    except InvalidInput:
        return False
    return link.message == 1 and link.topic is None and not link.story and not link.photo


def part_of(text: str) -> int:
    """The number of the topic or message that a link into a chat names; 0 if it names none."""
    try:
        link = parse(text)
    except InvalidInput:
        return 0
    return link.topic or link.thread or link.message


def marked_id(channel: int) -> int:
    """The id of a channel as -100…."""
    return -_BOT_API_OFFSET - channel


def message_link(chat: int, message: int) -> str:
    """A link to one message by the marked id of its chat, without the album around it. One to a private chat
    or basic group is for the account whose chat it is."""
    if chat < -_BOT_API_OFFSET:
        return MessageLink(chat=-chat - _BOT_API_OFFSET, message=message, single=True).url
    return MessageLink(abs(chat), message, single=True, bot_chat="user" if chat > 0 else "chat").url


def photo_link(chat: int, photo: int) -> str:
    """A link to a profile photo of a person, channel or supergroup (marked id)."""
    if chat < -_BOT_API_OFFSET:
        return MessageLink(-chat - _BOT_API_OFFSET, photo, single=True, photo=True).url
    return MessageLink(chat, photo, single=True, bot_chat="user", photo=True).url


def _matches(text: str) -> list[re.Match[str]]:
    words = (_AFTER.sub("", _BEFORE.sub("", word)) for word in text.replace("](", " ").split())
    matches = (_WEB.fullmatch(word) or _APP.fullmatch(word) for word in words)
    return [match for match in matches if match]


def _web_link(match: re.Match[str]) -> MessageLink:
    options = _options(match["query"])
    parts = [part for part in _ascii(match["path"]).split("/") if part]
    subdomain = (match["subdomain"] or "").lower()
    if subdomain not in ("", "www"):
        parts.insert(0, _username(match["subdomain"]))
    elif parts[:1] in (["s"], ["S"]):  # a public channel's preview page
        parts.pop(0)
    if not parts:
        raise _refused("This link names no chat.")
    if parts[0] in "cC":
        return _link(_channel(parts[1:2]), parts[2:], options)
    return _link(_username(parts[0]), parts[1:], options)


def _app_link(match: re.Match[str]) -> MessageLink:
    action, options = match["action"].lower(), _options(match["query"])
    post = [options["post"]] if "post" in options else []
    if action == "resolve":
        if "story" in options:
            post = ["s", options["story"]]
        return _link(_username(options.get("domain", "")), post, options)
    if action == "privatepost":
        return _link(_channel([options.get("channel", "")]), post, options)
    if action == "openmessage":
        return _bot_chat_link(options)
    _check_word(action)
    raise _refused(
        "Of the tg: links only tg://resolve, tg://privatepost and tg://openmessage lead to messages."
    )


def _bot_chat_link(options: Mapping[str, str]) -> MessageLink:
    """A message in a chat with the bot, in the form that Telegram's apps use for private chats."""
    bot_chat: BotChatKind = "user" if "user_id" in options else "chat"
    chat = _number(options.get(f"{bot_chat}_id", ""))
    if not 0 < chat <= MAX_USER_ID:
        raise _refused("This link names no chat.")
    if "photo_id" in options:
        return MessageLink(chat, _photo(options["photo_id"]), single=True, bot_chat=bot_chat, photo=True)
    message = _message(options.get("message_id", ""), Text("message"))
    return MessageLink(chat, message, single="single" in options, bot_chat=bot_chat)


def _link(chat: str | int, numbers: Sequence[str], options: Mapping[str, str]) -> MessageLink:
    """`numbers` follow the chat in the path: the message, or the topic and the message."""
    if not numbers:
        raise InvalidInput(
            "{reason} {advice}",
            field="links",
            reason=Text("This link names a chat but no message."),
            advice=_ARCHIVE_ADVICE,
        )
    if numbers[0].lower() == "s" and len(numbers) == 2:
        return MessageLink(chat, _message(numbers[1], Text("story")), single=True, story=True)
    if numbers[0].lower() == _PHOTO and len(numbers) == 2:
        return MessageLink(chat, _photo(numbers[1]), single=True, photo=True)
    if len(numbers) > 2:
        raise _refused("This link has too many parts.")
    if several := _RANGE.fullmatch(numbers[-1]):
        return _range(chat, several, numbers[:-1], options)
    return MessageLink(
        chat=chat,
        message=_message(numbers[-1], Text("message")),
        topic=_topic(numbers[:-1]),
        comment=_message(options["comment"], Text("comment")) if "comment" in options else None,
        single="single" in options,
        thread=_message(options["thread"], Text("thread")) if "thread" in options else None,
        timestamp=_seconds(options.get("t", "")),
    )


def _range(
    chat: str | int, match: re.Match[str], before: Sequence[str], options: Mapping[str, str]
) -> MessageLink:
    """A range of messages; its ends may be given in either order."""
    if "comment" in options:
        raise _refused("A range cannot consist of comments. Link each comment separately.")
    first, last = sorted(_message(word, Text("message")) for word in match.groups())
    if last - first >= MAX_RANGE:
        raise _refused("This range has more than {maximum} messages; split it.", maximum=f"{MAX_RANGE:,}")
    return MessageLink(
        chat=chat,
        message=first,
        last=last if last > first else None,
        topic=_topic(before),
        single=first == last,
        thread=_message(options["thread"], Text("thread")) if "thread" in options else None,
    )


def _topic(words: Sequence[str]) -> int | None:
    return _message(words[0], Text("topic")) if words else None


def _username(word: str) -> str:
    _check_word(word)
    if not _USERNAME.fullmatch(word):
        raise _refused("The name of the chat in this link is not a Telegram username.")
    return word


def _check_word(word: str) -> None:
    if word.startswith("+") or word.lower() in _INVITES:
        raise _refused("This is an invite link. Let your Telegram account join the chat first.")
    if noun := _NOT_A_CHAT.get(word.lower()):
        raise _refused("This is {noun}, not a message.", noun=noun)


def _channel(words: Sequence[str]) -> int:
    word = words[0] if words else ""
    bot_api = _BOT_API_ID.fullmatch(word)
    number = int(bot_api[1]) - _BOT_API_OFFSET if bot_api else _number(word)
    if not 0 < number <= MAX_CHANNEL_ID:
        raise _refused("The channel id in this link is not valid: it must be a number such as 1234567890.")
    return number


def _message(word: str, noun: Text) -> int:
    number = _number(word)
    if not 0 < number <= MAX_MESSAGE_ID:
        raise _refused(
            "The {noun} id in this link is not a number from 1 to {maximum}.",
            noun=noun,
            maximum=MAX_MESSAGE_ID,
        )
    return number


def _photo(word: str) -> int:
    if not _PHOTO_ID.fullmatch(word) or not MAX_MESSAGE_ID < int(word) < 2**63:
        raise _refused("The number of the profile photo in this link is not valid.")
    return int(word)


def _number(word: str) -> int:
    """The number in `word`, or 0 if it does not consist of digits."""
    match = _NUMBER.fullmatch(word)
    return int(match[1]) if match else 0


def _seconds(word: str) -> int | None:
    """`90`, `1m30s` or `1:30` -> 90. None for anything else: a bad start time does not make a link
    invalid."""
    match = next((m for pattern in _TIMES if (m := pattern.fullmatch(word))), None)
    if match is None:
        return None
    hours, minutes, seconds = (int(match[unit] or 0) for unit in "hms")
    total = hours * 3600 + minutes * 60 + seconds
    return total if 0 < total <= MAX_MESSAGE_ID else None


def _options(query: str | None) -> Mapping[str, str]:
    """The query with keys in lower case; the first value of a repeated key counts."""
    pairs = parse_qsl(_ascii(query), keep_blank_values=True)
    return {key.lower(): value for key, value in reversed(pairs)}


def _ascii(text: str | None) -> str:
    """The text up to the first character that is not printable ASCII: Telegram's links have no others."""
    match = _ASCII.match(text or "")
    return match[0] if match else ""


def _refused(reason: str, **fields: Field) -> InvalidInput:
    return InvalidInput("{reason} {advice}", field="links", reason=Text(reason, fields), advice=_ADVICE)
