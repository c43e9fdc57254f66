"""Chats of Telegram: every file becomes a message, or several if it is too large for one.

Messages have no paths, so nothing is listed, no name is ever taken, and a folder becomes a line of the
caption. Each message is sent once, even if workers die: its random id depends only on task and item, and
Telegram accepts an id only once. Parts that were uploaded but not sent are removed by Telegram. Albums stay
albums.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from saveany import advice
from saveany.errors import NeedsLogin, Retryable, StorageError, StorageUnavailable, TaskError
from saveany.texts import Text, gettext_noop
from storages.base import (
    AlbumFile,
    Capabilities,
    Entry,
    NoReference,
    Range,
    Receipt,
    Services,
    Storage,
    Upload,
    UploadKey,
)
from storages.media import Audio, MediaProbe, MediaProperties
from storages.message_sender import Document, DocumentPart, MessageSender, SentMessage, Target
from storages.parts import split
from storages.telegram.chats import ChatRotation
from storages.telegram.options import FROM_PATH, TelegramStorageOptions
from storages.telegram.reference import ReferenceUpload
from storages.telegram.upload import TelegramUpload
from storages.telegram.video_parts import NO_FFMPEG, NO_ROOM, can_be_cut
from storages.telegram.video_upload import VideoUpload
from storages.telegram.volumes import Destination, Volume

#: Maximum number of messages in an album.
ALBUM: Final = 10
#: Number of earlier epochs whose parts are tried. Files of older ones are uploaded again, and still sent
#: once.
_EPOCHS: Final = 20
#: Seconds to wait, when a task is canceled, for a message that is being sent.
_CANCEL_SECONDS: Final = 0.8
#: Maximum seconds of a flood wait that a commit waits out. Longer ones, and all those of `finished` and of
#: albums, are left to the caller, who may have to clean up after a cancel.
_MAX_FLOOD_SECONDS: Final = 10.0
#: Messages that are kept in memory; and uploads whose MD5 and properties are.
_MAX_SENT: Final = 1000
_MAX_UPLOADS: Final = 200  # more than there are in 16 albums
_CHAT_FOLDER: Final = re.compile(r"@[A-Za-z]\w{3,31}|-100\d+", re.ASCII)
_CHAT_ID: Final = re.compile(r"-?[1-9]\d*", re.ASCII)
#: Said of a file in a task.
_PLAYS: Final = gettext_noop("It was cut into {count} parts that play by themselves.")
_NOT_CUT: Final = gettext_noop("It was split into volumes, which do not play by themselves: {reason}.")
_REFUSED: Final = gettext_noop("Telegram has refused it as media ({reason}); it was sent as a plain file.")
K = TypeVar("K")
V = TypeVar("V")


class FloodWait(StorageUnavailable, Retryable):
    """Telegram requires a pause of `after` seconds."""


class TelegramStorage(Storage):
    """Sends files to a chat."""

    capabilities = Capabilities(
        needs_size=True, late_name=True, needs_account=True, albums=True, ordered=True
    )
    uploads_at_once = 16

    def __init__(self, options: TelegramStorageOptions, services: Services | None = None) -> None:
        self.name = options.name
        self._options = options
        services = services or Services()
        self._sender: MessageSender | None = services.message_sender
        self._scratch = services.scratch
        self.album_size = ALBUM if options.group_files else 0
        self._throttle = MessageThrottle(options.rate_limit, options.rate_burst)
        self._chats = ChatRotation(options, lambda: self.message_sender)
        #: The last messages of this process, by random id, and their chats.
        self._messages: dict[int, tuple[Target, SentMessage]] = {}
        #: Parts of a video that was cut, or why it was not, by file.
        self._splits: dict[tuple[object, ...], list[Volume] | Text] = {}
        self._reserved = 0  # bytes of the scratch folder for videos that are being cut
        self._properties: dict[int, tuple[str, MediaProperties | None]] = {}  # with the MD5, by file number

    @property
    def message_sender(self) -> MessageSender:
        """The sender of this process. Raises `StorageUnavailable` without an account."""
        if self._sender is None:
            raise StorageUnavailable(
                "storage {storage!r} needs a Telegram account on this machine: {command}",
                storage=self.name,
                command=advice.command("login"),
            )
        return self._sender

    @contextmanager
    def translated_errors(self, path: str = "") -> Iterator[None]:
        """Translate errors of Telegram to those of the contract."""
        where = f"storage {self.name!r}: {path!r}" if path else f"storage {self.name!r}"
        try:
            yield
        except Retryable as error:
            raise FloodWait("{where}: {reason}", error.after, where=where, reason=error.text) from error
        except NeedsLogin as error:
            raise StorageUnavailable("{where}: {reason}", where=where, reason=error.text) from error
        except TaskError as error:
            raise StorageError("{where}: {reason}", where=where, reason=error.text) from error

    def destination(self, path: str) -> Destination:
        """The chat, folder and file name that a path stands for."""
        *folders, name = split(path)
        options = self._options
        if options.chat_id == FROM_PATH:
            if not (folders and _CHAT_ID.fullmatch(folders[0])):
                raise StorageError(
                    "storage {storage!r}: {path!r} must begin with the id of a chat",
                    storage=self.name,
                    path=path,
                )
            return Destination(Target(options.account, folders[0]), "/".join(folders[1:]), name)
        if options.chat_in_path and folders and _CHAT_FOLDER.fullmatch(folders[0]):
            return Destination(Target(options.account, folders[0]), "/".join(folders[1:]), name)
        return Destination(self._chats.first, "/".join(folders), name)

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """As in the contract. Keeps no bytes of earlier epochs."""
        destination = self.destination(path)
        if size is None:
            raise StorageError(
                "storage {storage!r} must know the size of {path!r} before it begins",
                storage=self.name,
                path=path,
            )
        if size == 0:
            raise StorageError(
                "storage {storage!r}: {path!r} is empty, and Telegram accepts no empty files",
                storage=self.name,
                path=path,
            )
        self._splits.pop(_identity(key), None)
        volumes = await self._volumes(key, path, size)
        if len(volumes) > 1 and self._cuts(destination.name):
            return await self._video_upload(key, path, volumes)
        shown = destination.name if len(volumes) == 1 and not self._options.force_file else ""
        videos_only = self._options.send_as == "document"
        probe = MediaProbe(shown, size, self._scratch, videos_only=videos_only)
        return TelegramUpload(self, path, volumes, probe)

    def _cuts(self, name: str) -> bool:
        return self._options.split_large_video and not self._options.force_file and can_be_cut(name)

    async def _video_upload(self, key: UploadKey, path: str, volumes: list[Volume]) -> Upload:
        """An upload that cuts a video, which would otherwise become these volumes."""

        def as_volumes(reason: Text) -> TelegramUpload:
            _remember(self._splits, _identity(key), Text(_NOT_CUT, {"reason": reason}), _MAX_UPLOADS)
            return TelegramUpload(self, path, volumes, MediaProbe("", 1, self._scratch))

        size = sum(volume.size for volume in volumes)
        if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
            return as_volumes(Text(NO_FFMPEG))
        free = await asyncio.to_thread(_free_bytes, self._scratch)
        if free - self._reserved < 2 * size:  # the video and its parts
            return as_volumes(Text(NO_ROOM, {"folder": str(self._scratch)}))
        self._reserved += 2 * size

        def release() -> None:
            self._reserved -= 2 * size

        return VideoUpload(self, key, path, volumes[0].size, self._scratch, as_volumes, release)

    def note_parts(self, key: UploadKey, volumes: list[Volume]) -> None:
        """Keep the parts into which a video was cut until their messages are sent."""
        _remember(self._splits, _identity(key), volumes, _MAX_UPLOADS)

    async def _volumes(self, key: UploadKey, path: str, size: int) -> list[Volume]:
        if isinstance(parts := self._splits.get(_identity(key)), list):
            return [replace(each, key=key) for each in parts]
        with self.translated_errors(path):
            largest = await self.message_sender.largest(self.destination(path).target)
        if size > largest and self._options.skip_large:
            raise StorageError(
                "storage {storage!r}: {path!r} has {size} bytes, and the account may send "
                "{largest}; skip_large forbids splitting it",
                storage=self.name,
                path=path,
                size=size,
                largest=largest,
            )
        each = min(largest, self._options.split_size_mb << 20 or largest)
        count = -(-size // each)
        return [Volume(key, n, count, min(each, size - n * each)) for n in range(count)]

    async def upload_part(self, path: str, part: DocumentPart) -> None:
        """Upload one part of a file."""
        with self.translated_errors(path):
            await self.message_sender.upload(self.destination(path).target, part)

    def note_properties(self, volume: Volume, md5: str, properties: MediaProperties | None) -> None:
        """Keep the MD5 and the properties of an upload until its message is sent."""
        _remember(self._properties, volume.file, (md5, properties), _MAX_UPLOADS)

    def _documents(self, path: str, volumes: Sequence[Volume], caption: str | None = None) -> list[Document]:
        destination = self.destination(path)
        return [
            volume.document(destination, caption, *self._properties.get(volume.file, ("", None)))
            for volume in volumes
        ]

    async def _send(self, files: Mapping[str, Sequence[Document]], max_wait: float = 0) -> bool:
        """Send uploaded files, by path, to their chat; several messages become an album. Flood waits up to
        `max_wait` seconds are waited out. False if Telegram lacks some of their parts."""
        first = next(iter(files))
        target = self.destination(first).target
        messages = [each for documents in files.values() for each in documents]
        for number, album in enumerate(self._albums(messages)):
            if number and len(files) > 1:
                await self._throttle.wait()
            while True:
                try:
                    with self.translated_errors(first):
                        async with self._chats.room(target, len(album)) as chat:
                            if not await self._send_to_end(chat, album):
                                return False
                    break
                except FloodWait as error:
                    if error.after > max_wait:
                        raise
                    await asyncio.sleep(error.after)
        return True

    def _albums(self, documents: list[Document]) -> list[list[Document]]:
        """The messages that are sent together. Telegram mixes photos and videos in an album, but neither with
        music nor with files, and sends recordings alone."""
        groups: dict[object, list[Document]] = {}
        if self._options.send_as == "document" and not all(each.properties for each in documents):
            documents = [replace(each, properties=None) for each in documents]  # one album, in their order
        for each in documents:
            groups.setdefault(_album_kind(each), []).append(each)
        return [
            group[start : start + ALBUM] for group in groups.values() for start in range(0, len(group), ALBUM)
        ]

    async def _send_to_end(self, target: Target, album: Sequence[Document]) -> bool:
        """Send messages. After a cancel, wait for their ids, which are needed to delete them."""
        sending = asyncio.create_task(self._send_album(target, album))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending}, timeout=_CANCEL_SECONDS)
            sending.cancel()
            raise

    async def _send_album(self, target: Target, documents: Sequence[Document]) -> bool:
        sent = await self.message_sender.send(target, documents)
        for random_id, message in (sent or {}).items():
            _remember(self._messages, random_id, (target, message), _MAX_SENT)
            self._chats.note(target, message.id)
        return sent is not None

    async def send_paced(self, path: str, volumes: Sequence[Volume]) -> bool:
        """Send a file within the rate limit; False if Telegram lacks some of its parts."""
        for _ in range(0, len(volumes), ALBUM):
            await self._throttle.wait()
        return await self._send({path: self._documents(path, volumes)}, _MAX_FLOOD_SECONDS)

    async def refer(
        self, key: UploadKey, path: str, size: int, message: Mapping[str, Any], caption: str
    ) -> Upload | NoReference:
        """As in the contract."""
        volumes = await self._volumes(key, path, size) if size else []
        if len(volumes) != 1:
            return "impossible"
        with self.translated_errors(path):
            target = self.destination(path).target
            problem = await self.message_sender.refer(target, volumes[0].file, message)
        return problem or ReferenceUpload(self, path, volumes[0], caption)

    async def send_reference(self, path: str, volume: Volume, caption: str) -> None:
        """Send a file whose reference the sender knows, within the rate limit. Raises `StorageUnavailable` if
        it is no longer valid."""
        await self._throttle.wait()
        if not await self._send({path: self._documents(path, [volume], caption)}, _MAX_FLOOD_SECONDS):
            raise StorageUnavailable(
                "storage {storage!r}: Telegram does not accept the reference to {path!r} any more",
                storage=self.name,
                path=path,
            )

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> Receipt | None:
        """As in the contract. Sends the message again, which Telegram ignores if it was sent before. This
        completes the commit of an earlier claim whose parts Telegram still has."""
        if not size or not await self._send_latest([AlbumFile(key, final, size, None)]):
            return None
        return self.receipt(final, size, await self._volumes(key, final, size))

    async def _send_latest(self, album: Sequence[AlbumFile]) -> bool:
        """Send the files as this claim has uploaded them, or else the latest earlier one whose parts Telegram
        still has; False if there is none."""
        latest = album[0].key.epoch
        for epoch in range(latest, max(0, latest - _EPOCHS), -1):
            files = {}
            for each in album:
                volumes = await self._volumes(replace(each.key, epoch=epoch), each.path, each.size)
                files[each.path] = self._documents(each.path, volumes, each.caption)
            if await self._send(files):
                return True
        return False

    async def publish_album(self, files: Sequence[AlbumFile]) -> Sequence[Receipt] | None:
        """As in the contract, with one album for each chat, and one for each file of several volumes."""
        albums: dict[object, list[AlbumFile]] = {}
        for each in files:
            split_up = len(await self._volumes(each.key, each.path, each.size)) > 1
            albums.setdefault(each.path if split_up else self.destination(each.path).target, []).append(each)
        for album in albums.values():
            await self._throttle.wait()
            if not await self._send_latest(album):
                return None
        return [
            self.receipt(each.path, each.size, await self._volumes(each.key, each.path, each.size))
            for each in files
        ]

    async def discard(self, key: UploadKey, path: str) -> None:
        """Check the path only: Telegram removes parts that are not sent."""
        split(path)

    async def probe(self) -> None:
        """Check that the account may post in each chat, and that one has room. Sends nothing, because every
        member would see it."""
        with self.translated_errors():
            if self._options.chat_id == FROM_PATH:
                await self.message_sender.largest(Target(self._options.account, ""))
            else:
                await self._chats.check()

    async def reach(self) -> None:
        """As in the contract: check that the sending account is connected. Sends no request to Telegram."""
        with self.translated_errors():
            await self.message_sender.reach(self._options.account, user=self._options.chat_id == "me")

    async def stat(self, path: str) -> Entry | None:
        """None: messages have no paths."""
        split(path)
        return None

    def receipt(self, path: str, size: int, volumes: Sequence[Volume]) -> Receipt:
        """The receipt of a file; without page and reference if another process has sent it."""
        ids = [each.random_id for each in volumes if each.random_id in self._messages]
        if not ids:
            return Receipt(path, size)
        sent = [self._messages[each][1] for each in ids]
        files = [dict(each.source) for each in sent if each.source]
        page = self._messages[ids[0]][0].link(sent[0].id)
        reference: dict[str, Any] = {"account": sent[0].account, "files": files}
        refused = next((each.refused for each in sent if each.refused), "")
        note = Text(_REFUSED, {"reason": refused}) if refused else None
        split = self._splits.get(_identity(volumes[0].key))
        if isinstance(split, Text):
            note = split
        elif split and len(sent) == len(volumes):
            note = Text(_PLAYS, {"count": len(volumes)})
            reference["parts"] = [
                {
                    "name": volume.name(self.destination(path).name),
                    "size": message.size,
                    "page": target.link(message.id),
                }
                for volume, (target, message) in zip(
                    volumes, (self._messages[each] for each in ids), strict=True
                )
            ]
        if not sent[0].is_photo:
            is_cut = "parts" in reference  # chapters and attached fonts are lost
            return Receipt(path, size, page=page, reference=reference, altered=is_cut, note=note)
        reference["mime"] = str(sent[0].source.get("mime", ""))
        return Receipt(path, sent[0].size, page=page, reference=reference, altered=True)

    async def delete(self, path: str) -> None:
        """Check the path only: messages have none. See `remove`."""
        split(path)

    async def remove(self, receipt: Receipt) -> None:
        """As in the contract: delete the messages, unless they have other files by now."""
        with self.translated_errors(receipt.path):
            for source in receipt.reference.get("files", ()):
                await self.message_sender.delete(receipt.reference["account"], source)


class MessageThrottle:
    """Limits the messages per second, as Telegram requires of bots."""

    def __init__(self, seconds: float, burst: int) -> None:
        self._seconds = seconds
        self._burst_seconds = seconds * (burst - 1)
        self._next = 0.0  # monotonic
        self._lock = asyncio.Lock()

    async def wait(self) -> None:
        """Wait until the next message may be sent."""
        async with self._lock:
            await asyncio.sleep(max(0.0, self._next - self._burst_seconds - time.monotonic()))
            self._next = max(self._next, time.monotonic()) + self._seconds


def _album_kind(document: Document) -> object:
    """Documents with the same one may be in one album."""
    match document.properties:
        case None:
            return "file"
        case Audio(voice=True):
            return document.random_id
        case Audio():
            return "music"
    return "photo or video"


def _identity(key: UploadKey) -> tuple[object, ...]:
    """Identifies a file among the uploads of all claims."""
    return key.task, key.item, key.undone


def _free_bytes(folder: Path) -> int:
    """Free bytes of the disk that has a folder, or will have it."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _remember(memory: dict[K, V], key: K, value: V, max_entries: int) -> None:
    """Add an entry, and drop the oldest one if there are more than `max_entries`."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > max_entries:
        del memory[next(iter(memory))]
