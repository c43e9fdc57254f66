"""Group calls, and the streams of those in RTMP mode (https://core.telegram.org/api/group-calls).

The server cuts such a stream into parts of one second. A client asks for the part that begins at a time; the
reply is an MP4 of its own behind a header.
"""

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from telethon.tl import TLObject

from saveany.sandbox.content import FileContent, LiteralContent
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.model import CallNotice, Chat, SandboxAccount, StoredFile, StoredMessage

PART_MS = 1000
#: The video channel that has picture and sound.
UNIFIED_CHANNEL = 1
_SIGNATURE = 0xA12E810D


def part_header(endpoint: str) -> bytes:
    """The header of a part. Its length depends on the endpoint's name: 36 bytes for "unified", 32 for ""."""
    container, name = (bytes(TLObject.serialize_bytes(text)) for text in ("mp4", endpoint))
    event = struct.pack("<i", 0) + name + struct.pack("<ii", 0, 0)
    return struct.pack("<I", _SIGNATURE) + container + struct.pack("<ii", 1, 1) + event


@dataclass(eq=False, kw_only=True)
class LiveStream:
    """The stream of a call in RTMP mode: `parts` are MP4s of one second, which become available in real time,
    `speed` times as fast."""

    parts: Sequence[bytes]
    dc: int = 2
    speed: float = 1.0
    start_ms: int = 1_700_000_000_000
    kept: int = 60  # how many of the newest parts are still served
    missing: set[int] = field(default_factory=set)  # numbers of parts that are never served
    endpoints: Sequence[str] = ("unified", "")  # of the parts, in turn
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def available(self) -> int:
        """The number of parts so far."""
        return min(len(self.parts), int((self.clock() - self._began) * self.speed))

    @property
    def last_ms(self) -> int | None:
        """The time at which the newest part begins; None before there is one."""
        return self.start_ms + (self.available - 1) * PART_MS if self.available else None

    def part(self, time_ms: int) -> FileContent:
        """The part that begins at a time, with its header."""
        number, rest = divmod(time_ms - self.start_ms, PART_MS)
        if rest:
            raise RpcFailure(400, "TIME_INVALID")
        if number >= self.available:
            raise RpcFailure(400, "TIME_TOO_BIG")
        if number < max(0, self.available - self.kept) or number in self.missing:
            raise RpcFailure(400, "TIME_TOO_SMALL")
        return LiteralContent(part_header(self.endpoints[number % len(self.endpoints)]) + self.parts[number])


@dataclass(frozen=True)
class CallRecording:
    """A recording by Telegram, which an administrator has started."""

    account: SandboxAccount
    title: str
    video: bool
    started: datetime


@dataclass(eq=False, kw_only=True)
class GroupCall:
    """A video chat of a group, or the livestream of a channel; in RTMP mode if it has a stream."""

    id: int
    chat: Chat
    title: str = ""
    stream: LiveStream | None = None
    viewers: int = 0  # besides the accounts that have joined
    video: bool = False  # whether somebody shows a picture
    recorded: FileContent = field(
        default_factory=lambda: LiteralContent(b"")
    )  # what a recording by Telegram will contain
    recorded_files: int = 1  # in how many files such a recording arrives
    delays_files: bool = False  # such files arrive only with `deliver`
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    joined: dict[int, int] = field(default_factory=dict)  # account -> its WebRTC source
    recording: CallRecording | None = None
    delayed: list[CallRecording] = field(default_factory=list)  # one for each file that has not arrived yet
    version: int = 1

    @property
    def seconds(self) -> int | None:
        """How long it was; None while it goes on."""
        return int((self.ended - self.started).total_seconds()) if self.ended else None


class ChatWorld(Protocol):
    """The part of `world.World` that is needed here."""

    def new_id(self) -> int:
        """A unique number."""

    def add_file(self, file: StoredFile) -> StoredFile:
        """Add a file."""

    def saved(self, account: SandboxAccount) -> Chat:
        """The Saved Messages of an account."""

    def send(self, chat: Chat, message: StoredMessage) -> StoredMessage:
        """Add a message at the end of a chat."""


class GroupCalls:
    """The calls of a world, and the operations that change them."""

    def __init__(self, world: ChatWorld) -> None:
        self._world = world
        self._calls: dict[int, GroupCall] = {}
        self.observers: list[Callable[[GroupCall], None]] = []  # called when a call has changed

    def get(self, id_: int) -> GroupCall | None:
        """The call with that id, also if it has ended."""
        return self._calls.get(id_)

    def of(self, chat: Chat) -> GroupCall | None:
        """The call that is going on in a chat."""
        return next((call for call in self._calls.values() if call.chat is chat and not call.ended), None)

    def start(self, chat: Chat, **fields: Any) -> GroupCall:
        """Start a call, with the fields of `GroupCall`. The members of the chat are notified."""
        call = GroupCall(id=self._world.new_id(), chat=chat, **fields)
        self._calls[call.id] = call
        self._announce(call)
        return call

    def end(self, call: GroupCall) -> None:
        """End a call, and its recording."""
        if call.recording:
            self.stop_recording(call)
        call.ended = datetime.now(UTC)
        call.joined.clear()
        self._announce(call)

    def move(self, call: GroupCall, dc: int) -> None:
        """Move the stream of a call to another data center."""
        if call.stream:
            call.stream.dc = dc
            self.changed(call)

    def remove(self, call: GroupCall, account: int) -> None:
        """Remove an account from a call; it may join again."""
        if call.joined.pop(account, None) is not None:
            self.changed(call)

    def changed(self, call: GroupCall) -> None:
        """Notify the members of the chat."""
        call.version += 1
        for observer in self.observers:
            observer(call)

    def stop_recording(self, call: GroupCall) -> None:
        """End a recording by Telegram; the files arrive in the Saved Messages of the account."""
        recording, call.recording = call.recording, None
        if recording is None:
            return
        call.delayed += [recording] * call.recorded_files
        if not call.delays_files:
            self.deliver(call)
        self.changed(call)

    def deliver(self, call: GroupCall) -> None:
        """Send the files of recordings that have ended."""
        for recording in call.delayed:
            kind, suffix = ("video/mp4", "mp4") if recording.video else ("audio/ogg", "ogg")
            name = f"{recording.title or call.title or call.chat.title}.{suffix}"
            file = StoredFile(
                id=self._world.new_id(), content=call.recorded, name=name, mime=kind, date=recording.started
            )
            self._world.add_file(file)
            saved = self._world.saved(recording.account)
            self._world.send(saved, StoredMessage(id=0, file=file, sender=recording.account.id))
        call.delayed.clear()

    def _announce(self, call: GroupCall) -> None:
        """Post the service message that a call has started or ended."""
        notice = CallNotice(call.id, call.seconds)
        message = StoredMessage(id=0, date=datetime.now(UTC), service=True, call=notice)
        self._world.send(call.chat, message)
        self.changed(call)
