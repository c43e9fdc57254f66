"""Tries changed settings out before they are written: a server may not answer, a port may be in use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from saveany import advice
from saveany.config import Config, values
from saveany.errors import ConfigError, InvalidInput, SaveAnyError
from saveany.logs import get_logger
from saveany.texts import Text

#: Seconds for each trial.
_SECONDS = 25.0

log = get_logger("saveany.configuration")


def check_reachable(before: Config, after: Config, client: str) -> None:
    """Raise `InvalidInput` with the key that would lock out those who change the configuration over the API,
    as a client at this address does."""
    if before.api.enable and not after.api.enable:
        raise InvalidInput(
            "this would end the API and the web UI, which cannot undo it; use `{command}` if you want that",
            "api.enable",
            command=advice.command("config set api.enable false"),
        )
    if before.api.token.get_secret_value() and not after.api.token.get_secret_value():
        raise InvalidInput(
            "without a token only programs on the machine of SaveAny can use the API and the web UI, and all "
            "of them can; use `{command}` if you want that",
            "api.token",
            command=advice.command('config set api.token ""'),
        )
    if values.is_loopback(after.api.host) and not (
        values.is_loopback(before.api.host) or values.is_loopback(client)
    ):
        raise InvalidInput(
            "you use another machine, which could not connect any more; use `{command}` if you want that",
            "api.host",
            command=advice.command(f"config set api.host {after.api.host}"),
        )


async def try_out(before: Config, after: Config) -> list[str]:
    """Use what has changed. Returns the keys that were tried. Raises `InvalidInput` with the key that does
    not work, and the reason."""
    tried = [key for key, _ in _TRIALS if _value(before, key) != _value(after, key)]
    done: list[Callable[[Config], Awaitable[None]]] = []
    for key, trial in _TRIALS:
        if key in tried and trial not in done:
            done.append(trial)
            await _run(key, trial, after)
    return tried


async def _run(key: str, trial: Callable[[Config], Awaitable[None]], config: Config) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            await trial(config)
    except SaveAnyError as error:
        raise InvalidInput(error.text, key) from error
    except TimeoutError as error:
        text = Text("there was no answer within {seconds} seconds", {"seconds": int(_SECONDS)})
        raise InvalidInput(text, key) from error
    except Exception as error:  # of a library that does not take the value, which may contain a password
        log.warning("setting_refused", key=key, error=type(error).__name__)
        raise InvalidInput("this does not work ({error})", key, error=type(error).__name__) from error


async def _host(config: Config) -> None:
    from saveany.api.server import bind

    try:
        bind(config.api.host, 0).close()
    except UnicodeError as error:
        raise ConfigError("{host!r} is not an address", host=config.api.host) from error


async def _data_dir(config: Config) -> None:
    try:
        await asyncio.to_thread(_write_to, config.data_dir)
    except OSError as error:
        raise ConfigError(
            "cannot write to {folder}: {reason}", folder=str(config.data_dir), reason=error.strerror or ""
        ) from error


def _write_to(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):
        pass


async def _port(config: Config) -> None:
    from saveany.api.server import bind

    bind(config.api.host, config.api.port).close()


async def _redis(config: Config) -> None:
    from saveany.store import connect

    if config.redis.url == "embedded":
        return
    db = connect(config.redis.url)
    try:
        await db.check()
    finally:
        await db.close()


async def _catalogue(config: Config) -> None:
    from saveany.catalogue import schema
    from saveany.catalogue.database import Database

    database = Database(config.catalogue.url, config.data_dir)
    try:
        if config.catalogue.url:
            await schema.describe(database)
    finally:
        await database.close()


async def _telegram(config: Config) -> None:
    """Log the bot in; without a bot, connect to Telegram as the application."""
    from saveany.telegram.client import MtprotoClient
    from saveany.telegram.errors import translated
    from saveany.telegram.login import login_bot
    from saveany.telegram.settings import read

    table = config.telegram
    if token := table.token.get_secret_value():
        await login_bot(table, config.data_dir, token, proxy=config.proxy)
        return
    if not (table.app_id and table.app_hash.get_secret_value()):
        return
    with translated():
        client = MtprotoClient("", read(table, config.proxy), None)
        try:
            await client.data_centers.config()
        finally:
            await client.close()


async def _ca_file(config: Config) -> None:
    import ssl

    if config.net.ca_file is None:
        return
    try:
        ssl.create_default_context(cafile=str(config.net.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "{file} cannot be used: {reason}",
            file=str(config.net.ca_file),
            reason=error.strerror or type(error).__name__,
        ) from error


#: Keys, and what is tried when they have changed.
_TRIALS: tuple[tuple[str, Callable[[Config], Awaitable[None]]], ...] = (
    ("net.ca_file", _ca_file),
    ("data_dir", _data_dir),
    ("api.host", _host),
    ("api.port", _port),
    ("redis.url", _redis),
    ("catalogue.url", _catalogue),
    ("telegram.app_id", _telegram),
    ("telegram.app_hash", _telegram),
    ("telegram.token", _telegram),
    ("telegram.dc_address", _telegram),
    ("telegram.dc_public_key", _telegram),
    ("telegram.proxy.enable", _telegram),
    ("telegram.proxy.url", _telegram),
    ("proxy", _telegram),
)


def _value(config: Config, key: str) -> object:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
