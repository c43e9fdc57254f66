"""Any machine with SSH: files over SFTP.

OpenSSH's rename refuses a taken name in one step, but other servers (rclone, ProFTPD) replace the file: the
name is looked up before, and of two that commit to it at once both may succeed (no `exclusive`). Replacing is
`posix-rename@openssh.com`. What was flushed (`fsync@openssh.com`) survives a power cut, so an upload goes on
after a restart.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncssh
from pydantic import Field, SecretStr

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from storages.base import Capabilities, Entry, Services, StorageOptions, Usage
from storages.remote import Chunks, RemoteStorage

_CONNECT, _SILENCE = 15, 60
_PIECE: Final = 1 << 20
_AHEAD: Final = 4  # reads or writes of a piece that are on their way at once

T = TypeVar("T")


class SftpOptions(StorageOptions):
    """Options of an `sftp` storage."""

    host: str = Field(min_length=1, description="Name or address of the server.", examples=["nas.lan"])
    port: int = Field(default=22, ge=1, le=65535, description="Its SSH port.")
    username: str = Field(min_length=1, description="User there.", examples=["me"])
    password: SecretStr = Field(default=SecretStr(""), description="Password, if no key is used.")
    private_key: Path | None = Field(
        default=None, description="File of a private key.", examples=["/home/me/.ssh/id_ed25519"]
    )
    passphrase: SecretStr = Field(default=SecretStr(""), description="Passphrase of the private key.")
    host_key: str = Field(
        default="",
        description="The server's public key, as `ssh-keyscan` prints it after the name. Empty: the first "
        "key that is seen is remembered in data_dir, and another one is refused.",
        examples=["ssh-ed25519 AAAAC3Nza…"],
    )
    base_path: str = Field(
        default="",
        description="Folder there; relative ones count from the user's home.",
        examples=["/srv/films"],
    )


class SftpStorage(RemoteStorage):
    """A folder of another machine."""

    capabilities = Capabilities(
        resumes=True,
        late_name=True,
        lists=True,
        reads=True,
        folders=True,
        moves=True,
        usage=True,
    )

    def __init__(self, options: SftpOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._options = options
        self._known = (services or Services()).scratch / "known_hosts" / options.name
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._opening = asyncio.Lock()
        self._puts: dict[str, _Put] = {}  # those that run, by path

    # Talking to the server.

    async def _sftp(self) -> asyncssh.SFTPClient:
        """The client; a connection that has ended is made anew."""
        async with self._opening:
            if self._client is None or self._connection is None or self._connection.is_closed():
                await self.close()
                try:
                    with self._edge(""):
                        self._connection = await asyncio.wait_for(self._connect(), _CONNECT)
                        self._client = await self._connection.start_sftp_client()
                except FileNotFoundError:
                    raise StorageError(f"storage {self.name!r}: private_key cannot be read") from None
            return self._client

    async def _connect(self) -> asyncssh.SSHClientConnection:
        options = self._options
        trusted = options.host_key or (self._known.read_text() if self._known.exists() else "")
        line = f"* {trusted.strip()}\n".encode() if trusted else None
        connection = await asyncssh.connect(
            options.host,
            options.port,
            username=options.username,
            password=options.password.get_secret_value() or None,
            client_keys=[str(options.private_key)] if options.private_key else None,
            passphrase=options.passphrase.get_secret_value() or None,
            known_hosts=line,
            agent_path=None,
            config=None,
            keepalive_interval=_SILENCE / 4,
            encryption_algs=["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"],
        )
        if not trusted and (key := connection.get_server_host_key()):
            self._known.parent.mkdir(parents=True, exist_ok=True)
            self._known.write_bytes(key.export_public_key())
        return connection

    @contextmanager
    def _edge(self, path: str) -> Iterator[None]:
        """Gives errors of the library their meaning; a missing file stays `FileNotFoundError`."""
        where = f"storage {self.name!r}: {path!r}" if path else f"storage {self.name!r}"
        try:
            yield
        except (asyncssh.SFTPNoSuchFile, FileNotFoundError):
            raise FileNotFoundError(path) from None
        except (asyncssh.Error, OSError, TimeoutError) as error:
            for library, ours, text in _MEANINGS:
                if isinstance(error, library):
                    raise ours(f"{where}: {text}") from error
            if isinstance(error, asyncssh.SFTPError):
                raise StorageError(f"{where}: {error.reason or 'the server refuses'}") from error
            host = self._options.host
            raise StorageUnavailable(f"{where}: {host} cannot be reached ({type(error).__name__})") from error

    def _full(self, path: str) -> str:
        base = self._options.base_path or "."
        return posixpath.join(base, path) if path else base

    async def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.abort()
            await self._connection.wait_closed()
        self._connection = self._client = None

    # The calls of a remote storage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        sftp = await self._sftp()
        with self._edge(path):
            try:
                async with await sftp.open(self._full(path), "r+b" if offset else "wb") as file:
                    if offset:
                        await file.truncate(offset)
                    self._puts[path] = put = _Put(file, offset)
                    await put.take(chunks)
                    await put.flush()
            finally:
                self._puts.pop(path, None)

    async def _durable(self, path: str) -> int:
        put = self._puts.get(path)
        if put is None:
            return await super()._durable(path)
        with self._edge(path):
            try:
                return await put.flush()
            except ValueError:  # the library's word for a file that was closed meanwhile
                return put.there

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        sftp = await self._sftp()
        old, new = self._full(path), self._full(to)
        there = await self._stat(to)
        if there and (there.is_dir or not replace):
            if await self._stat(path) is None:
                raise FileNotFoundError(path)
            raise NameTaken(f"storage {self.name!r}: {to!r} exists already")
        with self._edge(path):
            try:
                await (sftp.posix_rename(old, new) if replace else sftp.rename(old, new))
            except asyncssh.SFTPFailure:
                if await self._stat(path) and await self._stat(to):
                    raise NameTaken(f"storage {self.name!r}: {to!r} exists already") from None
                raise

    async def _remove(self, path: str) -> None:
        sftp = await self._sftp()
        try:
            with self._edge(path):
                await sftp.remove(self._full(path))
        except FileNotFoundError:
            return

    async def _make_folder(self, path: str) -> None:
        sftp = await self._sftp()
        with self._edge(path):
            try:
                await sftp.makedirs(self._full(path), exist_ok=True)
            except asyncssh.SFTPError as error:
                if not await sftp.isdir(self._full(path)):
                    raise StorageError(
                        f"storage {self.name!r}: {path!r}: a file stands where a folder is needed"
                    ) from error

    async def _scan(self, path: str) -> list[Entry]:
        sftp = await self._sftp()
        with self._edge(path):
            try:
                found = [each async for each in sftp.scandir(self._full(path))]
            except asyncssh.SFTPFailure:  # OpenSSH's word for a file that is no folder
                raise StorageError(f"storage {self.name!r}: {path!r} is not a folder") from None
        folder = f"{path}/" if path else ""
        named = ((_text(each.filename), each.attrs) for each in found)
        entries = (_entry(f"{folder}{name}", attrs) for name, attrs in named if name not in (".", ".."))
        return [entry for entry in entries if entry]

    async def _stat(self, path: str) -> Entry | None:
        sftp = await self._sftp()
        try:
            with self._edge(path):
                return _entry(path, await sftp.lstat(self._full(path)))
        except FileNotFoundError:
            return None
        except StorageError as error:
            if isinstance(error.__cause__, asyncssh.SFTPFailure | asyncssh.SFTPNotADirectory):
                return None  # a file stands where a folder of its path would be
            raise

    async def _read(self, path: str, offset: int, size: int | None) -> AsyncGenerator[bytes, None]:
        sftp = await self._sftp()
        entry = await self._stat(path)
        if entry is None:
            raise FileNotFoundError(path)
        if entry.is_dir:
            raise StorageError(f"storage {self.name!r}: {path!r} is a folder")
        end = entry.size if size is None else min(entry.size, offset + size)
        with self._edge(path):
            async with (
                await sftp.open(self._full(path), "rb") as file,
                aclosing(_ahead(_reads(file, offset, end))) as pieces,
            ):
                async for at, wanted, piece in pieces:
                    if len(piece) < wanted:
                        raise StorageUnavailable(
                            f"storage {self.name!r}: {path!r} ended at byte {at + len(piece)} of {end}"
                        )
                    yield piece

    async def usage(self) -> Usage:
        """As in the contract, of the server's disk (OpenSSH tells it)."""
        sftp = await self._sftp()
        with self._edge(""):
            disk = await sftp.statvfs(self._full(""))
        return Usage(
            used=(disk.blocks - disk.bfree) * disk.frsize,
            free=disk.bavail * disk.frsize,
            total=disk.blocks * disk.frsize,
        )


_MEANINGS: Final[tuple[tuple[type[Exception], type[StorageError], str], ...]] = (
    (asyncssh.SFTPNoSpaceOnFilesystem, NoSpace, "the disk of the server is full; make some room"),
    (asyncssh.SFTPQuotaExceeded, NoSpace, "the quota is used up; make some room"),
    (asyncssh.SFTPPermissionDenied, StorageError, "the server denies this to the user it was logged in as"),
    (asyncssh.SFTPConnectionLost, StorageUnavailable, "the connection broke"),
    (asyncssh.SFTPNoConnection, StorageUnavailable, "the connection broke"),
    (
        asyncssh.PermissionDenied,
        StorageError,
        "the server does not accept this login; check username, password and private_key",
    ),
    (
        asyncssh.HostKeyNotVerifiable,
        StorageError,
        "the server shows another host key than before; if that is right, set host_key, or remove the old "
        "one from scratch/known_hosts in data_dir",
    ),
)


class _Put:
    """A file that is being written. What the server has not said it has may be missing, also before the
    end of the file: some servers write in any order."""

    def __init__(self, file: asyncssh.SFTPClientFile, start: int) -> None:
        self._file = file
        self.there = start  # bytes that the server has, without a gap

    async def take(self, chunks: Chunks) -> None:
        """Write all of them."""
        async with aclosing(_ahead(self._writes(chunks))) as written:
            async for size in written:
                self.there += size

    async def _writes(self, chunks: Chunks) -> AsyncGenerator[Coroutine[Any, Any, int], None]:
        at = self.there
        async for chunk in chunks:
            yield self._file.write(bytes(chunk), at)
            at += len(chunk)

    async def flush(self) -> int:
        """Let the server write to its disk, if it knows how; returns how many bytes that are."""
        there = self.there
        try:
            await asyncio.wait_for(self._file.fsync(), _SILENCE)
        except asyncssh.SFTPOpUnsupported:
            return there
        return there


async def _reads(
    file: asyncssh.SFTPClientFile, start: int, end: int
) -> AsyncGenerator[Coroutine[Any, Any, tuple[int, int, bytes]], None]:
    for at in range(start, end, _PIECE):
        yield _read_piece(file, at, min(_PIECE, end - at))


async def _read_piece(file: asyncssh.SFTPClientFile, at: int, size: int) -> tuple[int, int, bytes]:
    piece: Any = await file.read(size, at)
    return at, size, piece


async def _ahead(calls: AsyncGenerator[Coroutine[Any, Any, T], None]) -> AsyncGenerator[T, None]:
    """What the calls return, in order. Several run at once, as each takes a round trip at least."""
    running: deque[asyncio.Task[T]] = deque()
    try:
        async with aclosing(calls):
            async for call in calls:
                running.append(asyncio.create_task(call))
                if len(running) == _AHEAD:
                    yield await asyncio.wait_for(running.popleft(), _SILENCE)
        while running:
            yield await asyncio.wait_for(running.popleft(), _SILENCE)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _entry(path: str, attrs: asyncssh.SFTPAttrs) -> Entry | None:
    """What a listing says of it; nothing of links and devices."""
    is_dir = attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY
    if not is_dir and attrs.type != asyncssh.FILEXFER_TYPE_REGULAR:
        return None
    size = 0 if is_dir else attrs.size or 0
    return Entry(path.rpartition("/")[2], path, size, is_dir, (attrs.mtime or 0) * 1000)


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
