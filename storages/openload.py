"""Video hosts with openload's API: Streamtape, pstream, their relatives. Untested against the live services.

Every call is a GET that answers `{status, msg, result}`, mostly with HTTP 200 whatever the status; login and
key stand in its query. Files and folders have ids: a path is looked up folder by folder, and what was seen of
folders is remembered. A name may be there several times: of such files the newest is shown, and a replaced
one is removed after the new one has its name. A rename goes by id, so `finished` stops a sealed upload only
if that does not look its part up at the same moment.

Their documentation: https://streamtape.com/api and https://pstream.net/api-documentation.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

import httpx
from pydantic import Field, SecretStr, model_validator

from saveany.errors import NameTaken, StorageError, StorageUnavailable
from saveany.excerpt import excerpt
from storages.base import Capabilities, Entry, Services, StorageOptions
from storages.names import Encoder
from storages.parts import RESERVED, split
from storages.remote import Chunk, Chunks, RemoteStorage
from storages.web import Web, as_body

#: Seconds between two looks at something that takes time: the first pause, and the longest.
_FIRST_LOOK, _LAST_LOOK = 0.05, 10.0
#: Seconds in which a service must know of a file that it has taken.
_SETTLE: Final = 60.0
#: Looks after an upload that was given up at its end.
_SWEEPS: Final = 5
#: Seconds after which a remote upload that makes no progress is given up.
_STUCK: Final = 1800.0
_ADDRESSES: Final = {"streamtape": "https://api.streamtape.com", "pstream": "https://api.pstream.net/v1"}
#: What does not survive in the file name of a multipart form everywhere.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + '\x7f"\\', edges=" ")


class OpenloadOptions(StorageOptions):
    """Options of an `openload` storage."""

    flavour: Literal["streamtape", "pstream", "openload"] = Field(
        default="streamtape", description="Which service; openload is any other with this API, at base_url."
    )
    base_url: str = Field(
        default="",
        description="Address of the API, up to /file/ul. Left out: that of the service.",
        examples=["https://api.example.com/1"],
    )
    login: str = Field(
        min_length=1, description="API login, from the settings of your account there.", examples=["a1b2c3"]
    )
    key: SecretStr = Field(description="API key, from the same place.", examples=["f6e5d4"])
    base_path: str = Field(min_length=1, description="Folder there; made if missing.", examples=["telegram"])
    pull: bool = Field(
        default=False,
        description="Have the service fetch files of `directlinks` by itself, where that needs no headers, "
        "cookies or password: no byte comes here then, and the file has no sha256.",
    )

    @model_validator(mode="after")
    def _an_address(self) -> OpenloadOptions:
        if not (self.base_url or self.flavour in _ADDRESSES):
            raise ValueError("flavour openload needs base_url")
        if self.base_url and not re.match("https?://[^/@]+(/|$)", self.base_url):
            raise ValueError(
                "base_url must begin with http:// or https://, name a host, and have no password"
            )
        if {"", ".", ".."} & {*self.base_path.strip("/").split("/")}:
            raise ValueError("base_path must be a folder below the root, without . and ..")
        return self

    @property
    def address(self) -> str:
        """Where the API is."""
        return (self.base_url or _ADDRESSES[self.flavour]).rstrip("/")


class OpenloadStorage(RemoteStorage):
    """A folder of an account there. What is saved is watched there, not read back (no `reads`).

    `url` gives the service's page of a file, which does not expire. Streamtape takes files up to 15 GB.
    """

    capabilities = Capabilities(
        needs_size=True, late_name=True, lists=True, folders=True, moves=True, links=True
    )

    def __init__(self, options: OpenloadOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._web = Web(options.name, own=options.address, allow=(services or Services()).allow)
        self._address = options.address
        self._api = _OpenloadApi(options, self._web)
        self._base = "/" + options.base_path.strip("/")
        self._pulls = options.pull
        self._ids = {"": ""}  # of folders, by path there; the root has none
        self._making = asyncio.Lock()  # they would make a folder twice

    async def reach(self) -> None:
        """As in the contract."""
        await self._web.reach(self._address)

    async def close(self) -> None:
        """Hang up."""
        await self._web.close()

    # Paths and ids. A place is a path there, from the root on.

    def _at(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    async def _id(self, place: str) -> str:
        """Of a folder. Raises `FileNotFoundError`."""
        if place not in self._ids:
            above, _, name = place.rpartition("/")
            folders = (await self._listing(above)).folders
            if name not in folders:
                raise FileNotFoundError(place)
            self._ids[place] = folders[name]
        return self._ids[place]

    async def _listing(self, place: str) -> _Listing:
        """What is in a folder. Raises `FileNotFoundError`."""
        remembered = place in self._ids
        folder = await self._id(place)
        try:
            told = await self._api.ask("file/listfolder", **_given(folder=folder))
            with self._api.understanding():
                return _listing(told)
        except FileNotFoundError:
            if not place:
                raise self._api.not_understood() from None
            if not remembered:
                raise
        self._ids = {"": ""}  # it was removed, perhaps made anew
        return await self._listing(place)

    async def _files(self, path: str) -> tuple[_Listing, list[_RemoteFile]]:
        """What is in the folder of a path, and the files of its name, newest first."""
        folder, _, name = self._at(path).rpartition("/")
        listing = await self._listing(folder)
        return listing, listing.named(name)

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        place, _, name = self._at(path).rpartition("/")
        try:
            told = await self._api.ask("file/ul", folder=await self._id(place))
        except FileNotFoundError:
            raise StorageUnavailable(f"storage {self.name!r}: the folder of {path!r} is gone") from None
        with self._api.understanding():
            address = str(told["url"])
        whole = False

        async def all_of_it() -> AsyncGenerator[Chunk, None]:
            nonlocal whole
            async for chunk in chunks:
                yield chunk
            whole = True

        try:
            sent = await self._api.upload(address, NAMES.encode(name), all_of_it(), size or 0)
            await self._check(sent, path, NAMES.encode(name), size)
        except BaseException as error:
            if whole:
                await asyncio.shield(self._sweep(path))
            if isinstance(error, FileNotFoundError):
                raise StorageUnavailable(
                    f"storage {self.name!r}: the service has not kept {path!r}"
                ) from error
            raise

    async def _sweep(self, path: str) -> None:
        """Remove an upload that came in whole and was given up then: the service shows it a moment later."""
        pause = _FIRST_LOOK
        for _ in range(_SWEEPS):
            with suppress(StorageError, FileNotFoundError):
                _, files = await self._files(path)
                await self._remove_all(files)
                if files:
                    return
            await asyncio.sleep(pause)
            pause *= 2

    async def _check(self, sent: Any, path: str, name: str, size: int | None) -> None:
        """Wait until the service knows what was sent, which must be whole, and see to its name."""
        with self._api.understanding():
            file = str(sent["id"])
        info = await self._settled(file, path)
        with self._api.understanding():
            named, arrived = str(info["name"]), int(info["size"])
        if arrived != size:
            raise StorageError(
                f"storage {self.name!r}: {path!r} must have {size} bytes, arrived are {arrived}"
            )
        if named != name:  # some drop the extension of what is uploaded
            await self._api.ask("file/rename", file=file, name=name)

    async def _settled(self, file: str, path: str) -> Mapping[str, Any]:
        """What the service knows of a file that it has just taken; waits until it does."""
        pause, until = _FIRST_LOOK, time.monotonic() + _SETTLE
        while time.monotonic() < until:
            told = await self._api.about("file/info", file=file)
            if told.get("status") == httpx.codes.INTERNAL_SERVER_ERROR:
                raise StorageError(f"storage {self.name!r}: the service could not process {path!r}")
            if told.get("status") == httpx.codes.OK:
                return told
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)
        raise StorageUnavailable(f"storage {self.name!r}: the service has not kept {path!r}")

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        (before, _, name), (there, _, final) = self._at(path).rpartition("/"), self._at(to).rpartition("/")
        listing, files = await self._files(path)
        target = listing if before == there else await self._listing(there)
        if not files:
            raise FileNotFoundError(path)
        taken = target.named(final)
        if final in target.folders or (taken and not replace):
            raise NameTaken(f"storage {self.name!r}: {to!r} exists already")
        file = files[0]
        if name != final:
            await self._api.ask("file/rename", file=file.id, name=NAMES.encode(final))
        if before != there:
            await self._move(file, there, name)
        await self._remove_all([each for each in taken if each.id != file.id])

    async def _move(self, file: _RemoteFile, there: str, before: str) -> None:
        """To another folder; in the old one, it has the new name already."""
        try:
            await self._api.ask("file/move", file=file.id, folder=await self._id(there))
        except BaseException:
            with suppress(StorageError, FileNotFoundError):
                await self._api.ask("file/rename", file=file.id, name=NAMES.encode(before))
            raise

    async def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            _, files = await self._files(path)
            await self._remove_all(files)

    async def _remove_all(self, files: Sequence[_RemoteFile]) -> None:
        for file in files:
            with suppress(FileNotFoundError):
                await self._api.ask("file/delete", file=file.id)

    async def _make_folder(self, path: str) -> None:
        async with self._making:
            await self._made(self._at(path), path)

    async def _made(self, place: str, path: str) -> _Listing:
        """What is in a folder, which is made if it is missing."""
        with suppress(FileNotFoundError):
            return await self._listing(place)
        above, _, name = place.rpartition("/")
        if (await self._made(above, path)).named(name):
            raise StorageError(f"storage {self.name!r}: {path!r}: a file stands where a folder is needed")
        parent = await self._id(above)
        told = await self._api.ask("file/createfolder", name=NAMES.encode(name), **_given(pid=parent))
        with self._api.understanding():
            self._ids[place] = str(told["folderid"])
        return _Listing({}, [])

    async def _scan(self, path: str) -> list[Entry]:
        try:
            listing = await self._listing(self._at(path))
        except FileNotFoundError:
            if path and await self._stat(path):
                raise StorageError(f"storage {self.name!r}: {path!r} is a file") from None
            raise
        names = {*listing.folders, *(file.name for file in listing.files)}
        found = [listing.entry(f"{path}/{name}" if path else name) for name in names]
        return [entry for entry in found if entry]

    async def _stat(self, path: str) -> Entry | None:
        try:
            listing, _ = await self._files(path)
        except FileNotFoundError:
            return None
        return listing.entry(path)

    def _read(self, path: str, offset: int, size: int | None) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError("these services show videos, they do not hand files out")

    # What else there is.

    async def url(self, path: str, seconds: int) -> str:
        """As in the contract: the page of the file, for good."""
        if page := await self.page(path):
            return page
        raise StorageError(f"storage {self.name!r}: there is no file {path!r}, or no link to it")

    async def page(self, path: str) -> str:
        """As in the contract."""
        split(path)
        try:
            _, files = await self._files(path)
        except FileNotFoundError:
            return ""
        return files[0].link if files else ""

    @property
    def pulls(self) -> bool:
        """As in the contract."""
        return self._pulls

    async def _pull(self, url: str, path: str) -> None:
        folder = path.rpartition("/")[0]
        # The service names the file.
        hidden = "/".join(filter(None, [folder, f"{RESERVED}pull-{secrets.token_hex(8)}"]))
        await self._make_folder(hidden)
        number = await self._id(self._at(hidden))
        try:
            await self._api.fetch(url, number)
            fetched = (await self._listing(self._at(hidden))).files
            if not fetched:
                raise StorageUnavailable(f"storage {self.name!r}: the service has not kept {path!r}")
            await self._rename(f"{hidden}/{fetched[0].name}", path, replace=False)
        except FileNotFoundError:
            raise StorageUnavailable(f"storage {self.name!r}: the folder of {path!r} is gone") from None
        finally:
            self._ids.pop(self._at(hidden), None)
            with suppress(StorageError, FileNotFoundError):
                await self._api.ask("file/deletefolder", folder=number)


@dataclass(frozen=True, slots=True)
class _RemoteFile:
    """A file as a listing shows it."""

    id: str
    name: str
    size: int
    link: str
    when: int  # milliseconds


@dataclass(frozen=True, slots=True)
class _Listing:
    """What is in a folder, under the names that were given."""

    folders: dict[str, str]  # their ids; of several with one name the oldest, as their numbers go up
    files: list[_RemoteFile]

    def named(self, name: str) -> list[_RemoteFile]:
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


class _OpenloadApi:
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
        pause, seen, since = _FIRST_LOOK, None, time.monotonic()
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
            pause = min(2 * pause, _LAST_LOOK)

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


def _given(**asked: str) -> dict[str, str]:
    """Parameters without the empty ones: the root has no id."""
    return {name: value for name, value in asked.items() if value}


def _listing(told: Mapping[str, Any]) -> _Listing:
    """Of an answer. Streamtape has files in a list, pstream in an object by id; sizes may be text."""
    files = told.get("files") or []
    ordered = sorted(told.get("folders") or [], key=lambda each: (len(str(each["id"])), str(each["id"])))
    folders = {NAMES.decode(str(each["name"])): str(each["id"]) for each in reversed(ordered)}
    return _Listing(folders, [_file(each) for each in (files.values() if isinstance(files, dict) else files)])


def _file(told: Mapping[str, Any]) -> _RemoteFile:
    when = int(told["created_at"]) if "created_at" in told else int(told.get("upload_at") or 0) * 1000
    number = told["linkid"] if "linkid" in told else told["linkextid"]
    return _RemoteFile(
        str(number), NAMES.decode(str(told["name"])), int(told["size"]), str(told.get("link") or ""), when
    )
