"""A request of the API, and how its reply is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

T = TypeVar("T")

Value = str | int | float | bool | None


class ApiError(Exception):
    """The API has refused a request, or does not reply.

    `status` is the HTTP status, 0 if there was no reply. `details` names fields of the request.
    """

    def __init__(self, message: str, status: int = 0, details: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = details


@dataclass(frozen=True, slots=True)
class ApiRequest(Generic[T]):
    """A request whose reply has the type `T`. The modules `saveany.client.*_requests` make them."""

    method: str
    path: str
    params: Mapping[str, Value] = field(default_factory=dict)
    headers: Mapping[str, Value] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)  # may contain secrets
    content: bytes | None = field(default=None, repr=False)
    reply: Literal["json", "bytes", "str"] = "json"

    def options(self) -> dict[str, Any]:
        """The arguments of httpx. What is None is left out."""
        options: dict[str, Any] = {
            "params": {name: _text(value) for name, value in self.params.items() if value is not None},
            "headers": {name: _text(value) for name, value in self.headers.items() if value is not None},
        }
        if self.content is not None:
            options["content"] = self.content
        elif self.body is not None:
            options["json"] = self.body
        return options

    def read(self, status: int, content: bytes) -> T:
        """The reply. Raises `ApiError` with the message of the API."""
        if status >= 400:
            raise error_of(status, content)
        if self.reply == "bytes":
            return content  # type: ignore[return-value]
        if self.reply == "str":
            return content.decode()  # type: ignore[return-value]
        try:
            found: T = json.loads(content)
        except ValueError:
            raise ApiError(
                f"the reply (HTTP {status}) is not from SaveAny; check the address", status
            ) from None
        return found


def error_of(status: int, content: bytes) -> ApiError:
    """The error in a reply."""
    try:
        body = json.loads(content)
        return ApiError(str(body["message"]), status, body.get("details", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ApiError(
            f"the server has replied with HTTP {status}, and is not SaveAny; check the address", status
        )


def quoted(value: str | int) -> str:
    """A part of a path."""
    return quote(str(value), safe="")


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
