"""A chat of Telegram: every file is a message there, byte for byte, as a document.

Messages have no paths and no names to be taken, so nothing is listed, and a folder is a line of the caption.
A message is sent once, whatever dies: its random id follows from task and item alone, and Telegram takes none
twice. What was uploaded but not sent is forgotten by Telegram. Files of an album become an album.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, TypeVar

from saveany import advice
from saveany.errors import NeedsLogin, Retryable, StorageError, StorageUnavailable, TaskError
from storages.base import (
    AlbumFile,
    Capabilities,
    Entry,
    Range,
    Receipt,
    Services,
    Upload,
    UploadKey,
)
from storages.base import Storage as Contract
from storages.parts import split
from storages.telegram.messages import ALBUM, Document, DocumentPart, FloodWait, MessageSender, Target
from storages.telegram.options import FROM_PATH, TelegramStorageOptions
from storages.telegram.upload import TelegramUpload
from storages.telegram.volumes import Destination, Volume
from storages.video import Video, VideoProbe

#: The last epochs whose parts are looked for. Older ones would be uploaded again, and still be sent once.
_EPOCHS: Final = 20


#: A message that is being sent when the task is canceled is waited for so long, in seconds.
_PATIENCE: Final = 1.0


#: Paths and messages that are remembered, and uploads with how they are to be shown.
_REMEMBERED: Final = 1000


_LOOKS: Final = 100


_CHAT: Final = re.compile(r"@[A-Za-z]\w{3,31}|-100\d+", re.ASCII)


_ANYBODY: Final = re.compile(r"-?[1-9]\d*", re.ASCII)


K = TypeVar("K")


V = TypeVar("V")


class TelegramStorage(Contract):
    """Sends files to a chat."""

    capabilities = Capabilities(needs_size=True, late_name=True, needs_account=True, albums=True)

    def __init__(self, options: TelegramStorageOptions, services: Services | None = None) -> None:
        self.name = options.name
        self._options = options
        services = services or Services()
        self._courier: MessageSender | None = services.message_sender
        self._scratch = services.scratch
        self._pace = MessagePace(options.rate_limit, options.rate_burst)
        # What this process sent last: messages by random id, and what belongs to a path.
        self._messages: dict[int, int] = {}
        self._sent: dict[str, tuple[Target, list[int]]] = {}
        self._looks: dict[int, tuple[str, Video | None]] = {}  # of what it has uploaded, by its number

    @property
    def message_sender(self) -> MessageSender:
        """Who brings the files."""
        if self._courier is None:
            raise StorageUnavailable(
                "storage {storage!r} needs a Telegram account on this machine: {command}",
                storage=self.name,
                command=advice.command("login"),
            )
        return self._courier

    @contextmanager
    def edge(self, path: str = "") -> Iterator[None]:
        """Gives errors of Telegram the meaning they have for a storage."""
        where = f"storage {self.name!r}: {path!r}" if path else f"storage {self.name!r}"
        try:
            yield
        except Retryable as error:
            raise FloodWait("{where}: {reason}", error.after, where=where, reason=error.text) from error
        except NeedsLogin as error:
            raise StorageUnavailable("{where}: {reason}", where=where, reason=error.text) from error
        except TaskError as error:
            raise StorageError("{where}: {reason}", where=where, reason=error.text) from error

    def place(self, path: str) -> Destination:
        """Where a path leads."""
        *folders, name = split(path)
        options = self._options
        if options.chat_id == FROM_PATH:
            if not (folders and _ANYBODY.fullmatch(folders[0])):
                raise StorageError(
                    "storage {storage!r}: {path!r} does not begin with the id of a chat",
                    storage=self.name,
                    path=path,
                )
            return Destination(Target(options.account, folders[0]), "/".join(folders[1:]), name)
        if options.chat_in_path and folders and _CHAT.fullmatch(folders[0]):
            return Destination(Target(options.account, folders[0]), "/".join(folders[1:]), name)
        target = Target(options.account, str(options.chat_id), options.topic)
        return Destination(target, "/".join(folders), name)

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """As in the contract; always from the start."""
        place = self.place(path)
        if size is None:
            raise StorageError(
                "storage {storage!r} must know the size of {path!r} before it begins",
                storage=self.name,
                path=path,
            )
        if size == 0:
            raise StorageError(
                "storage {storage!r}: {path!r} is empty, and Telegram takes no empty files",
                storage=self.name,
                path=path,
            )
        volumes = await self._volumes(key, path, size)
        shown = place.name if len(volumes) == 1 and not self._options.force_file else ""
        return TelegramUpload(self, path, volumes, VideoProbe(shown, size, self._scratch))

    async def _volumes(self, key: UploadKey, path: str, size: int) -> list[Volume]:
        with self.edge(path):
            largest = await self.message_sender.largest(self.place(path).target)
        if size > largest and self._options.skip_large:
            raise StorageError(
                "storage {storage!r}: {path!r} has {size} bytes, and the account may send "
                "{largest}; skip_large says not to split it",
                storage=self.name,
                path=path,
                size=size,
                largest=largest,
            )
        each = min(largest, self._options.split_size_mb << 20 or largest)
        count = -(-size // each)
        return [Volume(key, n, count, min(each, size - n * each)) for n in range(count)]

    async def bring(self, path: str, part: DocumentPart) -> None:
        """Upload one part."""
        with self.edge(path):
            await self.message_sender.upload(self.place(path).target, part)

    def note_looks(self, volume: Volume, md5: str, video: Video | None) -> None:
        """What was seen of an upload: how it is sent and shown, by this process."""
        _remember(self._looks, volume.file, (md5, video), _LOOKS)

    def _documents(self, path: str, volumes: Sequence[Volume], caption: str | None = None) -> list[Document]:
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

    async def send_in_turn(self, path: str, volumes: Sequence[Volume]) -> bool:
        """Send a file at the pace that is set; False if parts of it are not there."""
        for _ in range(0, len(volumes), ALBUM):
            await self._pace.turn()
        return await self._send({path: self._documents(path, volumes)})

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> Receipt | None:
        """As in the contract. Asks Telegram to send it again, which it does not do twice: so, if all parts of
        an earlier claim are there, the commit is done now if it was not."""
        if not size or not await self._sent_by_any([AlbumFile(key, final, size, None)]):
            return None
        return self.receipt(final, size)

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

    async def publish_album(self, files: Sequence[AlbumFile]) -> Sequence[Receipt] | None:
        """As in the contract. Each chat gets an album of its own, and so does a file of several volumes."""
        albums: dict[object, list[AlbumFile]] = {}
        for each in files:
            alone = len(await self._volumes(each.key, each.path, each.size)) > 1
            albums.setdefault(each.path if alone else self.place(each.path).target, []).append(each)
        for album in albums.values():
            await self._pace.turn()
            if not await self._sent_by_any(album):
                return None
        return [self.receipt(each.path, each.size) for each in files]

    async def discard(self, key: UploadKey, path: str) -> None:
        """Nothing: Telegram forgets parts that nobody sends."""
        split(path)

    async def probe(self) -> None:
        """Whether the account sees the chat. Nothing is sent: every member would see it."""
        with self.edge():
            if self._options.chat_id == FROM_PATH:
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

    def receipt(self, path: str, size: int) -> Receipt:
        """The receipt of what was sent for a path; without page and reference if another process sent it."""
        target, ids = self._sent_for(path)
        if not ids:
            return Receipt(path, size)
        reference = {"account": target.account, "chat": target.chat, "messages": ids}
        return Receipt(path, size, page=target.link(ids[0]), reference=reference)

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


class MessagePace:
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
