"""A chat of Telegram: every file is a message there, byte for byte, as a document.

Messages have no paths and no names to be taken, so nothing is listed, and a folder is a line of the caption.
A message is sent once, whatever dies: its random id follows from task and item alone, and Telegram takes none
twice. What was uploaded but not sent is forgotten by Telegram. Files of an album become an album.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from pydantic import Field, field_validator

from saveany import advice
from saveany.errors import NeedsLogin, Retryable, StorageError, StorageUnavailable, TaskError
from storages.base import AlbumFile, Capabilities, Entry, Range, Services, StorageOptions, Upload, UploadKey
from storages.base import Storage as Contract
from storages.parts import split
from storages.video import Video, VideoProbe

#: The largest part that Telegram takes, in bytes (https://core.telegram.org/api/files).
PART: Final = 512 << 10
#: A file of more bytes is sent in parts that name their number; a smaller one by its MD5.
BIG: Final = 10 << 20
#: As `chat_id`: there is no chat but the one that the path begins with, which may be a person's.
_FROM_PATH: Final = "*"
#: The most messages of one album.
ALBUM: Final = 10
#: Parts of one file that are on their way at once.
_AT_ONCE: Final = 16
#: In UTF-16, as Telegram counts.
_LONGEST_CAPTION_BYTES: Final = 2 * 1024
#: The last epochs whose parts are looked for. Older ones would be uploaded again, and still be sent once.
_EPOCHS: Final = 20
#: A message that is being sent when the task is canceled is waited for so long, in seconds.
_PATIENCE: Final = 1.0
#: Paths and messages that are remembered, and uploads with how they are to be shown.
_REMEMBERED: Final = 1000
_LOOKS: Final = 100
_CHAT: Final = re.compile(r"@[A-Za-z]\w{3,31}|-100\d+", re.ASCII)
_ANYBODY: Final = re.compile(r"-?[1-9]\d*", re.ASCII)
_CHAT_ID: Final = re.compile(r"\*|me|@?[A-Za-z]\w{3,31}|-?[1-9]\d*", re.ASCII)

K = TypeVar("K")
V = TypeVar("V")


class FloodWait(StorageUnavailable, Retryable):
    """Telegram asks to wait; `after` says how long."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who sends, and where to."""

    account: str  # "" is the one that is configured first; for the Saved Messages, the first user
    chat: str  # `me`, @name, -100… of a channel or group, -… of a small group, or the id of a person
    topic: int | None = None

    def link(self, message: int) -> str:
        """Of a message there; "" in chats whose messages have none: those of persons and of small groups."""
        if self.chat.startswith("-100"):
            return f"https://t.me/c/{self.chat.removeprefix('-100')}/{message}"
        name = self.chat.removeprefix("@")
        return f"https://t.me/{name}/{message}" if name[:1].isalpha() and name != "me" else ""


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A piece of a file: `PART` bytes, or the last ones."""

    file: int  # the number under which the parts of the file are uploaded
    number: int
    total: int
    data: bytes = field(repr=False)
    big: bool


@dataclass(frozen=True, slots=True)
class Document:
    """A file whose parts Telegram has, as a message."""

    random_id: int  # Telegram takes it once
    file: int
    parts: int
    big: bool
    name: str
    mime_type: str
    caption: str
    md5: str = ""  # of a small file, if it is known
    video: Video | None = None  # to be shown as a video


class MessageSender(Protocol):
    """Brings files to Telegram: `saveany.telegram.uploads`. Raises `TaskError`s."""

    async def largest(self, target: Target) -> int:
        """Bytes of the largest file that the account may send."""

    async def upload(self, target: Target, part: DocumentPart) -> None:
        """Bring one part; again is harmless."""

    async def send(self, target: Target, documents: Sequence[Document]) -> Mapping[int, int] | None:
        """Send one message, or several as an album. By its random id the id of each that was sent now: what
        was sent before is not sent again. None if one was neither, as parts of it are missing."""

    async def delete(self, target: Target, messages: Sequence[int]) -> None:
        """Delete messages of the account, for everybody."""

    async def check(self, target: Target) -> None:
        """Raises if the account does not see the chat."""

    async def reach(self, account: str, *, user: bool) -> None:
        """Raises if that account (as in `Target`; a user's, if it must be) has no connection now, and gets
        none at once."""


class TelegramStorageOptions(StorageOptions):
    """Options of a `telegram` storage."""

    chat_id: str | int = Field(
        description="Where files go: -100… of a channel or group, @name, the id of a person who has started "
        "the bot, `me` for the Saved Messages of a user account, or `*` for the chat whose id each path "
        "begins with.",
        examples=[-1001234567890],
    )
    topic: int | None = Field(default=None, ge=1, description="Topic of a forum.", examples=[5])
    account: str = Field(
        default="", description="Account that sends. Empty: the bot, or the first user if there is none."
    )
    chat_in_path: bool = Field(
        default=False,
        description="Let a first folder named @name or -100… be the chat where a file goes instead.",
    )
    rate_limit: float = Field(default=2.0, ge=0, description="Seconds between two messages.")
    rate_burst: int = Field(default=1, ge=1, description="Messages that may go at once before that.")
    split_size_mb: int = Field(
        default=0,
        ge=0,
        description="Larger files become several messages, name.001 and so on, which `cat` joins. 0: only "
        "what is larger than the account may send.",
    )
    skip_large: bool = Field(
        default=False, description="Refuse files that are larger than the account may send, do not split."
    )
    force_file: bool = Field(
        default=False, description="Send videos as plain files, without length, picture and player."
    )
    split_large_video: bool = Field(default=False, description="Has no effect: videos are split as files.")

    @field_validator("chat_id")
    @classmethod
    def _a_chat(cls, value: str | int) -> str | int:
        if not _CHAT_ID.fullmatch(str(value)):
            raise ValueError("chat_id must be me, @name, or a number such as -1001234567890")
        return value


class TelegramStorage(Contract):
    """Sends files to a chat."""

    capabilities = Capabilities(needs_size=True, late_name=True, needs_account=True, albums=True)

    def __init__(self, options: TelegramStorageOptions, services: Services | None = None) -> None:
        self.name = options.name
        self._options = options
        services = services or Services()
        self._courier: MessageSender | None = services.message_sender
        self._scratch = services.scratch
        self._pace = _Pace(options.rate_limit, options.rate_burst)
        # What this process sent last: messages by random id, and what belongs to a path.
        self._messages: dict[int, int] = {}
        self._sent: dict[str, tuple[Target, list[int]]] = {}
        self._looks: dict[int, tuple[str, Video | None]] = {}  # of what it has uploaded, by its number

    @property
    def message_sender(self) -> MessageSender:
        """Who brings the files."""
        if self._courier is None:
            raise StorageUnavailable(
                f"storage {self.name!r} needs a Telegram account on this machine: {advice.command('login')}"
            )
        return self._courier

    @contextmanager
    def edge(self, path: str = "") -> Iterator[None]:
        """Gives errors of Telegram the meaning they have for a storage."""
        where = f"storage {self.name!r}: {path!r}" if path else f"storage {self.name!r}"
        try:
            yield
        except Retryable as error:
            raise FloodWait(f"{where}: {error.message}", error.after) from error
        except NeedsLogin as error:
            raise StorageUnavailable(f"{where}: {error.message}") from error
        except TaskError as error:
            raise StorageError(f"{where}: {error.message}") from error

    def place(self, path: str) -> _Message:
        """Where a path leads."""
        *folders, name = split(path)
        options = self._options
        if options.chat_id == _FROM_PATH:
            if not (folders and _ANYBODY.fullmatch(folders[0])):
                raise StorageError(f"storage {self.name!r}: {path!r} does not begin with the id of a chat")
            return _Message(Target(options.account, folders[0]), "/".join(folders[1:]), name)
        if options.chat_in_path and folders and _CHAT.fullmatch(folders[0]):
            return _Message(Target(options.account, folders[0]), "/".join(folders[1:]), name)
        target = Target(options.account, str(options.chat_id), options.topic)
        return _Message(target, "/".join(folders), name)

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """As in the contract; always from the start."""
        place = self.place(path)
        if size is None:
            raise StorageError(f"storage {self.name!r} must know the size of {path!r} before it begins")
        if size == 0:
            raise StorageError(f"storage {self.name!r}: {path!r} is empty, and Telegram takes no empty files")
        volumes = await self._volumes(key, path, size)
        shown = place.name if len(volumes) == 1 and not self._options.force_file else ""
        return TelegramUpload(self, path, volumes, VideoProbe(shown, size, self._scratch))

    async def _volumes(self, key: UploadKey, path: str, size: int) -> list[_Volume]:
        with self.edge(path):
            largest = await self.message_sender.largest(self.place(path).target)
        if size > largest and self._options.skip_large:
            raise StorageError(
                f"storage {self.name!r}: {path!r} has {size} bytes, and the account may send {largest}; "
                "skip_large says not to split it"
            )
        each = min(largest, self._options.split_size_mb << 20 or largest)
        count = -(-size // each)
        return [_Volume(key, n, count, min(each, size - n * each)) for n in range(count)]

    async def bring(self, path: str, part: DocumentPart) -> None:
        """Upload one part."""
        with self.edge(path):
            await self.message_sender.upload(self.place(path).target, part)

    def note_looks(self, volume: _Volume, md5: str, video: Video | None) -> None:
        """What was seen of an upload: how it is sent and shown, by this process."""
        _remember(self._looks, volume.file, (md5, video), _LOOKS)

    def _documents(self, path: str, volumes: Sequence[_Volume], caption: str | None = None) -> list[Document]:
        place = self.place(path)
        return [
            volume.document(place, caption, *self._looks.get(volume.file, ("", None))) for volume in volumes
        ]

    async def _send(self, files: Mapping[str, Sequence[Document]]) -> bool:
        """Send what is uploaded into one chat, by path; False if parts of it are not there. Several messages
        are an album."""
        first = next(iter(files))
        target = self.place(first).target
        for path, documents in files.items():
            _remember(self._sent, path, (target, [each.random_id for each in documents]), _REMEMBERED)
        messages = _alike([each for documents in files.values() for each in documents])
        for start in range(0, len(messages), ALBUM):
            sending = asyncio.create_task(self._ask_for(target, messages[start : start + ALBUM]))
            try:
                with self.edge(first):
                    if not await asyncio.shield(sending):
                        return False
            except asyncio.CancelledError:
                await asyncio.wait({sending}, timeout=_PATIENCE)  # what was sent must be known, to be deleted
                sending.cancel()
                raise
        return True

    async def _ask_for(self, target: Target, documents: Sequence[Document]) -> bool:
        ids = await self.message_sender.send(target, documents)
        for random_id, message in (ids or {}).items():
            _remember(self._messages, random_id, message, _REMEMBERED)
        return ids is not None

    async def send_in_turn(self, path: str, volumes: Sequence[_Volume]) -> bool:
        """Send a file at the pace that is set; False if parts of it are not there."""
        for _ in range(0, len(volumes), ALBUM):
            await self._pace.turn()
        return await self._send({path: self._documents(path, volumes)})

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> bool:
        """As in the contract. Asks Telegram to send it again, which it does not do twice: so, if all parts of
        an earlier claim are there, the commit is done now if it was not."""
        return bool(size) and await self._sent_by_any([AlbumFile(key, final, size, None)])

    async def _sent_by_any(self, members: Sequence[AlbumFile]) -> bool:
        """Whether what this claim has uploaded is sent, or what the latest has of which all is there."""
        latest = members[0].key.epoch
        for epoch in range(latest, max(0, latest - _EPOCHS), -1):
            files = {}
            for each in members:
                volumes = await self._volumes(replace(each.key, epoch=epoch), each.path, each.size)
                files[each.path] = self._documents(each.path, volumes, each.caption)
            if await self._send(files):
                return True
        return False

    async def gather(self, members: Sequence[AlbumFile]) -> bool:
        """As in the contract. Each chat gets an album of its own, and so does a file of several volumes."""
        albums: dict[object, list[AlbumFile]] = {}
        for each in members:
            alone = len(await self._volumes(each.key, each.path, each.size)) > 1
            albums.setdefault(each.path if alone else self.place(each.path).target, []).append(each)
        for album in albums.values():
            await self._pace.turn()
            if not await self._sent_by_any(album):
                return False
        return True

    async def discard(self, key: UploadKey, path: str) -> None:
        """Nothing: Telegram forgets parts that nobody sends."""
        split(path)

    async def probe(self) -> None:
        """Whether the account sees the chat. Nothing is sent: every member would see it."""
        with self.edge():
            if self._options.chat_id == _FROM_PATH:
                await self.message_sender.largest(Target(self._options.account, ""))
            else:
                await self.message_sender.check(self.place("probe").target)

    async def reach(self) -> None:
        """As in the contract: whether the account that sends is connected. Telegram is asked nothing."""
        with self.edge():
            await self.message_sender.reach(self._options.account, user=self._options.chat_id == "me")

    async def stat(self, path: str) -> Entry | None:
        """Nothing: messages have no paths."""
        split(path)
        return None

    async def page(self, path: str) -> str:
        """As in the contract: the link of the message, or of the first volume, that this process has sent."""
        target, ids = self._sent_for(path)
        return target.link(ids[0]) if ids else ""

    async def delete(self, path: str) -> None:
        """Delete the messages that this process has sent for the path last, if any."""
        split(path)
        target, ids = self._sent_for(path)
        if ids:
            with self.edge(path):
                await self.message_sender.delete(target, ids)
            self._sent.pop(path, None)

    def _sent_for(self, path: str) -> tuple[Target, list[int]]:
        target, random_ids = self._sent.get(path, (Target("", ""), []))
        return target, [self._messages[each] for each in random_ids if each in self._messages]


@dataclass(frozen=True, slots=True)
class _Message:
    """Where a path leads: a chat, a line of the caption, the name of the file."""

    target: Target
    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class _Volume:
    """A file as Telegram gets it: all of ours, or a piece. All are as large as the first, but the last."""

    key: UploadKey
    number: int
    count: int
    size: int

    @property
    def parts(self) -> int:
        return -(-self.size // PART)

    @property
    def big(self) -> bool:
        return self.size > BIG

    @property
    def file(self) -> int:
        """The parts of each claim lie under a number of their own."""
        return _number(f"{self._piece} {self.key.epoch}")

    @property
    def random_id(self) -> int:
        """The same for every claim: so a message is sent once, and once more if it was deleted."""
        return _number(f"{self._piece} again {self.key.undone}" if self.key.undone else self._piece)

    @property
    def _piece(self) -> str:
        """Which bytes of which file: another split, when limits have changed meanwhile, makes others."""
        return f"{self.key.task} {self.key.item} {self.number}/{self.count} {self.size}"

    def part(self, number: int, data: bytes) -> DocumentPart:
        """One part of it."""
        return DocumentPart(self.file, number, self.parts, data, self.big)

    def document(self, place: _Message, caption: str | None, md5: str, video: Video | None) -> Document:
        """How it is shown in the chat. Without a caption, and if it is a piece, by its name and folder."""
        name = f"{place.name}.{self.number + 1:03}" if self.count > 1 else place.name
        folder = place.folder.replace("#", "")  # it would be a tag, and a link
        if caption is None or self.count > 1:
            caption = f"{name}\n{folder}".strip()
        return Document(
            self.random_id,
            self.file,
            self.parts,
            self.big,
            name,
            mimetypes.guess_type(name)[0] or "application/octet-stream",
            caption.encode("utf-16-le")[:_LONGEST_CAPTION_BYTES].decode("utf-16-le", "ignore"),
            md5,
            video,
        )


class TelegramUpload(Upload):
    """A file on its way: parts go up as they fill, several at once."""

    def __init__(self, storage: TelegramStorage, path: str, volumes: list[_Volume], peek: VideoProbe) -> None:
        self._storage = storage
        self._path = path
        self._volumes = volumes
        self._size = sum(volume.size for volume in volumes)
        self._at = 0
        self._left = iter(volumes)
        self._sending = _Sending(storage, path, next(self._left))
        self._sealed = False
        self._peek = peek
        self._over = False

    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """As in the contract, in order."""
        self._check_open()
        if offset != self._at:
            raise StorageError(f"storage {self._storage.name!r} takes {self._path!r} in order only")
        rest = memoryview(data).cast("B")
        if self._at + len(rest) > self._size:
            raise StorageError(f"storage {self._storage.name!r}: {self._path!r} is longer than it was to be")
        self._at += len(rest)
        self._peek.add(offset, rest)
        while rest:
            rest = rest[await self._sending.take(rest) :]
            if self._sending.full and (following := next(self._left, None)):
                await self._end_volume()
                self._sending = _Sending(self._storage, self._path, following)

    async def _end_volume(self, video: Video | None = None) -> None:
        await self._sending.all_there()
        self._storage.note_looks(self._sending.volume, self._sending.md5.hexdigest(), video)

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """Nothing: how long Telegram keeps parts is not known."""
        return ()

    async def seal(self, size: int) -> None:
        """As in the contract: Telegram has all parts."""
        self._check_open()
        if not self._at == size == self._size:
            raise StorageError(
                f"storage {self._storage.name!r}: {self._path!r} must have {size} bytes, "
                f"written were {self._at}"
            )
        if not self._sealed:
            await self._sending.all_there()
            await self._end_volume(await self._peek.video())
            self._sealed = True

    async def commit(self, path: str, size: int, *, replace: bool) -> None:
        """As in the contract; of more than ten volumes, ten appear at a time. Nothing is replaced: messages
        have no names."""
        if split(path)[:-1] != split(self._path)[:-1]:
            raise StorageError(f"{path!r} is not in the folder of {self._path!r}")
        await self.seal(size)
        if not await self._storage.send_in_turn(path, self._volumes):
            raise StorageError(
                f"storage {self._storage.name!r}: Telegram has lost parts of {self._path!r}; "
                "another try sends them again"
            )
        self._over = True

    async def abort(self) -> None:
        """As in the contract."""
        await self.__aexit__()

    async def __aexit__(self, *exc: object) -> None:
        """Stop what is on its way."""
        self._over = True
        await self._sending.stop()
        self._peek.close()

    def _check_open(self) -> None:
        if self._over:
            raise StorageError(f"storage {self._storage.name!r}: the upload of {self._path!r} is over")


@dataclass(slots=True)
class _Sending:
    """The parts of one volume."""

    storage: TelegramStorage
    path: str
    volume: _Volume
    md5: hashlib._Hash = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))  # of small ones
    _filling: bytearray = field(default_factory=bytearray)
    _done: int = 0  # bytes that were taken
    _number: int = 0  # of the part that is being filled
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether it has all its bytes."""
        return self._done == self.volume.size

    async def take(self, data: memoryview) -> int:
        """Take what belongs to the part that is being filled; returns how many bytes. Waits while too many
        parts are on their way."""
        piece = data[: min(PART - len(self._filling), self.volume.size - self._done)]
        self._filling += piece
        self._done += len(piece)
        if not self.volume.big:
            self.md5.update(piece)
        if len(self._filling) == PART or self.full:
            while len(self._tasks) >= _AT_ONCE:
                await self._settle()
            part = self.volume.part(self._number, bytes(self._filling))
            self._tasks.add(asyncio.create_task(self.storage.bring(self.path, part)))
            self._filling.clear()
            self._number += 1
        return len(piece)

    async def all_there(self) -> None:
        """Wait until Telegram has every part."""
        while self._tasks:
            await self._settle()

    async def _settle(self) -> None:
        """Wait for the next part; raises why it failed."""
        done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for error in [task.exception() for task in done]:
            if error:
                raise error

    async def stop(self) -> None:
        """Break off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


class _Pace:
    """Messages per second, as Telegram wants them from bots."""

    def __init__(self, seconds: float, burst: int) -> None:
        self._seconds = seconds
        self._room = seconds * (burst - 1)
        self._next = 0.0  # monotonic
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        """Wait until the next message may go."""
        async with self._lock:
            await asyncio.sleep(max(0.0, self._next - self._room - time.monotonic()))
            self._next = max(self._next, time.monotonic()) + self._seconds


def _alike(documents: list[Document]) -> list[Document]:
    """Telegram shows videos and files in different albums: among files a video is one."""
    if all(each.video for each in documents):
        return documents
    return [replace(each, video=None) for each in documents]


def _remember(memory: dict[K, V], key: K, value: V, most: int) -> None:
    """For a while: until `most` others have come."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > most:
        del memory[next(iter(memory))]


def _number(text: str) -> int:
    """A number of 64 bits, signed as Telegram's are; never 0."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True) or 1
