"""Machines with SSH, through SFTP.

OpenSSH refuses to rename to a taken name, but other servers (rclone, ProFTPD) replace the file. So the name
is checked first, and two concurrent commits to it may both succeed (no `exclusive`).
`posix-rename@openssh.com` replaces files. Bytes that were flushed (`fsync@openssh.com`) survive a power
failure, so that an upload can be resumed.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncssh
from pydantic import Field, SecretStr, field_validator

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from storages.base import MAX_ENTRIES, Capabilities, Entry, Services, StorageOptions, Usage, endless_listing
from storages.reachability import check_port
from storages.remote import Chunks, RemoteStorage

#: Seconds to connect, and for a reply.
_CONNECT, _SILENCE = 15, 60
_SHORT: Final = 1.0  # seconds without a reply after which `reach` tries a new connection
_SLOW: Final = 600  # seconds for listing a big folder, or for flushing to a disk
_PIECE: Final = 1 << 20  # maximum bytes of one read or write; a server may allow fewer
_IN_FLIGHT: Final = 5 << 19  # bytes of concurrent reads or writes: more than the window of OpenSSH

T = TypeVar("T")


class SftpOptions(StorageOptions):
    """Options of an `sftp` storage."""

    host: str = Field(min_length=1, description="Name or address of the server.", examples=["nas.lan"])
    port: int = Field(default=22, ge=1, le=65535, description="Its SSH port.")
    username: str = Field(min_length=1, description="User name.", examples=["me"])
    password: SecretStr = Field(default=SecretStr(""), description="Password, if no key is used.")
    private_key: Path | None = Field(
        default=None, description="File of a private key.", examples=["/home/me/.ssh/id_ed25519"]
    )
    passphrase: SecretStr = Field(default=SecretStr(""), description="Passphrase of the private key.")
    host_key: str = Field(
        default="",
        description="The server's public key, as `ssh-keyscan` prints it after the name. Empty: the first "
        "key is stored in data_dir, and any other key is refused.",
        examples=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOSKkQZKL1RPM0faQaNE1HW71MeiHJVF4woRibbImU3J"],
    )
    base_path: str = Field(
        default="",
        description="Folder on the server; a relative one is below the user's home.",
        examples=["/srv/films"],
    )

    @field_validator("host_key")
    @classmethod
    def _a_key(cls, value: str) -> str:
        try:
            return value and asyncssh.import_public_key(value).export_public_key().decode()
        except ValueError:
            raise ValueError(
                "must be one public key as `ssh-keyscan` prints it after the name, such as ssh-ed25519 AAAA…"
            ) from None


class SftpStorage(RemoteStorage):
    """A folder on another machine."""

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
        self._puts: dict[str, _Put] = {}  # the running ones, by path

    # The connection.

    @asynccontextmanager
    async def _session(
        self, path: str, seconds: float | None = _SILENCE
    ) -> AsyncIterator[asyncssh.SFTPClient]:
        """The client, for at most `seconds`. Errors in the block become those of the contract. After one that
        shows a dead connection, the next call connects again."""
        with self._edge(path):
            sftp = await self._sftp()
            try:
                async with asyncio.timeout(seconds):
                    yield sftp
            except _GONE:
                if self._client is sftp:
                    self._client = None
                raise

    async def _sftp(self) -> asyncssh.SFTPClient:
        """The client, connected again if the connection has ended."""
        async with self._opening:
            if self._client is None or self._connection is None or self._connection.is_closed():
                await self.close()
                self._connection = await asyncio.wait_for(self._connect(), _CONNECT)
                self._client = await asyncio.wait_for(self._connection.start_sftp_client(), _CONNECT)
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
            client_keys=self._keys(),
            known_hosts=line,
            agent_path=None,
            config=None,
            keepalive_interval=_SILENCE / 4,
            encryption_algs=_CIPHERS,
        )
        if not trusted and (key := connection.get_server_host_key()):
            self._known.parent.mkdir(parents=True, exist_ok=True)
            self._known.write_bytes(key.export_public_key())
        return connection

    def _keys(self) -> Sequence[asyncssh.SSHKeyPair] | None:
        if not (file := self._options.private_key):
            return None
        try:
            return asyncssh.load_keypairs([str(file)], self._options.passphrase.get_secret_value() or None)
        except (OSError, ValueError) as error:
            raise StorageError(
                "storage {storage!r}: private_key cannot be used: {reason}",
                storage=self.name,
                reason=str(error),
            ) from error

    @contextmanager
    def _edge(self, path: str) -> Iterator[None]:
        """Translate errors of the library to those of the contract, or to `FileNotFoundError`."""
        where = f"storage {self.name!r}: {path!r}" if path else f"storage {self.name!r}"
        try:
            yield
        except (asyncssh.SFTPNoSuchFile, FileNotFoundError):
            raise FileNotFoundError(path) from None
        except _LIBRARY as error:
            for library, ours, text in _MEANINGS:
                if isinstance(error, library):
                    raise ours("{where}: {problem}", where=where, problem=text) from error
            why = getattr(error, "reason", "") or type(error).__name__
            if isinstance(error, asyncssh.SFTPError):
                raise StorageError(
                    "{where}: the server refuses: {reason}", where=where, reason=why
                ) from error
            host = self._options.host
            raise StorageUnavailable(
                "{where}: {host} cannot be reached ({reason})", where=where, host=host, reason=why
            ) from error

    def _full(self, path: str) -> str:
        base = self._options.base_path or "."
        return posixpath.join(base, path) if path else base

    async def reach(self) -> None:
        """As in the contract."""
        asking = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait([asking], timeout=_SHORT)
        if done:
            await asking
            return
        # On a slow line the reply may only wait behind others, which must not be aborted for that.
        asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await check_port(self.name, self._options.host, self._options.port, greets=True)
        finally:
            asking.cancel()

    async def _ask(self) -> None:
        async with self._session("", None) as sftp:
            await sftp.realpath(".")

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.abort()
            await self._connection.wait_closed()
        self._connection = self._client = None

    # The calls of RemoteStorage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        async with (
            self._session(path, None) as sftp,
            _opened(sftp, self._full(path), "r+b" if offset else "wb") as file,
        ):
            most = min(_PIECE, sftp.limits.max_write_len)
            if offset:
                await asyncio.wait_for(file.truncate(offset), _SILENCE)
            self._puts[path] = put = _Put(file, offset, most)
            try:
                await put.take(chunks)
                await put.flush()
            except asyncssh.SFTPFailure:  # OpenSSH reports a full disk by this, too
                free = (await self._disk(path)).free
                if free is not None and free < most:
                    raise NoSpace(
                        "storage {storage!r}: {problem}", storage=self.name, problem=_FULL
                    ) from None
                raise
            finally:
                self._puts.pop(path, None)

    async def _durable(self, path: str) -> int:
        put = self._puts.get(path)
        if put is None:
            return await super()._durable(path)
        with self._edge(path):
            try:
                return await put.flush()
            except ValueError:  # the library raises this if the file was closed meanwhile
                return put.there

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        old, new = self._full(path), self._full(to)
        async with self._session(path) as sftp:
            taken = await sftp.lexists(new)
            if taken and (not replace or await sftp.isdir(new)):
                if not await sftp.lexists(old):
                    raise FileNotFoundError(path)
                raise NameTaken("storage {storage!r}: {path!r} already exists", storage=self.name, path=to)
            try:
                await (sftp.posix_rename(old, new) if replace else sftp.rename(old, new))
            except asyncssh.SFTPOpUnsupported:
                await (self._swap(path, to) if taken else sftp.rename(old, new))
            except asyncssh.SFTPFailure:
                if await sftp.lexists(old) and await sftp.lexists(new):
                    raise NameTaken(
                        "storage {storage!r}: {path!r} already exists", storage=self.name, path=to
                    ) from None
                raise

    async def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            async with self._session(path) as sftp:
                await sftp.remove(self._full(path))

    async def _make_folder(self, path: str) -> None:
        full = self._full(path)
        async with self._session(path) as sftp:
            if await sftp.isdir(full):
                return
            try:
                await sftp.makedirs(full, exist_ok=True)
            except (asyncssh.SFTPFailure, asyncssh.SFTPNotADirectory, asyncssh.SFTPNoSuchFile) as error:
                raise StorageError(
                    "storage {storage!r}: {path!r}: the server makes no folder here; does a file "
                    "have its name?",
                    storage=self.name,
                    path=path,
                ) from error

    async def _scan(self, path: str) -> list[Entry]:
        async with self._session(path, _SLOW) as sftp:
            try:
                found = []
                async for each in sftp.scandir(self._full(path).encode()):
                    found.append(each)
                    if len(found) > MAX_ENTRIES:
                        raise endless_listing(self.name, path)
            except asyncssh.SFTPFailure:  # OpenSSH reports a file in place of a folder by this
                raise StorageError(
                    "storage {storage!r}: {path!r} is not a folder", storage=self.name, path=path
                ) from None
        folder = f"{path}/" if path else ""
        named = ((_decoded(each.filename), each.attrs) for each in found)
        entries = (_entry(f"{folder}{name}", attrs) for name, attrs in named if name not in (".", ".."))
        return [entry for entry in entries if entry]

    async def _stat(self, path: str) -> Entry | None:
        async with self._session(path) as sftp:
            try:
                return _entry(path, await sftp.lstat(self._full(path)))
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNotADirectory, asyncssh.SFTPFailure):
                return None  # does not exist, or a file is in place of one of its folders

    async def _read(self, file: Entry, start: int, end: int) -> AsyncGenerator[bytes, None]:
        path = file.path
        async with self._session(path, None) as sftp, _opened(sftp, self._full(path), "rb") as opened:
            most = min(_PIECE, sftp.limits.max_read_len)
            async with aclosing(_pipelined(_reads(opened, start, end, most), most)) as pieces:
                async for at, wanted, piece in pieces:
                    if len(piece) < wanted:
                        raise StorageUnavailable(
                            "storage {storage!r}: {path!r} ended at byte {position} of {end}",
                            storage=self.name,
                            path=path,
                            position=at + len(piece),
                            end=end,
                        )
                    yield piece

    async def usage(self) -> Usage:
        """As in the contract, of the server's disk. OpenSSH reports it; other servers do not."""
        return await self._disk("")

    async def _disk(self, path: str) -> Usage:
        async with self._session(path) as sftp:
            try:
                disk = await sftp.statvfs(self._full(path))
            except asyncssh.SFTPOpUnsupported:
                return Usage()
        return Usage(
            used=(disk.blocks - disk.bfree) * disk.frsize,
            free=disk.bavail * disk.frsize,
            total=disk.blocks * disk.frsize,
        )


#: Ciphers, fastest first.
_CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
    "chacha20-poly1305@openssh.com",
)
_FULL: Final = "the disk of the server is full; free some space"
#: Errors that show that the connection, or the SFTP program on the server, is dead.
_GONE: Final = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, TimeoutError)
#: All errors that the library raises. Parsing packets and keys raises built-in ones.
_LIBRARY: Final = (
    *(asyncssh.Error, asyncssh.ChannelListenError, asyncssh.PasswordChangeRequired),
    *(OSError, TimeoutError, EOFError, ValueError),
)
_MEANINGS: Final[tuple[tuple[type[Exception], type[StorageError], str], ...]] = (
    (asyncssh.SFTPNoSpaceOnFilesystem, NoSpace, _FULL),
    (asyncssh.SFTPQuotaExceeded, NoSpace, "the quota is used up; free some space"),
    (asyncssh.SFTPPermissionDenied, StorageError, "the server denies this to the configured user"),
    (asyncssh.SFTPConnectionLost, StorageUnavailable, "the connection broke"),
    (asyncssh.SFTPNoConnection, StorageUnavailable, "the connection broke"),
    (
        asyncssh.PermissionDenied,
        StorageError,
        "the server refuses the login; check username, password and private_key",
    ),
    (
        asyncssh.HostKeyNotVerifiable,
        StorageError,
        "the host key of the server is not host_key, or not the one of the first connection; if it was "
        "changed on purpose, correct host_key, or remove the old key from scratch/known_hosts in data_dir",
    ),
    (
        asyncssh.ChannelOpenError,
        StorageUnavailable,
        "the server offers this user no SFTP, or has too many connections",
    ),
)


@asynccontextmanager
async def _opened(sftp: asyncssh.SFTPClient, path: str, mode: str) -> AsyncIterator[asyncssh.SFTPClientFile]:
    # 0: the library must not split blocks, because it loses track of sent ones when it is canceled.
    file = await asyncio.wait_for(sftp.open(path, mode, block_size=0), _SILENCE)
    try:
        yield file
    finally:
        await asyncio.wait_for(file.close(), _SILENCE)


class _Put:
    """A file that is being written. Bytes that the server has not confirmed may be missing, even before the
    end of the file: some servers write in any order."""

    def __init__(self, file: asyncssh.SFTPClientFile, start: int, most: int) -> None:
        self._file = file
        self._most = most  # bytes of one write
        self.there = start  # bytes that the server has confirmed, without a gap

    async def take(self, chunks: Chunks) -> None:
        """Write all chunks."""
        async with aclosing(_pipelined(self._writes(chunks), self._most)) as written:
            async for size in written:
                self.there += size

    async def _writes(self, chunks: Chunks) -> AsyncGenerator[Coroutine[Any, Any, int], None]:
        at = self.there
        async for chunk in chunks:
            view = memoryview(chunk)
            for start in range(0, len(view), self._most):
                piece = bytes(view[start : start + self._most])
                yield self._file.write(piece, at)
                at += len(piece)

    async def flush(self) -> int:
        """Flush to the server's disk, if the server can; returns the number of bytes before."""
        there = self.there
        try:
            await asyncio.wait_for(self._file.fsync(), _SLOW)
        except asyncssh.SFTPOpUnsupported:
            return there
        return there


async def _reads(
    file: asyncssh.SFTPClientFile, start: int, end: int, most: int
) -> AsyncGenerator[Coroutine[Any, Any, tuple[int, int, bytes]], None]:
    for at in range(start, end, most):
        yield _read_piece(file, at, min(most, end - at))


async def _read_piece(file: asyncssh.SFTPClientFile, at: int, size: int) -> tuple[int, int, bytes]:
    piece: Any = await file.read(size, at)
    return at, size, piece


async def _in_time(task: asyncio.Task[T]) -> T:
    return task.result() if task.done() else await asyncio.wait_for(task, _SILENCE)


async def _pipelined(
    calls: AsyncGenerator[Coroutine[Any, Any, T], None], size: int
) -> AsyncGenerator[T, None]:
    """The results of calls, in order. Each call transfers `size` bytes; as many as `_IN_FLIGHT` bytes run at
    once, because each takes a round trip."""
    running: deque[asyncio.Task[T]] = deque()
    try:
        async with aclosing(calls):
            async for call in calls:
                running.append(asyncio.create_task(call))
                if len(running) * size >= _IN_FLIGHT:
                    yield await _in_time(running.popleft())
        while running:
            yield await _in_time(running.popleft())
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _entry(path: str, attrs: asyncssh.SFTPAttrs) -> Entry | None:
    """The entry for a file or folder; None for links and devices."""
    is_dir = attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY
    if not is_dir and attrs.type != asyncssh.FILEXFER_TYPE_REGULAR:
        return None
    size = 0 if is_dir else attrs.size or 0
    return Entry(path.rpartition("/")[2], path, size, is_dir, (attrs.mtime or 0) * 1000)


def _decoded(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
