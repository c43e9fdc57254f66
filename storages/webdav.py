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
import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Generator, Mapping
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import Final, Literal
from urllib.parse import quote, unquote
from xml.parsers import expat

import httpx
from pydantic import Field, SecretStr, field_validator

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from storages.base import Capabilities, Entry, Services, StorageOptions, Usage
from storages.names import Encoder
from storages.parts import is_reserved
from storages.remote import Chunks, RemoteStorage
from storages.web import Web, as_body


class WebdavOptions(StorageOptions):
    """Options of a `webdav` storage."""

    url: str = Field(
        description="Address of the WebDAV folder.",
        examples=["https://cloud.example.com/remote.php/dav/files/me"],
    )
    username: str = Field(default="", description="User name. Empty: the server asks for none.")
    password: SecretStr = Field(default=SecretStr(""), description="Password, or app password.")
    base_path: str = Field(default="", description="Folder below the address.", examples=["/telegram"])
    auth: Literal["auto", "basic", "digest"] = Field(
        default="auto", description="How to log in: auto does what the server asks for, Digest before Basic."
    )

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        if not re.match("https?://[^/]", url):
            raise ValueError("must begin with http:// or https:// and name a host")
        if "@" in url.split("/")[2]:
            raise ValueError("must not contain a password; there are username and password for that")
        if "?" in url or "#" in url:  # every path would mean the folder itself
            raise ValueError("must end with the folder, without ? and #")
        try:
            return str(httpx.URL(url)).rstrip("/")
        except httpx.InvalidURL as error:
            raise ValueError(f"is not an address: {error}") from error


class WebdavStorage(RemoteStorage):
    """A folder on a WebDAV server."""

    capabilities = Capabilities(
        late_name=True, lists=True, reads=True, folders=True, moves=True, copies=True, usage=True
    )

    def __init__(self, options: WebdavOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._login = _Credentials(options)
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
        below = [_spelled(part) for part in path.split("/")] if path else []
        return _join(self._url, [*self._base, *below]) + ("/" if folder else "")

    async def _where(self, path: str) -> str:
        """The URL of what is at a path: others may have given a name that we would spell.

        Not one with a backslash, which some servers take for a slash: it could lead out of the base.
        """
        ours = self._at(path)
        if "\\" in path:
            return ours
        below = [_spelled(part) if is_reserved(part) else part for part in path.split("/") if part]
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
        parts = [*self._base, *(_spelled(part) for part in path.split("/") if part)]
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
            raise StorageError(f"storage {self.name!r}: {name!r}: a file stands where a folder is needed")
        return bool(found)

    async def _scan(self, path: str) -> list[Entry]:
        found = await self._properties(f"{await self._where(path)}/", "1")
        if not found:
            raise FileNotFoundError(path)
        own = min(found, key=lambda each: each.depth)
        if not own.is_dir:
            raise StorageError(f"storage {self.name!r}: {path!r} is a file")
        inside = [each for each in found if each.depth == own.depth + 1]
        return [each.entry(f"{path}/{each.name}" if path else each.name) for each in inside]

    async def _stat(self, path: str) -> Entry | None:
        found = await self._properties(await self._where(path), "0")
        return found[0].entry(path) if found else None

    async def _read(self, path: str, offset: int, size: int | None) -> AsyncGenerator[bytes, None]:
        entry = await self._stat(path)  # for a folder, servers send a page for browsers
        if entry is None:
            raise FileNotFoundError(path)
        if entry.is_dir:
            raise StorageError(f"storage {self.name!r}: {path!r} is a folder")
        end = entry.size if size is None else min(entry.size, offset + size)
        if offset >= end:
            return
        headers = {"Accept-Encoding": "identity"}
        if end - offset < entry.size:
            headers["Range"] = f"bytes={offset}-{end - 1}"
        async with self._web.request("GET", await self._where(path), headers=headers) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise FileNotFoundError(path)
            if not answer.is_success:
                raise self._refusal(answer)
            async with aclosing(self._web.file(answer, offset, end)) as pieces:
                async for piece in pieces:
                    yield piece

    # What else there is.

    async def _copy(self, path: str, to: str) -> None:
        await self._transfer("COPY", path, to, replace=False)

    async def usage(self) -> Usage:
        """As in the contract, by RFC 4331. Many servers tell nothing."""
        found = await self._properties(self._at("", folder=True), "0", _QUOTA)
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

    async def _properties(self, url: str, depth: str, which: str = "") -> list[_Resource]:
        """What a PROPFIND tells, nothing if there is no such thing."""
        headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        content = (_PROPFIND % (which or _WANTED)).encode()
        slow = depth != "0"  # a folder of 100,000 files takes some servers minutes
        async with self._web.request("PROPFIND", url, headers=headers, content=content, slow=slow) as answer:
            if answer.status_code in (404, 410):
                return []
            if not url.endswith("/") and _place(answer).path == f"{answer.url.path}/":
                return await self._properties(f"{url}/", depth, which)
            if answer.status_code != httpx.codes.MULTI_STATUS:
                raise self._refusal(answer)
            listing, size = _Multistatus(), 0
            try:
                async for piece in answer.aiter_bytes():
                    size += len(piece)
                    if size > _LONGEST_LISTING:
                        raise StorageError(
                            f"storage {self.name!r}: the server's list of a folder does not end"
                        )
                    listing.feed(piece)
                listing.feed(b"", last=True)
            except expat.ExpatError as error:
                raise StorageError(
                    f"storage {self.name!r}: the server's answer is not WebDAV; correct url"
                ) from error
        return listing.found

    def _refusal(self, answer: httpx.Response) -> StorageError:
        status = answer.status_code
        if answer.has_redirect_location:
            place = _place(answer).copy_with(userinfo=b"", query=None)
            return StorageError(f"storage {self.name!r}: the server sends us to {place}; correct url")
        kind, text = _MEANINGS.get(status, (None, f"the server answers {status} {answer.reason_phrase}"))
        if kind is None:
            kind = StorageUnavailable if status >= 500 else StorageError
        return kind(f"storage {self.name!r}: {text}")

    def _taken(self, path: str) -> NameTaken:
        return NameTaken(f"storage {self.name!r}: {path!r} exists already")


class _Credentials(httpx.Auth):
    """Basic or Digest, by the options or by what the server asks for first."""

    def __init__(self, options: WebdavOptions) -> None:
        who = options.username, options.password.get_secret_value()
        self._known = {"digest": httpx.DigestAuth(*who), "basic": httpx.BasicAuth(*who)}
        self._scheme = options.auth
        self._anyone = not options.username

    @property
    def settled(self) -> bool:
        """Whether no request can meet a challenge: a Digest nonce may grow old at any time."""
        return self._anyone or self._scheme == "basic"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As httpx wants it."""
        if self._anyone:
            yield request
            return
        if self._scheme == "auto":
            answer = yield request
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return
            asked = " ".join(answer.headers.get_list("WWW-Authenticate")).lower()
            self._scheme = "digest" if re.search(r"\bdigest\b", asked) else "basic"
        yield from self._known[self._scheme].auth_flow(request)


class _Resource:
    """What one `response` element says, by RFC 4918, 14.24."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.is_dir = False

    @property
    def _path(self) -> str:
        """Of the href, which is a URL or a path, encoded or, by some servers, not."""
        return re.sub("^[a-zA-Z]+://[^/]*", "", self.values.get("href", "")).rstrip("/")

    @property
    def depth(self) -> int:
        return self._path.count("/")

    @property
    def name(self) -> str:
        name = self._path.rpartition("/")[2]
        encoded = re.fullmatch(r"(?:[!-$&-~]|%[0-9a-fA-F]{2})*", name)
        return given(unquote(name) if encoded else name)

    def count(self, tag: str) -> int | None:
        """A number of bytes; None for what is not told, or a negative one, as Nextcloud's for `no limit`."""
        text = self.values.get(tag, "")
        return int(text) if re.fullmatch("[0-9]{1,20}", text) else None

    def entry(self, path: str) -> Entry:
        size = 0 if self.is_dir else self.count("getcontentlength") or 0
        modified = _milliseconds(self.values.get("getlastmodified", ""))
        return Entry(path.rpartition("/")[2], path, size, self.is_dir, modified)


class _Multistatus:
    """Reads the answer to a PROPFIND as it comes: a folder may have very many files.

    A document type is refused: there is none in WebDAV, and it could define entities.
    """

    def __init__(self) -> None:
        self.found: list[_Resource] = []
        self._text = ""
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.CharacterDataHandler = self._data
        self._parser.EndElementHandler = self._end

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Raises `ExpatError` for what is not such an answer."""
        self._parser.Parse(data, last)

    def _refuse(self, *_: object) -> None:
        raise expat.ExpatError("a document type")

    def _start(self, tag: str, _: object) -> None:
        self._text = ""
        if tag == "DAV: response":
            self.found.append(_Resource())
        elif tag == "DAV: collection" and self.found:
            self.found[-1].is_dir = True

    def _data(self, text: str) -> None:
        if len(self._text) + len(text) > _LONGEST_TEXT:
            raise expat.ExpatError("a text longer than any path")
        self._text += text

    def _end(self, tag: str) -> None:
        if tag in _TAGS and self.found and self._text.strip():
            self.found[-1].values.setdefault(tag.removeprefix("DAV: "), self._text.strip())
        self._text = ""


#: Bytes of a listing, a million files and more, and characters of one value in it.
_LONGEST_LISTING: Final = 1 << 30
_LONGEST_TEXT: Final = 1 << 16
_PROPFIND: Final = '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>%s</prop></propfind>'
_WANTED: Final = "<resourcetype/><getcontentlength/><getlastmodified/>"
_QUOTA: Final = "<quota-used-bytes/><quota-available-bytes/>"
_TAGS: Final = {
    f"DAV: {tag}"
    for tag in (
        "href",
        "getcontentlength",
        "getlastmodified",
        "quota-used-bytes",
        "quota-available-bytes",
    )
}

#: rclone replaces control characters by pictures of them, WsgiDAV cuts the Destination of a MOVE off at ? and
#: ;, Nextcloud refuses \.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + "\x7f\\?;")

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
    507: (NoSpace, "there is no space left; make some room"),
}


def _spelled(name: str) -> str:
    """A name as it stands on the server. nginx does not list names that begin with a dot, as parts do."""
    spelled = NAMES.encode(name)
    return f"%2E{spelled[1:]}" if is_reserved(name) and name.startswith(".") else spelled


def given(spelled: str) -> str:
    """The name that stands there as `spelled`."""
    name = NAMES.decode(spelled)
    hidden = f".{name.removeprefix('%2E')}"
    return hidden if name.startswith("%2E") and is_reserved(hidden) else name


def _join(url: str, parts: list[str]) -> str:
    return "/".join([url, *(quote(part, safe="") for part in parts)])


def _place(answer: httpx.Response) -> httpx.URL:
    """Where the server sends us; if nowhere, where we are."""
    return answer.url.join(answer.headers["Location"]) if answer.has_redirect_location else answer.url


def _milliseconds(date: str) -> int:
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0
