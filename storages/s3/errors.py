"""The meanings of errors of S3 services."""

from __future__ import annotations

from typing import Final

from aiohttp import ClientError as ClientHttpError
from aiohttp.http_exceptions import HttpProcessingError
from botocore.exceptions import (
    ClientError,
)
from botocore.parsers import ResponseParserError

from saveany.errors import NoSpace, StorageError, StorageUnavailable
from saveany.texts import Text

#: Errors of aiohttp and of botocore's parsers, which botocore does not wrap.
BROKEN = (ClientHttpError, HttpProcessingError, ResponseParserError)
_ELSEWHERE = Text("the service redirects to another address, which SaveAny does not follow; correct endpoint")
MEANINGS: Final[dict[str, tuple[type[StorageError], Text]]] = {
    "NoSuchBucket": (StorageError, Text("the bucket does not exist; create it, or correct bucket_name")),
    "InvalidBucketName": (StorageError, Text("the service does not allow this name; correct bucket_name")),
    "AccessDenied": (
        StorageError,
        Text("access denied; check access_key_id and secret_access_key, and their permissions"),
    ),
    "403": (
        StorageError,
        Text("access denied; check access_key_id and secret_access_key, and their permissions"),
    ),
    "InvalidAccessKeyId": (StorageError, Text("the service does not know this access_key_id")),
    "SignatureDoesNotMatch": (
        StorageError,
        Text("the signature is wrong; check access_key_id and secret_access_key, and region"),
    ),
    "AuthorizationHeaderMalformed": (StorageError, Text("the region is wrong; correct region")),
    "PermanentRedirect": (StorageError, Text("the bucket is in another region; correct region or endpoint")),
    "301": (StorageError, Text("the bucket is in another region; correct region or endpoint")),
    "302": (StorageError, _ELSEWHERE),
    "303": (StorageError, _ELSEWHERE),
    "307": (StorageError, _ELSEWHERE),
    "308": (StorageError, _ELSEWHERE),
    "TemporaryRedirect": (StorageError, _ELSEWHERE),
    "400": (
        StorageError,
        Text(
            "the service refuses the request; check access_key_id and secret_access_key, "
            "session_token and region"
        ),
    ),
    "PreconditionFailed": (StorageUnavailable, Text("the file has changed in the meantime")),
    "RequestTimeout": (StorageUnavailable, Text("the service waited too long for the bytes")),
    "ExpiredToken": (StorageError, Text("session_token has expired")),
    "QuotaExceeded": (NoSpace, Text("the quota is used up; free some space")),
    "XMinioStorageFull": (NoSpace, Text("the disk is full; free some space")),
    "InsufficientCapacity": (NoSpace, Text("the disk is full; free some space")),
    "RequestTimeTooSkewed": (StorageError, Text("the clock of this machine is wrong")),
    "KeyTooLongError": (StorageError, Text("the path is longer than the 1,024 bytes that S3 allows")),
    "SlowDown": (StorageUnavailable, Text("the service received too many requests")),
}


def error_code(error: BaseException | None) -> str:
    """The code in an error reply, "" for any other error."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_unknown_condition(error: BaseException | None) -> bool:
    """Whether the error means that the service does not support conditional writes."""
    return error_code(error) in ("NotImplemented", "501", "InvalidArgument")
