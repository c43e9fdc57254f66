"""Any FTP server, with or without TLS.

Files are taken and given over connections of their own, one for each transfer, and an idle connection is used
again. An upload goes on where it stopped (`REST` before `STOR`). Neither of the two renames of FTP refuses a
taken name on every server, so the name is looked up before.
"""

from __future__ import annotations

import asyncio
import codecs
import posixpath
import re
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import aioftp
from aioftp.common import SSLSessionBoundContext
from pydantic import Field, SecretStr, field_validator

from saveany.errors import NameTaken, NoSpace, StorageError, StorageUnavailable
from saveany.net import trust
from storages.base import MOST_ENTRIES, Capabilities, Entry, Services, StorageOptions, endless
from storages.door import ANSWER, Pulse, knock_at, silent
from storages.names import Encoder
from storages.remote import Chunks, RemoteStorage

_CONNECT, _SILENCE = 15, 60
_THINK = 600  # seconds until a server says that it has a file: some bring it elsewhere first
_NUDGE: Final = 60  # seconds without a word between the commands' ends until routers are reminded of them
_LAST_WORD = 2  # seconds to say that an upload which was broken off has been put away
_PIECE: Final = 1 << 18
#: An idle connection older than this is asked whether it still lives before it is used.
_FRESH_SECONDS = 10.0
_MOST_IDLE = 4
#: A connection older than this is not used again: servers forget its TLS session, which data must go on with.
_LONGEST_SECONDS = 600.0

_CONTROLS: Final = "".join(map(chr, range(1, 32))) + "\x7f"
#: Commands end with a line, servers trim what stands at the ends of a name, and `\` separates folders on
#: Windows. Pure-FTPd refuses it and lists control characters as others; ProFTPD makes no folder with `*`.
NAMES = Encoder(_CONTROLS + "\\*", edges=" ")
#: What others may have named otherwise than we would, as far as it can be said to a server.
_THEIRS: Final = Encoder("\r\n\\", edges=" \t\v\f")

#: Servers that have too many connections say so with the code for a wrong login.
_BUSY: Final = re.compile("too many|maximum", re.IGNORECASE)
#: ProFTPD as it is installed: "Append/Restart not permitted, try again".
_NO_RESTART: Final = "451"
_NO_COMMAND = ("500", "501", "502", "504")


class FtpOptions(StorageOptions):
    """Options of an `ftp` storage."""

    host: str = Field(min_length=1, description="Name or address of the server.", examples=["nas.lan"])
    port: int = Field(default=0, ge=0, le=65535, description="Its port; 0: 21, or 990 if `tls` is implicit.")
    username: str = Field(default="anonymous", min_length=1, description="User there.", examples=["me"])
    password: SecretStr = Field(default=SecretStr(""), description="Password.")
    tls: Literal["none", "explicit", "implicit"] = Field(
        default="explicit",
        description="`explicit` begins in the clear and changes to TLS before the login; `none` sends "
        "everything, the password too, in the clear.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="File with the certificate that the server's must be signed by, and no other; left out: "
        "those that are trusted everywhere ([net] ca_file).",
        examples=["/etc/ssl/nas.pem"],
    )
    base_path: str = Field(
        default="",
        description="Folder there; relative ones count from where the login ends up.",
        examples=["/srv/films"],
    )
    encoding: str = Field(default="utf-8", description="Encoding of file names on the server.")

    @field_validator("ca_file", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return value or None

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            return codecs.lookup(encoding).name
        except LookupError:
            raise ValueError("must be the name of an encoding, such as utf-8 or latin-1") from None


class _FtpClient(aioftp.Client):
    """A connection that is logged in."""

    home = "/"
    used = 0.0  # monotonic

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._born = time.monotonic()
        self._ending: aioftp.ThrottleStreamIO | None = None  # the last data connection

    @property
    def old(self) -> bool:
        """Whether it is not to be used for another transfer."""
        return time.monotonic() - self._born > _LONGEST_SECONDS

    async def parse_line(self) -> tuple[aioftp.Code, str]:
        """A line of the server's. The library's own way breaks at a greeting in another encoding."""
        if not (line := await self.stream.readline()):
            raise ConnectionResetError("the server has hung up")
        text = line.decode(self.encoding, "replace").rstrip()
        return aioftp.Code(text[:3]), text[3:]

    async def taken(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """Wait until the server says that it has the file that was sent."""
        self.stream.read_timeout = _THINK
        await self.end(stream)
        self.stream.read_timeout = _SILENCE

    async def end(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """End a data connection, and hear that all went well. TLS says goodbye meanwhile: a server forgets a
        session that was cut off."""
        self._ending = stream
        await stream.finish()

    def stay_alive(self) -> None:
        """Routers forget what is silent for minutes, as this connection is while a file is on its way."""
        wire: socket.socket = self.stream.writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _NUDGE)

    def hang_up(self) -> None:
        """Not `close`: it would wait for what the server still sends."""
        for stream in (self._stream, self._ending):
            if stream is not None:
                _cut(stream)

    async def data(self, command: str, offset: int = 0) -> aioftp.DataConnectionThrottleStreamIO:
        """The connection for what a command sends or takes. The library's own way leaves it open when the
        server refuses the command, and begins TLS before it: most servers do not listen then."""
        reader, writer = await self.get_passive_connection()
        if self._ending is not None:
            _cut(self._ending)  # the server is ready for the next, so it has heard the goodbye
            self._ending = None
        stream = aioftp.DataConnectionThrottleStreamIO(self, reader, writer, {}, timeout=_SILENCE)
        try:
            if offset:
                await self.command(f"REST {offset}", "350")
            await self.command(command, "1xx")
            await self._protect(stream)
        except BaseException:
            _cut(stream)
            raise
        return stream

    async def _open_connection(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is None:  # the commands' own
            return await super()._open_connection(host, port)
        async with asyncio.timeout(_CONNECT):
            return await asyncio.open_connection(host, port, limit=_PIECE)

    async def _protect(self, stream: aioftp.DataConnectionThrottleStreamIO) -> None:
        """TLS for data, if the commands have it. It goes on with their session: many servers demand that, as
        it proves who has come."""
        tls = self.stream.writer.get_extra_info("ssl_object")
        if tls is None:
            return
        context = SSLSessionBoundContext(ssl.PROTOCOL_TLS_CLIENT, tls.context, tls.session)
        await stream.start_tls(context, self.server_host)


class FtpStorage(RemoteStorage):
    """A folder of an FTP server."""

    capabilities = Capabilities(
        resumes=True, late_name=True, lists=True, reads=True, folders=True, moves=True
    )

    def __init__(self, options: FtpOptions, services: Services | None = None) -> None:
        super().__init__(options.name)
        self._options = options
        self._idle: list[_FtpClient] = []
        self._pulse = Pulse()
        self._tells_entries = True  # the server knows MLST and MLSD, as far as we know

    # Talking to the server.

    @asynccontextmanager
    async def _client(self, path: str = "") -> AsyncIterator[_FtpClient]:
        """A connection for this caller alone. What goes wrong in the block gets its meaning, and ends it."""
        with self._edge(path), self._pulse.asking():
            client = await self._revived() or await self._connect()
            try:
                yield client
            except BaseException as error:
                if not isinstance(error, FileNotFoundError):  # else the server has just said no
                    client.hang_up()
                raise
            finally:
                self._keep(client)

    async def _revived(self) -> _FtpClient | None:
        while self._idle:
            client = self._idle.pop()
            if client.old:
                client.hang_up()
                continue
            if time.monotonic() - client.used < _FRESH_SECONDS:
                return client
            try:
                await client.command("NOOP", "2xx")
            except (aioftp.AIOFTPException, OSError, TimeoutError):
                client.hang_up()
            else:
                return client
        return None

    def _keep(self, client: _FtpClient) -> None:
        if client.stream.writer.is_closing():
            return
        if client.old:
            client.hang_up()
            return
        client.used = time.monotonic()
        self._idle.append(client)
        if len(self._idle) > _MOST_IDLE:
            self._idle.pop(0).hang_up()

    async def _connect(self) -> _FtpClient:
        options = self._options
        implicit = options.tls == "implicit"
        client = _FtpClient(
            socket_timeout=_SILENCE,
            connection_timeout=_CONNECT,
            encoding=options.encoding,
            trust_server_pasv_ipv4_address=False,  # behind NAT it is wrong, and no certificate is for it
            ssl=self._context() if implicit else None,
            limit=_PIECE,  # of what is read ahead
        )
        try:
            await client.connect(options.host, options.port or (990 if implicit else 21))
            client.stay_alive()
            if options.tls == "explicit":
                await self._secure(client)
            elif implicit:
                await client._send_tls_protection_commands()
            await client.login(options.username, options.password.get_secret_value())
            if options.encoding == "utf-8":
                with suppress(aioftp.StatusCodeError):  # RFC 2640; most servers speak it anyway
                    await client.command("OPTS UTF8 ON", "2xx")
            client.home = str(await client.get_current_directory())
        except BaseException:
            client.hang_up()
            raise
        return client

    async def _secure(self, client: _FtpClient) -> None:
        try:
            await client.upgrade_to_tls(self._context())
        except aioftp.StatusCodeError as error:
            raise StorageError(
                f"storage {self.name!r}: the server does not change to TLS; set tls to implicit, or to none, "
                "which sends the password in the clear"
            ) from error

    def _context(self) -> ssl.SSLContext:
        try:
            return trust.new_context(self._options.ca_file)
        except OSError as error:
            raise StorageError(f"storage {self.name!r}: ca_file cannot be used: {error}") from error

    @contextmanager
    def _edge(self, path: str) -> Iterator[None]:
        """Gives errors of the library their meaning; a missing file stays `FileNotFoundError`."""
        where = f"storage {self.name!r}: {path!r}" if path else f"storage {self.name!r}"
        try:
            yield
        except FileNotFoundError:
            raise
        except aioftp.StatusCodeError as error:
            raise _meaning(where, error) from error
        except UnicodeError as error:
            raise StorageError(f"{where}: the server's encoding lacks a character of this name") from error
        except ssl.SSLCertVerificationError as error:
            raise StorageError(
                f"{where}: the server's certificate is not trusted ({error.verify_message}); "
                "set ca_file, or host to a name that the certificate is for"
            ) from error
        # The library takes replies apart without looking whether they are FTP: hence the last two.
        except (aioftp.AIOFTPException, OSError, TimeoutError, EOFError, ValueError, LookupError) as error:
            what = f"{self._options.host} cannot be reached, or the connection broke"
            raise StorageUnavailable(f"{where}: {what} ({type(error).__name__})") from error

    def _full(self, client: _FtpClient, path: str, names: Encoder = NAMES) -> str:
        spelled = "/".join(map(names.encode, path.split("/"))) if path else ""
        return posixpath.join(client.home, self._options.base_path, spelled).rstrip("/") or "/"

    async def _place(self, client: _FtpClient, path: str) -> str:
        """The full path of what is at a path: others may have given a name that we would spell."""
        ours, theirs = self._full(client, path), self._full(client, path, _THEIRS)
        if ours == theirs or await self._entry(client, path, ours):
            return ours
        return theirs if await self._entry(client, path, theirs) else ours

    async def reach(self) -> None:
        """As in the contract."""
        if self._idle:
            try:
                async with asyncio.timeout(ANSWER), self._client("") as client:
                    await client.command("NOOP", "xxx")
            except TimeoutError:
                raise silent(self.name, self._options.host) from None
        elif self._pulse.is_quiet:  # else transfers use all there are, and a server may allow no more
            implicit = self._options.tls == "implicit"
            port = self._options.port or (990 if implicit else 21)
            await knock_at(self.name, self._options.host, port, greets=not implicit)

    async def close(self) -> None:
        """Hang up."""
        while self._idle:
            client = self._idle.pop()
            with suppress(aioftp.AIOFTPException, OSError, TimeoutError):
                await asyncio.wait_for(client.quit(), 1)
            client.hang_up()

    # The calls of a remote storage.

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        async with self._client(path) as client:
            stream = await self._to(client, path, offset)
            try:
                async for chunk in chunks:
                    await stream.write(bytes(chunk))
                    self._pulse.beat()
            except BaseException:
                # What was handed over shall be there: a later try may go on with it.
                with suppress(aioftp.AIOFTPException, OSError, TimeoutError):
                    await asyncio.wait_for(client.end(stream), _LAST_WORD)
                raise
            await client.taken(stream)

    async def _to(self, client: _FtpClient, path: str, offset: int) -> aioftp.DataConnectionThrottleStreamIO:
        full = self._full(client, path)
        try:
            return await client.data(f"STOR {full}", offset)
        except aioftp.StatusCodeError as error:
            code = error.received_codes[-1]
            if not (offset and (code.matches("5xx") or code == _NO_RESTART)):
                raise
            await client.command(f"DELE {full}", "2xx")  # so the next try begins anew
            raise StorageUnavailable(
                f"storage {self.name!r}: {path!r}: the server cannot go on with a file that was broken off"
            ) from error

    async def _rename(self, path: str, to: str, *, replace: bool) -> None:
        there = await self._stat(to)
        if there and (there.is_dir or not replace):
            if await self._stat(path) is None:
                raise FileNotFoundError(path)
            raise NameTaken(f"storage {self.name!r}: {to!r} exists already")
        try:
            renamed = await self._renamed(path, to, taken=there is not None)
        except FileNotFoundError:
            if await self._stat(path):
                raise StorageError(
                    f"storage {self.name!r}: {path!r}: the server does not let it be renamed"
                ) from None
            raise
        if not renamed:
            await self._swap(path, to)

    async def _renamed(self, path: str, to: str, *, taken: bool) -> bool:
        """Whether the server did it. Servers on Windows rename to free names only."""
        async with self._client(path) as client:
            await _missing(path, client.command(f"RNFR {await self._place(client, path)}", "350"))
            expected = ("2xx", "5xx") if taken else "2xx"
            code, _ = await client.command(f"RNTO {self._full(client, to)}", expected)
            return code.matches("2xx")

    async def _remove(self, path: str) -> None:
        async with self._client(path) as client:
            with suppress(FileNotFoundError):
                await _missing(path, client.command(f"DELE {await self._place(client, path)}", "2xx"))
                return
        if await self._stat(path):
            raise StorageError(f"storage {self.name!r}: {path!r}: the server does not let it be deleted")

    async def _make_folder(self, path: str) -> None:
        async with self._client(path) as client:
            if await self._is_folder(client, self._full(client, path)):
                return
            done = ""
            for name in self._full(client, path).split("/")[1:]:
                done += f"/{name}"
                with suppress(aioftp.StatusCodeError):  # it is there, or the next question tells
                    await client.command(f"MKD {done}", "257")
            if not await self._is_folder(client, done):
                raise StorageError(
                    f"storage {self.name!r}: {path!r}: the server makes no folder here; does a file have its "
                    "name, or is the user not allowed to?"
                )

    async def _is_folder(self, client: _FtpClient, full: str) -> bool:
        try:
            await client.command(f"CWD {full}", "2xx")
        except aioftp.StatusCodeError as error:
            if error.received_codes[-1].matches("5xx"):
                return False
            raise
        return True

    async def _scan(self, path: str) -> list[Entry]:
        async with self._client(path) as client:
            full = await self._place(client, path)
            if not await self._is_folder(client, full):
                if path and await self._entry(client, path, full):
                    raise StorageError(f"storage {self.name!r}: {path!r} is not a folder")
                raise FileNotFoundError(path)
            lines = await self._lines(client, full)
        folder = f"{path}/" if path else ""
        named = ((NAMES.decode(name), facts) for name, facts in lines if name not in (".", ".."))
        entries = (_entry(f"{folder}{name}", facts) for name, facts in named)
        return [entry for entry in entries if entry]

    async def _lines(self, client: _FtpClient, full: str) -> list[tuple[str, dict[str, Any]]]:
        """What is in a folder, which is the current one."""
        if self._tells_entries:
            try:
                return [_facts(line) for line in await self._listing(client, f"MLSD {full}")]
            except aioftp.StatusCodeError as error:
                if error.received_codes[-1] not in _NO_COMMAND:
                    raise
                self._tells_entries = False
        # Not with a path: it may have spaces. `-a`, as some servers hide names that begin with a dot.
        lines = await self._listing(client, "LIST -a")
        return [_old_facts(client, line) for line in lines if not line.startswith("total ")]

    async def _listing(self, client: _FtpClient, command: str) -> list[str]:
        stream = await client.data(command)
        lines = []
        try:
            while line := await stream.readline():
                lines.append(line.decode(self._options.encoding, "replace").rstrip("\r\n"))
                if len(lines) > MOST_ENTRIES:
                    raise endless(self.name, command)
            await client.end(stream)
        except BaseException:
            _cut(stream)
            raise
        return lines

    async def _stat(self, path: str) -> Entry | None:
        async with self._client(path) as client:
            return await self._entry(client, path, await self._place(client, path))

    async def _entry(self, client: _FtpClient, path: str, full: str) -> Entry | None:
        if self._tells_entries:
            try:
                _, lines = await client.command(f"MLST {full}", "2xx")
                _, facts = _facts(lines[min(1, len(lines) - 1)].lstrip(" "))
                if "size" in facts or facts.get("type", "").lower() != "file":
                    return _entry(path, facts)
            except aioftp.StatusCodeError as error:
                if error.received_codes[-1] not in _NO_COMMAND:
                    if error.received_codes[-1].matches("5xx"):
                        return None
                    raise
                self._tells_entries = False
        return await self._old_entry(client, path, full)

    async def _old_entry(self, client: _FtpClient, path: str, full: str) -> Entry | None:
        """Asks for the size first: to list a big folder for each of its files takes long."""
        if await self._is_folder(client, full):
            return _entry(path, {"type": "dir"})
        try:
            await client.command("TYPE I", "200")  # a text has no size before it is sent
            _, said = await client.command(f"SIZE {full}", "213")
            return _entry(path, {"type": "file", "size": said[-1], "modify": await _time(client, full)})
        except aioftp.StatusCodeError as error:
            if error.received_codes[-1] not in _NO_COMMAND:
                if error.received_codes[-1].matches("5xx"):
                    return None
                raise
        folder, _, name = full.rpartition("/")
        if not await self._is_folder(client, folder or "/"):
            return None
        found = dict(await self._lines(client, folder or "/"))
        return _entry(path, found[name]) if name in found else None

    async def _read(self, path: str, offset: int, size: int | None) -> AsyncGenerator[bytes, None]:
        entry = await self._stat(path)
        if entry is None:
            raise FileNotFoundError(path)
        if entry.is_dir:
            raise StorageError(f"storage {self.name!r}: {path!r} is a folder")
        end = entry.size if size is None else min(entry.size, offset + size)
        if offset >= end:
            return
        async with self._client(path) as client:
            stream = await client.data(f"RETR {await self._place(client, path)}", offset)
            try:
                while offset < end:
                    async with asyncio.timeout(_SILENCE):  # the library makes a task for each piece
                        piece = await stream.reader.read(min(_PIECE, end - offset))
                    if not piece:
                        raise StorageUnavailable(
                            f"storage {self.name!r}: {path!r} ended at byte {offset} of {end}"
                        )
                    offset += len(piece)
                    self._pulse.beat()
                    yield piece
                if end < entry.size:  # to be asked to stop, many servers want to have sent everything
                    _cut(stream)
                    client.hang_up()
                else:
                    await client.end(stream)
            except BaseException:
                _cut(stream)
                raise


def _cut(stream: aioftp.ThrottleStreamIO) -> None:
    """A polite end of TLS would wait for what the server still sends."""
    stream.writer.transport.abort()


def _meaning(where: str, error: aioftp.StatusCodeError) -> StorageError:
    code = error.received_codes[-1]
    said = (error.info[-1] if isinstance(error.info, list) else error.info).strip(" -")[:200]
    if code in ("452", "552") or "no space" in said.lower() or "quota" in said.lower():
        return NoSpace(f"{where}: the disk or the quota of the server is full; make some room")
    if code in ("530", "532") and not _BUSY.search(said):
        return StorageError(
            f"{where}: the server does not accept this login ({said}); check username and password"
        )
    if code.matches("4xx") or code == "530":
        return StorageUnavailable(f"{where}: the server says {code}: {said}")
    return StorageError(f"{where}: the server says {code}: {said}")


async def _time(client: _FtpClient, full: str) -> str:
    try:
        _, said = await client.command(f"MDTM {full}", "213")
    except aioftp.StatusCodeError:
        return ""
    return str(said[-1]).strip()


async def _missing(path: str, asking: Any) -> None:
    """Do it; `FileNotFoundError` if the server says that there is no such file."""
    try:
        await asking
    except aioftp.StatusCodeError as error:
        if error.received_codes[-1] == "550":
            raise FileNotFoundError(path) from None
        raise


def _facts(line: str) -> tuple[str, dict[str, Any]]:
    """Name and facts of a line of MLSD or MLST (RFC 3659): `type=file;size=5;modify=20260131120000; name`."""
    facts, _, name = line.partition(" ")
    pairs = (fact.partition("=") for fact in facts.rstrip(";").split(";"))
    return name, {key.lower(): value for key, _, value in pairs}


def _old_facts(client: _FtpClient, line: str) -> tuple[str, dict[str, Any]]:
    """Of a line of LIST, for which there is no standard but `ls -l`."""
    try:
        name, facts = client.parse_list_line(line.encode(client.encoding))
    except ValueError:
        return "..", {}
    return str(name), dict(facts)


def _entry(path: str, facts: dict[str, Any]) -> Entry | None:
    """What a listing says of it; nothing of links and devices."""
    kind = str(facts.get("type", "")).lower()
    is_dir = kind in ("dir", "cdir", "pdir")
    if not is_dir and kind != "file":
        return None
    told = str(facts.get("size", "")).strip()
    size = int(told) if told.isdecimal() and not is_dir else 0
    return Entry(path.rpartition("/")[2], path, size, is_dir, _ms(str(facts.get("modify", ""))))


def _ms(text: str) -> int:
    try:
        moment = datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(moment.timestamp()) * 1000
