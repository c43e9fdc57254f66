"""A bucket: requests to the service, their errors, and operations that take several requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from functools import cache
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    SSLError,
)
from botocore.handlers import add_expect_header

from saveany.errors import Fenced, NameTaken, StorageError, StorageUnavailable
from saveany.net import trust
from saveany.net.client import describe, is_offline
from saveany.net.dial import CONNECT_SECONDS
from saveany.texts import Text
from storages.base import Entry, Receipt, UploadKey
from storages.errors import name_taken
from storages.http_client import HttpClient
from storages.listing import MAX_ENTRIES, endless_listing
from storages.parts import split
from storages.s3.errors import BROKEN, MEANINGS, error_code, is_unknown_condition
from storages.s3.http import session_class
from storages.s3.objects import NAMES, OWNER, milliseconds, owner_of, version_of
from storages.s3.options import S3Options, endpoint_url

#: Larger objects are copied part by part, in parts of this many bytes.
_MAX_COPY: Final = 5 << 30
#: Entries that an empty page of a listing counts for.
_PAGE: Final = 1000
#: Whether a service (by its URL) completes a multipart upload with the ETag that it reports later. `rclone
#: serve s3` does not, and hashes the whole object for the first such request; so only one upload asks.
_completes_with_final_etag: dict[str, bool] = {}


class S3Bucket:
    """The objects below `base_path` in the bucket of a storage."""

    def __init__(self, options: S3Options, proxy: str) -> None:
        self.name = options.name  # of the storage
        self.options = options
        self.bucket_name = options.bucket_name
        self.prefix = f"{options.base_path.strip('/')}/" if options.base_path.strip("/") else ""
        self.proxy = proxy
        self.http = HttpClient(options.name)
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._conditional = True  # whether the service understands `If-None-Match: *`

    async def client(self) -> Any:
        """The client. It connects when the first request is sent."""
        async with self._opening:
            if self._client is None:
                options = self.options
                made = _session().create_client(
                    "s3",
                    region_name=options.region,
                    endpoint_url=endpoint_url(options) or None,
                    aws_access_key_id=options.access_key_id or None,
                    aws_secret_access_key=options.secret_access_key.get_secret_value() or None,
                    aws_session_token=options.session_token.get_secret_value() or None,
                    config=_config(options, self.proxy),
                    verify=str(trust.bundle()),
                )
                self._client = await self._stack.enter_async_context(made)
                # aiohttp would wait forever for "100 Continue", which not every server sends.
                self._client.meta.events.unregister("before-call.s3", add_expect_header)
                # After a redirect the library would send HeadBucket to find the region.
                self._client.meta.events.register("before-call.s3.HeadBucket", _no_region)
        return self._client

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Send one request. Raises errors of the contract."""
        with self.http.activity.request(), self.translated_errors():
            return await getattr(await self.client(), operation)(Bucket=self.bucket_name, **arguments)

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Translate errors of the library and the service to those of the contract."""
        try:
            yield
        except ClientError as error:
            raise self._refusal(error) from error
        except NoCredentialsError as error:
            raise StorageError(
                "storage {storage!r}: no credentials; set access_key_id and secret_access_key",
                storage=self.name,
            ) from error
        except BROKEN as error:
            raise StorageUnavailable(
                "storage {storage!r}: the connection broke, or the reply is not that of S3 ({error})",
                storage=self.name,
                error=type(error).__name__,
            ) from error
        except (ValueError, ParamValidationError) as error:  # botocore's InvalidRegionError is a ValueError
            raise StorageError(
                "storage {storage!r} cannot work with these options: {reason}",
                storage=self.name,
                reason=str(error),
            ) from error
        except KeyError as error:
            raise StorageError(
                "storage {storage!r}: the reply is not from an S3 service; correct endpoint",
                storage=self.name,
            ) from error
        # A loop of redirects raises RecursionError.
        except (BotoCoreError, OSError, TimeoutError, RecursionError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> StorageUnavailable:
        reason = describe(error)
        if is_offline(error):
            return StorageUnavailable("storage {storage!r}: {reason}", storage=self.name, reason=reason)
        service = endpoint_url(self.options) or "Amazon"
        if not isinstance(error, SSLError):
            reason = Text(type(error).__name__)
        elif "certificate" not in str(reason):
            reason = Text(
                "{reason}; if it does not use https, write http:// before endpoint", {"reason": reason}
            )
        return StorageUnavailable(
            "storage {storage!r}: the service at {service} cannot be reached, or it closed the connection "
            "({reason})",
            storage=self.name,
            service=service,
            reason=reason,
        )

    def _refusal(self, error: ClientError) -> Exception:
        code, status = error_code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchUpload":
            return Fenced(
                "storage {storage!r}: the upload is gone; another worker has taken it over", storage=self.name
            )
        kind, text = MEANINGS.get(code or str(status), (None, None))
        if kind is None or text is None:
            kind = StorageUnavailable if status >= 500 or status == 429 else StorageError
            text = Text("the service replied {code} (HTTP {status})", {"code": code, "status": status})
        return kind(
            "storage {storage!r}, bucket {bucket!r}: {problem}",
            storage=self.name,
            bucket=self.bucket_name,
            problem=text,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._stack.aclose()
        await self.http.close()
        self._client = None

    def key(self, path: str) -> str:
        """The key of a path. Raises `UnsafePath`."""
        return self.prefix + "/".join(map(NAMES.encode, split(path)))

    def path(self, key: str) -> str:
        """The path of a key."""
        return "/".join(map(NAMES.decode, key.removeprefix(self.prefix).split("/")))

    async def parts(self, key: str, upload: str) -> dict[int, tuple[str, int]]:
        """The parts that the service has of an upload, as number -> (ETag, bytes)."""
        found: dict[int, tuple[str, int]] = {}
        marker = 0
        while True:
            page = await self.call("list_parts", Key=key, UploadId=upload, PartNumberMarker=marker)
            for part in page.get("Parts", []):
                found[part["PartNumber"]] = part["ETag"], part["Size"]
            if not page.get("IsTruncated"):
                return found
            if page["NextPartNumberMarker"] <= marker:
                raise endless_listing(self.name, f"the parts of {key}")
            marker = page["NextPartNumberMarker"]

    async def uploads(self, key: str) -> list[str]:
        """The ids of the unfinished uploads of a key, newest first."""
        try:
            page = await self.call("list_multipart_uploads", Prefix=key)
        except Fenced:  # the reply of rclone if there is none
            return []
        ours = [each for each in page.get("Uploads") or [] if each["Key"] == key]
        return [each["UploadId"] for each in sorted(ours, key=_initiated, reverse=True)]

    async def abort_uploads(self, key: str, uploads: Sequence[str]) -> None:
        """Remove these unfinished uploads of a key, as far as they still exist."""
        for upload in uploads:
            try:
                await self.call("abort_multipart_upload", Key=key, UploadId=upload)
            except Fenced:
                continue  # it does not exist anymore

    async def receipt(self, key: UploadKey, path: str, size: int) -> Receipt | None:
        """The receipt of the object at `path`, None unless an upload of that task and item has made it."""
        head = await self.head(self.key(path))
        if head is None or head["ContentLength"] != size:
            return None
        if head.get("Metadata", {}).get(OWNER) != owner_of(key):
            return None
        has_version = _completes_with_final_etag.get(endpoint_url(self.options), True)
        return Receipt(path, size, version_of(head) if has_version else "")

    async def complete(self, key: str, upload: str, etags: Mapping[int, str], *, replace: bool) -> str:
        """Complete a multipart upload; returns the version of the object, "" if it is unknown or the object
        is gone again. Raises `NameTaken` and `Fenced`."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]
        arguments = {"Key": key, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        etag = await self.create("complete_multipart_upload", arguments, replace=replace)
        service = endpoint_url(self.options)
        if service in _completes_with_final_etag:
            return etag if _completes_with_final_etag[service] else ""
        head = await self.head(key)
        if head is None:
            return ""
        _completes_with_final_etag[service] = version_of(head) == etag
        return version_of(head)

    async def create(self, operation: str, arguments: dict[str, Any], *, replace: bool) -> str:
        """Make an object; returns its version. Raises `NameTaken` if there is one that must not be
        replaced."""
        taken = NameTaken(
            "storage {storage!r}: {path!r} already exists",
            storage=self.name,
            path=self.path(arguments["Key"]),
        )
        if not replace and await self.head(arguments["Key"]) is not None:
            raise taken
        if not replace and self._conditional:
            try:
                return version_of(await self.call(operation, **arguments, IfNoneMatch="*"))
            except StorageError as error:
                if error_code(error.__cause__) in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise taken from None
                if not is_unknown_condition(error.__cause__):
                    raise
                self._conditional = False
        return version_of(await self.call(operation, **arguments))

    async def head(self, key: str) -> Any:
        """The reply to a HEAD request, None if there is no such object."""
        try:
            return await self.call("head_object", Key=key)
        except StorageError as error:
            if error_code(error.__cause__) in ("404", "NoSuchKey", "NotFound"):
                return None
            raise

    async def pages(
        self, prefix: str, start: str, delimiter: str
    ) -> AsyncIterator[tuple[str, Sequence[Entry]]]:
        """The pages of a listing, each with its last key, without the prefix."""
        more: dict[str, Any] = {"StartAfter": start} if start else {}
        count = 0
        while True:
            page = await self.call("list_objects_v2", Prefix=prefix, Delimiter=delimiter, **more)
            files, folders = page.get("Contents") or [], page.get("CommonPrefixes") or []
            ends = [each["Key"] for each in files[-1:]] + [each["Prefix"] for each in folders[-1:]]
            # Some tools represent a folder by an object whose key ends in a slash.
            shown = [self._file(each) for each in files if not each["Key"].endswith("/")]
            yield max(ends, default="").removeprefix(prefix), [*shown, *map(self._folder, folders)]
            if not page.get("IsTruncated"):
                return
            count += len(files) + len(folders) or _PAGE  # an empty page counts as a full one
            if count > MAX_ENTRIES:
                raise endless_listing(self.name, prefix)
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _file(self, listed: Mapping[str, Any]) -> Entry:
        path = self.path(listed["Key"])
        return Entry(
            path.rpartition("/")[2], path, listed["Size"], False, milliseconds(listed["LastModified"])
        )

    def _folder(self, listed: Mapping[str, Any]) -> Entry:
        path = self.path(listed["Prefix"].removesuffix("/"))
        return Entry(path.rpartition("/")[2], path, 0, True, 0)

    @asynccontextmanager
    async def body(self, key: str, **arguments: Any) -> AsyncIterator[Any]:
        """The content of an object, as a stream."""
        response = await self.call("get_object", Key=key, **arguments)
        async with response["Body"] as body:
            yield body

    async def copy(self, path: str, to: str, *, replace: bool) -> Receipt:
        """Copy an object within the bucket. Raises `NameTaken`, and `StorageError` if it does not exist."""
        source, target = self.key(path), self.key(to)
        head = await self.head(source)
        if head is None:
            raise StorageError("storage {storage!r}: there is no file {path!r}", storage=self.name, path=path)
        if not replace and await self.head(target) is not None:
            raise name_taken(self.name, to)
        origin = {"Bucket": self.bucket_name, "Key": source}
        size: int = head["ContentLength"]
        if size > _MAX_COPY:
            return Receipt(to, size, await self._copy_large(origin, target, size))
        copied = await self.call("copy_object", Key=target, CopySource=origin)
        return Receipt(to, size, version_of(copied.get("CopyObjectResult", {})))

    async def _copy_large(self, origin: dict[str, str], target: str, size: int) -> str:
        made = await self.call("create_multipart_upload", Key=target)
        etags: dict[int, str] = {}
        try:
            for number, start in enumerate(range(0, size, _MAX_COPY), 1):
                part = await self.call(
                    "upload_part_copy",
                    Key=target,
                    UploadId=made["UploadId"],
                    PartNumber=number,
                    CopySource=origin,
                    CopySourceRange=f"bytes={start}-{min(size, start + _MAX_COPY) - 1}",
                )
                etags[number] = part["CopyPartResult"]["ETag"]
            return await self.complete(target, made["UploadId"], etags, replace=True)
        except BaseException:
            await self.abort_uploads(target, [made["UploadId"]])
            raise

    @property
    def account(self) -> tuple[str, str, str]:
        """Equal for all buckets of one account at one service."""
        return endpoint_url(self.options), self.options.region, self.options.access_key_id


def _no_region(**_: Any) -> None:
    """Replaces a request for the region."""
    raise ClientError({"ResponseMetadata": {"HTTPHeaders": {}}}, "HeadBucket")


@cache
def _session() -> AioSession:
    """Shared by all S3 storages of a process. It holds the model of the service: 10 MB, and 50 ms to load."""
    return get_session()


def _config(options: S3Options, proxy: str) -> AioConfig:
    return AioConfig(
        s3={"addressing_style": "virtual" if options.virtual_host else "path"},
        signature_version="s3v4",  # URLs of us-east-1 get an old signature otherwise
        # Many services refuse the checksums that newer clients add.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=60,
        retries={"total_max_attempts": 3, "mode": "standard"},
        http_session_cls=session_class(proxy),
        proxies={} if proxy else None,  # only the configured proxy; without one, that of the environment
        max_pool_connections=32,
    )


def _initiated(upload: Mapping[str, Any]) -> datetime:
    initiated: datetime = upload["Initiated"]
    return initiated
