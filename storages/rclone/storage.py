"""Every remote of the user's rclone.conf: Drive, OneDrive, Dropbox, SMB and seventy more.

`rclone rcd` runs beside us, once for all storages of a process, on a unix socket that only this user can
open; it ends with us. What is asked is rclone's remote control API (https://rclone.org/rc/). A file is
given to it under its part name and moved. One whose size is known it fetches from us (`operations/copyurl`):
many services want to know the size first, and where rclone does not know it either, it makes a copy on the
disk, or parts that are too small for a large file. Others are streamed into `operations/uploadfile`; `rcat`
is never used, as it leaves short files when cut.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from urllib.request import getproxies

import httpx

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from saveany.excerpt import excerpt
from saveany.net import trust
from saveany.net.client import describe
from storages.base import Capabilities, Entry, Services, Usage
from storages.names import Encoder
from storages.one_time_url import offered
from storages.rclone.daemon import RcloneDaemon
from storages.rclone.options import RcloneOptions
from storages.rclone.targets import servers
from storages.reachability import check_port
from storages.remote import Chunks, RemoteStorage
from storages.web import body

_SILENCE, _THINK = 60.0, 600.0


_SWEEPS: Final = 6


#: Characters of a name that some remotes take for something else, or drop.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + "\x7f\\", edges=" .")


#: They name another server than the remote does.
_ELSEWHERE: Final = re.compile(r"--[\w-]+-(host|port|url|endpoint|proxy|ssh)\b")


class RcloneStorage(RemoteStorage):
    """A folder of a remote. One that is a bucket keeps no empty folders."""

    capabilities = Capabilities(
        late_name=True, lists=True, reads=True, folders=True, moves=True, copies=True, usage=True
    )

    def __init__(self, options: RcloneOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        # The base is not part of the remote: rclone would look first whether it is a file, and takes it for
        # one where S3 refuses the login or cannot be reached.
        self._fs = options.remote if ":" in options.remote else f"{options.remote}:"
        self._base = options.base_path.strip("/")
        self._options = options
        self._daemon: RcloneDaemon | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Let the daemon go; the last one ends it."""
        daemon, self._daemon = self._daemon, None
        if daemon:
            await daemon.give_back()

    async def reach(self) -> None:
        """As in the contract, where the remote is a server of its own: what the big services are asked is
        counted."""
        if getproxies() or any(_ELSEWHERE.match(flag) for flag in self._options.flags):
            return  # where rclone connects to then is not known here
        for host, port in await asyncio.to_thread(servers, self._fs, self._options.config_path):
            await check_port(self.name, host, port)

    # Talking to rclone.

    async def _rcd(self) -> RcloneDaemon:
        async with self._opening:
            if self._daemon is not None and not self._daemon.alive:
                await self.close()
            if self._daemon is None:
                self._daemon = await RcloneDaemon.shared(self.name, self._options)
            return self._daemon

    async def _ask(self, command: str, timeout: httpx.Timeout | None = None, **arguments: Any) -> Any:
        """What rclone replies; its errors are those of the contract."""
        return await self._post(command, timeout, json={"fs": self._fs, **arguments})

    async def _post(self, command: str, timeout: httpx.Timeout | None = None, **request: Any) -> Any:
        daemon = await self._rcd()
        try:
            answer = await daemon.http.post(f"/{command}", timeout=timeout or _TIMEOUT, **request)
        except httpx.HTTPError as error:
            raise StorageUnavailable(
                "storage {storage!r}: rclone: {reason}", storage=self.name, reason=describe(error)
            ) from error
        told = answer.json() if answer.content else {}
        if answer.status_code != httpx.codes.OK:
            raise self._refusal(answer.status_code, str(told.get("error", "")))
        return told

    def _refusal(self, status: int, text: str) -> Exception:
        """What rclone means: its status is 500 for nearly everything, so the text must tell."""
        if "object not found" in text or "directory not found" in text:
            return FileNotFoundError(text)
        kind, advice = StorageUnavailable if status >= 500 else StorageError, ""
        for words, meaning, what_to_do in _MEANINGS:
            if any(each in text.lower() for each in words):
                kind, advice = meaning, what_to_do
                break
        return kind(
            "storage {storage!r}: rclone says: {reply}{advice}",
            storage=self.name,
            reply=trust.advised(self._quotable(text)),
            advice=advice,
        )

    def _quotable(self, text: str) -> str:
        """Short, and without the passwords that a remote may be given with."""
        for secret in re.findall(r"(?:pass|key|secret|token)\w*=[\"']?([^,:\"']+)", self._options.remote):
            text = text.replace(secret, "…")
        return excerpt(re.sub(r"//[^/\s@]*@", "//…@", text), 300)

    def _at(self, path: str) -> str:
        """A path as the remote has it."""
        below = "/".join(map(NAMES.encode, path.split("/")))
        return "/".join(filter(None, [self._base, below]))

    # The calls of a remote storage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        try:
            await (self._stream(path, chunks) if size is None else self._offer(path, chunks, size))
        except BaseException:
            await asyncio.shield(self._sweep(path))
            raise

    async def _offer(self, path: str, chunks: Chunks, size: int) -> None:
        async with offered(chunks, size) as offer:
            asked = self._ask("operations/copyurl", _UNTIL_TAKEN, remote=self._at(path), url=offer.url)
            copying = asyncio.create_task(asked)
            try:
                await asyncio.wait([copying, offer.taken], return_when=asyncio.FIRST_COMPLETED)
                if offer.taken.done():
                    offer.taken.result()
                async with asyncio.timeout(_THINK):
                    await copying
            except TimeoutError as error:
                raise StorageUnavailable(
                    "storage {storage!r}: rclone does not end {path!r}", storage=self.name, path=path
                ) from error
            finally:
                copying.cancel()
                await asyncio.gather(copying, return_exceptions=True)

    async def _stream(self, path: str, chunks: Chunks) -> None:
        folder, _, name = self._at(path).rpartition("/")
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
            f"filename*=UTF-8''{quote(name, safe='')}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        async def form() -> AsyncIterator[bytes]:
            yield head
            async for chunk in chunks:
                yield bytes(chunk)
            yield tail

        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        query = {"fs": self._fs, "remote": folder}
        await self._post("operations/uploadfile", params=query, headers=headers, content=form())

    async def _sweep(self, path: str) -> None:
        """Remove what rclone makes of a short upload that was broken off: it notices a moment later, and
        takes what it has for the whole."""
        for _ in range(_SWEEPS):
            await asyncio.sleep(0.05)
            with suppress(StorageError, FileNotFoundError):
                await self._ask("operations/deletefile", remote=self._at(path))
                return

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        there = await self._stat(to)
        if await self._stat(path) is None:
            raise FileNotFoundError(path)
        if there and (there.is_dir or not replace):
            raise NameTaken("storage {storage!r}: {path!r} already exists", storage=self.name, path=to)
        await self._two("operations/movefile", path, to)

    async def _two(self, command: str, path: str, to: str) -> None:
        one, other = (
            {"srcFs": self._fs, "srcRemote": self._at(path)},
            {"dstFs": self._fs, "dstRemote": self._at(to)},
        )
        await self._post(command, json=one | other)

    async def _remove(self, path: str) -> None:
        try:
            await self._ask("operations/deletefile", remote=self._at(path))
        except FileNotFoundError:
            return

    async def _make_folder(self, path: str) -> None:
        parts = path.split("/") if path else []
        for depth in range(1, len(parts) + 1):
            entry = await self._stat("/".join(parts[:depth]))
            if entry and not entry.is_dir:
                raise StorageError(
                    "storage {storage!r}: {path!r}: a file stands where a folder is needed",
                    storage=self.name,
                    path=entry.path,
                )
        await self._ask("operations/mkdir", remote=self._at(path))

    async def _scan(self, path: str) -> list[Entry]:
        entry = await self._stat(path) if path else None
        if entry and not entry.is_dir:
            raise StorageError("storage {storage!r}: {path!r} is not a folder", storage=self.name, path=path)
        if path and entry is None:
            raise FileNotFoundError(path)
        told = await self._ask("operations/list", remote=self._at(path), opt=_PLAIN)
        found = []
        for each in told["list"]:
            name = NAMES.decode(each["Name"])
            found.append(_entry(f"{path}/{name}" if path else name, each))
        return found

    async def _stat(self, path: str) -> Entry | None:
        told = await self._ask("operations/stat", remote=self._at(path), opt=_PLAIN)
        return _entry(path, told["item"]) if told.get("item") else None

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if start >= end:
            return
        async with self._object(file.path, start, end) as answer, aclosing(body(answer)) as pieces:
            async for piece in pieces:
                yield piece

    @asynccontextmanager
    async def _object(self, path: str, start: int, end: int) -> AsyncIterator[httpx.Response]:
        daemon = await self._rcd()
        url = f"/[{quote(self._fs, safe='')}]/{quote(self._at(path))}"
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        try:
            async with daemon.http.stream("GET", url, headers=headers, timeout=_TIMEOUT) as answer:
                if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise StorageUnavailable(
                        "storage {storage!r}: rclone answers {status} for {path!r}",
                        storage=self.name,
                        status=answer.status_code,
                        path=path,
                    )
                yield answer
        except httpx.HTTPError as error:
            raise StorageUnavailable(
                "storage {storage!r}: rclone: {reason}", storage=self.name, reason=describe(error)
            ) from error

    async def _copy(self, path: str, to: str) -> None:
        await self._two("operations/copyfile", path, to)

    async def usage(self) -> Usage:
        """As in the contract; most remotes tell some of it, some nothing."""
        if not (await self._ask("operations/fsinfo"))["Features"]["About"]:
            return Usage()
        told = await self._ask("operations/about")
        return Usage(used=told.get("used"), free=told.get("free"), total=told.get("total"))


_TIMEOUT: Final = httpx.Timeout(_SILENCE, read=_THINK)


#: rclone answers when it has a file, which takes as long as there is more of it.
_UNTIL_TAKEN: Final = httpx.Timeout(_SILENCE, read=None)


_PLAIN: Final = {"noMimeType": True}


_CHECK: Final = "; check the remote and base_path (`rclone lsd` shows what it can see)"


#: What is in a text of rclone's or of a service's, what it means, and what to do. The first that fits counts.
_MEANINGS: Final[tuple[tuple[tuple[str, ...], type[StorageError], str], ...]] = (
    (("rate limit", "ratelimit", "quota metric", "too many requests"), StorageUnavailable, ""),
    (("no space", "quota", "insufficient storage"), NoSpace, ""),
    (("name too long",), StorageError, "; the remote needs a shorter name"),
    (
        ("connection refused", "connection reset", "timeout", "timed out", "no such host", "unexpected eof"),
        StorageUnavailable,
        "",
    ),
    (
        (
            "401 unauthorized",
            "403 forbidden",
            "access denied",
            "accessdenied",
            "attempted logon is invalid",
            "is it obscured",
            "couldn't fetch token",
            "invalid_grant",
            "invalidaccesskeyid",
            "permission denied",
            "signaturedoesnotmatch",
        ),
        StorageError,
        "; correct the login of the remote with `rclone config`, or its permissions there",
    ),
    (
        ("is a file not a directory",),  # it says so, too, where S3 does not let it look
        StorageUnavailable,
        "; or the remote cannot be reached, or refuses the login",
    ),
    (
        (
            "didn't find section in config",
            "didn't find backend",
            "share name cannot be found",
            "nosuchbucket",
            "bucket does not exist",
        ),
        StorageError,
        _CHECK,
    ),
)


def _entry(path: str, told: dict[str, Any]) -> Entry:
    is_dir = bool(told["IsDir"])
    modified = round(datetime.fromisoformat(told["ModTime"]).timestamp() * 1000) if told.get("ModTime") else 0
    return Entry(path.rpartition("/")[2], path, 0 if is_dir else told["Size"], is_dir, modified)
