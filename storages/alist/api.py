"""The API of the server: calls, tasks and errors."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Final, Literal
from urllib.parse import quote, urljoin

import httpx

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from saveany.excerpt import excerpt
from saveany.texts import Field, Text
from storages.alist.options import AlistOptions
from storages.chunks import Chunks
from storages.http_client import HttpClient, as_body
from storages.polling import Polls

#: States of a task on the server (tache.State).
_SUCCEEDED, _CANCELED, _FAILED = 2, 4, 7


#: Maximum seconds between polls of a task.
MAX_POLL_SECONDS = 2.0


class AlistApi:
    """The API of the server, with a login.

    Raises `FileNotFoundError`, `NotADirectoryError` and `NameTaken`, to which the caller adds the path, and
    errors of the contract.
    """

    def __init__(self, options: AlistOptions, http: HttpClient) -> None:
        self._options = options
        self._http = http
        self._token = options.token.get_secret_value()
        self._renew_at = float("inf") if self._token else 0.0
        self._logging_in = asyncio.Lock()

    def url(self, address: str) -> str:
        """An address from the server's reply, as a full URL."""
        return urljoin(f"{self._options.url}/", address)

    async def call(self, endpoint: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Send a POST with `body`, or a GET without one; returns the `data` of the reply."""
        code, message, data = await self._request(endpoint, body)
        if code == httpx.codes.UNAUTHORIZED and not self._options.token.get_secret_value():
            self._renew_at = 0.0
            code, message, data = await self._request(endpoint, body)
        if code != httpx.codes.OK:
            raise self._refusal(code, message)
        return data

    async def _request(
        self, endpoint: str, body: Mapping[str, object] | None
    ) -> tuple[int, str, dict[str, Any]]:
        headers = {"Authorization": await self._login()}
        return await self._exchange("GET" if body is None else "POST", endpoint, headers, _json(body))

    async def put(self, path: str, chunks: Chunks, size: int) -> str:
        """Send a file to the server; returns the id of the task that stores it, "" if there is none."""
        await self.call("me")  # renews the login now: a stream cannot be sent again afterwards
        headers = {
            "Authorization": await self._login(),
            "File-Path": quote(path, safe="/"),
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            "As-Task": "true",
            "Overwrite": "false",
        }
        code, message, data = await self._exchange("PUT", "fs/put", headers, as_body(chunks))
        if code != httpx.codes.OK:
            raise self._refusal(code, message)
        return str((data.get("task") or {}).get("id", ""))

    async def transfer(self, operation: Literal["move", "copy"], folder: str, to: str, name: str) -> None:
        """Move or copy a file to another folder, and wait until that is done."""
        body = {"src_dir": folder or "/", "dst_dir": to or "/", "names": [name], "overwrite": False}
        data = await self.call(f"fs/{operation}", body)
        for task in data.get("tasks") or []:
            await self.wait(operation, task["id"])

    async def wait(self, operation: str, task: str) -> None:
        """Wait until a task on the server has succeeded. If the wait ends early, the task is canceled."""
        query = f"?tid={quote(task, safe='')}"
        try:
            await self._poll_task(f"task/{operation}/info{query}")
        except FileNotFoundError:
            return  # the task was removed from the list; the caller checks whether the file exists
        except BaseException:
            with suppress(StorageError, FileNotFoundError, TimeoutError):
                async with asyncio.timeout(10):
                    await self.call(f"task/{operation}/cancel{query}", {})
            raise

    async def _poll_task(self, endpoint: str) -> None:
        polls = Polls(MAX_POLL_SECONDS)
        while True:
            task = await self.call(endpoint, {})
            if task["state"] == _SUCCEEDED:
                return
            if task["state"] in (_FAILED, _CANCELED):
                raise self._failed(str(task.get("error") or "the task was canceled"))
            if not await polls.wait((task["state"], task.get("progress"))):
                raise self._failed("the task makes no progress")

    async def _login(self) -> str:
        """The token for requests, renewed if it has expired."""
        async with self._logging_in:
            if time.monotonic() >= self._renew_at:
                options = self._options
                login = {"username": options.username, "password": options.password.get_secret_value()}
                code, message, data = await self._exchange("POST", "auth/login", {}, _json(login))
                if code != httpx.codes.OK:
                    raise self._refusal(code, message)
                self._token = str(data["token"])
                self._renew_at = time.monotonic() + options.token_exp
            return self._token

    async def _exchange(
        self,
        method: str,
        endpoint: str,
        headers: Mapping[str, str],
        content: bytes | AsyncGenerator[bytes, None] | None,
    ) -> tuple[int, str, dict[str, Any]]:
        """One request: the code, message and data of its reply."""
        url = f"{self._options.url}/api/{endpoint}"
        kind = {"Content-Type": "application/json"} if isinstance(content, bytes) else {}
        async with self._http.request(
            method, url, headers={**kind, **headers}, content=content, slow=True
        ) as response:
            if not response.is_success:
                raise self._gateway(response)
            text = await self._http.text(response)
            try:
                reply = json.loads(text)
                return int(reply["code"]), str(reply.get("message", "")), reply.get("data") or {}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise self._error(
                    StorageError, "the reply is not from an AList server; correct url"
                ) from None

    def _gateway(self, response: httpx.Response) -> StorageError:
        """The error for an HTTP status other than 200, which only a gateway in front of the server sends."""
        status = response.status_code
        if response.has_redirect_location:
            target = response.url.join(response.headers["Location"]).copy_with(userinfo=b"", query=None)
            return self._error(
                StorageError, "the server redirects to {address}; correct url", address=str(target)
            )
        if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            return self._error(
                StorageError,
                "the gateway in front of the server refuses files of this size; raise its limit "
                "(client_max_body_size in nginx)",
            )
        if status >= 500 or status == 429:
            return self._error(
                StorageUnavailable, "the server, or a gateway in front of it, replied {status}", status=status
            )
        return self._error(
            StorageError,
            "the server, or a gateway in front of it, replied {status}; is url correct?",
            status=status,
        )

    def _refusal(self, code: int, message: str) -> Exception:
        """The error for a reply that is not a success. Codes are vague, so the message is searched for known
        words."""
        for words, kind in _MEANINGS.items():
            if words in message:
                return kind(message)
        if code == httpx.codes.UNAUTHORIZED:
            option = Text("username or password")
            if self._options.token.get_secret_value():
                option = Text("token")
            return self._error(
                StorageError,
                "the server refuses the login ({reply}); correct {option}",
                reply=_quotable(message),
                option=option,
            )
        if code == httpx.codes.NOT_FOUND:
            return FileNotFoundError(message)
        if code == httpx.codes.TOO_MANY_REQUESTS:
            return self._error(StorageUnavailable, "too many logins have failed; wait before you try again")
        if code >= 500 and not any(words in message for words in _PERMANENT):
            return self._failed(message)  # the drive failed; a retry may succeed
        return self._failed(message, kind=StorageError)

    def _failed(self, message: str, kind: type[StorageError] = StorageUnavailable) -> StorageError:
        if any(words in message.lower() for words in _FULL):
            return self._error(NoSpace, "the drive is full; free some space")
        return self._error(kind, "the server replied: {reply}", reply=_quotable(message))

    def _error(self, kind: type[StorageError], text: str, **fields: Field) -> StorageError:
        """`text` is a template for `fields`."""
        return kind("storage {storage!r}: {reason}", storage=self._options.name, reason=Text(text, fields))


#: Errors by words in the message.
_MEANINGS: Final[dict[str, type[Exception]]] = {
    "object not found": FileNotFoundError,
    "file not found": FileNotFoundError,  # from some drives; so are the next two
    "file does not exist": FileNotFoundError,
    "no such file": FileNotFoundError,
    "not a folder": NotADirectoryError,
    "not a directory": NotADirectoryError,
    "file exists": NameTaken,
    "] exists": NameTaken,
    "already exist": NameTaken,
}


#: Words in messages (internal/errs) about errors that a retry cannot fix.
_PERMANENT: Final = ("storage not found", "not implement", "not support", "permission denied", "not allowed")


_FULL: Final = ("no space left", "quota", "insufficient storage")


def _quotable(message: str) -> str:
    """A message of the server, shortened, without URLs: those of drives contain keys."""
    return excerpt(re.sub(r"\w+://\S+", "…", message), 200)


def _json(body: Mapping[str, object] | None) -> bytes | None:
    return None if body is None else json.dumps(body).encode()
