"""Folders of WebDAV servers (RFC 4918): Nextcloud, a NAS, mod_dav, nginx, `rclone serve webdav`, …

A file is written as a part and moved, which every server supports. Tests with mod_dav, WsgiDAV, rclone and
nginx showed:

- A MOVE with `Overwrite: T` onto a folder removes the folder and its contents, so the target is checked
  first.
- No server checks and moves in one step: two concurrent commits to a free name may both succeed (no
  `exclusive`).
- rclone replies 403 if the source of a MOVE does not exist.
- A PUT that is cut off leaves a shorter file (except in nginx); some servers treat a PUT with Content-Range
  as a whole file.
- Apache redirects requests for a folder without a slash at the end (mod_dir).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing
from typing import Final, Literal
from urllib.parse import quote, unquote
from xml.parsers import expat

import httpx

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from saveany.ranges import range_header
from saveany.texts import Text
from storages.base import Capabilities, Entry, Services, Usage
from storages.chunks import Chunks
from storages.errors import folder_needed, name_taken
from storages.http_client import HttpClient, as_body
from storages.parts import is_reserved
from storages.remote import RemoteStorage
from storages.webdav.auth import Credentials
from storages.webdav.names import encode_name
from storages.webdav.options import WebdavOptions
from storages.webdav.properties import ENTRY, PROPFIND, QUOTA, Multistatus, Resource


class WebdavStorage(RemoteStorage):
    """A folder on a WebDAV server."""

    capabilities = Capabilities(
        late_name=True, lists=True, reads=True, folders=True, moves=True, copies=True, usage=True
    )
    uploads_at_once = 4

    def __init__(self, options: WebdavOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._login = Credentials(options)
        self._http = HttpClient(options.name, self._login)
        self._url = options.url
        self._base = [part for part in options.base_path.split("/") if part]
        self._folders: set[str] = set()  # URLs of folders that are known to exist
        self._aborted: set[str] = set()  # paths of files whose PUT was aborted

    async def reach(self) -> None:
        """As in the contract."""
        await self._http.reach(self._url)

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    def _encoded_url(self, path: str, *, folder: bool = False) -> str:
        below = [encode_name(part) for part in path.split("/")] if path else []
        return _join(self._url, [*self._base, *below]) + ("/" if folder else "")

    async def _url_of(self, path: str) -> str:
        """The URL of the file at a path. A file of another program may have a name that SaveAny would encode.

        Names with a backslash are always encoded: some servers take it for a slash, which could lead outside
        the base folder.
        """
        ours = self._encoded_url(path)
        if "\\" in path:
            return ours
        below = [encode_name(part) if is_reserved(part) else part for part in path.split("/") if part]
        theirs = _join(self._url, [*self._base, *below])
        if ours == theirs or await self._properties(ours, "0"):
            return ours
        try:
            return theirs if await self._properties(theirs, "0") else ours
        except StorageUnavailable:
            raise
        except StorageError:  # lighttpd refuses control characters
            return ours

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        if not self._login.is_preemptive:
            # A stream cannot be sent again after a login challenge, so a DELETE of the part, which does not
            # exist yet, triggers it first. A read might be allowed without a login.
            await self._do("DELETE", self._encoded_url(path), expected=range(402, 412))
        headers = {} if size is None else {"Content-Length": str(size)}
        try:
            await self._send("PUT", self._encoded_url(path), headers, content=as_body(chunks))
        except BaseException:
            self._aborted.add(path)
            raise

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        if replace and await self._stat(path) is None:
            raise FileNotFoundError(path)  # rclone removes the target before it checks the source
        try:
            taken = await self._stat(to)
            if taken and (taken.is_dir or not replace):
                raise self._name_taken(to)
            await self._transfer("MOVE", path, to, replace=replace)
        except StorageUnavailable:
            raise
        except StorageError:
            if await self._stat(path) is None:
                raise FileNotFoundError(path) from None
            raise

    async def _transfer(self, method: Literal["MOVE", "COPY"], path: str, to: str, *, replace: bool) -> None:
        url, target = await self._url_of(path), self._encoded_url(to)
        headers = {"Destination": target, "Overwrite": "T" if replace else "F"}
        status = await self._do(method, url, headers, expected=[412, httpx.codes.BAD_GATEWAY])
        if status == httpx.codes.BAD_GATEWAY:
            # Behind a proxy that terminates TLS, Apache takes https for another server (RFC 4918, 9.8.5).
            headers["Destination"] = target.replace("https://", "http://", 1)
            status = await self._do(method, url, headers, expected=[412])
        if status == httpx.codes.PRECONDITION_FAILED:
            raise self._name_taken(to)

    async def _remove(self, path: str) -> None:
        """A server may notice an aborted PUT late: it still holds a lock, or makes the file only later."""
        late = [404, 410] if path in self._aborted else []
        url = await self._url_of(path)
        for pause in (0.05, 0.1, 0.2, 0.4):
            status = await self._do("DELETE", url, expected=[404, 410])
            if status not in late:
                break
            await asyncio.sleep(pause)
        self._aborted.discard(path)

    async def _make_folder(self, path: str) -> None:
        """Make the missing folders, from the top."""
        parts = [*self._base, *(encode_name(part) for part in path.split("/") if part)]
        folders = [_join(self._url, parts[: depth + 1]) for depth in range(len(parts))]
        missing = False
        for folder in folders:
            if folder not in self._folders:
                missing = missing or not await self._is_folder(folder)
                if missing:
                    await self._make(folder)
                self._folders.add(folder)

    async def _make(self, folder: str) -> None:
        """Make one folder. If another request has just made it, servers reply 405, 403 and others."""
        try:
            await self._do("MKCOL", f"{folder}/")
        except StorageError:
            if not await self._is_folder(folder):
                raise

    async def _is_folder(self, url: str) -> bool:
        """Whether the folder exists; raises `StorageError` if a file has its name."""
        found = await self._properties(url, "0")
        if found and not found[0].is_dir:
            name = unquote(url.removeprefix(f"{self._url}/"))
            raise folder_needed(self.name, name)
        return bool(found)

    async def _scan(self, path: str) -> list[Entry]:
        found = await self._properties(f"{await self._url_of(path)}/", "1")
        if not found:
            raise FileNotFoundError(path)
        own = min(found, key=lambda each: each.depth)
        if not own.is_dir:
            raise StorageError("storage {storage!r}: {path!r} is a file", storage=self.name, path=path)
        inside = [each for each in found if each.depth == own.depth + 1]
        return [each.entry(f"{path}/{each.name}" if path else each.name) for each in inside]

    async def _stat(self, path: str) -> Entry | None:
        found = await self._properties(await self._url_of(path), "0")
        return found[0].entry(path) if found else None

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if start >= end:
            return
        headers = {"Accept-Encoding": "identity"}
        if end - start < file.size:
            headers["Range"] = range_header(start, end)
        async with self._http.request("GET", await self._url_of(file.path), headers=headers) as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                raise FileNotFoundError(file.path)
            if not response.is_success:
                raise self._refusal(response)
            async with aclosing(self._http.file(response, start, end)) as pieces:
                async for piece in pieces:
                    yield piece

    # Optional calls.

    async def _copy(self, path: str, to: str) -> None:
        await self._transfer("COPY", path, to, replace=False)

    async def usage(self) -> Usage:
        """As in the contract, with RFC 4331. Many servers report nothing."""
        found = await self._properties(self._encoded_url("", folder=True), "0", QUOTA)
        if not found:
            return Usage()
        used, free = found[0].count("quota-used-bytes"), found[0].count("quota-available-bytes")
        return Usage(used, free, None if used is None or free is None else used + free)

    # Requests.

    async def _do(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        expected: Collection[int] = (),
    ) -> int:
        """The status of a request. Raises an error unless it is a success or in `expected`.

        Waits up to 3 seconds for a lock: the server may hold it for another request, perhaps an aborted one.
        """
        for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
            status = await self._send(method, url, headers, expected=[*expected, httpx.codes.LOCKED])
            if status != httpx.codes.LOCKED:
                return status
            await asyncio.sleep(pause)
        return await self._send(method, url, headers, expected=expected)

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        expected: Collection[int] = (),
        content: AsyncIterator[bytes] | None = None,
    ) -> int:
        async with self._http.request(method, url, headers=headers, content=content, slow=True) as response:
            # Multi-status (207) means that only a part of the operation succeeded.
            done = response.is_success and response.status_code != httpx.codes.MULTI_STATUS
            if not done and response.status_code not in expected:
                self._folders.clear()  # one may have been removed
                raise self._refusal(response)
            await self._http.text(response)  # so that the connection can be reused
            return response.status_code

    async def _properties(self, url: str, depth: str, properties: str = ENTRY) -> list[Resource]:
        """The resources in the reply to a PROPFIND; none if the URL does not exist."""
        headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        content = (PROPFIND % properties).encode()
        slow = depth != "0"  # some servers take minutes for a folder of 100,000 files
        async with self._http.request(
            "PROPFIND", url, headers=headers, content=content, slow=slow
        ) as response:
            if response.status_code in (404, 410):
                return []
            if not url.endswith("/") and _redirect_target(response).path == f"{response.url.path}/":
                return await self._properties(f"{url}/", depth, properties)
            if response.status_code != httpx.codes.MULTI_STATUS:
                raise self._refusal(response)
            listing, size = Multistatus(), 0
            try:
                async for piece in response.aiter_bytes():
                    size += len(piece)
                    if size > _MAX_LISTING:
                        raise StorageError(
                            "storage {storage!r}: the server's listing of a folder does not end",
                            storage=self.name,
                        )
                    listing.feed(piece)
                listing.feed(b"", last=True)
            except expat.ExpatError as error:
                raise StorageError(
                    "storage {storage!r}: the server's reply is not WebDAV; correct url", storage=self.name
                ) from error
        return listing.found

    def _refusal(self, response: httpx.Response) -> StorageError:
        status = response.status_code
        if response.has_redirect_location:
            target = _redirect_target(response).copy_with(userinfo=b"", query=None)
            return StorageError(
                "storage {storage!r}: the server redirects to {address}; correct url",
                storage=self.name,
                address=str(target),
            )
        kind, text = _MEANINGS.get(status, (None, None))
        if kind is None or text is None:
            kind = StorageUnavailable if status >= 500 else StorageError
            reply = f"{status} {response.reason_phrase}"
            text = Text("the server replied {reply}", {"reply": reply})
        return kind("storage {storage!r}: {problem}", storage=self.name, problem=text)

    def _name_taken(self, path: str) -> NameTaken:
        return name_taken(self.name, path)


#: Maximum bytes of a listing: more than a million files.
_MAX_LISTING: Final = 1 << 30
_MEANINGS: Final[dict[int, tuple[type[StorageError], Text]]] = {
    401: (StorageError, Text("the server refuses the login; correct username, password or auth")),
    403: (StorageError, Text("the server does not allow this; check the permissions of the user")),
    404: (StorageError, Text("there is no such file or folder")),
    405: (StorageError, Text("the server does not support WebDAV at this address; correct url")),
    409: (
        StorageError,
        Text("the parent folder does not exist; if it is the one in url, make it, or correct url"),
    ),
    413: (
        StorageError,
        Text("the server refuses files of this size; raise its limit (client_max_body_size in nginx)"),
    ),
    423: (StorageError, Text("the file is locked; another program has it open")),
    429: (StorageUnavailable, Text("the server received too many requests")),
    507: (NoSpace, Text("the disk or the quota is full; free some space")),
}


def _join(url: str, parts: list[str]) -> str:
    return "/".join([url, *(quote(part, safe="") for part in parts)])


def _redirect_target(response: httpx.Response) -> httpx.URL:
    """The target of a redirect; the URL of the response without one."""
    return response.url.join(response.headers["Location"]) if response.has_redirect_location else response.url
