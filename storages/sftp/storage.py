"""Machines with SSH, through SFTP.

OpenSSH refuses to rename to a taken name, but other servers (rclone, ProFTPD) replace the file. So the name
is checked first, and two concurrent commits to it may both succeed (no `exclusive`).
`posix-rename@openssh.com` replaces files. Bytes that were flushed (`fsync@openssh.com`) survive a power
failure, so that an upload can be resumed.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Final

import asyncssh

from saveany.errors import NoSpace, StorageError, StorageUnavailable
from saveany.texts import Text
from storages.base import Capabilities, Entry, Services, Usage
from storages.chunks import Chunks
from storages.errors import located, name_taken, not_a_folder
from storages.listing import MAX_ENTRIES, endless_listing
from storages.reachability import check_port
from storages.remote import RemoteStorage
from storages.sftp.options import SftpOptions
from storages.sftp.pipeline import CONNECT, SILENCE, SLOW_REPLY, FileWriter, open_file, pipelined, reads_of

_PING_SECONDS: Final = 1.0  # seconds without a reply after which `reach` tries a new connection


_PIECE: Final = 1 << 20  # maximum bytes of one read or write; a server may allow fewer


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
    uploads_at_once = 4

    def __init__(self, options: SftpOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._options = options
        self._known_hosts = (services or Services()).scratch / "known_hosts" / options.name
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._opening = asyncio.Lock()
        self._puts: dict[str, FileWriter] = {}  # the running ones, by path

    # The connection.

    @asynccontextmanager
    async def _session(
        self, path: str, seconds: float | None = SILENCE
    ) -> AsyncIterator[asyncssh.SFTPClient]:
        """The client, for at most `seconds`. Errors in the block become those of the contract. After one that
        shows a dead connection, the next call connects again."""
        with self._translated_errors(path):
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
                self._connection = await asyncio.wait_for(self._connect(), CONNECT)
                self._client = await asyncio.wait_for(self._connection.start_sftp_client(), CONNECT)
            return self._client

    async def _connect(self) -> asyncssh.SSHClientConnection:
        options = self._options
        trusted = options.host_key or (self._known_hosts.read_text() if self._known_hosts.exists() else "")
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
            keepalive_interval=SILENCE / 4,
            encryption_algs=_CIPHERS,
        )
        if not trusted and (key := connection.get_server_host_key()):
            self._known_hosts.parent.mkdir(parents=True, exist_ok=True)
            self._known_hosts.write_bytes(key.export_public_key())
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
    def _translated_errors(self, path: str) -> Iterator[None]:
        """Translate errors of the library to those of the contract, or to `FileNotFoundError`."""
        where = located(self.name, path)
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
        ping = asyncio.create_task(self._ping())
        done, _ = await asyncio.wait([ping], timeout=_PING_SECONDS)
        if done:
            await ping
            return
        # On a slow connection the reply may be queued behind others, which must not be aborted.
        ping.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await check_port(self.name, self._options.host, self._options.port, greets=True)
        finally:
            ping.cancel()

    async def _ping(self) -> None:
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
            open_file(sftp, self._full(path), "r+b" if offset else "wb") as file,
        ):
            max_write = min(_PIECE, sftp.limits.max_write_len)
            if offset:
                await asyncio.wait_for(file.truncate(offset), SILENCE)
            self._puts[path] = put = FileWriter(file, offset, max_write)
            try:
                await put.write_all(chunks)
                await put.flush()
            except asyncssh.SFTPFailure:  # OpenSSH also raises this when the disk is full
                free = (await self._disk(path)).free
                if free is not None and free < max_write:
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
        with self._translated_errors(path):
            try:
                return await put.flush()
            except ValueError:  # the library raises this if the file was closed meanwhile
                return put.confirmed

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        old, new = self._full(path), self._full(to)
        async with self._session(path) as sftp:
            taken = await sftp.lexists(new)
            if taken and (not replace or await sftp.isdir(new)):
                if not await sftp.lexists(old):
                    raise FileNotFoundError(path)
                raise name_taken(self.name, to)
            try:
                await (sftp.posix_rename(old, new) if replace else sftp.rename(old, new))
            except asyncssh.SFTPOpUnsupported:
                await (self._swap(path, to) if taken else sftp.rename(old, new))
            except asyncssh.SFTPFailure:
                if await sftp.lexists(old) and await sftp.lexists(new):
                    raise name_taken(self.name, to) from None
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
                    "storage {storage!r}: {path!r}: the server cannot make this folder; is there a file "
                    "with its name?",
                    storage=self.name,
                    path=path,
                ) from error

    async def _scan(self, path: str) -> list[Entry]:
        async with self._session(path, SLOW_REPLY) as sftp:
            try:
                found = []
                async for each in sftp.scandir(self._full(path).encode()):
                    found.append(each)
                    if len(found) > MAX_ENTRIES:
                        raise endless_listing(self.name, path)
            except asyncssh.SFTPFailure:  # OpenSSH raises this if a file is in place of the folder
                raise not_a_folder(self.name, path) from None
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
        async with self._session(path, None) as sftp, open_file(sftp, self._full(path), "rb") as opened:
            max_read = min(_PIECE, sftp.limits.max_read_len)
            async with aclosing(pipelined(reads_of(opened, start, end, max_read), max_read)) as pieces:
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


_FULL: Final = Text("the disk of the server is full; free some space")


#: Errors that show that the connection, or the SFTP program on the server, is dead.
_GONE: Final = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, TimeoutError)


#: All errors that the library raises. Parsing packets and keys raises built-in ones.
_LIBRARY: Final = (
    *(asyncssh.Error, asyncssh.ChannelListenError, asyncssh.PasswordChangeRequired),
    *(OSError, TimeoutError, EOFError, ValueError),
)


_MEANINGS: Final[tuple[tuple[type[Exception], type[StorageError], Text], ...]] = (
    (asyncssh.SFTPNoSpaceOnFilesystem, NoSpace, _FULL),
    (asyncssh.SFTPQuotaExceeded, NoSpace, Text("the quota is used up; free some space")),
    (asyncssh.SFTPPermissionDenied, StorageError, Text("the server denies this to the configured user")),
    (asyncssh.SFTPConnectionLost, StorageUnavailable, Text("the connection broke")),
    (asyncssh.SFTPNoConnection, StorageUnavailable, Text("the connection broke")),
    (
        asyncssh.PermissionDenied,
        StorageError,
        Text("the server refuses the login; check username, password and private_key"),
    ),
    (
        asyncssh.HostKeyNotVerifiable,
        StorageError,
        Text(
            "the host key of the server is not host_key, or not the one of the first connection; if it was "
            "changed on purpose, correct host_key, or remove the old key from scratch/known_hosts in data_dir"
        ),
    ),
    (
        asyncssh.ChannelOpenError,
        StorageUnavailable,
        Text("the server offers this user no SFTP, or has too many connections"),
    ),
)


def _entry(path: str, attrs: asyncssh.SFTPAttrs) -> Entry | None:
    """The entry for a file or folder; None for links and devices."""
    is_dir = attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY
    if not is_dir and attrs.type != asyncssh.FILEXFER_TYPE_REGULAR:
        return None
    size = 0 if is_dir else attrs.size or 0
    return Entry(path.rpartition("/")[2], path, size, is_dir, (attrs.mtime or 0) * 1000)


def _decoded(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
