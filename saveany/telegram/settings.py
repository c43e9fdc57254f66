"""The settings of the Telegram clients: addresses, application id, proxy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Protocol

from pydantic import SecretStr
from telethon.crypto import rsa

from saveany.errors import ConfigError, NeedsLogin
from saveany.telegram.session import Login

#: Test servers accept any application id; the real Telegram requires one that belongs to the user.
_TEST_APP = (1, "test-server")


class ProxyTable(Protocol):
    """`[telegram.proxy]`."""

    @property
    def enable(self) -> bool:
        """Whether Telegram is reached through a proxy of its own."""

    @property
    def url(self) -> str:
        """The URL of that proxy."""


class AccountTable(Protocol):
    """`[[telegram.accounts]]`."""

    @property
    def name(self) -> str:
        """The name of the account."""

    @property
    def session(self) -> SecretStr:
        """A session string of Telethon; it may be empty."""


class TelegramTable(Protocol):
    """The part of the configuration that this package reads; the model is in `saveany.config`."""

    @property
    def token(self) -> SecretStr:
        """The token of the bot; empty without a bot."""

    @property
    def app_id(self) -> int:
        """The id of the application at my.telegram.org; 0 if it is not set."""

    @property
    def app_hash(self) -> SecretStr:
        """The hash of the application."""

    @property
    def proxy(self) -> ProxyTable:
        """The table of the proxy."""

    @property
    def user_accounts(self) -> Sequence[AccountTable]:
        """The user accounts in the configuration."""

    @property
    def dc_id(self) -> int:
        """The id of the data center at `dc_address`."""

    @property
    def dc_address(self) -> str:
        """Host and port of a test server; empty for the real Telegram."""

    @property
    def dc_public_key(self) -> str:
        """The test server's RSA key in PEM; empty for Telegram's own keys."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to connect to Telegram; the same for all accounts."""

    app_id: int
    app_hash: str = field(repr=False)
    proxy: str = field(default="", repr=False)  # its URL
    dc_id: int = 0  # 0: the real Telegram; otherwise the data center at `address`
    address: tuple[str, int] = ("", 0)

    def home_address(self, login: Login) -> tuple[str, int]:
        """The address of the login's home data center: the configured one if it belongs to that data
        center."""
        return self.address if self.dc_id == login.dc_id else (login.host, login.port)


def read(table: TelegramTable, proxy: str = "") -> ClientSettings:
    """The settings in `[telegram]`. `proxy` is the general proxy, used unless the table has a proxy.

    Registers the public key of a test server for this process. Raises `ConfigError` for an invalid setting
    and `NeedsLogin` if the application id is missing.
    """
    _require_cryptg()
    app_id, app_hash = table.app_id, table.app_hash.get_secret_value()
    if table.dc_address and not app_id:
        app_id, app_hash = _TEST_APP
    if not app_id or not app_hash:
        raise NeedsLogin(
            "telegram.app_id and telegram.app_hash are missing: create them at https://my.telegram.org"
        )
    if table.dc_public_key:
        _trust(table.dc_public_key)
    return ClientSettings(
        app_id,
        app_hash,
        table.proxy.url if table.proxy.enable else proxy,
        table.dc_id if table.dc_address else 0,
        _address(table.dc_address),
    )


def _require_cryptg() -> None:
    if find_spec("cryptg") is None:
        raise ConfigError(
            "The package cryptg is missing, and downloads are very slow without it: pip install cryptg"
        )


def _trust(pem: str) -> None:
    try:
        rsa.add_key(pem, old=False)
    except ValueError as error:
        raise ConfigError("telegram.dc_public_key is not an RSA public key in PEM (PKCS#1) form") from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if text else ("", 0)
