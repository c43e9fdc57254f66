"""Reading an object."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from saveany.ranges import range_header
from storages.base import (
    Reader,
)
from storages.s3.bucket import S3Bucket
from storages.s3.objects import milliseconds, version_of

_PIECE: Final = 1 << 20


class S3Reader(Reader):
    """Reads ranges of an object. Each request names the ETag: the service refuses it if that has changed."""

    def __init__(self, bucket: S3Bucket, path: str, head: Mapping[str, Any]) -> None:
        super().__init__(
            bucket.name, path, head["ContentLength"], milliseconds(head["LastModified"]), version_of(head)
        )
        self._bucket = bucket
        self._etag = head["ETag"]

    async def _pieces(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        key = self._bucket.key(self.path)
        async with self._bucket.body(key, Range=range_header(start, end), IfMatch=self._etag) as body:
            while start < end:
                with self._bucket.translated_errors():
                    piece = await body.read(_PIECE)
                if not piece:
                    return
                start += len(piece)
                yield piece

    async def _check_unchanged(self) -> None:
        """Check the ETag once more: services that ignore If-Match deliver whatever object has the key."""
        head = await self._bucket.head(self._bucket.key(self.path))
        if head is None or head["ETag"] != self._etag:
            raise self.changed()
