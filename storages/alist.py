"""Everything behind an OpenList or AList server, by its v3 API (OpenList, or AList from 3.42 on).

Answers come with HTTP 200 and say in `code` what happened. What is put goes to the server first and from
there to its drive, in a task of the server's: only when that has succeeded the file is there. Many drives
must know a file's length before they take it (`needs_size`). The server looks whether a name is free before
it renames, not in one step (no `exclusive`), and not every drive replaces a file by a rename: the old one
goes aside first. Source of the facts: server/handles and internal/op of OpenList 4.
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

#: States of a task of the server's (tache.State).
_SUCCEEDED, _CANCELED, _FAILED = 2, 4, 7
#: Seconds between two looks at a task: the first pause, and the longest.
_FIRST_LOOK, _LAST_LOOK = 0.05, 2.0
#: Seconds in which a drive must list what it has taken.
_SETTLE: Final = 20.0
#: Seconds after which a task that makes no progress is given up.
_STUCK: Final = 1800.0


class AlistOptions(StorageOptions):
    """Options of an `alist` storage."""

    url: str = Field(description="Address of the server.", examples=["https://alist.example.com"])
    username: str = Field(default="", description="User name.")
    password: SecretStr = Field(default=SecretStr(""), description="Password.")
    token: SecretStr = Field(
        default=SecretStr(""),
        description="Token of the server's settings, in place of user and password.",
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
            raise ValueError("must not contain a password; there are username and password for that")
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
        """Hang up."""
        await self._web.close()

    def _at(self, path: str) -> str:
        below = "/".join(map(_NAMES.encode, path.split("/")))
        return f"{self._base.rstrip('/')}/{below}" if path else self._base

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        task = await self._api.put(self._at(path), chunks, size or 0)
        if task:
            await self._api.wait("upload", task)
        await self._shown(path)

    async def _shown(self, path: str) -> None:
        """Wait until the server shows what it was sent. Some drives list a file a moment after they have
        taken it, and the server remembers for minutes what they listed: it is told to look again."""
        pause, until = _FIRST_LOOK, time.monotonic() + _SETTLE
        while await self._stat(path) is None:
            if time.monotonic() > until:
                raise StorageUnavailable(f"storage {self.name!r}: the server has not kept {path!r}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)
            folder, _ = self._place(path)
            await self._api.call(
                "fs/list", {"path": folder, "password": "", "page": 1, "per_page": 1, "refresh": True}
            )

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        if await self._stat(path) is None:
            raise FileNotFoundError(path)
        entry = await self._stat(to)
        if entry and (entry.is_dir or not replace):
            raise NameTaken(f"storage {self.name!r}: {to!r} exists already")
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
        """To another folder; in the old one, it has the new name already."""
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
                f"storage {self.name!r}: {path!r}: a file stands where a folder is needed"
            ) from None

    async def _scan(self, path: str) -> list[Entry]:
        asked = {"path": self._at(path), "password": "", "page": 1, "per_page": 0, "refresh": False}
        try:
            listing = await self._api.call("fs/list", asked)
        except NotADirectoryError:
            raise StorageError(f"storage {self.name!r}: {path!r} is a file") from None
        found = []
        for each in listing.get("content") or []:
            with suppress(KeyError, TypeError, ValueError, AttributeError):  # what is no file is not listed
                name = _NAMES.decode(each["name"])
                if "/" not in name:
                    found.append(_entry(f"{path}/{name}" if path else name, each))
        return found

    async def _stat(self, path: str) -> Entry | None:
        found = await self._get(path)
        try:
            return None if found is None else _entry(path, found)
        except (KeyError, TypeError, ValueError):
            raise StorageError(f"storage {self.name!r}: what the server says of {path!r} cannot be") from None

    async def _get(self, path: str) -> dict[str, Any] | None:
        """Of what we have put there, or else of what others have, under a name that we would spell."""
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
            raise StorageError(f"storage {self.name!r}: the server has no link to {path!r}")
        if start >= end:
            return
        headers = {"Accept-Encoding": "identity"}
        if end - start < file.size:
            headers["Range"] = f"bytes={start}-{end - 1}"
        # It may lead to any host: the token is not for them.
        async with self._web.request(
            "GET", self._api.url(found["raw_url"]), headers=headers, follow=True
        ) as answer:
            if not answer.is_success:
                raise StorageUnavailable(
                    f"storage {self.name!r}: where the server sends us for {path!r}, "
                    f"the answer is {answer.status_code}"
                )
            async with aclosing(self._web.file(answer, start, end)) as pieces:
                async for piece in pieces:
                    yield piece

    # What else there is.

    async def _copy(self, path: str, to: str) -> None:
        """The server keeps the name of a copy: it is made in a folder of its own."""
        hidden = "/".join([*to.split("/")[:-1], f"{RESERVED}copy-{secrets.token_hex(8)}"])
        await self._make_folder(hidden)
        try:
            folder, name = self._place(path)
            await self._api.carry("copy", folder, self._at(hidden), name)
            await self._rename(f"{hidden}/{_NAMES.decode(name)}", to, replace=False)
        finally:
            await self._remove(hidden)

    def _place(self, path: str) -> tuple[str, str]:
        """Folder and name on the server."""
        folder, _, name = self._at(path).rpartition("/")
        return folder, name

    @contextmanager
    def _taken(self, path: str) -> Iterator[None]:
        try:
            yield
        except NameTaken:
            raise NameTaken(f"storage {self.name!r}: {path!r} exists already") from None


class _AlistApi:
    """The server's API, logged in.

    Raises `FileNotFoundError`, `NotADirectoryError` and `NameTaken`, which the caller knows the path for, and
    errors of the contract.
    """

    def __init__(self, options: AlistOptions, web: Web) -> None:
        self._options = options
        self._web = web
        self._token = options.token.get_secret_value()
        self._renew_at = float("inf") if self._token else 0.0
        self._logging_in = asyncio.Lock()

    def url(self, place: str) -> str:
        """An address that the server has given, whole."""
        return urljoin(f"{self._options.url}/", place)

    async def call(self, place: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """A POST of `body`, or a GET without one: the `data` of its answer."""
        code, message, data = await self._ask(place, body)
        if code == httpx.codes.UNAUTHORIZED and not self._options.token.get_secret_value():
            self._renew_at = 0.0
            code, message, data = await self._ask(place, body)
        if code != httpx.codes.OK:
            raise self._refusal(code, message)
        return data

    async def _ask(self, place: str, body: Mapping[str, object] | None) -> tuple[int, str, dict[str, Any]]:
        headers = {"Authorization": await self._login()}
        return await self._exchange("GET" if body is None else "POST", place, headers, _json(body))

    async def put(self, path: str, chunks: Chunks, size: int) -> str:
        """Hand a file over to the server; returns the id of its task, "" if there is none."""
        await self.call("me")  # what is streamed cannot be sent again after a new login
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
        """Move or copy a file to another folder; done when it is there."""
        body = {"src_dir": folder or "/", "dst_dir": to or "/", "names": [name], "overwrite": False}
        data = await self.call(f"fs/{what}", body)
        for task in data.get("tasks") or []:
            await self.wait(what, task["id"])

    async def wait(self, what: str, task: str) -> None:
        """Until a task of the server's has succeeded. One that is not waited for to the end is canceled."""
        where = f"?tid={quote(task, safe='')}"
        try:
            await self._follow(f"task/{what}/info{where}")
        except FileNotFoundError:
            return  # cleared away: whether the file is there, the caller looks
        except BaseException:
            with suppress(StorageError, FileNotFoundError, TimeoutError):
                async with asyncio.timeout(10):
                    await self.call(f"task/{what}/cancel{where}", {})
            raise

    async def _follow(self, place: str) -> None:
        pause, seen, since = _FIRST_LOOK, None, time.monotonic()
        while True:
            task = await self.call(place, {})
            if task["state"] == _SUCCEEDED:
                return
            if task["state"] in (_FAILED, _CANCELED):
                raise self._failed(str(task.get("error") or "it was canceled there"))
            now = task["state"], task.get("progress")
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > _STUCK:
                raise self._failed("it makes no progress")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)

    async def _login(self) -> str:
        """A token that should be valid."""
        async with self._logging_in:
            if time.monotonic() >= self._renew_at:
                options = self._options
                who = {"username": options.username, "password": options.password.get_secret_value()}
                code, message, data = await self._exchange("POST", "auth/login", {}, _json(who))
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
        """One request: code, message and data of the answer."""
        url = f"{self._options.url}/api/{place}"
        kind = {"Content-Type": "application/json"} if isinstance(content, bytes) else {}
        async with self._web.request(
            method, url, headers={**kind, **headers}, content=content, slow=True
        ) as answer:
            if not answer.is_success:
                raise self._gateway(answer)
            text = await self._web.text(answer)
            try:
                said = json.loads(text)
                return int(said["code"]), str(said.get("message", "")), said.get("data") or {}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise self._error(
                    StorageError, "the answer is not that of an AList server; correct url"
                ) from None

    def _gateway(self, answer: httpx.Response) -> StorageError:
        """What stands between us and the server has answered: the server itself always says 200."""
        status = answer.status_code
        if answer.has_redirect_location:
            place = answer.url.join(answer.headers["Location"]).copy_with(userinfo=b"", query=None)
            return self._error(StorageError, f"the server sends us to {place}; correct url")
        if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            return self._error(
                StorageError,
                "the gateway in front of the server takes no file of this size; raise its limit "
                "(client_max_body_size in nginx)",
            )
        text = f"the server, or a gateway in front of it, answers {status}"
        if status >= 500 or status == 429:
            return self._error(StorageUnavailable, text)
        return self._error(StorageError, f"{text}; is url right?")

    def _refusal(self, code: int, message: str) -> Exception:
        """What the server means. Its codes say little, and its messages are not meant for us: those of
        internal/errs are looked for."""
        for sign, kind in _SIGNS.items():
            if sign in message:
                return kind(message)
        if code == httpx.codes.UNAUTHORIZED:
            what = "token" if self._options.token.get_secret_value() else "username or password"
            return self._error(
                StorageError, f"the server refuses the login ({_quotable(message)}); correct {what}"
            )
        if code == httpx.codes.NOT_FOUND:
            return FileNotFoundError(message)
        if code == httpx.codes.TOO_MANY_REQUESTS:
            return self._error(StorageUnavailable, "too many logins failed; the server wants us to wait")
        if code >= 500 and not any(sign in message for sign in _FOR_GOOD):
            return self._failed(message)  # its drive has failed: the next time it may work
        return self._failed(message, kind=StorageError)

    def _failed(self, message: str, kind: type[StorageError] = StorageUnavailable) -> StorageError:
        if any(sign in message.lower() for sign in _FULL):
            return self._error(NoSpace, "there is no space left on its drive; make some room")
        return self._error(kind, f"the server says: {_quotable(message)}")

    def _error(self, kind: type[StorageError], text: str) -> StorageError:
        return kind(f"storage {self._options.name!r}: {text}")


#: By what the server's message contains.
_SIGNS: Final[dict[str, type[Exception]]] = {
    "object not found": FileNotFoundError,
    "file not found": FileNotFoundError,  # of drives that look for a file by themselves, as the next two
    "file does not exist": FileNotFoundError,
    "no such file": FileNotFoundError,
    "not a folder": NotADirectoryError,
    "not a directory": NotADirectoryError,
    "file exists": NameTaken,
    "] exists": NameTaken,
    "already exist": NameTaken,
}
#: Messages of internal/errs that tell what does not change by itself.
_FOR_GOOD: Final = ("storage not found", "not implement", "not support", "permission denied", "not allowed")
_FULL: Final = ("no space left", "quota", "insufficient storage")

#: The server takes a backslash for a slash.
_NAMES: Final = Encoder("\\")


def _quotable(message: str) -> str:
    """A message of the server's, short and without addresses: those of drives carry keys."""
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
