"""Telegram's data centers: their addresses, the keys of CDNs, and the configuration that lists them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from telethon.tl import functions, types
from telethon.tl.tlobject import TLRequest

from saveany.telegram.addresses import Address, AddressBook, Purpose, usable
from saveany.telegram.session import Session

T = TypeVar("T")

#: Seconds for connecting to a data center.
CONNECT_SECONDS = 10.0


class DataCenters:
    """The data centers, as one account on this machine reaches them."""

    def __init__(
        self, session: Session, call: Callable[[TLRequest], Awaitable[Any]], *, proxied: bool
    ) -> None:
        """`call` sends a request over the account's control connection; `proxied`: through a proxy."""
        self.address_book = AddressBook()
        self._session = session
        self._call = call
        self._proxied = proxied
        self._config: types.Config | None = None

    async def config(self) -> types.Config:
        """Telegram's configuration (help.getConfig), fetched again after its expiry."""
        if self._config is None or self._config.expires < datetime.now(UTC):
            self._config = await self._call(functions.help.GetConfigRequest())
            await self._session.keep_addresses(await self._home_addresses())
        return self._config

    async def cdn_keys(self, dc_id: int) -> list[str]:
        """The RSA keys of a CDN data center, in PEM format."""
        config = await self._call(functions.help.GetCdnConfigRequest())
        return [each.public_key for each in config.public_keys if each.dc_id == dc_id]

    async def connect(
        self, dc_id: int, purpose: Purpose, connect: Callable[[Address, float], Awaitable[T]]
    ) -> T:
        """The result of `connect(address, seconds)` for the first address of a data center that works."""
        addresses = await self._addresses(dc_id, purpose)
        return await self.address_book.connect_first(addresses, connect, CONNECT_SECONDS)

    async def connect_home(self, connect: Callable[[Address, float], Awaitable[T]]) -> T:
        """As `connect` for the account's own data center, without a request to it."""
        return await self.address_book.connect_first(await self._home_addresses(), connect, CONNECT_SECONDS)

    async def main_address(self, dc_id: int) -> Address:
        """The address for the control connection to a data center."""
        return self.address_book.ordered(await self._addresses(dc_id, Purpose.CONTROL))[0]

    async def _addresses(self, dc_id: int, purpose: Purpose) -> list[Address]:
        """The addresses of a data center for the purpose, best first."""
        addresses = usable((await self.config()).dc_options, dc_id, purpose, proxied=self._proxied)
        if dc_id == self._session.dc_id and purpose is not Purpose.CDN:
            main = (self._session.server_address, self._session.port)  # works, but is not meant for files
            others = [each for each in addresses if each != main]
            addresses = [*others, main] if purpose is Purpose.FILES else [main, *others]
        if not addresses:
            raise ConnectionError(f"Telegram lists no address for data center {dc_id}")
        return addresses

    async def _home_addresses(self) -> list[Address]:
        """The known addresses of the account's own data center, without a request to it."""
        known = await self._session.addresses()
        if self._config is not None:
            options = self._config.dc_options
            known = usable(options, int(self._session.dc_id), Purpose.CONTROL, proxied=self._proxied)
        return [(self._session.server_address, self._session.port), *known]
