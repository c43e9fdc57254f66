"""Receiving files, and having tasks move them to their storages."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import PureWindowsPath
from typing import Final

from msgspec.structs import replace

from saveany.config import Config
from saveany.config.schema import UPLOADS
from saveany.errors import (
    ChecksumMismatch,
    InvalidInput,
    NotFound,
    RequestError,
    SaveAnyError,
    TooLarge,
    Unavailable,
    UploadBusy,
)
from saveany.ids import new_id
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.models import OnConflict, OnDuplicate, Status
from saveany.planning.requests import TaskRequest, UploadedFile
from saveany.service.principal import Principal
from saveany.service.reading import TaskReader
from saveany.service.tasks import TaskService
from saveany.store import Accepted
from saveany.uploads.folder import IncomingFile, UploadsFolder, machine_id, make_private_folder
from saveany.uploads.tus import EXPIRE_SECONDS, TusUpload, TusUploads, Wanted

#: Seconds between two searches for what nobody needs any more.
_TIDY_SECONDS: Final = 600.0
#: Seconds that a complete file without a task is kept, and one of a failed or canceled task, for a retry.
_UNKNOWN_SECONDS, _FAILED_SECONDS = 3600.0, 7 * 24 * 3600.0
#: Seconds that a request waits for another one to end that writes to the same upload, and between two checks.
_BUSY_SECONDS, _CHECK_SECONDS = 2.0, 0.02
#: Types that programs send for any file.
_ANY_TYPE: Final = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})

log = get_logger("saveany.uploads")


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            "uploads cannot be stored in {folder}: {reason}",
            folder=str(error.filename or "data_dir"),
            reason=error.strerror or str(error),
        ) from error


class UploadService:
    """Uploads to this machine. All operations raise what `TaskService.submit` raises for the task, `TooLarge`
    and `InsufficientSpace`."""

    def __init__(self, config: Config, tasks: TaskService, reader: TaskReader) -> None:
        self.max_bytes = config.uploads.max_mb * 1_000_000  # 0: no limit
        self._data_dir = config.data_dir
        self._tasks = tasks
        self._reader = reader
        self._folder = UploadsFolder(config.data_dir)
        self._tus = TusUploads(self._folder)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remove what nobody needs any more, and continue what a crash has interrupted, until the block
        ends."""
        tidying = asyncio.create_task(repeat("uploads", self.tidy, _TIDY_SECONDS))
        try:
            yield
        finally:
            tidying.cancel()
            await asyncio.wait([tidying])

    # Files in one request.

    async def check(self, principal: Principal, wanted: Wanted, size: int) -> int:
        """Raise if a file of this size (0: not known) could not be saved. Returns the id of its user."""
        self._check_size(size)
        user_id = await self._tasks.check(principal, self._request(wanted, new_id()))
        with _unavailable():
            make_private_folder(self._folder.path)
            self._folder.check_space(0 if wanted.is_linked else size)
        return user_id

    async def receive(
        self,
        principal: Principal,
        wanted: Wanted,
        content: AsyncIterator[bytes],
        size: int | None = None,
        *,
        key: str = "",
        sha256: str = "",
        sha1: str | None = None,
    ) -> Accepted:
        """Receive a file and create the task that saves it. If anything fails, nothing remains of it.

        Raises `InvalidInput` unless it has `size` bytes and the hashes `sha256` and `sha1`, if they are
        given. A `sha1` of "" has it computed and recorded. A second file with the same idempotency `key` is
        dropped, and the first task returned.
        """
        with _unavailable():
            file = self._folder.create(new_id(), size)
        try:
            async with file:
                if sha1 is not None:
                    file.want_sha1()
                await self._receive_all(file, content, size)
                _check_hashes(file, sha256, sha1 or "")
                await file.complete()
        except BaseException:
            file.discard()
            raise
        request = self._request(wanted, file.id, file.sha256, file.sha1)
        seen = repr((wanted, file.size, file.sha256))
        fingerprint = hashlib.sha256(seen.encode()).hexdigest() if key else ""
        try:
            accepted = await self._tasks.submit(principal, request, key=key, body_hash=fingerprint)
        except Unavailable:
            raise  # the task may exist; if it does not, `tidy` removes the file
        except BaseException as error:
            if isinstance(error, SaveAnyError):
                self._folder.remove(file.id)
            raise
        if accepted.id != file.id:
            self._folder.remove(file.id)
        return accepted

    async def _receive_all(self, file: IncomingFile, content: AsyncIterator[bytes], size: int | None) -> None:
        async for piece in content:
            self._check_size(file.size + len(piece))
            await file.write(piece)
        if size is not None and file.size != size:
            raise InvalidInput(
                "{received} of {size} bytes arrived; send the file again", received=file.size, size=size
            )
        await file.flush()

    # Resumable uploads.

    async def begin(
        self, principal: Principal, wanted: Wanted, length: int | None, metadata: str = ""
    ) -> TusUpload:
        """Begin a resumable upload of `length` bytes; None if that is not known yet."""
        user_id = await self.check(principal, wanted, length or 0)
        room = None if wanted.is_linked else length
        with _unavailable(), closing(self._folder.create(new_id(), room)) as file:
            upload = TusUpload(file.id, user_id, length, metadata, replace(wanted, user_id=user_id))
            self._tus.put(upload)
        if length == 0:
            await self._finish(upload)
        return upload

    async def get(self, principal: Principal, id_: str) -> tuple[TusUpload, int]:
        """A resumable upload, and how many bytes of it are here. One of which all bytes are here has a task.
        Raises `NotFound`, also if it has expired."""
        upload = self._tus.get(id_)
        if upload is None or not principal.may_access(upload.user_id) or self._is_expired(upload):
            raise NotFound("there is no such upload; it may have expired")
        received = self._folder.received(id_)
        if upload.is_submitted or received is None:
            received = upload.length or 0
        if received == upload.length and not upload.is_submitted:
            with suppress(UploadBusy):  # another request does it
                await self._finish(upload)
        return upload, received

    async def append(
        self,
        principal: Principal,
        id_: str,
        offset: int,
        content: AsyncIterator[bytes],
        checksum: tuple[str, bytes] | None = None,
        length: int | None = None,
    ) -> int:
        """Append bytes at `offset`, which must be where the upload has stopped; returns the new offset. The
        bytes that have arrived when the client disconnects are kept, unless there is a checksum, an algorithm
        and the digest. `length` is that of the whole upload, if it is known by now. Raises `UploadBusy`,
        `ChecksumMismatch` and `NotFound`."""
        upload, received = await self.get(principal, id_)
        file = await self._resume(id_)
        if file is None:
            if offset != received:
                raise UploadBusy("the upload has stopped at byte {offset}", offset=received)
            return received
        async with file:
            upload = self._tus.get(id_) or upload  # another request may have stated its length meanwhile
            if offset != file.size:
                raise UploadBusy("the upload has stopped at byte {offset}", offset=file.size)
            if length is not None:
                upload = self._with_length(upload, length, offset)
            await self._append(file, upload, content, checksum)
            if file.size == upload.length:
                await self._finish(upload, file)
        return file.size

    def _with_length(self, upload: TusUpload, length: int, received: int) -> TusUpload:
        """The upload, whose length was not known before."""
        if length < received or upload.length not in (None, length):
            raise InvalidInput("the upload has another length", "Upload-Length")
        self._check_size(length)
        with _unavailable():
            self._folder.check_space(length - received)
            upload = replace(upload, length=length)
            self._tus.put(upload)
        return upload

    async def _resume(self, id_: str) -> IncomingFile | None:
        """As `UploadsFolder.resume`. Waits for a moment for a request whose client has just disconnected."""
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return self._folder.resume(id_)
            except UploadBusy:
                if time.monotonic() >= until:
                    raise
            await asyncio.sleep(_CHECK_SECONDS)

    async def _append(
        self,
        file: IncomingFile,
        upload: TusUpload,
        content: AsyncIterator[bytes],
        checksum: tuple[str, bytes] | None,
    ) -> None:
        before = file.size
        digest = hashlib.new(checksum[0], usedforsecurity=False) if checksum else None
        is_right = digest is None
        try:
            async for piece in content:
                if upload.length is None:
                    self._check_size(file.size + len(piece))
                elif file.size + len(piece) > upload.length:
                    raise TooLarge("the upload has only {size} bytes", size=upload.length)
                await file.write(piece)
                if digest:
                    digest.update(piece)
            if digest and checksum:
                is_right = hmac.compare_digest(digest.digest(), checksum[1])
                if not is_right:
                    raise ChecksumMismatch
        finally:
            if is_right:
                await file.sync()
            else:
                await file.truncate(before)

    async def end(self, principal: Principal, id_: str) -> None:
        """Remove an upload. The task of a complete one stays. Raises `NotFound` and `UploadBusy`."""
        await self.get(principal, id_)
        file = await self._resume(id_)
        if file is not None:
            async with file:
                file.discard()
        self._tus.remove(id_)

    def expires_at(self, upload: TusUpload) -> float:
        """When a resumable upload expires unless more arrives, in seconds since the epoch."""
        return self._tus.touched(upload.id) + EXPIRE_SECONDS

    def _is_expired(self, upload: TusUpload) -> bool:
        return self.expires_at(upload) < time.time()

    async def _finish(self, upload: TusUpload, file: IncomingFile | None = None) -> None:
        """Create the task of an upload of which all bytes are here. Repeating it does no harm: the task has
        the id of the upload, and moves the file away."""
        digest = ""
        file = file or self._folder.resume(upload.id)
        if file is not None:
            async with file:
                await file.complete()
                digest = file.sha256
        if self._folder.has(upload.id):
            owner = Principal(user_id=upload.user_id)
            request = self._request(upload.wanted, upload.id, digest, linked=self._folder.linked(upload.id))
            await self._tasks.submit(owner, request)
        self._tus.put(replace(upload, is_submitted=True))

    # Both.

    def _check_size(self, size: int) -> None:
        if self.max_bytes and size > self.max_bytes:
            raise TooLarge("the file is larger than {limit} MB", limit=self.max_bytes // 1_000_000)

    def _request(
        self,
        wanted: Wanted,
        id_: str,
        sha256: str = "",
        sha1: str = "",
        *,
        linked: tuple[int, int] | None = None,
    ) -> TaskRequest:
        name = (
            wanted.name if wanted.is_exact else PureWindowsPath(wanted.name).name
        )  # of browsers: with folders
        mime = wanted.mime.partition(";")[0].strip().lower()
        with _unavailable():
            storage = UPLOADS + machine_id(self._data_dir)
        return TaskRequest(
            upload=UploadedFile(
                id=id_,
                storage=storage,
                name=name or "file",
                mime="" if mime in _ANY_TYPE else mime,
                sha256=sha256,
                sha1=sha1,
                linked=linked,
            ),
            filename=name if wanted.is_exact else "",
            user_id=wanted.user_id,
            storage=wanted.storage,
            folder=wanted.folder,
            folder_id=wanted.folder_id,
            on_conflict=OnConflict(wanted.on_conflict) if wanted.on_conflict else None,
            on_duplicate=OnDuplicate(wanted.on_duplicate) if wanted.on_duplicate else None,
        )

    async def tidy(self) -> None:
        """Remove what nobody needs any more, and continue what a crash has interrupted."""
        resumable = self._tus.ids()
        for id_ in resumable:
            await self._tidy_resumable(id_)
        for id_ in self._folder.parts():
            if id_ not in resumable and self._folder.remove_abandoned(id_):
                log.info("upload_abandoned", upload=id_)
        unfinished = {id_ for id_ in resumable if not (found := self._tus.get(id_)) or not found.is_submitted}
        for id_, age in self._folder.complete_files():
            if id_ not in unfinished and await self._is_useless(id_, age):
                self._folder.remove(id_)
                log.info("upload_removed", upload=id_)

    async def _tidy_resumable(self, id_: str) -> None:
        upload = self._tus.get(id_)
        is_open = upload is None or upload.is_submitted or upload.length is None
        if upload and not is_open and self._folder.received(id_) in (None, upload.length):
            try:
                await self._finish(upload)
            except UploadBusy:
                return
            except RequestError as error:
                if error.retryable:
                    raise
                log.warning("upload_refused", upload=id_, reason=error.message)
        if self._tus.touched(id_) + EXPIRE_SECONDS < time.time() and self._folder.remove_abandoned(id_):
            self._tus.remove(id_)

    async def _is_useless(self, id_: str, age: float) -> bool:
        """Whether no task will need a complete file."""
        task = await self._reader.get(id_)
        if task is None:
            return age > _UNKNOWN_SECONDS
        if task.status is Status.COMPLETED:
            return True
        ended = (task.finished_at or task.updated_at) / 1000
        return task.status.ended and ended + _FAILED_SECONDS < time.time()


def _check_hashes(file: IncomingFile, sha256: str, sha1: str) -> None:
    """Raise `InvalidInput` unless the file has these hashes, as far as they are given."""
    if sha256 and not hmac.compare_digest(file.sha256, sha256.lower()):
        raise InvalidInput("the file does not have the stated SHA-256; send it again", "sha256")
    if sha1 and not hmac.compare_digest(file.sha1, sha1.lower()):
        raise InvalidInput("the file does not have the stated SHA-1; send it again", "sha1")
