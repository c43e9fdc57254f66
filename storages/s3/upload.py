"""Multipart uploads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Final

from saveany.errors import NameTaken, StorageError, StorageUnavailable
from saveany.ranges import range_header
from storages.base import (
    Range,
    Receipt,
    Storage,
    UploadKey,
)
from storages.chunks import Chunk
from storages.s3.bucket import S3Bucket
from storages.s3.objects import OWNER, owner_of
from storages.s3.options import MIB
from storages.s3.part import UploadPart
from storages.sequential import SequentialUpload

#: Maximum number of parts of a multipart upload, and of those in flight.
MAX_PARTS, MAX_IN_FLIGHT = 10_000, 3
#: Bytes of a part that the service copies.
_COPY_PART: Final = 256 * MIB


class S3Upload(SequentialUpload):
    """A multipart upload. `S3Storage.begin` makes it; nothing is sent before the first part is full."""

    def __init__(
        self,
        storage: Storage,
        bucket: S3Bucket,
        key: UploadKey,
        path: str,
        part_size: int,
        upload: str = "",
        kept: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(storage, path, len(kept or {}) * part_size)
        self._bucket = bucket
        self._key = key
        self._object = bucket.key(path)
        self._part_size = part_size
        self._upload = upload
        self._etags: dict[int, str] = dict(kept or {})
        self._part = UploadPart()  # the part that is being filled
        self._sent = self._written  # bytes in parts that are being sent, or were
        self._number = len(self._etags)
        self._sending: set[asyncio.Task[None]] = set()
        self._creating: asyncio.Task[None] | None = None

    async def _send(self, data: Chunk) -> None:
        rest = memoryview(data)
        while rest:
            room = self._part_size - len(self._part)
            self._part.add(rest[:room])
            rest = rest[room:]
            if len(self._part) == self._part_size:
                await self._send_part()

    async def _send_part(self) -> None:
        await self._open()
        self._number += 1
        if self._number > MAX_PARTS:
            raise StorageError(
                "storage {storage!r}: {path!r} has more than {max_parts} parts; set a larger part_size",
                storage=self._storage.name,
                path=self._path,
                max_parts=MAX_PARTS,
            )
        part, self._part = self._part, UploadPart()
        self._sent += len(part)
        while len(self._sending) >= MAX_IN_FLIGHT:
            await self._wait_for_parts(asyncio.FIRST_COMPLETED)
        self._sending.add(asyncio.create_task(self._put(self._number, part)))

    async def copy(self, origin: Storage, path: str, report: Callable[[int], None]) -> None:
        """As in the contract, as a multipart upload, whose metadata contains the task."""
        bucket = getattr(origin, "bucket", None)
        if not isinstance(bucket, S3Bucket):
            raise self._upload_error("the service cannot copy from storage {origin!r}", origin=origin.name)
        head = await bucket.head(bucket.key(path))
        if head is None:
            raise StorageError(
                "storage {storage!r}: there is no file {path!r}", storage=origin.name, path=path
            )
        size, step = head["ContentLength"], max(_COPY_PART, self._part_size)
        for start in range(0, size, step):
            await self._open()
            while len(self._sending) >= MAX_IN_FLIGHT:
                await self._wait_for_parts(asyncio.FIRST_COMPLETED)
            self._number += 1
            span = start, min(start + step, size)
            copying = self._copy_part(self._number, bucket, bucket.key(path), head["ETag"], span, report)
            self._sending.add(asyncio.create_task(copying))
        while self._sending:
            await self._wait_for_parts(asyncio.ALL_COMPLETED)
        self._sent = self._written = size
        if size:
            await self._check_copied(size)

    async def _copy_part(
        self, number: int, origin: S3Bucket, key: str, etag: str, span: Range, report: Callable[[int], None]
    ) -> None:
        start, end = span
        response = await self._bucket.call(
            "upload_part_copy",
            Key=self._object,
            UploadId=self._upload,
            PartNumber=number,
            CopySource={"Bucket": origin.bucket_name, "Key": key},
            CopySourceIfMatch=etag,
            CopySourceRange=range_header(start, end),
        )
        self._etags[number] = response.get("CopyPartResult", {}).get("ETag", "")
        report(end - start)

    async def _check_copied(self, size: int) -> None:
        """Check the copied parts: services without support for UploadPartCopy make empty ones."""
        parts = await self._bucket.parts(self._object, self._upload)
        if sum(length for _, length in parts.values()) != size or not all(self._etags.values()):
            raise StorageError(
                "storage {storage!r}: the service cannot copy into an upload", storage=self._storage.name
            )

    async def _open(self) -> None:
        if not self._upload:
            # Shielded: a cancellation must not leave an upload whose id is unknown.
            self._creating = asyncio.create_task(self._create())
            await asyncio.shield(self._creating)

    async def _create(self) -> None:
        metadata = {OWNER: owner_of(self._key)}
        made = await self._bucket.call("create_multipart_upload", Key=self._object, Metadata=metadata)
        with self._bucket.translated_errors():
            self._upload = made["UploadId"]

    async def _put(self, number: int, part: UploadPart) -> None:
        with self._bucket.translated_errors():
            async with part.stall_timeout():
                response = await self._bucket.call(
                    "upload_part", Key=self._object, UploadId=self._upload, PartNumber=number, Body=part
                )
            self._etags[number] = response["ETag"]

    async def _wait_for_parts(self, until: str) -> None:
        done, self._sending = await asyncio.wait(self._sending, return_when=until)
        for task in done:
            task.result()

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """As in the contract: the parts that the service has, from the first one without a gap."""
        count = sum(1 for _ in takewhile(lambda number: number in self._etags, range(1, self._number + 1)))
        durable = min(count, self._sent // self._part_size) * self._part_size  # the last part may be shorter
        return ((0, durable),) if durable else ()

    async def _finish(self, size: int) -> None:
        if len(self._part):
            await self._send_part()
        while self._sending:
            await self._wait_for_parts(asyncio.ALL_COMPLETED)

    async def _publish(self, path: str, size: int, *, replace: bool) -> Receipt:
        """An object that an earlier attempt of this same upload has made counts as its commit."""
        try:
            return Receipt(path, size, await self._complete(replace))
        except (NameTaken, StorageUnavailable):
            found = await self._bucket.receipt(self._key, path, size)
            await self._check_upload()
            if found is None:
                raise
            await self._remove()
            return found

    async def _check_upload(self) -> None:
        """Raise `Fenced` if another worker has aborted the upload."""
        if self._upload:
            await self._bucket.parts(self._object, self._upload)

    async def _complete(self, replace: bool) -> str:
        """Make the object; returns its version."""
        if self._upload:
            return await self._bucket.complete(self._object, self._upload, self._etags, replace=replace)
        # An empty file has no part.
        arguments = {"Key": self._object, "Body": b"", "Metadata": {OWNER: owner_of(self._key)}}
        return await self._bucket.create("put_object", arguments, replace=replace)

    async def _remove(self) -> None:
        if self._upload:
            await self._bucket.abort_uploads(self._object, [self._upload])

    async def _stop(self) -> None:
        for task in self._sending:
            task.cancel()
        waiting = [*self._sending, *([self._creating] if self._creating else [])]
        await asyncio.gather(*waiting, return_exceptions=True)
        self._sending = set()
        self._part = UploadPart()
