"""Drives behind an OpenList or AList server, through its v3 API (OpenList, or AList 3.42 and newer).

Replies have the HTTP status 200; their field `code` contains the result. The server receives a file first
and then stores it in a drive, in a task of its own: the file exists only when that task has succeeded. Many
drives need the size of a file in advance (`needs_size`). The server checks whether a name is free before it
renames, not in one step (no `exclusive`). Not every drive replaces a file by a rename, so the old file is
renamed first. Source: server/handles and internal/op of OpenList 4.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import quote, urljoin

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from saveany.excerpt import excerpt
from storages.base import Capabilities, Entry, Services, StorageOptions
from storages.names import Encoder
from storages.parts import RESERVED
from storages.remote import Chunks, RemoteStorage
from storages.web import Web, as_body

#: States of a task on the server (tache.State).
_SUCCEEDED, _CANCELED, _FAILED = 2, 4, 7
#: Seconds between polls of a task: at first, and at most.
_FIRST_POLL, _LAST_POLL = 0.05, 2.0
#: Seconds in which a drive must list a file that it has received.
_SETTLE: Final = 20.0
#: Seconds without progress after which a task is canceled.
_MAX_STALL: Final = 1800.0


class AlistOptions(StorageOptions):
    """Options of an `alist` storage."""

    url: str = Field(description="Address of the server.", examples=["https://alist.example.com"])
    username: str = Field(default="", description="User name.")
    password: SecretStr = Field(default=SecretStr(""), description="Password.")
    token: SecretStr = Field(
        default=SecretStr(""),
        description="Token from the server's settings, instead of user name and password.",
        examples=["alist-token-of-the-server"],
    )
    token_exp: int = Field(
        default=3600, ge=1, description="Seconds after which to log in again with user and password."
    )
    base_path: str = Field(description="Folder on the server.", examples=["/drive/telegram"])

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        if not re.match("https?://[^/]", url):
            raise ValueError("must begin with http:// or https:// and name a host")
        if "@" in url.split("/")[2]:
            raise ValueError("must not contain a password; use username and password")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _some_login(self) -> AlistOptions:
        if not (self.token.get_secret_value() or self.username):
            raise ValueError("needs token, or username and password")
        return self


class AlistStorage(RemoteStorage):
    """A folder on an OpenList or AList server."""

    capabilities = Capabilities(
        needs_size=True, late_name=True, lists=True, reads=True, folders=True, moves=True, copies=True
    )

    def __init__(self, options: AlistOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._web = Web(options.name, own=options.url, allow=(services or Services()).allow)
        self._api = _AlistApi(options, self._web)
        self._base = "/" + options.base_path.strip("/")

    async def reach(self) -> None:
        """As in the contract."""
        await self._web.reach(self._api.url("/"))

    async def close(self) -> None:
        """Close connections."""
        await self._web.close()

    def _at(self, path: str) -> str:
        below = "/".join(map(_NAMES.encode, path.split("/")))
        return f"{self._base.rstrip('/')}/{below}" if path else self._base

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        task = await self._api.put(self._at(path), chunks, size or 0)
        if task:
            await self._api.wait("upload", task)
        await self._wait_until_listed(path)

    async def _wait_until_listed(self, path: str) -> None:
        """Wait until the server lists a new file. Some drives list it late, and the server caches listings
        for minutes: it is request to refresh them."""
        pause, until = _FIRST_POLL, time.monotonic() + _SETTLE
        while await self._stat(path) is None:
            if time.monotonic() > until:
                raise StorageUnavailable(
                    "storage {storage!r}: the server has lost {path!r}", storage=self.name, path=path
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_POLL)
            folder, _ = self._place(path)
            await self._api.call(
                "fs/list", {"path": folder, "password": "", "page": 1, "per_page": 1, "refresh": True}
            )

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        if await self._stat(path) is None:
            raise FileNotFoundError(path)
        entry = await self._stat(to)
        if entry and (entry.is_dir or not replace):
            raise NameTaken("storage {storage!r}: {path!r} already exists", storage=self.name, path=to)
        if entry:
            await self._swap(path, to)
            return
        (folder, name), (there, final) = self._place(path), self._place(to)
        with self._taken(to):
            if name != final:
                await self._api.call("fs/rename", {"path": f"{folder}/{name}", "name": final})
            if folder != there:
                await self._move(folder, there, final, name)

    async def _move(self, folder: str, there: str, name: str, before: str) -> None:
        """Move a file to another folder. In the old one it already has its new name; an error restores the
        name it had `before`."""
        try:
            await self._api.carry("move", folder, there, name)
        except BaseException:
            if name != before:
                with suppress(StorageError):
                    await self._api.call("fs/rename", {"path": f"{folder}/{name}", "name": before})
            raise

    async def _remove(self, path: str) -> None:
        folder, name = self._place(path)
        with suppress(FileNotFoundError):
            await self._api.call("fs/remove", {"dir": folder or "/", "names": [name]})

    async def _make_folder(self, path: str) -> None:
        try:
            await self._api.call("fs/mkdir", {"path": self._at(path)})
        except (NameTaken, NotADirectoryError):
            raise StorageError(
                "storage {storage!r}: {path!r}: a file stands where a folder is needed",
                storage=self.name,
                path=path,
            ) from None

    async def _scan(self, path: str) -> list[Entry]:
        request = {"path": self._at(path), "password": "", "page": 1, "per_page": 0, "refresh": False}
        try:
            listing = await self._api.call("fs/list", request)
        except NotADirectoryError:
            raise StorageError(
                "storage {storage!r}: {path!r} is a file", storage=self.name, path=path
            ) from None
        found = []
        for each in listing.get("content") or []:
            with suppress(KeyError, TypeError, ValueError, AttributeError):  # skips malformed entries
                name = _NAMES.decode(each["name"])
                if "/" not in name:
                    found.append(_entry(f"{path}/{name}" if path else name, each))
        return found

    async def _stat(self, path: str) -> Entry | None:
        found = await self._get(path)
        try:
            return None if found is None else _entry(path, found)
        except (KeyError, TypeError, ValueError):
            raise StorageError(
                "storage {storage!r}: the server reports impossible values for {path!r}",
                storage=self.name,
                path=path,
            ) from None

    async def _get(self, path: str) -> dict[str, Any] | None:
        """Details of a file that SaveAny has saved; or of another program's, whose name is not encoded."""
        theirs = f"{self._base.rstrip('/')}/{path}".rstrip("/") or "/"
        for place in dict.fromkeys([self._at(path), theirs.replace("\\", "%5C")]):
            with suppress(FileNotFoundError, NotADirectoryError):
                return await self._api.call("fs/get", {"path": place, "password": ""})
        return None

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        path = file.path
        found = await self._get(path)
        if found is None:
            raise FileNotFoundError(path)
        if not found.get("raw_url"):
            raise StorageError(
                "storage {storage!r}: the server has no link to {path!r}", storage=self.name, path=path
            )
        if start >= end:
            return
        headers = {"Accept-Encoding": "identity"}
        if end - start < file.size:
            headers["Range"] = f"bytes={start}-{end - 1}"
        # The URL may name any host, so it is requested without the token.
        async with self._web.request(
            "GET", self._api.url(found["raw_url"]), headers=headers, follow=True
        ) as response:
            if not response.is_success:
                raise StorageUnavailable(
                    "storage {storage!r}: the address that the server gives for {path!r} replied {status}",
                    storage=self.name,
                    path=path,
                    status=response.status_code,
                )
            async with aclosing(self._web.file(response, start, end)) as pieces:
                async for piece in pieces:
                    yield piece

    # Optional calls.

    async def _copy(self, path: str, to: str) -> None:
        """Copy through a temporary folder: the server gives a copy the name of the original."""
        hidden = "/".join([*to.split("/")[:-1], f"{RESERVED}copy-{secrets.token_hex(8)}"])
        await self._make_folder(hidden)
        try:
            folder, name = self._place(path)
            await self._api.carry("copy", folder, self._at(hidden), name)
            await self._rename(f"{hidden}/{_NAMES.decode(name)}", to, replace=False)
        finally:
            await self._remove(hidden)

    def _place(self, path: str) -> tuple[str, str]:
        """The folder and the name of a path, on the server."""
        folder, _, name = self._at(path).rpartition("/")
        return folder, name

    @contextmanager
    def _taken(self, path: str) -> Iterator[None]:
        try:
            yield
        except NameTaken:
            raise NameTaken(
                "storage {storage!r}: {path!r} already exists", storage=self.name, path=path
            ) from None


class _AlistApi:
    """The API of the server, with a login.

    Raises `FileNotFoundError`, `NotADirectoryError` and `NameTaken`, to which the caller adds the path, and
    errors of the contract.
    """

    def __init__(self, options: AlistOptions, web: Web) -> None:
        self._options = options
        self._web = web
        self._token = options.token.get_secret_value()
        self._renew_at = float("inf") if self._token else 0.0
        self._logging_in = asyncio.Lock()

    def url(self, place: str) -> str:
        """An address from the server's reply, as a full URL."""
        return urljoin(f"{self._options.url}/", place)

    async def call(self, place: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Send a POST with `body`, or a GET without one; returns the `data` of the reply."""
        code, message, data = await self._request(place, body)
        if code == httpx.codes.UNAUTHORIZED and not self._options.token.get_secret_value():
            self._renew_at = 0.0
            code, message, data = await self._request(place, body)
        if code != httpx.codes.OK:
            raise self._refusal(code, message)
        return data

    async def _request(
        self, place: str, body: Mapping[str, object] | None
    ) -> tuple[int, str, dict[str, Any]]:
        headers = {"Authorization": await self._login()}
        return await self._exchange("GET" if body is None else "POST", place, headers, _json(body))

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

    async def carry(self, what: Literal["move", "copy"], folder: str, to: str, name: str) -> None:
        """Move or copy a file to another folder, and wait until that is done."""
        body = {"src_dir": folder or "/", "dst_dir": to or "/", "names": [name], "overwrite": False}
        data = await self.call(f"fs/{what}", body)
        for task in data.get("tasks") or []:
            await self.wait(what, task["id"])

    async def wait(self, what: str, task: str) -> None:
        """Wait until a task on the server has succeeded. If the wait ends early, the task is canceled."""
        where = f"?tid={quote(task, safe='')}"
        try:
            await self._poll_task(f"task/{what}/info{where}")
        except FileNotFoundError:
            return  # the task was removed from the list; the caller checks whether the file exists
        except BaseException:
            with suppress(StorageError, FileNotFoundError, TimeoutError):
                async with asyncio.timeout(10):
                    await self.call(f"task/{what}/cancel{where}", {})
            raise

    async def _poll_task(self, place: str) -> None:
        pause, seen, since = _FIRST_POLL, None, time.monotonic()
        while True:
            task = await self.call(place, {})
            if task["state"] == _SUCCEEDED:
                return
            if task["state"] in (_FAILED, _CANCELED):
                raise self._failed(str(task.get("error") or "the task was canceled"))
            now = task["state"], task.get("progress")
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > _MAX_STALL:
                raise self._failed("the task makes no progress")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_POLL)

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
        place: str,
        headers: Mapping[str, str],
        content: bytes | AsyncGenerator[bytes, None] | None,
    ) -> tuple[int, str, dict[str, Any]]:
        """One request: the code, message and data of its reply."""
        url = f"{self._options.url}/api/{place}"
        kind = {"Content-Type": "application/json"} if isinstance(content, bytes) else {}
        async with self._web.request(
            method, url, headers={**kind, **headers}, content=content, slow=True
        ) as response:
            if not response.is_success:
                raise self._gateway(response)
            text = await self._web.text(response)
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
            place = response.url.join(response.headers["Location"]).copy_with(userinfo=b"", query=None)
            return self._error(
                StorageError, "the server redirects to {address}; correct url", address=str(place)
            )
        if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            return self._error(
                StorageError,
                "the gateway in front of the server refuses files of this size; raise its limit "
                "(client_max_body_size in nginx)",
            )
        text = "the server, or a gateway in front of it, replied {status}"
        if status >= 500 or status == 429:
            return self._error(StorageUnavailable, text, status=status)
        return self._error(StorageError, f"{text}; is url correct?", status=status)

    def _refusal(self, code: int, message: str) -> Exception:
        """The error for a reply that is not a success. Codes are vague, so known messages are searched
        for."""
        for sign, kind in _SIGNS.items():
            if sign in message:
                return kind(message)
        if code == httpx.codes.UNAUTHORIZED:
            what = "token" if self._options.token.get_secret_value() else "username or password"
            return self._error(
                StorageError,
                "the server refuses the login ({reply}); correct {what}",
                reply=_quotable(message),
                what=what,
            )
        if code == httpx.codes.NOT_FOUND:
            return FileNotFoundError(message)
        if code == httpx.codes.TOO_MANY_REQUESTS:
            return self._error(StorageUnavailable, "too many logins have failed; wait before you try again")
        if code >= 500 and not any(sign in message for sign in _PERMANENT):
            return self._failed(message)  # the drive failed; a retry may succeed
        return self._failed(message, kind=StorageError)

    def _failed(self, message: str, kind: type[StorageError] = StorageUnavailable) -> StorageError:
        if any(sign in message.lower() for sign in _FULL):
            return self._error(NoSpace, "the drive is full; free some space")
        return self._error(kind, "the server replied: {reply}", reply=_quotable(message))

    def _error(self, kind: type[StorageError], text: str, **fields: str | int) -> StorageError:
        """`text` is a template for `fields`."""
        return kind(f"storage {{storage!r}}: {text}", storage=self._options.name, **fields)


#: Errors by a part of the message.
_SIGNS: Final[dict[str, type[Exception]]] = {
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
#: Parts of messages (internal/errs) about errors that a retry cannot fix.
_PERMANENT: Final = ("storage not found", "not implement", "not support", "permission denied", "not allowed")
_FULL: Final = ("no space left", "quota", "insufficient storage")

#: The server treats a backslash as a slash.
_NAMES: Final = Encoder("\\")


def _quotable(message: str) -> str:
    """A message of the server, shortened, without URLs: those of drives contain keys."""
    return excerpt(re.sub(r"\w+://\S+", "…", message), 200)


def _json(body: Mapping[str, object] | None) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def _entry(path: str, found: Mapping[str, Any]) -> Entry:
    size = 0 if found["is_dir"] else int(found["size"])
    return Entry(path.rpartition("/")[2], path, size, bool(found["is_dir"]), _milliseconds(found["modified"]))


def _milliseconds(time: str) -> int:
    try:
        return max(0, int(datetime.fromisoformat(time).timestamp() * 1000))
    except (ValueError, OverflowError):
        return 0
