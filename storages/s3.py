"""Buckets of Amazon S3 and of everything that speaks its protocol: MinIO, R2, Backblaze, Garage, …

A file is a multipart upload straight to its final key, with several parts on their way at once; it appears
when it is completed, and its upload can be ended by another worker, which a plain PUT cannot. What it has is
found again by its key (ListMultipartUploads, ListParts), so no state of ours is needed: the caller sees to it
that no two uploads of ours share a key (`Capabilities.exclusive` is False). The object's metadata names the
task, so that a completion that went through just before a worker died is known as ours.

Facts: parts are 5 MiB or more but the last, at most 10,000 (docs.aws.amazon.com/AmazonS3/latest/userguide/
qfacts.html); R2 wants all of them to be of one size; completing with `If-None-Match: *` fails if the key is
taken, and services that do not know it answer NotImplemented or ignore it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from itertools import takewhile
from typing import Any, Final
from urllib.request import getproxies

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import ClientError as ClientHttpError
from aiohttp.http_exceptions import HttpProcessingError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    SSLError,
)
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError
from pydantic import Field, SecretStr, field_validator

from saveany.errors import Fenced, NameTaken, NoSpace, StorageError, StorageUnavailable
from saveany.net import trust
from saveany.net.client import describe, is_offline
from saveany.net.dial import CONNECT_SECONDS
from storages.base import (
    MOST_ENTRIES,
    Capabilities,
    Entry,
    Range,
    Services,
    Storage,
    StorageOptions,
    Upload,
    UploadKey,
    believed,
    endless,
)
from storages.names import Encoder
from storages.parts import RESERVED, is_reserved, split
from storages.s3_http import session_class
from storages.web import Web

MIB: Final = 1 << 20
#: The most parts of a multipart upload, and how many of one are on their way at once.
PARTS, AT_ONCE = 10_000, 3
#: Copies of larger objects go part by part.
_COPY: Final = 5 << 30
#: Bytes of a part that the service copies into an upload.
_COPY_PART: Final = 256 * MIB
_OWNER: Final = "saveany-task"
_BUCKET: Final = re.compile(r"[\w.-]{1,255}|arn:\S+", re.ASCII)
_ENDPOINT: Final = re.compile(r"((https?://)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/\S*)?)?")
_PIECE: Final = 1 << 20
#: Entries of a page of a listing.
_PAGE: Final = 1000
#: Seconds in which nothing of a part could be sent: the library waits for ever.
STALL = 120.0
#: Fewer bytes are copied into a part; aiohttp is given so many at a time.
_COPIED, _AT_A_TIME = 64 << 10, 256 << 10


class S3Options(StorageOptions):
    """Options of an `s3` storage."""

    endpoint: str = Field(
        default="",
        description="Address of the service, as in s3.eu-central-1.amazonaws.com or http://minio:9000. "
        "Empty: Amazon, by the region.",
        examples=["https://s3.example.com"],
    )
    region: str = Field(default="us-east-1", description="Region of the bucket; auto for Cloudflare R2.")
    access_key_id: str = Field(
        default="", description="Access key. Empty: what the environment, ~/.aws or the machine's role gives."
    )
    secret_access_key: SecretStr = Field(default=SecretStr(""), description="Secret of the access key.")
    session_token: SecretStr = Field(default=SecretStr(""), description="For temporary access keys.")
    bucket_name: str = Field(min_length=1, description="The bucket; it must exist.", examples=["archive"])
    base_path: str = Field(default="", description="Folder inside the bucket.", examples=["telegram"])
    virtual_host: bool = Field(
        default=False, description="Put the bucket's name into the host name, as Amazon and Aliyun want it."
    )
    use_ssl: bool = Field(default=True, description="Use https where the endpoint does not say.")
    part_size: int = Field(
        default=5, ge=5, le=1024, description="MiB per part. Four parts of a file are held in memory."
    )

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not _ENDPOINT.fullmatch(value):
            raise ValueError("must be a host, as in minio:9000, or begin with http:// or https://")
        return value

    @field_validator("bucket_name")
    @classmethod
    def _a_bucket(cls, value: str) -> str:
        if not _BUCKET.fullmatch(value):
            raise ValueError("must be the name of a bucket, without a folder: that is base_path")
        return value


class MinioOptions(S3Options):
    """Options of a `minio` storage, as in older configurations."""


#: What aiohttp and botocore's parsers raise beside botocore's own errors.
_BROKEN = (ClientHttpError, HttpProcessingError, ResponseParserError)


class S3Storage(Storage):
    """A bucket, or a folder in one."""

    capabilities = Capabilities(resumes=True, lists=True, reads=True, moves=True, copies=True, links=True)

    def __init__(self, options: S3Options, services: Services | None = None) -> None:
        self.name = options.name
        self.bucket = options.bucket_name
        self.part_size = options.part_size * MIB
        self._options = options
        self._proxy = services.proxy if services else ""
        self._prefix = f"{options.base_path.strip('/')}/" if options.base_path.strip("/") else ""
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._door = Web(options.name)
        self.conditional = True  # whether the service understands `If-None-Match: *`

    # Talking to the service.

    async def client(self) -> Any:
        """The client, connected to nothing before its first request."""
        async with self._opening:
            if self._client is None:
                options = self._options
                made = get_session().create_client(
                    "s3",
                    region_name=options.region,
                    endpoint_url=_endpoint(options) or None,
                    aws_access_key_id=options.access_key_id or None,
                    aws_secret_access_key=options.secret_access_key.get_secret_value() or None,
                    aws_session_token=options.session_token.get_secret_value() or None,
                    config=_config(options, self._proxy),
                    verify=str(trust.bundle()),
                )
                self._client = await self._stack.enter_async_context(made)
                # aiohttp would wait for ever for the leave to send: not every server gives it.
                self._client.meta.events.unregister("before-call.s3", add_expect_header)
                # The library asks so for the region when it is sent elsewhere, and again about the answer.
                self._client.meta.events.register("before-call.s3.HeadBucket", _no_region)
        return self._client

    async def call(self, operation: str, **arguments: Any) -> Any:
        """One request; its errors are those of the contract."""
        with self._door.pulse.asking(), self.edge():
            return await getattr(await self.client(), operation)(Bucket=self.bucket, **arguments)

    @contextmanager
    def edge(self) -> Iterator[None]:
        """Gives the errors of the service their meaning."""
        try:
            yield
        except ClientError as error:
            raise self._refusal(error) from error
        except NoCredentialsError as error:
            raise StorageError(
                f"storage {self.name!r}: no credentials; set access_key_id and secret_access_key"
            ) from error
        except _BROKEN as error:
            raise StorageUnavailable(
                f"storage {self.name!r}: the connection broke, or the reply is not that of S3 "
                f"({type(error).__name__})"
            ) from error
        except (ValueError, ParamValidationError) as error:  # BotoCore's InvalidRegionError is the first
            raise StorageError(f"storage {self.name!r} cannot work with these options: {error}") from error
        except KeyError as error:
            raise StorageError(f"storage {self.name!r}: that is no answer of S3; correct endpoint") from error
        except (BotoCoreError, OSError, TimeoutError, RecursionError) as error:  # the last: sent in a circle
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> StorageUnavailable:
        said = describe(error)
        if is_offline(error):
            return StorageUnavailable(f"storage {self.name!r}: {said}")
        text = f"the service at {_endpoint(self._options) or 'Amazon'} cannot be reached, or broke off "
        if not isinstance(error, SSLError):
            return StorageUnavailable(f"storage {self.name!r}: {text}({type(error).__name__})")
        hint = "" if "certificate" in said else "; does it speak https? Else write http:// before endpoint"
        return StorageUnavailable(f"storage {self.name!r}: {text}({said}{hint})")

    def _refusal(self, error: ClientError) -> Exception:
        code, status = _code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchUpload":
            return Fenced(f"storage {self.name!r}: the upload is gone; another worker has taken it over")
        kind, text = _MEANINGS.get(code, (None, ""))
        if kind is None:
            kind = StorageUnavailable if status >= 500 or status == 429 else StorageError
            text = f"the service answers {code} (HTTP {status})"
        return kind(f"storage {self.name!r}, bucket {self.bucket!r}: {text}")

    async def close(self) -> None:
        """Hang up."""
        await self._stack.aclose()
        await self._door.close()
        self._client = None

    # Names.

    def key(self, path: str) -> str:
        """The key of a path; `UnsafePath` if it is none."""
        return self._prefix + "/".join(map(NAMES.encode, split(path)))

    def _path(self, key: str) -> str:
        return "/".join(map(NAMES.decode, key.removeprefix(self._prefix).split("/")))

    # Files in.

    async def begin(self, key: UploadKey, path: str, size: int | None, keep: Sequence[Range] = ()) -> Upload:
        """As in the contract."""
        part_size = self._part_size(size)
        object_key = self.key(path)
        uploads = await self._uploads(object_key)
        if uploads and size is not None and len(keep) == 1:
            kept = await self._kept(object_key, uploads[0], keep[0], part_size)
            if kept:
                await self._abort(object_key, uploads[1:])
                return S3Upload(self, key, path, part_size, uploads[0], kept)
        await self._abort(object_key, uploads)
        return S3Upload(self, key, path, part_size)

    def _part_size(self, size: int | None) -> int:
        return max(self.part_size, -(-(size or 0) // (PARTS * MIB)) * MIB)

    async def _kept(self, key: str, upload: str, keep: Range, part_size: int) -> dict[int, str]:
        """The parts, by number, that hold exactly the bytes in `keep`; none if they do not."""
        count, rest = divmod(keep[1], part_size)
        if keep[0] or rest or not count:
            return {}
        parts = await self.parts(key, upload)
        right = all(parts.get(number, ("", 0))[1] == part_size for number in range(1, count + 1))
        return {number: parts[number][0] for number in range(1, count + 1)} if right else {}

    async def parts(self, key: str, upload: str) -> dict[int, tuple[str, int]]:
        """Number -> (ETag, bytes) of the parts that the service has."""
        found: dict[int, tuple[str, int]] = {}
        marker = 0
        while True:
            page = await self.call("list_parts", Key=key, UploadId=upload, PartNumberMarker=marker)
            for part in page.get("Parts", []):
                found[part["PartNumber"]] = part["ETag"], part["Size"]
            if not page.get("IsTruncated"):
                return found
            if page["NextPartNumberMarker"] <= marker:
                raise endless(self.name, f"the parts of {key}")
            marker = page["NextPartNumberMarker"]

    async def _uploads(self, key: str) -> list[str]:
        """Ids of the unfinished uploads of a key, the newest first."""
        try:
            page = await self.call("list_multipart_uploads", Prefix=key)
        except Fenced:  # rclone's way to say that there is none
            return []
        ours = [each for each in page.get("Uploads") or [] if each["Key"] == key]
        return [each["UploadId"] for each in sorted(ours, key=_initiated, reverse=True)]

    async def _abort(self, key: str, uploads: Sequence[str]) -> None:
        for upload in uploads:
            try:
                await self.call("abort_multipart_upload", Key=key, UploadId=upload)
            except Fenced:
                continue  # it is gone already

    async def finished(self, key: UploadKey, path: str, final: str, size: int) -> bool:
        """As in the contract. An upload that has all its parts is completed."""
        object_key = self.key(final)
        uploads = await self._uploads(object_key)
        if await self.is_ours(key, object_key, size):
            await self._abort(object_key, uploads)
            return True
        for upload in uploads:
            parts = await self.parts(object_key, upload)
            if size and sum(length for _, length in parts.values()) == size:
                etags = {number: etag for number, (etag, _) in parts.items()}
                try:
                    await self.complete(object_key, upload, etags, replace=False)
                except NameTaken:
                    break
                return await self.is_ours(key, object_key, size)
        await self._abort(object_key, uploads)
        return False

    async def is_ours(self, key: UploadKey, object_key: str, size: int) -> bool:
        """Whether the object is what an upload of that task and item has made."""
        head = await self._head(object_key)
        if head is None or head["ContentLength"] != size:
            return False
        return bool(head.get("Metadata", {}).get(_OWNER) == _owner(key))

    async def complete(self, key: str, upload: str, etags: Mapping[int, str], *, replace: bool) -> None:
        """Make a multipart upload an object. Raises `NameTaken` and `Fenced`."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]
        arguments = {"Key": key, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        await self.unless_taken("complete_multipart_upload", arguments, replace=replace)

    async def unless_taken(self, operation: str, arguments: dict[str, Any], *, replace: bool) -> None:
        """A request that makes an object; `NameTaken` if there is one and it must not be replaced."""
        taken = NameTaken(f"storage {self.name!r}: {self._path(arguments['Key'])!r} exists already")
        if not replace and await self._head(arguments["Key"]) is not None:
            raise taken
        if not replace and self.conditional:
            try:
                await self.call(operation, **arguments, IfNoneMatch="*")
            except StorageError as error:
                if _code(error.__cause__) in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise taken from None
                if not _is_unknown(error.__cause__):
                    raise
                self.conditional = False
            else:
                return
        await self.call(operation, **arguments)

    async def discard(self, key: UploadKey, path: str) -> None:
        """As in the contract."""
        await self._abort(self.key(path), await self._uploads(self.key(path)))

    async def reach(self) -> None:
        """As in the contract."""
        url = _endpoint(self._options)
        if url and not (self._proxy or getproxies()):  # one of the environment is used, too
            await self._door.reach(url)

    async def probe(self) -> None:
        """As in the contract."""
        key, sent = f"{self._prefix}{RESERVED}probe-{id(self):x}", b"saveany"
        await self._uploads(key)  # these two may be forbidden apart from the rest
        await self.list("", limit=1)
        await self.call("put_object", Key=key, Body=sent)
        try:
            async with self._body(key) as body:
                back = await body.read()
        finally:
            await self.call("delete_object", Key=key)
        if back != sent:
            raise StorageError(f"storage {self.name!r} gave back other bytes than were written")

    # Files out.

    async def _head(self, key: str) -> Any:
        try:
            return await self.call("head_object", Key=key)
        except StorageError as error:
            if _code(error.__cause__) in ("404", "NoSuchKey", "NotFound"):
                return None
            raise

    async def stat(self, path: str) -> Entry | None:
        """As in the contract. There is a folder where there is something in it."""
        key = self.key(path)
        name = path.rpartition("/")[2]
        if head := await self._head(key):
            return Entry(name, path, head["ContentLength"], False, _ms(head["LastModified"]))
        below = await self.call("list_objects_v2", Prefix=f"{key}/", MaxKeys=1)
        return Entry(name, path, 0, True, 0) if below.get("KeyCount") else None

    async def delete(self, path: str) -> None:
        """As in the contract."""
        entry = await self.stat(path)
        if entry and entry.is_dir:
            raise StorageError(f"storage {self.name!r}: {path!r} is a folder")
        if entry:
            await self.call("delete_object", Key=self.key(path))

    async def list(self, path: str, *, after: str = "", limit: int | None = None) -> list[Entry]:
        """As in the contract."""
        prefix = f"{self.key(path)}/" if path else self._prefix
        start = f"{prefix}{NAMES.encode(after)}" if after else ""
        found: list[Entry] = []
        async for last, page in self._pages(prefix, start, "/"):
            real = (entry for each in page if (entry := believed(each)))
            found += (entry for entry in real if entry.name > after and not is_reserved(entry.name))
            if limit is not None and len(found) >= limit > 0:
                found = sorted(found, key=lambda entry: entry.name)[:limit]
                if not _precedes(last, found[-1].name):
                    break
        if not found and path and await self._head(self.key(path)) is not None:
            raise StorageError(f"storage {self.name!r}: {path!r} is a file")
        return sorted(found, key=lambda entry: entry.name)[:limit]

    async def walk(self, path: str) -> AsyncGenerator[Entry, None]:
        """As in the contract, in one pass whatever the folders."""
        async for _, page in self._pages(f"{self.key(path)}/" if path else self._prefix, "", ""):
            for entry in page:
                if believed(entry) and not is_reserved(entry.name):
                    yield entry

    async def _pages(
        self, prefix: str, start: str, delimiter: str
    ) -> AsyncIterator[tuple[str, Sequence[Entry]]]:
        """Pages of a listing, each with its last key without the prefix."""
        more: dict[str, Any] = {"StartAfter": start} if start else {}
        count = 0
        while True:
            page = await self.call("list_objects_v2", Prefix=prefix, Delimiter=delimiter, **more)
            files, folders = page.get("Contents") or [], page.get("CommonPrefixes") or []
            ends = [each["Key"] for each in files[-1:]] + [each["Prefix"] for each in folders[-1:]]
            # A key that ends in a slash is what some tools make in place of a folder.
            shown = [self._file(each) for each in files if not each["Key"].endswith("/")]
            yield max(ends, default="").removeprefix(prefix), [*shown, *map(self._folder, folders)]
            if not page.get("IsTruncated"):
                return
            count += len(files) + len(folders) or _PAGE  # one of nothing counts as a whole
            if count > MOST_ENTRIES:
                raise endless(self.name, prefix)
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _file(self, listed: Mapping[str, Any]) -> Entry:
        path = self._path(listed["Key"])
        return Entry(path.rpartition("/")[2], path, listed["Size"], False, _ms(listed["LastModified"]))

    def _folder(self, listed: Mapping[str, Any]) -> Entry:
        path = self._path(listed["Prefix"].removesuffix("/"))
        return Entry(path.rpartition("/")[2], path, 0, True, 0)

    async def read(self, path: str, offset: int = 0, size: int | None = None) -> AsyncGenerator[bytes, None]:
        """As in the contract."""
        key = self.key(path)
        head = await self._head(key)
        if head is None:
            raise StorageError(f"storage {self.name!r}: {path!r} does not exist")
        end = head["ContentLength"] if size is None else min(head["ContentLength"], offset + size)
        if offset >= end:
            return
        async with self._body(key, Range=f"bytes={offset}-{end - 1}", IfMatch=head["ETag"]) as body:
            while offset < end:
                with self.edge():
                    piece = await body.read(_PIECE)
                if not piece:
                    raise StorageUnavailable(
                        f"storage {self.name!r}: {path!r} ended at byte {offset} of {end}"
                    )
                offset += len(piece)
                yield piece

    @asynccontextmanager
    async def _body(self, key: str, **arguments: Any) -> AsyncIterator[Any]:
        answer = await self.call("get_object", Key=key, **arguments)
        async with answer["Body"] as body:
            yield body

    async def move(self, path: str, to: str, *, replace: bool = False) -> None:
        """As in the contract: a copy, then a deletion."""
        await self.copy(path, to, replace=replace)
        await self.delete(path)

    async def copy(self, path: str, to: str, *, replace: bool = False) -> None:
        """As in the contract, inside the service."""
        source, target = self.key(path), self.key(to)
        head = await self._head(source)
        if head is None:
            raise StorageError(f"storage {self.name!r}: there is no file {path!r}")
        if not replace and await self._head(target) is not None:
            raise NameTaken(f"storage {self.name!r}: {to!r} exists already")
        origin = {"Bucket": self.bucket, "Key": source}
        if head["ContentLength"] <= _COPY:
            await self.call("copy_object", Key=target, CopySource=origin)
        else:
            await self._copy_large(origin, target, head["ContentLength"])

    async def _copy_large(self, origin: dict[str, str], target: str, size: int) -> None:
        made = await self.call("create_multipart_upload", Key=target)
        etags: dict[int, str] = {}
        try:
            for number, start in enumerate(range(0, size, _COPY), 1):
                part = await self.call(
                    "upload_part_copy",
                    Key=target,
                    UploadId=made["UploadId"],
                    PartNumber=number,
                    CopySource=origin,
                    CopySourceRange=f"bytes={start}-{min(size, start + _COPY) - 1}",
                )
                etags[number] = part["CopyPartResult"]["ETag"]
            await self.complete(target, made["UploadId"], etags, replace=True)
        except BaseException:
            await self._abort(target, [made["UploadId"]])
            raise

    def copies_from(self, origin: Storage) -> bool:
        """Any bucket of the same account at the same service."""
        return isinstance(origin, S3Storage) and self._account == origin._account

    @property
    def _account(self) -> tuple[str, str, str]:
        return _endpoint(self._options), self._options.region, self._options.access_key_id

    async def url(self, path: str, seconds: int) -> str:
        """As in the contract: a presigned link, at most 7 days."""
        client = await self.client()
        arguments = {"Bucket": self.bucket, "Key": self.key(path)}
        with self.edge():
            link: str = await client.generate_presigned_url("get_object", arguments, min(seconds, 604_800))
        return link


class _UploadPart:
    """A part of an upload, sent from where its bytes lie: botocore reads it as a file, to know its length and
    to sign it, and aiohttp iterates over it."""

    def __init__(self) -> None:
        self._patience = asyncio.timeout(None)
        self._pieces: list[bytearray | memoryview] = []
        self._size = 0
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def add(self, data: memoryview) -> None:
        """Append bytes: copied if they are few, or may change."""
        self._size += len(data)
        last = self._pieces[-1] if self._pieces else None
        if len(data) >= _COPIED and isinstance(data.obj, bytes):
            self._pieces.append(data)
        elif isinstance(last, bytearray):
            last += data
        else:
            self._pieces.append(bytearray(data))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file does."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """As a file does."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As a file does."""
        start = self._at
        self._at = self._size if size < 0 else min(self._size, start + size)
        return b"".join(self._between(start, self._at))

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for piece in self._between(0, self._size):
            for offset in range(0, len(piece), _AT_A_TIME):
                with suppress(RuntimeError):  # the answer came before the end
                    self._patience.reschedule(asyncio.get_running_loop().time() + STALL)
                yield piece[offset : offset + _AT_A_TIME]

    def patience(self) -> asyncio.Timeout:
        """Ends what it holds if for `STALL` seconds no piece could be sent."""
        self._patience = asyncio.timeout(STALL)
        return self._patience

    def _between(self, start: int, end: int) -> Iterator[memoryview]:
        at = 0
        for piece in self._pieces:
            if wanted := memoryview(piece)[max(0, start - at) : max(0, end - at)]:
                yield wanted
            at += len(piece)


class S3Upload(Upload):
    """Parts on their way. `S3Storage.begin` makes it; nothing is sent before the first part is full."""

    def __init__(
        self,
        storage: S3Storage,
        key: UploadKey,
        path: str,
        part_size: int,
        upload: str = "",
        kept: Mapping[int, str] | None = None,
    ) -> None:
        self._storage = storage
        self._key = key
        self._path = path
        self._object = storage.key(path)
        self._part_size = part_size
        self._upload = upload
        self._etags: dict[int, str] = dict(kept or {})
        self._part = _UploadPart()  # the one that fills up
        self._sent = len(self._etags) * part_size  # what is in parts, on their way or there
        self._number = len(self._etags)
        self._sending: set[asyncio.Task[None]] = set()
        self._creating: asyncio.Task[None] | None = None
        self._over = False
        self._sealed = False
        self.kept = ((0, self._sent),) if self._sent else ()

    async def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """As in the contract, in order."""
        if self._over:
            raise StorageError(f"storage {self._storage.name!r}: the upload of {self._path!r} is over")
        if self._sealed or offset != self._sent + len(self._part):
            raise StorageError(f"storage {self._storage.name!r} takes {self._path!r} in order only")
        rest = memoryview(data)
        while rest:
            room = self._part_size - len(self._part)
            self._part.add(rest[:room])
            rest = rest[room:]
            if len(self._part) == self._part_size:
                await self._send()

    async def _send(self) -> None:
        await self._open()
        self._number += 1
        if self._number > PARTS:
            raise StorageError(
                f"storage {self._storage.name!r}: {self._path!r} has more than {PARTS} parts; "
                "set a larger part_size"
            )
        part, self._part = self._part, _UploadPart()
        self._sent += len(part)
        while len(self._sending) >= AT_ONCE:
            await self._settle(asyncio.FIRST_COMPLETED)
        self._sending.add(asyncio.create_task(self._put(self._number, part)))

    async def copy(self, origin: Storage, path: str, report: Callable[[int], None]) -> None:
        """As in the contract, part by part, so that what comes of it is known as ours."""
        if not isinstance(origin, S3Storage):
            raise StorageError(f"storage {self._storage.name!r} cannot copy from {origin.name!r} by itself")
        head = await origin._head(origin.key(path))
        if head is None:
            raise StorageError(f"storage {origin.name!r}: there is no file {path!r}")
        size, step = head["ContentLength"], max(_COPY_PART, self._part_size)
        for start in range(0, size, step):
            await self._open()
            while len(self._sending) >= AT_ONCE:
                await self._settle(asyncio.FIRST_COMPLETED)
            self._number += 1
            span = start, min(start + step, size)
            copying = self._copied(self._number, origin, origin.key(path), head["ETag"], span, report)
            self._sending.add(asyncio.create_task(copying))
        while self._sending:
            await self._settle(asyncio.ALL_COMPLETED)
        self._sent = size
        if size:
            await self._check_copied(size)

    async def _copied(
        self, number: int, origin: S3Storage, key: str, etag: str, span: Range, report: Callable[[int], None]
    ) -> None:
        start, end = span
        answer = await self._storage.call(
            "upload_part_copy",
            Key=self._object,
            UploadId=self._upload,
            PartNumber=number,
            CopySource={"Bucket": origin.bucket, "Key": key},
            CopySourceIfMatch=etag,
            CopySourceRange=f"bytes={start}-{end - 1}",
        )
        self._etags[number] = answer.get("CopyPartResult", {}).get("ETag", "")
        report(end - start)

    async def _check_copied(self, size: int) -> None:
        """Services that do not know this request take it for an empty part."""
        parts = await self._storage.parts(self._object, self._upload)
        if sum(length for _, length in parts.values()) != size or not all(self._etags.values()):
            raise StorageError(f"storage {self._storage.name!r}: the service cannot copy into an upload")

    async def _open(self) -> None:
        if not self._upload:
            # Shielded: a cancel must not leave an upload behind whose id nobody has heard.
            self._creating = asyncio.create_task(self._create())
            await asyncio.shield(self._creating)

    async def _create(self) -> None:
        metadata = {_OWNER: _owner(self._key)}
        made = await self._storage.call("create_multipart_upload", Key=self._object, Metadata=metadata)
        with self._storage.edge():
            self._upload = made["UploadId"]

    async def _put(self, number: int, part: _UploadPart) -> None:
        with self._storage.edge():
            async with part.patience():
                answer = await self._storage.call(
                    "upload_part", Key=self._object, UploadId=self._upload, PartNumber=number, Body=part
                )
            self._etags[number] = answer["ETag"]

    async def _settle(self, until: str) -> None:
        done, self._sending = await asyncio.wait(self._sending, return_when=until)
        for task in done:
            task.result()

    async def sync(self, written: Sequence[Range]) -> Sequence[Range]:
        """As in the contract: the parts from the first on that the service has."""
        count = sum(1 for _ in takewhile(lambda number: number in self._etags, range(1, self._number + 1)))
        there = min(count, self._sent // self._part_size) * self._part_size  # the last one may be shorter
        return ((0, there),) if there else ()

    async def seal(self, size: int) -> None:
        """As in the contract."""
        if self._over:
            raise StorageError(f"storage {self._storage.name!r}: the upload of {self._path!r} is over")
        if self._sent + len(self._part) != size:
            raise StorageError(
                f"storage {self._storage.name!r}: {self._path!r} must have {size} bytes, "
                f"written were {self._sent + len(self._part)}"
            )
        if len(self._part):
            await self._send()
        while self._sending:
            await self._settle(asyncio.ALL_COMPLETED)
        self._sealed = True

    async def commit(self, path: str, size: int, *, replace: bool) -> None:
        """As in the contract. An object that an earlier try of this very upload has made is taken for it."""
        if path != self._path:
            raise StorageError(
                f"storage {self._storage.name!r}: {path!r} is not the path this upload began with"
            )
        await self.seal(size)
        try:
            await self._publish(replace)
        except (NameTaken, StorageUnavailable):
            if not await self._storage.is_ours(self._key, self._object, size):
                await self._check_upload()
                raise
            await self._check_upload()
            await self._give_up()
        self._over = True

    async def _check_upload(self) -> None:
        """`Fenced` if somebody else has ended our upload."""
        if self._upload:
            await self._storage.parts(self._object, self._upload)

    async def _publish(self, replace: bool) -> None:
        if self._upload:
            await self._storage.complete(self._object, self._upload, self._etags, replace=replace)
        else:  # an empty file has no part
            arguments = {"Key": self._object, "Body": b"", "Metadata": {_OWNER: _owner(self._key)}}
            await self._storage.unless_taken("put_object", arguments, replace=replace)

    async def abort(self) -> None:
        """As in the contract."""
        if not self._over:
            self._over = True
            await self._stop()
            await self._give_up()

    async def _give_up(self) -> None:
        if self._upload:
            await self._storage._abort(self._object, [self._upload])

    async def __aexit__(self, *exc: object) -> None:
        """Stop sending; the parts that are there stay."""
        self._over = True
        await self._stop()

    async def _stop(self) -> None:
        for task in self._sending:
            task.cancel()
        waiting = [*self._sending, *([self._creating] if self._creating else [])]
        await asyncio.gather(*waiting, return_exceptions=True)
        self._sending = set()
        self._part = _UploadPart()


#: What XML, in which listings come, cannot hold.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + "\x7f\ufffe\uffff")

_KEYS = "check access_key_id and secret_access_key"
_ELSEWHERE = "the service sends us to another address, which is not followed; correct endpoint"
_MEANINGS: Final[dict[str, tuple[type[StorageError], str]]] = {
    "NoSuchBucket": (StorageError, "there is no such bucket; make it, or correct bucket_name"),
    "InvalidBucketName": (StorageError, "the service does not allow this name; correct bucket_name"),
    "AccessDenied": (StorageError, f"access denied; {_KEYS}, and what they may do"),
    "403": (StorageError, f"access denied; {_KEYS}, and what they may do"),
    "InvalidAccessKeyId": (StorageError, "the service does not know this access_key_id"),
    "SignatureDoesNotMatch": (StorageError, f"the signature is wrong; {_KEYS}, and region"),
    "AuthorizationHeaderMalformed": (StorageError, "the region is wrong; correct region"),
    "PermanentRedirect": (StorageError, "the bucket is in another region; correct region or endpoint"),
    "301": (StorageError, "the bucket is in another region; correct region or endpoint"),
    "302": (StorageError, _ELSEWHERE),
    "303": (StorageError, _ELSEWHERE),
    "307": (StorageError, _ELSEWHERE),
    "308": (StorageError, _ELSEWHERE),
    "TemporaryRedirect": (StorageError, _ELSEWHERE),
    "400": (StorageError, f"the service refuses the request; {_KEYS}, session_token and region"),
    "PreconditionFailed": (StorageUnavailable, "the file was changed meanwhile"),
    "RequestTimeout": (StorageUnavailable, "the service waited too long for the bytes"),
    "ExpiredToken": (StorageError, "session_token has expired"),
    "QuotaExceeded": (NoSpace, "the quota is used up; make some room"),
    "XMinioStorageFull": (NoSpace, "the disk is full; make some room"),
    "InsufficientCapacity": (NoSpace, "the disk is full; make some room"),
    "RequestTimeTooSkewed": (StorageError, "the clock of this machine is wrong"),
    "KeyTooLongError": (StorageError, "the path is longer than the 1,024 bytes that S3 allows"),
    "SlowDown": (StorageUnavailable, "the service asks to slow down"),
}


def _no_region(**_: Any) -> None:
    """In place of a request: the service would have told the region."""
    raise ClientError({"ResponseMetadata": {"HTTPHeaders": {}}}, "HeadBucket")


def _code(error: BaseException | None) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def _is_unknown(error: BaseException | None) -> bool:
    """Whether the service does not know conditional writes."""
    return _code(error) in ("NotImplemented", "501", "InvalidArgument")


def _endpoint(options: S3Options) -> str:
    if not options.endpoint or "://" in options.endpoint:
        return options.endpoint
    return f"{'https' if options.use_ssl else 'http'}://{options.endpoint}"


def _config(options: S3Options, proxy: str) -> AioConfig:
    return AioConfig(
        s3={"addressing_style": "virtual" if options.virtual_host else "path"},
        signature_version="s3v4",  # else links in us-east-1 are signed the old way: newer buckets refuse it
        # Many services refuse the checksums that newer clients add by themselves.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=60,
        retries={"total_max_attempts": 3, "mode": "standard"},
        http_session_cls=session_class(proxy),
        proxies={} if proxy else None,  # ours alone, else that of the environment
        max_pool_connections=32,
    )


def _precedes(last: str, name: str) -> bool:
    """Whether a folder may come after key `last` whose name is before `name`: to S3, `a-b` is before `a/`."""
    return any(last < f"{name[:at]}/" for at, each in enumerate(name) if each < "/")


def _owner(key: UploadKey) -> str:
    return f"{key.task}-{key.item}"


def _initiated(upload: Mapping[str, Any]) -> datetime:
    initiated: datetime = upload["Initiated"]
    return initiated


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)
