"""Uploads files of this machine to the API by tus, several at a time, and waits for their tasks.

An upload continues where it has stopped, also when the server or this program was restarted meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import httpx

from saveany.cli.client import ApiClient, Json, RequestRefused
from saveany.cli.task_ends import TaskEnds
from saveany.cli.upload_records import UploadRecords, key_of
from saveany.errors import InsufficientSpace, RequestError, Unavailable
from saveany.local_files import LocalFile, Version, decoded, open_file
from saveany.planning.names import safe_name
from saveany.uploads.folder import UploadsFolder

T = TypeVar("T")

_VERSION: Final = {"Tus-Resumable": "1.0.0"}
_TYPE: Final = "application/offset+octet-stream"
#: Files that are sent at the same time.
_AT_ONCE: Final = 6
#: Bytes of a request, and of those that follow if a proxy refuses one: 1 MiB is the default of nginx.
_PARTS: Final = (1 << 30, 16 << 20, 1 << 20, 64 << 10)
#: Bytes that are read at once.
_PIECE: Final = 1 << 20
#: Seconds that the server may take to confirm a part, which it writes to its disk.
_CONFIRM_SECONDS: Final = 300.0
#: Seconds between two attempts of a short request.
_RETRY_SECONDS = 0.3
#: Seconds without a reply after which an upload gives up, and the longest pause between two attempts.
_OUTAGE_SECONDS, _LONGEST_PAUSE = 600.0, 5.0

_MISSING = (httpx.codes.NOT_FOUND, httpx.codes.GONE)
_BUSY = (httpx.codes.CONFLICT, httpx.codes.LOCKED)


class Changed(Exception):
    """A file has changed while it was sent."""


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """Where the files are saved, and how."""

    storage: str
    folder: str
    user: int | None = None
    on_conflict: str = ""
    on_duplicate: str = ""


@dataclass(frozen=True, slots=True)
class FileUpload:
    """A file, and the folder in the target folder that it belongs in."""

    file: LocalFile
    folder: str = ""


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """What has become of a file."""

    job: FileUpload
    status: Literal["completed", "skipped", "queued", "failed", "canceled"]
    task_id: str = ""
    stored_as: str = ""
    error: str = ""
    is_removed: bool = False  # the local file


class Uploading:
    """One run of the command."""

    def __init__(
        self,
        api: ApiClient,
        target: UploadTarget,
        records: UploadRecords,
        *,
        follow_links: bool = False,
        move: bool = False,
        wait: bool = True,
        folder: UploadsFolder | None = None,
        sent: Callable[[int], None],
        note: Callable[[str], None],
    ) -> None:
        """`sent` is called with numbers of bytes, `note` with messages about outages. If `folder` is that of
        the server, files on its disk are not copied."""
        self._api = api
        self._target = target
        self._records = records
        self._follow_links = follow_links
        self._move = move
        self._wait = wait
        self._folder = folder
        self._sent = sent
        self._note = note
        self._tasks = TaskEnds(api, self._live, self._end)
        self._jobs: dict[str, tuple[FileUpload, str]] = {}  # task -> its file, and the key of that
        self._stored: set[str] = set()  # tasks of an earlier run
        self._retried: set[str] = set()  # tasks of an earlier run
        self._outcomes: asyncio.Queue[UploadOutcome] = asyncio.Queue()
        self._sending: set[str] = set()  # keys of files that the server has room for, or is asked for it
        #: Set, and replaced, when the server needs room for a file no longer.
        self._made_room = asyncio.Event()
        self._silent_since = 0.0  # when the server stopped to reply; 0: it replies
        self._is_noted = False
        self._part = _PARTS[0]

    async def run(self, jobs: Sequence[FileUpload], show: Callable[[UploadOutcome], None]) -> bool:
        """Upload the files, and call `show` with what has become of each. Returns whether all are stored."""
        keys = [self._key(job) for job in jobs]
        queue, is_complete = list(zip(jobs, keys, strict=True))[::-1], True
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self._send_all(queue)) for _ in range(min(_AT_ONCE, len(queue)))]
            if self._wait:
                running.append(group.create_task(self._tasks.run()))
            for _ in jobs:
                outcome = await self._outcomes.get()
                is_complete &= outcome.status not in ("failed", "canceled")
                show(outcome)
            for task in running:
                task.cancel()
        return is_complete

    def forget(self, jobs: Sequence[FileUpload]) -> None:
        """Have the next run upload these files anew."""
        self._records.forget([self._key(job) for job in jobs])

    def _key(self, job: FileUpload) -> str:
        target, file = self._target, job.file
        return key_of(self._api.address, target, job.folder, file.place, file.version)

    async def _send_all(self, queue: list[tuple[FileUpload, str]]) -> None:
        while queue:
            job, key = queue.pop()
            try:
                task_id = await self._task_of(job, key)
            except Changed:
                await self._forget(key)
                self._fail(job, "it has changed while it was sent; repeat the command when it is complete")
            except FileNotFoundError:
                self._fail(job, "it does not exist any more")
            except OSError as error:
                special = error.errno in (errno.EINVAL, errno.ELOOP, errno.ENXIO)
                reason = "it is not a file any more" if special else os.strerror(error.errno or errno.EIO)
                self._fail(job, reason)
            except RequestError as error:
                self._fail(job, error.message)
            else:
                if self._wait:
                    self._jobs[task_id] = job, key
                    self._tasks.add(task_id, has_ended=task_id in self._stored)
                else:
                    self._outcomes.put_nowait(UploadOutcome(job, "queued", task_id))
                    self._make_room()
            self._sending.discard(key)

    def _fail(self, job: FileUpload, reason: str) -> None:
        self._outcomes.put_nowait(UploadOutcome(job, "failed", error=reason))
        self._make_room()

    def _make_room(self) -> None:
        self._made_room.set()
        self._made_room = asyncio.Event()

    # Sending.

    async def _task_of(self, job: FileUpload, key: str) -> str:
        """The id of the task that saves the file: of an earlier run, or after the file was sent."""
        if (id_ := self._records.get(key)) and await self._is_alive(id_):
            self._sent(job.file.version.size)
            return id_
        fd = await asyncio.to_thread(open_file, job.file.path, follow_links=self._follow_links)
        try:
            if Version.of(os.fstat(fd)) != job.file.version:
                raise Changed
            return await self._send(job, key, fd)
        finally:
            os.close(fd)

    async def _is_alive(self, task_id: str) -> bool:
        """Whether there is this task, or it could be retried."""
        try:
            task = await self._patiently(lambda: self._api.get(f"tasks/{task_id}"))
            if task["status"] in ("failed", "canceled"):
                await self._patiently(lambda: self._api.post(f"tasks/{task_id}/retry"))
                self._retried.add(task_id)
            elif task["status"] == "completed":
                self._stored.add(task_id)
        except RequestRefused:
            return False
        return True

    async def _send(self, job: FileUpload, key: str, fd: int) -> str:
        """Send the rest of a file; returns the id of its upload, which is also that of its task."""
        size, shown, failing_since = job.file.version.size, 0, 0.0
        position: tuple[str, int] | None = None
        while True:
            try:
                id_, offset = position or await self._position(job, key, fd)
                self._sending.add(key)
                self._sent(offset - shown)
                shown = offset
                if offset == size:
                    return id_
                end = min(size, offset + self._part)
                await self._patch(id_, fd, job.file.version, offset, end)
                position, failing_since, self._is_noted = (id_, end), 0.0, False
            except (Unavailable, _Again) as error:
                position, now = None, time.monotonic()
                failing_since = failing_since or now
                if now - failing_since > _OUTAGE_SECONDS:
                    raise Unavailable(error.text) from None
                self._say(error.message)
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.2 + (now - failing_since) / 2))

    async def _position(self, job: FileUpload, key: str, fd: int) -> tuple[str, int]:
        """The id of the upload of a file, which may be a new one, and how much of it has arrived."""
        if (id_ := self._records.get(key)) and (offset := await self._offset(id_)) is not None:
            return id_, offset
        info, folder = os.fstat(fd), self._folder
        if folder is None or not await asyncio.to_thread(folder.can_link, info):
            id_ = await self._begin(job, key)
            self._records.put(key, id_)
            return id_, 0
        id_ = await self._begin(job, key, is_linked=True)
        self._records.put(key, id_)
        await asyncio.to_thread(folder.link, id_, job.file.path, info)
        return id_, await self._offset(id_) or 0

    async def _begin(self, job: FileUpload, key: str, *, is_linked: bool = False) -> str:
        """Begin an upload. If the server has no room, waits until one of our files has made some."""
        name, target = safe_name(decoded(job.file.path.name)), self._target
        pairs = {
            "name": name,
            "exact": "1",
            "linked": "1" if is_linked else "",
            "storage": target.storage,
            "folder": "/".join(filter(None, (target.folder, job.folder))) or "/",
            "user_id": str(target.user or ""),
            "on_conflict": target.on_conflict,
            "on_duplicate": target.on_duplicate,
        }
        headers = {"Upload-Length": str(job.file.version.size), "Upload-Metadata": _metadata(pairs)}
        while True:
            made_room = self._made_room
            self._sending.add(key)
            try:
                reply = await self._api.exchange("POST", "/api/v1/uploads", _VERSION | headers)
                return reply["location"].rpartition("/")[2]
            except InsufficientSpace as error:
                self._sending.discard(key)
                if not self._jobs and not self._sending and not made_room.is_set():
                    raise
                self._say(f"{error.message} until other files are saved")
                await made_room.wait()

    async def _offset(self, id_: str) -> int | None:
        """How much of an upload has arrived; None if it has expired."""
        try:
            reply = await self._api.exchange("HEAD", f"/api/v1/uploads/{id_}", _VERSION)
        except RequestRefused as error:
            if error.status in _MISSING:
                return None
            raise
        return int(reply["upload-offset"])

    async def _patch(self, id_: str, fd: int, version: Version, start: int, end: int) -> None:
        headers = {
            "Upload-Offset": str(start),
            "Content-Type": _TYPE,
            "Content-Length": str(end - start),
        }
        try:
            async with aclosing(_pieces(fd, version, start, end)) as pieces:
                await self._api.exchange(
                    "PATCH", f"/api/v1/uploads/{id_}", _VERSION | headers, pieces, seconds=_CONFIRM_SECONDS
                )
        except RequestRefused as error:
            if error.status in (*_BUSY, *_MISSING):  # another request has not ended, or it has expired
                raise _Again(error.text) from None
            smaller = [size for size in _PARTS if size < end - start]
            if error.status == httpx.codes.REQUEST_ENTITY_TOO_LARGE and smaller:
                self._part = min(self._part, smaller[0])
                raise _Again("a proxy before the server refuses large requests") from None
            raise
        except InsufficientSpace as error:
            if not self._jobs and len(self._sending) < 2:  # this file is one of those that are being sent
                raise
            raise _Again(error.text) from None

    async def _forget(self, key: str) -> None:
        if id_ := self._records.get(key):
            self._records.forget([key])
            with suppress(RequestError):
                await self._api.exchange("DELETE", f"/api/v1/uploads/{id_}", _VERSION)

    async def _patiently(self, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The reply to a request, which is repeated while the server does not reply. All of them give up at
        the same time."""
        since = 0.0
        while True:
            try:
                reply = await request()
            except Unavailable as error:
                now = time.monotonic()
                self._silent_since = self._silent_since or now
                since = since or self._silent_since
                if now - since > _OUTAGE_SECONDS:
                    raise
                self._say(error.message)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._silent_since = 0.0
                return reply

    def _say(self, message: str) -> None:
        """A message about an outage, once until something works again."""
        if not self._is_noted:
            self._note(f"{message}; trying again")
        self._is_noted = True

    # Following.

    async def _live(self) -> list[Json]:
        try:
            return await self._patiently(lambda: self._api.live(self._target.user))
        except RequestError:  # then each task is asked for, and its file gets the reason
            return []

    async def _end(self, task_id: str) -> bool:
        """Report what has become of the file of a task; returns whether the task has ended."""
        try:
            task = await self._patiently(lambda: self._api.get(f"tasks/{task_id}"))
        except RequestError as error:  # the next run asks for the task again
            job, _ = self._jobs.pop(task_id)
            self._outcomes.put_nowait(UploadOutcome(job, "failed", task_id, error=error.message))
            self._make_room()
            return True
        if task["status"] in ("queued", "running"):  # retried meanwhile
            return False
        job, key = self._jobs.pop(task_id)
        outcome = await self._outcome(job, task)
        if outcome.status == "failed" and task_id in self._retried:
            self._records.forget([key])  # the next run sends the file again
        self._outcomes.put_nowait(outcome)
        self._make_room()
        return True

    async def _outcome(self, job: FileUpload, task: Json) -> UploadOutcome:
        item = task["items"][0] if task["items"] else {}
        storage = item.get("storage") or task["storage"]
        stored_as = f"{storage}:/{item['path']}" if item else ""
        if task["status"] != "completed":
            return UploadOutcome(job, task["status"], task["task_id"], error=task["error"] or "")
        if item and item["status"] == "skipped":
            return UploadOutcome(job, "skipped", task["task_id"], stored_as)
        if not self._move:
            return UploadOutcome(job, "completed", task["task_id"], stored_as)
        sha256 = str(item.get("sha256", ""))
        problem = await asyncio.to_thread(remove_stored, job.file, sha256, follow_links=self._follow_links)
        return UploadOutcome(job, "completed", task["task_id"], stored_as, problem, is_removed=not problem)


def remove_stored(file: LocalFile, sha256: str, *, follow_links: bool = False) -> str:
    """Remove a local file that has exactly the stored content; otherwise returns why it was kept."""
    if not sha256:  # such as of a photo that Telegram has compressed
        return "it was kept, because its storage may have another version of it"
    try:
        fd = open_file(file.path, follow_links=follow_links)
        with os.fdopen(fd, "rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            info = os.fstat(fd)
            # While it was read, another file may have been put in its place.
            is_there = os.path.samestat(info, file.path.stat())
            if digest != sha256 or Version.of(info) != file.version or not is_there:
                return "it was kept, because it has changed since it was sent"
            file.path.unlink()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it is stored, but could not be removed: {os.strerror(error.errno or errno.EIO)}"
    return ""


class _Again(RequestError):
    """The same may work in a moment."""


async def _pieces(fd: int, version: Version, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """A range of a file. Raises `Changed` before the last piece if the file is not the version any more: then
    no complete upload has bytes of two versions."""
    offset = start
    while offset < end:
        data = await asyncio.to_thread(os.pread, fd, min(_PIECE, end - offset), offset)
        if not data or Version.of(os.fstat(fd)) != version:
            raise Changed
        yield data
        offset += len(data)


def _metadata(pairs: Mapping[str, str]) -> str:
    encoded = (f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in pairs.items() if text)
    return ",".join(encoded)
