"""Folders of a WebDAV server (RFC 4918): Nextcloud, a NAS, mod_dav, nginx, `rclone serve webdav`, …

A file is put under a part name and moved, which every server can. Facts found out with mod_dav, WsgiDAV,
rclone and nginx: a MOVE with `Overwrite: T` onto a folder removes the folder with all that is in it, so the
target is looked at first; none of them looks and moves in one step, so two that commit to one free name at
once may both succeed (no `exclusive`); rclone answers 403 where the source of a MOVE is gone; a PUT that is
cut leaves a short file (not nginx), and one with Content-Range is taken for a whole file by some; Apache
sends whoever asks for a folder without a slash at the end to where it has one (mod_dir).
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
from storages.base import Capabilities, Entry, Services, Usage
from storages.parts import is_reserved
from storages.remote import Chunks, RemoteStorage
from storages.web import Web, as_body
from storages.webdav.auth import Credentials
from storages.webdav.names import encode_name
from storages.webdav.options import WebdavOptions
from storages.webdav.properties import ENTRY, PROPFIND, QUOTA, Multistatus, Resource


class WebdavStorage(RemoteStorage):
    """A folder on a WebDAV server."""

    capabilities = Capabilities(
        late_name=True, lists=True, reads=True, folders=True, moves=True, copies=True, usage=True
    )

    def __init__(self, options: WebdavOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._login = Credentials(options)
        self._web = Web(options.name, self._login)
        self._url = options.url
        self._base = [part for part in options.base_path.split("/") if part]
        self._folders: set[str] = set()  # URLs of folders that were there
        self._broken: set[str] = set()  # files whose PUT was broken off

    async def reach(self) -> None:
        """As in the contract."""
        await self._web.reach(self._url)

    async def close(self) -> None:
        """Hang up."""
        await self._web.close()

    def _at(self, path: str, *, folder: bool = False) -> str:
        below = [encode_name(part) for part in path.split("/")] if path else []
        return _join(self._url, [*self._base, *below]) + ("/" if folder else "")

    async def _where(self, path: str) -> str:
        """The URL of what is at a path: others may have given a name that we would spell.

        Not one with a backslash, which some servers take for a slash: it could lead out of the base.
        """
        ours = self._at(path)
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
        except StorageError:  # lighttpd takes no control characters
            return ours

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        if not self._login.settled:
            # What is streamed cannot be sent again: another request meets the challenge first. Not one that
            # reads, which servers may let anyone do; this one does nothing, as the part is not there yet.
            await self._do("DELETE", self._at(path), also=range(402, 412))
        headers = {} if size is None else {"Content-Length": str(size)}
        try:
            await self._send("PUT", self._at(path), headers, content=as_body(chunks))
        except BaseException:
            self._broken.add(path)
            raise

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        if replace and await self._stat(path) is None:
            raise FileNotFoundError(path)  # rclone removes the target before it looks for the source
        try:
            there = await self._stat(to)
            if there and (there.is_dir or not replace):
                raise self._taken(to)
            await self._transfer("MOVE", path, to, replace=replace)
        except StorageUnavailable:
            raise
        except StorageError:
            if await self._stat(path) is None:
                raise FileNotFoundError(path) from None
            raise

    async def _transfer(self, method: Literal["MOVE", "COPY"], path: str, to: str, *, replace: bool) -> None:
        url, target = await self._where(path), self._at(to)
        headers = {"Destination": target, "Overwrite": "T" if replace else "F"}
        status = await self._do(method, url, headers, also=[412, httpx.codes.BAD_GATEWAY])
        if status == httpx.codes.BAD_GATEWAY:
            # Behind a proxy that ends TLS, Apache takes https for another server (RFC 4918, 9.8.5).
            headers["Destination"] = target.replace("https://", "http://", 1)
            status = await self._do(method, url, headers, also=[412])
        if status == httpx.codes.PRECONDITION_FAILED:
            raise self._taken(to)

    async def _remove(self, path: str) -> None:
        """A server may see late that a PUT was broken off: it holds a lock, or makes the file only now."""
        late = [404, 410] if path in self._broken else []
        url = await self._where(path)
        for pause in (0.05, 0.1, 0.2, 0.4):
            status = await self._do("DELETE", url, also=[404, 410])
            if status not in late:
                break
            await asyncio.sleep(pause)
        self._broken.discard(path)

    async def _make_folder(self, path: str) -> None:
        """Level by level, from above."""
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
        """One folder. Where another one makes it at the same time, servers answer 405, 403 and more."""
        try:
            await self._do("MKCOL", f"{folder}/")
        except StorageError:
            if not await self._is_folder(folder):
                raise

    async def _is_folder(self, url: str) -> bool:
        """Whether there is one; raises `StorageError` if a file has the name."""
        found = await self._properties(url, "0")
        if found and not found[0].is_dir:
            name = unquote(url.removeprefix(f"{self._url}/"))
            raise StorageError(
                "storage {storage!r}: {name!r}: a file stands where a folder is needed",
                storage=self.name,
                name=name,
            )
        return bool(found)

    async def _scan(self, path: str) -> list[Entry]:
        found = await self._properties(f"{await self._where(path)}/", "1")
        if not found:
            raise FileNotFoundError(path)
        own = min(found, key=lambda each: each.depth)
        if not own.is_dir:
            raise StorageError("storage {storage!r}: {path!r} is a file", storage=self.name, path=path)
        inside = [each for each in found if each.depth == own.depth + 1]
        return [each.entry(f"{path}/{each.name}" if path else each.name) for each in inside]

    async def _stat(self, path: str) -> Entry | None:
        found = await self._properties(await self._where(path), "0")
        return found[0].entry(path) if found else None

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if start >= end:
            return
        headers = {"Accept-Encoding": "identity"}
        if end - start < file.size:
            headers["Range"] = f"bytes={start}-{end - 1}"
        async with self._web.request("GET", await self._where(file.path), headers=headers) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise FileNotFoundError(file.path)
            if not answer.is_success:
                raise self._refusal(answer)
            async with aclosing(self._web.file(answer, start, end)) as pieces:
                async for piece in pieces:
                    yield piece

    # What else there is.

    async def _copy(self, path: str, to: str) -> None:
        await self._transfer("COPY", path, to, replace=False)

    async def usage(self) -> Usage:
        """As in the contract, by RFC 4331. Many servers tell nothing."""
        found = await self._properties(self._at("", folder=True), "0", QUOTA)
        if not found:
            return Usage()
        used, free = found[0].count("quota-used-bytes"), found[0].count("quota-available-bytes")
        return Usage(used, free, None if used is None or free is None else used + free)

    # Talking to the server.

    async def _do(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, *, also: Collection[int] = ()
    ) -> int:
        """The status of a request; one that is neither a success nor in `also` is raised.

        A server may still be busy with another request of ours, one that was broken off perhaps, and hold a
        lock until it is done: that is waited for.
        """
        for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
            status = await self._send(method, url, headers, also=[*also, httpx.codes.LOCKED])
            if status != httpx.codes.LOCKED:
                return status
            await asyncio.sleep(pause)
        return await self._send(method, url, headers, also=also)

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        also: Collection[int] = (),
        content: AsyncIterator[bytes] | None = None,
    ) -> int:
        async with self._web.request(method, url, headers=headers, content=content, slow=True) as answer:
            done = answer.is_success and answer.status_code != httpx.codes.MULTI_STATUS  # 207: in part
            if not done and answer.status_code not in also:
                self._folders.clear()  # somebody may have removed one
                raise self._refusal(answer)
            await self._web.text(answer)  # the connection can be used again
            return answer.status_code

    async def _properties(self, url: str, depth: str, which: str = "") -> list[Resource]:
        """What a PROPFIND tells, nothing if there is no such thing."""
        headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        content = (PROPFIND % (which or ENTRY)).encode()
        slow = depth != "0"  # a folder of 100,000 files takes some servers minutes
        async with self._web.request("PROPFIND", url, headers=headers, content=content, slow=slow) as answer:
            if answer.status_code in (404, 410):
                return []
            if not url.endswith("/") and _place(answer).path == f"{answer.url.path}/":
                return await self._properties(f"{url}/", depth, which)
            if answer.status_code != httpx.codes.MULTI_STATUS:
                raise self._refusal(answer)
            listing, size = Multistatus(), 0
            try:
                async for piece in answer.aiter_bytes():
                    size += len(piece)
                    if size > _LONGEST_LISTING:
                        raise StorageError(
                            "storage {storage!r}: the server's list of a folder does not end",
                            storage=self.name,
                        )
                    listing.feed(piece)
                listing.feed(b"", last=True)
            except expat.ExpatError as error:
                raise StorageError(
                    "storage {storage!r}: the server's answer is not WebDAV; correct url", storage=self.name
                ) from error
        return listing.found

    def _refusal(self, answer: httpx.Response) -> StorageError:
        status = answer.status_code
        if answer.has_redirect_location:
            place = _place(answer).copy_with(userinfo=b"", query=None)
            return StorageError(
                "storage {storage!r}: the server sends us to {place}; correct url",
                storage=self.name,
                place=str(place),
            )
        kind, text = _MEANINGS.get(status, (None, f"the server answers {status} {answer.reason_phrase}"))
        if kind is None:
            kind = StorageUnavailable if status >= 500 else StorageError
        return kind("storage {storage!r}: {problem}", storage=self.name, problem=text)

    def _taken(self, path: str) -> NameTaken:
        return NameTaken("storage {storage!r}: {path!r} already exists", storage=self.name, path=path)


#: Bytes of a listing, a million files and more, and characters of one value in it.
_LONGEST_LISTING: Final = 1 << 30


_MEANINGS: Final[dict[int, tuple[type[StorageError], str]]] = {
    401: (StorageError, "the server refuses the login; correct username, password or auth"),
    403: (StorageError, "the server does not allow it; look at what the user may do there"),
    404: (StorageError, "there is no such file or folder"),
    405: (StorageError, "there is no WebDAV at this address, or not all of it; correct url"),
    409: (StorageError, "the folder above it is not there; if it is the one in url, make it, or correct url"),
    413: (
        StorageError,
        "the server takes no file of this size; raise its limit (client_max_body_size in nginx)",
    ),
    423: (StorageError, "the file is locked; somebody has it open"),
    429: (StorageUnavailable, "the server asks to slow down"),
    507: (NoSpace, "there is no space left; free some space"),
}


def _join(url: str, parts: list[str]) -> str:
    return "/".join([url, *(quote(part, safe="") for part in parts)])


def _place(answer: httpx.Response) -> httpx.URL:
    """Where the server sends us; if nowhere, where we are."""
    return answer.url.join(answer.headers["Location"]) if answer.has_redirect_location else answer.url
