"""The API of the service: calls, replies and errors."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from saveany.errors import StorageError, StorageUnavailable
from saveany.excerpt import excerpt
from storages.base import Entry
from storages.openload.names import NAMES
from storages.openload.options import OpenloadOptions
from storages.remote import Chunks
from storages.web import Web, as_body

#: Seconds between two looks at something that takes time: the first pause, and the longest.
FIRST_POLL, LAST_POLL = 0.05, 10.0


#: Seconds after which a remote upload that makes no progress is given up.
_STUCK: Final = 1800.0


@dataclass(frozen=True, slots=True)
class OpenloadFile:
    """A file as a listing shows it."""

    id: str
    name: str
    size: int
    link: str
    when: int  # milliseconds


@dataclass(frozen=True, slots=True)
class FolderListing:
    """What is in a folder, under the names that were given."""

    folders: dict[str, str]  # their ids; of several with one name the oldest, as their numbers go up
    files: list[OpenloadFile]

    def named(self, name: str) -> list[OpenloadFile]:
        """The files of that name, newest first."""
        files = (file for file in self.files if file.name == name)
        return sorted(files, key=lambda file: file.when, reverse=True)

    def entry(self, path: str) -> Entry | None:
        """What is at a path of this folder, None if there is nothing."""
        name = path.rpartition("/")[2]
        if name in self.folders:
            return Entry(name, path, 0, True, 0)
        for file in self.named(name):
            return Entry(name, path, file.size, False, file.when)
        return None


class OpenloadApi:
    """The service's API. Raises `FileNotFoundError` for 404, and errors of the contract."""

    def __init__(self, options: OpenloadOptions, web: Web) -> None:
        self._options = options
        self._web = web

    async def ask(self, call: str, **asked: str) -> Any:
        """The result of a call."""
        login = {"login": self._options.login, "key": self._options.key.get_secret_value()}
        return await self._result("GET", f"{self._options.address}/{call}?{urlencode(login | asked)}")

    async def about(self, call: str, **one: str) -> Mapping[str, Any]:
        """What a call tells of one thing, which its answer has under its id."""
        (number,) = one.values()
        try:
            told = await self.ask(call, **one)
        except FileNotFoundError:
            return {}
        found = told.get(number) if isinstance(told, dict) else None
        return found if isinstance(found, dict) else {}

    async def upload(self, url: str, name: str, chunks: Chunks, size: int) -> Any:
        """Send a file to where `file/ul` says: the result."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file1"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        async def form() -> AsyncGenerator[bytes, None]:
            yield head
            async for chunk in as_body(chunks):
                yield chunk
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        return await self._result("POST", url, headers, form())

    async def fetch(self, url: str, folder: str) -> None:
        """A remote upload, until it has ended."""
        try:
            told = await self.ask("remotedl/add", url=url, folder=folder)
        except FileNotFoundError:
            raise self._error(StorageError, "the service fetches nothing, or its folder is gone") from None
        with self.understanding():
            number = str(told["id"])
        try:
            await self._follow(number)
        except BaseException:
            with suppress(StorageError, FileNotFoundError, TimeoutError):  # pstream cannot
                async with asyncio.timeout(10):
                    await self.ask("remotedl/remove", id=number)
            raise

    async def _follow(self, number: str) -> None:
        pause, seen, since = FIRST_POLL, None, time.monotonic()
        while True:
            told = await self.about("remotedl/status", id=number)
            if told.get("status") == "finished":
                return
            if told.get("status") == "error":
                why = self._quotable(told.get("errormsg") or "it does not say why")
                raise self._error(StorageError, f"the service cannot fetch that address: {why}")
            now = told.get("status"), told.get("bytes_loaded"), told.get("progress_percent")
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > _STUCK:
                raise self._error(StorageUnavailable, "a remote upload makes no progress")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_POLL)

    async def _result(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: AsyncGenerator[bytes, None] | None = None,
    ) -> Any:
        async with self._web.request(method, url, headers=headers, content=content, slow=True) as answer:
            text = await self._web.text(answer)
        try:
            said = json.loads(text)
            status, message = int(said["status"]), self._quotable(said.get("msg"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._no_envelope(answer) from None
        if status != httpx.codes.OK:
            raise self._refusal(status, message)
        return said.get("result")

    def _refusal(self, status: int, message: str) -> Exception:
        """What the service means by the status in its answer."""
        if status == httpx.codes.NOT_FOUND:
            return FileNotFoundError(message)
        if status == httpx.codes.FORBIDDEN:
            return self._error(
                StorageError,
                f"the service says {message!r}; correct login and key, if the file is that account's",
            )
        if status == httpx.codes.UNAVAILABLE_FOR_LEGAL_REASONS:
            return self._error(StorageError, "the service has blocked this file for legal reasons")
        if status == _BANDWIDTH:
            return self._error(StorageUnavailable, "the bandwidth of the account is used up; wait")
        kind = StorageUnavailable if status >= 500 or status == 429 else StorageError
        return self._error(kind, f"the service answers {status}: {message}")

    def _no_envelope(self, answer: httpx.Response) -> StorageError:
        status = answer.status_code
        if answer.is_success:
            return self.not_understood()
        if answer.has_redirect_location:
            place = answer.url.join(answer.headers["Location"]).copy_with(userinfo=b"", query=None)
            return self._error(StorageError, f"the service sends us to {place}; correct base_url")
        text = f"the service, or a gateway in front of it, answers {status}"
        if status >= 500 or status == 429:
            return self._error(StorageUnavailable, text)
        return self._error(StorageError, f"{text}; is base_url right?")

    @contextmanager
    def understanding(self) -> Iterator[None]:
        """For taking an answer apart: one that has not the form it should have is told."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self.not_understood() from None

    def not_understood(self) -> StorageError:
        """An answer has not the form it should have."""
        return self._error(StorageError, "the answer is not that of an openload API; correct base_url")

    def _quotable(self, message: object) -> str:
        """A message of the service's, short, without addresses and the key."""
        text = re.sub(r"\w+://\S+", "…", str(message or ""))
        return excerpt(text.replace(self._options.key.get_secret_value(), "…"), 200)

    def _error(self, kind: type[StorageError], text: str) -> StorageError:
        return kind(f"storage {self._options.name!r}: {text}")


#: The services' own status: more was sent than the account may send.
_BANDWIDTH: Final = 509


def without_empty(**asked: str) -> dict[str, str]:
    """Parameters without the empty ones: the root has no id."""
    return {name: value for name, value in asked.items() if value}


def parse_listing(told: Mapping[str, Any]) -> FolderListing:
    """Of an answer. Streamtape has files in a list, pstream in an object by id; sizes may be text."""
    files = told.get("files") or []
    ordered = sorted(told.get("folders") or [], key=lambda each: (len(str(each["id"])), str(each["id"])))
    folders = {NAMES.decode(str(each["name"])): str(each["id"]) for each in reversed(ordered)}
    return FolderListing(
        folders, [_parse_file(each) for each in (files.values() if isinstance(files, dict) else files)]
    )


def _parse_file(told: Mapping[str, Any]) -> OpenloadFile:
    when = int(told["created_at"]) if "created_at" in told else int(told.get("upload_at") or 0) * 1000
    number = told["linkid"] if "linkid" in told else told["linkextid"]
    return OpenloadFile(
        str(number), NAMES.decode(str(told["name"])), int(told["size"]), str(told.get("link") or ""), when
    )
