"""Remotes of rclone: Drive, OneDrive, Dropbox, SMB and seventy more.

One `rclone rcd` runs for all storages of a process, on a unix socket that only this user can open, and ends
with the process. It is controlled by its API (https://rclone.org/rc/). A file is written as a part and moved.
rclone fetches a file of known size from a URL of this process (`operations/copyurl`), because many services
need the size in advance; without it rclone first makes a copy on the disk, or parts that are too small for a
large file. Files of unknown size are streamed to `operations/uploadfile`. `rcat` is never used, because it
leaves shorter files when it is cut off.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from urllib.request import getproxies

import httpx

from saveany.errors import NoSpace, StorageError, StorageUnavailable
from saveany.excerpt import excerpt
from saveany.net import trust
from saveany.net.client import describe
from saveany.ranges import range_header
from saveany.texts import Text
from storages.base import Capabilities, Entry, Services, Usage
from storages.chunks import Chunks
from storages.errors import folder_needed, name_taken, not_a_folder
from storages.http_client import body
from storages.names import Encoder
from storages.one_time_url import served_once
from storages.rclone.daemon import RcloneDaemon
from storages.rclone.options import RcloneOptions
from storages.rclone.targets import servers
from storages.reachability import check_port
from storages.remote import RemoteStorage

_SILENCE, _SLOW_REPLY = 60.0, 600.0
_LATE_CHECKS: Final = 6
#: Characters that some remotes interpret or drop.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + "\x7f\\", edges=" .")
#: Flags that lead rclone to another server than that of the remote.
_ELSEWHERE: Final = re.compile(r"--[\w-]+-(host|port|url|endpoint|proxy|ssh)\b")


class RcloneStorage(RemoteStorage):
    """A folder of a remote. Remotes that are buckets have no empty folders."""

    capabilities = Capabilities(
        late_name=True, lists=True, reads=True, folders=True, moves=True, copies=True, usage=True
    )
    uploads_at_once = 4

    def __init__(self, options: RcloneOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        # base_path is not part of the remote: rclone would check whether it is a file, and would think that
        # it is one if S3 refuses the login or cannot be reached.
        self._fs = options.remote if ":" in options.remote else f"{options.remote}:"
        self._base = options.base_path.strip("/")
        self._options = options
        self._daemon: RcloneDaemon | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Release the daemon."""
        daemon, self._daemon = self._daemon, None
        if daemon:
            await daemon.release()

    async def reach(self) -> None:
        """As in the contract, for remotes that are the user's own servers. Cloud services limit requests."""
        if getproxies() or any(_ELSEWHERE.match(flag) for flag in self._options.flags):
            return  # the server that rclone connects to is unknown then
        for host, port in await asyncio.to_thread(servers, self._fs, self._options.config_path):
            await check_port(self.name, host, port)

    # Requests to rclone.

    async def _rcd(self) -> RcloneDaemon:
        async with self._opening:
            if self._daemon is not None and not self._daemon.alive:
                await self.close()
            if self._daemon is None:
                self._daemon = await RcloneDaemon.shared(self.name, self._options)
            return self._daemon

    async def _call(self, command: str, timeout: httpx.Timeout | None = None, **arguments: Any) -> Any:
        """Send a command; returns the reply of rclone. Raises errors of the contract."""
        return await self._post(command, timeout, json={"fs": self._fs, **arguments})

    async def _post(self, command: str, timeout: httpx.Timeout | None = None, **request: Any) -> Any:
        daemon = await self._rcd()
        with self._translated_errors():
            response = await daemon.http.post(f"/{command}", timeout=timeout or _TIMEOUT, **request)
        reply = response.json() if response.content else {}
        if response.status_code != httpx.codes.OK:
            raise self._refusal(response.status_code, str(reply.get("error", "")))
        return reply

    def _refusal(self, status: int, text: str) -> Exception:
        """The error for a reply of rclone. Its status is nearly always 500, so the text is searched."""
        if "object not found" in text or "directory not found" in text:
            return FileNotFoundError(text)
        kind = StorageUnavailable if status >= 500 else StorageError
        advice: Text | None = None
        for words, kind_of_words, advice_for_words in _MEANINGS:
            if any(each in text.lower() for each in words):
                kind, advice = kind_of_words, advice_for_words
                break
        reply = trust.with_advice(self._quotable(text))
        if advice is None:
            return kind("storage {storage!r}: rclone replied: {reply}", storage=self.name, reply=reply)
        return kind(
            "storage {storage!r}: rclone replied: {reply}; {advice}",
            storage=self.name,
            reply=reply,
            advice=advice,
        )

    def _quotable(self, text: str) -> str:
        """The text shortened, without passwords of the remote."""
        for secret in re.findall(r"(?:pass|key|secret|token)\w*=[\"']?([^,:\"']+)", self._options.remote):
            text = text.replace(secret, "…")
        return excerpt(re.sub(r"//[^/\s@]*@", "//…@", text), 300)

    def _full(self, path: str) -> str:
        """The full path on the remote."""
        below = "/".join(map(NAMES.encode, path.split("/")))
        return "/".join(filter(None, [self._base, below]))

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        try:
            await (self._stream(path, chunks) if size is None else self._put_by_url(path, chunks, size))
        except BaseException:
            await asyncio.shield(self._remove_late(path))
            raise

    async def _put_by_url(self, path: str, chunks: Chunks, size: int) -> None:
        async with served_once(chunks, size) as link:
            request = self._call("operations/copyurl", _UNTIL_RECEIVED, remote=self._full(path), url=link.url)
            copying = asyncio.create_task(request)
            try:
                await asyncio.wait([copying, link.sent], return_when=asyncio.FIRST_COMPLETED)
                if link.sent.done():
                    link.sent.result()
                async with asyncio.timeout(_SLOW_REPLY):
                    await copying
            except TimeoutError as error:
                raise StorageUnavailable(
                    "storage {storage!r}: rclone does not finish saving {path!r}",
                    storage=self.name,
                    path=path,
                ) from error
            finally:
                copying.cancel()
                await asyncio.gather(copying, return_exceptions=True)

    async def _stream(self, path: str, chunks: Chunks) -> None:
        folder, _, name = self._full(path).rpartition("/")
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

    async def _remove_late(self, path: str) -> None:
        """Remove the shorter file that rclone makes of an aborted upload, a moment after the abort."""
        for _ in range(_LATE_CHECKS):
            await asyncio.sleep(0.05)
            with suppress(StorageError, FileNotFoundError):
                await self._call("operations/deletefile", remote=self._full(path))
                return

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        taken = await self._stat(to)
        if await self._stat(path) is None:
            raise FileNotFoundError(path)
        if taken and (taken.is_dir or not replace):
            raise name_taken(self.name, to)
        await self._call_with_two_paths("operations/movefile", path, to)

    async def _call_with_two_paths(self, command: str, path: str, to: str) -> None:
        one, other = (
            {"srcFs": self._fs, "srcRemote": self._full(path)},
            {"dstFs": self._fs, "dstRemote": self._full(to)},
        )
        await self._post(command, json=one | other)

    async def _remove(self, path: str) -> None:
        try:
            await self._call("operations/deletefile", remote=self._full(path))
        except FileNotFoundError:
            return

    async def _make_folder(self, path: str) -> None:
        parts = path.split("/") if path else []
        for depth in range(1, len(parts) + 1):
            entry = await self._stat("/".join(parts[:depth]))
            if entry and not entry.is_dir:
                raise folder_needed(self.name, entry.path)
        await self._call("operations/mkdir", remote=self._full(path))

    async def _scan(self, path: str) -> list[Entry]:
        entry = await self._stat(path) if path else None
        if entry and not entry.is_dir:
            raise not_a_folder(self.name, path)
        if path and entry is None:
            raise FileNotFoundError(path)
        reply = await self._call("operations/list", remote=self._full(path), opt=_PLAIN)
        found = []
        for each in reply["list"]:
            name = NAMES.decode(each["Name"])
            found.append(_entry(f"{path}/{name}" if path else name, each))
        return found

    async def _stat(self, path: str) -> Entry | None:
        reply = await self._call("operations/stat", remote=self._full(path), opt=_PLAIN)
        return _entry(path, reply["item"]) if reply.get("item") else None

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        if start >= end:
            return
        async with self._object(file.path, start, end) as response, aclosing(body(response)) as pieces:
            async for piece in pieces:
                yield piece

    @asynccontextmanager
    async def _object(self, path: str, start: int, end: int) -> AsyncIterator[httpx.Response]:
        daemon = await self._rcd()
        url = f"/[{quote(self._fs, safe='')}]/{quote(self._full(path))}"
        headers = {"Range": range_header(start, end), "Accept-Encoding": "identity"}
        with self._translated_errors():
            async with daemon.http.stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
                if response.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise StorageUnavailable(
                        "storage {storage!r}: rclone replied {status} for {path!r}",
                        storage=self.name,
                        status=response.status_code,
                        path=path,
                    )
                yield response

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate errors of the connection to rclone to those of the contract."""
        try:
            yield
        except httpx.HTTPError as error:
            raise StorageUnavailable(
                "storage {storage!r}: rclone: {reason}", storage=self.name, reason=describe(error)
            ) from error

    async def _copy(self, path: str, to: str) -> None:
        await self._call_with_two_paths("operations/copyfile", path, to)

    async def usage(self) -> Usage:
        """As in the contract. Most remotes report some of the values, others none."""
        if not (await self._call("operations/fsinfo"))["Features"]["About"]:
            return Usage()
        reply = await self._call("operations/about")
        return Usage(used=reply.get("used"), free=reply.get("free"), total=reply.get("total"))


_TIMEOUT: Final = httpx.Timeout(_SILENCE, read=_SLOW_REPLY)
#: rclone replies only when it has the whole file.
_UNTIL_RECEIVED: Final = httpx.Timeout(_SILENCE, read=None)
_PLAIN: Final = {"noMimeType": True}
_CHECK_REMOTE: Final = Text("check the remote and base_path (`rclone lsd` shows what it can see)")
#: Words in messages of rclone and its services, the errors they mean, and advice. The first match counts.
_MEANINGS: Final[tuple[tuple[tuple[str, ...], type[StorageError], Text | None], ...]] = (
    (("rate limit", "ratelimit", "quota metric", "too many requests"), StorageUnavailable, None),
    (("no space", "quota", "insufficient storage"), NoSpace, None),
    (("name too long",), StorageError, Text("the remote needs a shorter name")),
    (
        ("connection refused", "connection reset", "timeout", "timed out", "no such host", "unexpected eof"),
        StorageUnavailable,
        None,
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
        Text("correct the login of the remote with `rclone config`, or its permissions there"),
    ),
    (
        ("is a file not a directory",),  # also reported if S3 denies access
        StorageUnavailable,
        Text("or the remote cannot be reached, or refuses the login"),
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
        _CHECK_REMOTE,
    ),
)


def _entry(path: str, reply: dict[str, Any]) -> Entry:
    is_dir = bool(reply["IsDir"])
    modified = (
        round(datetime.fromisoformat(reply["ModTime"]).timestamp() * 1000) if reply.get("ModTime") else 0
    )
    return Entry(path.rpartition("/")[2], path, 0 if is_dir else reply["Size"], is_dir, modified)
