"""Buckets of Amazon S3 and compatible services: MinIO, R2, Backblaze, Garage, …

A file is a multipart upload to its final key, with several parts in flight. It appears when the upload is
completed, and another worker can abort it, unlike a plain PUT. Its parts are found again by its key
(ListMultipartUploads, ListParts), so that no local state is needed. The caller ensures that no two of its
uploads have the same key (`Capabilities.exclusive` is False). The metadata of the object contains the task,
so that a commit can be recognized after the worker that made it has died.

Limits: parts have 5 MiB or more, except the last, and there are at most 10,000
(docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html). R2 requires parts of equal size. Completing with
`If-None-Match: *` fails if the key is taken; services without support for it reply NotImplemented or ignore
it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from urllib.request import getproxies

from saveany.errors import NameTaken, StorageError
from storages.base import (
    Capabilities,
    Entry,
    Range,
    Reader,
    Receipt,
    Services,
    Storage,
    Upload,
    UploadKey,
)
from storages.listing import plausible
from storages.parts import RESERVED, is_reserved
from storages.s3.bucket import S3Bucket
from storages.s3.objects import NAMES, milliseconds
from storages.s3.options import MIB, S3Options, endpoint_url
from storages.s3.reader import S3Reader
from storages.s3.upload import MAX_PARTS, S3Upload


class S3Storage(Storage):
    """A bucket, or a folder in a bucket."""

    capabilities = Capabilities(
        resumes=True, lists=True, reads=True, moves=True, copies=True, links=True, presigned=True
    )
    uploads_at_once = 16

    def __init__(self, options: S3Options, services: Services | None = None) -> None:
        self.name = options.name
        self.bucket = S3Bucket(options, services.proxy if services else "")
        self._smallest_part = options.part_size * MIB
        self._discards = asyncio.Semaphore(self.uploads_at_once)

    async def close(self) -> None:
        """Close the connections."""
        await self.bucket.close()

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """As in the contract."""
        part_size = self._part_size(size)
        object_key = self.bucket.key(path)
        uploads = await self.bucket.uploads(object_key)
        if uploads and size is not None and len(keep) == 1:
            kept = await self._kept(object_key, uploads[0], keep[0], part_size)
            if kept:
                await self.bucket.abort_uploads(object_key, uploads[1:])
                return S3Upload(self, self.bucket, key, path, part_size, uploads[0], kept)
        await self.bucket.abort_uploads(object_key, uploads)
        return S3Upload(self, self.bucket, key, path, part_size)

    def _part_size(self, size: int | None) -> int:
        """Bytes of a part: no file may have more than `MAX_PARTS` of them."""
        return max(self._smallest_part, -(-(size or 0) // (MAX_PARTS * MIB)) * MIB)

    async def _kept(self, key: str, upload: str, keep: Range, part_size: int) -> dict[int, str]:
        """The parts with exactly the bytes in `keep`, as number -> ETag; {} if it has others."""
        count, rest = divmod(keep[1], part_size)
        if keep[0] or rest or not count:
            return {}
        parts = await self.bucket.parts(key, upload)
        complete = all(parts.get(number, ("", 0))[1] == part_size for number in range(1, count + 1))
        return {number: parts[number][0] for number in range(1, count + 1)} if complete else {}

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> Receipt | None:
        """As in the contract. Completes an upload that has all its parts."""
        object_key = self.bucket.key(final)
        uploads = await self.bucket.uploads(object_key)
        if receipt := await self.bucket.receipt(key, final, size):
            await self.bucket.abort_uploads(object_key, uploads)
            return receipt
        for upload in uploads:
            parts = await self.bucket.parts(object_key, upload)
            if size and sum(length for _, length in parts.values()) == size:
                etags = {number: etag for number, (etag, _) in parts.items()}
                try:
                    await self.bucket.complete(object_key, upload, etags, replace=False)
                except NameTaken:
                    break
                return await self.bucket.receipt(key, final, size)
        await self.bucket.abort_uploads(object_key, uploads)
        return None

    async def discard(self, key: UploadKey, path: str) -> None:
        """As in the contract."""
        object_key = self.bucket.key(path)
        async with self._discards:
            await self.bucket.abort_uploads(object_key, await self.bucket.uploads(object_key))

    async def reach(self) -> None:
        """As in the contract."""
        url = endpoint_url(self.bucket.options)
        if url and not (self.bucket.proxy or getproxies()):  # a proxy of the environment is used, too
            await self.bucket.http.reach(url)

    async def probe(self) -> None:
        """As in the contract."""
        key, sent = f"{self.bucket.prefix}{RESERVED}probe-{id(self):x}", b"saveany"
        await self.bucket.uploads(key)  # listing uploads and objects may be forbidden separately
        await self.list("", limit=1)
        await self.bucket.call("put_object", Key=key, Body=sent)
        try:
            async with self.bucket.body(key) as body:
                back = await body.read()
        finally:
            await self.bucket.call("delete_object", Key=key)
        if back != sent:
            raise StorageError(
                "storage {storage!r} returned other bytes than were written to it", storage=self.name
            )

    async def stat(self, path: str) -> Entry | None:
        """As in the contract. A folder exists if an object is in it."""
        key = self.bucket.key(path)
        name = path.rpartition("/")[2]
        if head := await self.bucket.head(key):
            return Entry(name, path, head["ContentLength"], False, milliseconds(head["LastModified"]))
        below = await self.bucket.call("list_objects_v2", Prefix=f"{key}/", MaxKeys=1)
        return Entry(name, path, 0, True, 0) if below.get("KeyCount") else None

    async def delete(self, path: str) -> None:
        """As in the contract."""
        entry = await self.stat(path)
        if entry and entry.is_dir:
            raise StorageError("storage {storage!r}: {path!r} is a folder", storage=self.name, path=path)
        if entry:
            await self.bucket.call("delete_object", Key=self.bucket.key(path))

    async def list(self, path: str, *, after: str = "", limit: int | None = None) -> list[Entry]:
        """As in the contract."""
        prefix = f"{self.bucket.key(path)}/" if path else self.bucket.prefix
        start = f"{prefix}{NAMES.encode(after)}" if after else ""
        found: list[Entry] = []
        async for last, page in self.bucket.pages(prefix, start, "/"):
            real = (entry for each in page if (entry := plausible(each)))
            found += (entry for entry in real if entry.name > after and not is_reserved(entry.name))
            if limit is not None and len(found) >= limit > 0:
                found = sorted(found, key=lambda entry: entry.name)[:limit]
                if not _precedes(last, found[-1].name):
                    break
        if not found and path and await self.bucket.head(self.bucket.key(path)) is not None:
            raise StorageError("storage {storage!r}: {path!r} is a file", storage=self.name, path=path)
        return sorted(found, key=lambda entry: entry.name)[:limit]

    async def walk(self, path: str) -> AsyncGenerator[Entry, None]:
        """As in the contract, with one listing for all folders."""
        async for _, page in self.bucket.pages(
            f"{self.bucket.key(path)}/" if path else self.bucket.prefix, "", ""
        ):
            for entry in page:
                if plausible(entry) and not is_reserved(entry.name):
                    yield entry

    async def open(self, path: str) -> Reader:
        """As in the contract."""
        head = await self.bucket.head(self.bucket.key(path))
        if head is None:
            raise StorageError("storage {storage!r}: {path!r} does not exist", storage=self.name, path=path)
        return S3Reader(self.bucket, path, head)

    async def move(self, path: str, to: str, *, replace: bool = False) -> Receipt:
        """As in the contract: a copy, then a deletion."""
        receipt = await self.bucket.copy(path, to, replace=replace)
        await self.delete(path)
        return receipt

    def copies_from(self, origin: Storage) -> bool:
        """Also other buckets of the same account at the same service."""
        return isinstance(origin, S3Storage) and self.bucket.account == origin.bucket.account

    async def url(self, path: str, seconds: int, headers: Mapping[str, str] | None = None) -> str:
        """As in the contract: a presigned URL, valid for at most 7 days."""
        client = await self.bucket.client()
        arguments = {"Bucket": self.bucket.bucket_name, "Key": self.bucket.key(path)}
        arguments |= {f"Response{name.replace('-', '')}": value for name, value in (headers or {}).items()}
        with self.bucket.translated_errors():
            link: str = await client.generate_presigned_url("get_object", arguments, min(seconds, 604_800))
        return link


def _precedes(last: str, name: str) -> bool:
    """Whether a folder that sorts before `name` may follow key `last`: S3 sorts `a-b` before `a/`."""
    return any(last < f"{name[:at]}/" for at, each in enumerate(name) if each < "/")
