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
from saveany.texts import Field, Text
from storages.base import Entry
from storages.chunks import Chunks
from storages.http_client import HttpClient, as_body
from storages.openload.names import NAMES
from storages.openload.options import OpenloadOptions
from storages.polling import FIRST_POLL_SECONDS, Polls

#: Maximum seconds between polls of a slow operation.
MAX_POLL_SECONDS = 10.0
#: Seconds in which the service must list a file that it has received.
_SETTLE: Final = 60.0


@dataclass(frozen=True, slots=True)
class OpenloadFile:
    """A file as a listing shows it."""

    id: str
    name: str
    size: int
    link: str
    created_at: int  # milliseconds since the epoch


@dataclass(frozen=True, slots=True)
class FolderListing:
    """The contents of a folder, under their original names."""

    folders: dict[str, str]  # ids by name; of several with one name the oldest, which has the lowest id
    files: list[OpenloadFile]

    def named(self, name: str) -> list[OpenloadFile]:
        """The files with a name, newest first."""
        files = (file for file in self.files if file.name == name)
        return sorted(files, key=lambda file: file.created_at, reverse=True)

    def entry(self, path: str) -> Entry | None:
        """The file or folder at a path in this folder, None if there is none."""
        name = path.rpartition("/")[2]
        if name in self.folders:
            return Entry(name, path, 0, True, 0)
        for file in self.named(name):
            return Entry(name, path, file.size, False, file.created_at)
        return None


class OpenloadApi:
    """The API of the service. Raises `FileNotFoundError` for status 404, and errors of the contract."""

    def __init__(self, options: OpenloadOptions, http: HttpClient) -> None:
        self._options = options
        self._http = http

    async def call(self, operation: str, /, **parameters: str) -> Any:
        """Call the API; returns the result in the reply."""
        login = {"login": self._options.login, "key": self._options.key.get_secret_value()}
        query = urlencode(login | parameters)
        return await self._result("GET", f"{self._options.address}/{operation}?{query}")

    async def details(self, operation: str, /, **parameter: str) -> Mapping[str, Any]:
        """The result of a call about one id: the value under that id in the reply, {} if there is none. The
        one `parameter` contains the id."""
        (id_,) = parameter.values()
        try:
            reply = await self.call(operation, **parameter)
        except FileNotFoundError:
            return {}
        found = reply.get(id_) if isinstance(reply, dict) else None
        return found if isinstance(found, dict) else {}

    async def details_of_new(self, file: str, path: str) -> Mapping[str, Any]:
        """The details of a new file, which will be at `path`; waits until the service has them."""
        pause, until = FIRST_POLL_SECONDS, time.monotonic() + _SETTLE
        while time.monotonic() < until:
            reply = await self.details("file/info", file=file)
            if reply.get("status") == httpx.codes.INTERNAL_SERVER_ERROR:
                raise StorageError(
                    "storage {storage!r}: the service could not process {path!r}",
                    storage=self._options.name,
                    path=path,
                )
            if reply.get("status") == httpx.codes.OK:
                return reply
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_POLL_SECONDS)
        raise StorageUnavailable(
            "storage {storage!r}: the service has lost {path!r}", storage=self._options.name, path=path
        )

    async def upload(self, url: str, name: str, chunks: Chunks, size: int) -> Any:
        """Send a file to the URL from `file/ul`; returns the result."""
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
        """Have the service fetch a URL into a folder, and wait until it has finished."""
        try:
            reply = await self.call("remotedl/add", url=url, folder=folder)
        except FileNotFoundError:
            raise self._error(
                StorageError, "the service does not fetch files, or the folder for them is gone"
            ) from None
        with self.parsing():
            remote_upload = str(reply["id"])
        try:
            await self._poll(remote_upload)
        except BaseException:
            with suppress(StorageError, FileNotFoundError, TimeoutError):  # pstream has no such call
                async with asyncio.timeout(10):
                    await self.call("remotedl/remove", id=remote_upload)
            raise

    async def _poll(self, remote_upload: str) -> None:
        polls = Polls(MAX_POLL_SECONDS)
        while True:
            reply = await self.details("remotedl/status", id=remote_upload)
            if reply.get("status") == "finished":
                return
            if reply.get("status") == "error":
                why = self._quotable(reply.get("errormsg") or "no reason given")
                raise self._error(StorageError, "the service cannot fetch the address: {reason}", reason=why)
            now = reply.get("status"), reply.get("bytes_loaded"), reply.get("progress_percent")
            if not await polls.wait(now):
                raise self._error(StorageUnavailable, "a remote upload makes no progress")

    async def _result(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        content: AsyncGenerator[bytes, None] | None = None,
    ) -> Any:
        async with self._http.request(method, url, headers=headers, content=content, slow=True) as response:
            text = await self._http.text(response)
        try:
            reply = json.loads(text)
            status, message = int(reply["status"]), self._quotable(reply.get("msg"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._no_envelope(response) from None
        if status != httpx.codes.OK:
            raise self._refusal(status, message)
        return reply.get("result")

    def _refusal(self, status: int, message: str) -> Exception:
        """The error for a status in a reply."""
        if status == httpx.codes.NOT_FOUND:
            return FileNotFoundError(message)
        if status == httpx.codes.FORBIDDEN:
            return self._error(
                StorageError,
                "the service replied {reason!r}; check login and key, and that the account owns the file",
                reason=message,
            )
        if status == httpx.codes.UNAVAILABLE_FOR_LEGAL_REASONS:
            return self._error(StorageError, "the service has blocked this file for legal reasons")
        if status == _BANDWIDTH:
            return self._error(StorageUnavailable, "the bandwidth of the account is exhausted; wait")
        kind = StorageUnavailable if status >= 500 or status == 429 else StorageError
        return self._error(kind, "the service replied {status}: {reason}", status=status, reason=message)

    def _no_envelope(self, response: httpx.Response) -> StorageError:
        status = response.status_code
        if response.is_success:
            return self.malformed()
        if response.has_redirect_location:
            target = response.url.join(response.headers["Location"]).copy_with(userinfo=b"", query=None)
            return self._error(
                StorageError, "the service redirects to {address}; correct base_url", address=str(target)
            )
        if status >= 500 or status == 429:
            return self._error(
                StorageUnavailable,
                "the service, or a gateway in front of it, replied {status}",
                status=status,
            )
        return self._error(
            StorageError,
            "the service, or a gateway in front of it, replied {status}; is base_url correct?",
            status=status,
        )

    @contextmanager
    def parsing(self) -> Iterator[None]:
        """Parse a reply in this block: a reply of another form raises `StorageError`."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self.malformed() from None

    def malformed(self) -> StorageError:
        """The error for a reply of another form."""
        return self._error(StorageError, "the reply is not from an openload API; correct base_url")

    def _quotable(self, message: object) -> str:
        """A message of the service, shortened, without URLs and the key."""
        text = re.sub(r"\w+://\S+", "…", str(message or ""))
        return excerpt(text.replace(self._options.key.get_secret_value(), "…"), 200)

    def _error(self, kind: type[StorageError], text: str, **fields: Field) -> StorageError:
        """`text` is a template for `fields`."""
        return kind("storage {storage!r}: {reason}", storage=self._options.name, reason=Text(text, fields))


#: The status of these services for an account that has exceeded its bandwidth.
_BANDWIDTH: Final = 509


def without_empty(**parameters: str) -> dict[str, str]:
    """Parameters without empty values: the root folder has no id."""
    return {name: value for name, value in parameters.items() if value}


def parse_listing(reply: Mapping[str, Any]) -> FolderListing:
    """The folder in a reply. Streamtape sends files as a list, pstream as an object; sizes may be strings."""
    files = reply.get("files") or []
    ordered = sorted(reply.get("folders") or [], key=lambda each: (len(str(each["id"])), str(each["id"])))
    folders = {NAMES.decode(str(each["name"])): str(each["id"]) for each in reversed(ordered)}
    return FolderListing(
        folders, [_parse_file(each) for each in (files.values() if isinstance(files, dict) else files)]
    )


def _parse_file(reply: Mapping[str, Any]) -> OpenloadFile:
    when = int(reply["created_at"]) if "created_at" in reply else int(reply.get("upload_at") or 0) * 1000
    file_id = reply["linkid"] if "linkid" in reply else reply["linkextid"]
    return OpenloadFile(
        str(file_id), NAMES.decode(str(reply["name"])), int(reply["size"]), str(reply.get("link") or ""), when
    )
