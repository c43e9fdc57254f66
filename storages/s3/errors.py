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

#: Errors of aiohttp and of botocore's parsers, which botocore does not wrap.
BROKEN = (ClientHttpError, HttpProcessingError, ResponseParserError)
_KEYS = "check access_key_id and secret_access_key"
_ELSEWHERE = "the service redirects to another address, which SaveAny does not follow; correct endpoint"
MEANINGS: Final[dict[str, tuple[type[StorageError], str]]] = {
    "NoSuchBucket": (StorageError, "the bucket does not exist; create it, or correct bucket_name"),
    "InvalidBucketName": (StorageError, "the service does not allow this name; correct bucket_name"),
    "AccessDenied": (StorageError, f"access denied; {_KEYS}, and their permissions"),
    "403": (StorageError, f"access denied; {_KEYS}, and their permissions"),
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
    "PreconditionFailed": (StorageUnavailable, "the file has changed in the meantime"),
    "RequestTimeout": (StorageUnavailable, "the service waited too long for the bytes"),
    "ExpiredToken": (StorageError, "session_token has expired"),
    "QuotaExceeded": (NoSpace, "the quota is used up; free some space"),
    "XMinioStorageFull": (NoSpace, "the disk is full; free some space"),
    "InsufficientCapacity": (NoSpace, "the disk is full; free some space"),
    "RequestTimeTooSkewed": (StorageError, "the clock of this machine is wrong"),
    "KeyTooLongError": (StorageError, "the path is longer than the 1,024 bytes that S3 allows"),
    "SlowDown": (StorageUnavailable, "the service received too many requests"),
}


def error_code(error: BaseException | None) -> str:
    """The code in an error reply, "" for any other error."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_unknown_condition(error: BaseException | None) -> bool:
    """Whether the error means that the service does not support conditional writes."""
    return error_code(error) in ("NotImplemented", "501", "InvalidArgument")
