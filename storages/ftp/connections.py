"""The connections to an FTP server."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import aioftp

from saveany.errors import StorageBusy, StorageError, StorageUnavailable
from saveany.net import trust
from storages.errors import located
from storages.ftp.client import CONNECT, PIECE, SILENCE, FtpClient
from storages.ftp.limit import ConnectionLimit
from storages.ftp.options import FtpOptions
from storages.ftp.replies import error_for
from storages.limit import AllInUse
from storages.reachability import REPLY_TIMEOUT, ServerActivity, check_port, silent_server

#: Idle seconds after which a connection is tested before it is reused.
_FRESH_SECONDS = 10.0
_MAX_IDLE = 4


class FtpConnections:
    """Connections to the server of one storage, each used by one caller at a time. Idle ones are reused.

    A caller waits if the server allows no more of them.
    """

    def __init__(self, options: FtpOptions, on_limit: Callable[[int], None] = lambda transfers: None) -> None:
        """`on_limit` is called with the number of transfers that the server allows at a time."""
        self.activity = ServerActivity()
        self._options = options
        self._idle: list[FtpClient] = []
        self._limit = ConnectionLimit(on_limit)

    @asynccontextmanager
    async def connection(self, path: str = "", *, wait: bool = True) -> AsyncIterator[FtpClient]:
        """A connection for this caller alone. Errors in the block become those of the contract, and close
        it. Raises `StorageBusy` if none becomes free in time, or at once if `wait` is false."""
        with self.translated_errors(path), self.activity.request():
            client = await self._free_connection(wait)
            try:
                yield client
            except BaseException as error:
                if not isinstance(error, FileNotFoundError):  # that reply leaves the connection usable
                    client.hang_up()
                raise
            finally:
                self._keep(client)

    @asynccontextmanager
    async def transfer(self, path: str) -> AsyncIterator[FtpClient]:
        """A connection for a transfer, which may take long. Others can still be used for short requests."""
        with self.translated_errors(path):
            if self._limit.should_try_more and (tried := await self._new_connection()):
                self._keep(tried)
            async with self._limit.transfer(), self.connection(path) as client:
                yield client

    async def _free_connection(self, wait: bool) -> FtpClient:
        while True:
            await self._limit.wait(lambda: bool(self._idle), wait=wait)
            if client := await (self._tested(self._idle.pop()) if self._idle else self._new_connection()):
                return client

    async def _tested(self, client: FtpClient) -> FtpClient | None:
        """An idle connection; None if it turns out to be unusable."""
        if not client.old:
            if time.monotonic() - client.used < _FRESH_SECONDS:
                return client
            try:
                await client.command("NOOP", "2xx")
            except (aioftp.AIOFTPException, OSError, TimeoutError):
                pass
            except BaseException:
                self._drop(client)
                raise
            else:
                return client
        self._drop(client)
        return None

    async def _new_connection(self) -> FtpClient | None:
        """A new connection; None if the server does not allow another one."""
        self._limit.opening()
        try:
            client = await self._connect()
        except BaseException as error:
            if self._limit.failed(error):
                return None
            raise
        self._limit.opened()
        return client

    def _keep(self, client: FtpClient) -> None:
        if client.stream.writer.is_closing() or client.old:
            self._drop(client)
            return
        client.used = time.monotonic()
        self._idle.append(client)
        if len(self._idle) > _MAX_IDLE:
            self._drop(self._idle.pop(0))
        self._limit.changed()

    def _drop(self, client: FtpClient) -> None:
        client.hang_up()
        self._limit.closed()

    async def _connect(self) -> FtpClient:
        options = self._options
        implicit = options.tls == "implicit"
        client = FtpClient(
            socket_timeout=SILENCE,
            connection_timeout=CONNECT,
            encoding=options.encoding,
            trust_server_pasv_ipv4_address=False,  # behind NAT it is wrong, and no certificate is for it
            ssl=self._context() if implicit else None,
            limit=PIECE,  # bytes read ahead
        )
        try:
            await client.connect(options.host, options.port or (990 if implicit else 21))
            client.keep_alive()
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

    async def _secure(self, client: FtpClient) -> None:
        try:
            await client.upgrade_to_tls(self._context())
        except aioftp.StatusCodeError as error:
            raise StorageError(
                "storage {storage!r}: the server does not switch to TLS; set tls to implicit, or "
                "to none, which sends the password unencrypted",
                storage=self._options.name,
            ) from error

    def _context(self) -> ssl.SSLContext:
        try:
            return trust.new_context(self._options.ca_file)
        except OSError as error:
            raise StorageError(
                "storage {storage!r}: ca_file cannot be used: {reason}",
                storage=self._options.name,
                reason=str(error),
            ) from error

    @contextmanager
    def translated_errors(self, path: str) -> Iterator[None]:
        """Translate errors of the library to those of the contract; `FileNotFoundError` stays."""
        where = located(self._options.name, path)
        try:
            yield
        except FileNotFoundError:
            raise
        except AllInUse as error:
            raise StorageBusy(
                "{where}: all connections that the server allows are in use", where=where
            ) from error
        except aioftp.StatusCodeError as error:
            raise error_for(where, error) from error
        except UnicodeError as error:
            raise StorageError(
                "{where}: the server's encoding lacks a character of this name", where=where
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise StorageError(
                "{where}: the server's certificate is not trusted ({verify_message}); set "
                "ca_file, or host to a name that the certificate is for",
                where=where,
                verify_message=error.verify_message,
            ) from error
        # The last two are raised when the library parses replies that are not FTP.
        except (aioftp.AIOFTPException, OSError, TimeoutError, EOFError, ValueError, LookupError) as error:
            raise StorageUnavailable(
                "{where}: {host} cannot be reached, or the connection broke ({error})",
                where=where,
                host=self._options.host,
                error=type(error).__name__,
            ) from error

    async def reach(self) -> None:
        """Raise `StorageUnavailable` if the server does not respond."""
        if self._idle:
            try:
                async with asyncio.timeout(REPLY_TIMEOUT), self.connection() as client:
                    await client.command("NOOP", "xxx")
            except TimeoutError:
                raise silent_server(self._options.name, self._options.host) from None
        elif self.activity.is_silent:  # otherwise transfers use all connections that the server allows
            implicit = self._options.tls == "implicit"
            port = self._options.port or (990 if implicit else 21)
            await check_port(self._options.name, self._options.host, port, greets=not implicit)

    async def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            client = self._idle.pop()
            with suppress(aioftp.AIOFTPException, OSError, TimeoutError):
                await asyncio.wait_for(client.quit(), 1)
            self._drop(client)
