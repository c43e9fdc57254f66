"""What both clients know of the connection: its options, its errors, and when to try again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx

from saveany import __version__
from saveany.client.request import ApiError, ApiRequest

if TYPE_CHECKING:
    from saveany.client.signing import SigningKey

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
#: Number of failures in a row after which a call gives up.
MAX_FAILURES = 8
_LONGEST_PAUSE = 10.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def http_options(
    url: str, token: str, timeout: float = TIMEOUT_SECONDS, signing_key: SigningKey | None = None
) -> dict[str, Any]:
    """The options of an HTTP client. Raises `ValueError` for a token and a key to sign with."""
    if token and signing_key:
        raise ValueError("give a token or a signing_key, not both")
    # As bytes: httpx would refuse a token that is not ASCII.
    authorization = [(b"Authorization", f"Bearer {token}".encode())] if token else []
    return {
        "base_url": url,
        "headers": [
            (b"User-Agent", f"SaveAny/{__version__}".encode()),
            (b"Content-Type", b"application/json"),  # required for every POST without a token
            *authorization,
        ],
        "auth": _auth(signing_key),
        "timeout": timeout,
        "trust_env": urlsplit(url).hostname not in _LOOPBACK,  # never a proxy to this machine
    }


def _auth(key: SigningKey | None) -> httpx.Auth | None:
    if key is None:
        return None
    from saveany.client.signing import SigningAuth  # imports cryptography

    return SigningAuth(key)


def file_headers(file: Path, auth: httpx.Auth | None = None) -> dict[str, str]:
    """The headers of a request whose body is a file. One that is signed needs its digest before it is read
    to be sent."""
    headers = {"Content-Length": str(file.stat().st_size), "Content-Type": "application/octet-stream"}
    if auth is None:
        return headers
    from saveany.client.signing import content_digest

    return headers | content_digest(file)


def unreachable(url: httpx.URL, error: httpx.TransportError) -> ApiError:
    """The error of a connection. It does not quote the original, which may contain the token."""
    address = f"{url.scheme}://{url.netloc.decode()}"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ApiError(f"no server replies at {address}")
    if isinstance(error, httpx.TimeoutException):
        return ApiError(f"the server at {address} does not reply")
    return ApiError(f"the connection to {address} broke")


def is_worth_retrying(error: ApiError) -> bool:
    """Whether the same request may succeed later."""
    return error.status == 0 or error.status >= httpx.codes.INTERNAL_SERVER_ERROR


def pause(failures: int) -> float:
    """Seconds before the next attempt."""
    return float(min(_LONGEST_PAUSE, 0.25 * 2**failures))


def next_page(request: ApiRequest[T], reply: T) -> ApiRequest[T] | None:
    """The request for the page after `reply`, None if that is the last one."""
    cursor = reply.get("next_cursor") if isinstance(reply, dict) else None
    if not cursor:
        return None
    if request.method == "GET":
        return replace(request, params={**request.params, "cursor": cursor})
    return replace(request, body={**request.body, "cursor": cursor})
