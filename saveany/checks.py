"""The checks of `saveany check`: the configuration, and everything that it names, by using it.

The checks are independent of each other, except that the Telegram checks need Redis: it records which machine
uses a login, and Telegram ends a login that is used from two addresses.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from saveany import advice
from saveany.api.server import bind, other_instance_error, running_instance
from saveany.config import Config
from saveany.config.schema import InboxConfig
from saveany.config.values import is_loopback
from saveany.errors import ConfigError, SaveAnyError, StoreUnavailable
from saveany.logs import get_logger
from saveany.planning.source_choice import is_enabled
from saveany.programs import find_program
from saveany.sources import sources
from saveany.store import Db, Store
from saveany.store.telegram import TelegramStore
from saveany.telegram.accounts import Accounts
from saveany.telegram.client import MtprotoClient
from saveany.telegram.errors import translated
from saveany.telegram.settings import read
from saveany.telegram.uploads import Uploader
from saveany.timefmt import rfc3339
from storages import registry
from storages.base import Services, StorageOptions

State = Literal["ok", "warning", "failed"]

#: Free space below which a check fails, and below which it warns; bytes.
_NO_SPACE, _LITTLE_SPACE = 100_000_000, 1_000_000_000
#: Seconds by which a clock may be wrong: Telegram refuses messages from 30 s in its future, and receivers of
#: webhooks refuse signatures that are older than 5 minutes.
_CLOCK_WARNING, _CLOCK_WRONG = 30.0, 300.0
#: Seconds that changes wait for the recorder until this is worth a warning.
_WAITING = 60.0
_SHORT_TOKEN = 16
_PUBLIC_TOKEN = "your-secret-token-here"  # noqa: S105  the documentation contains it
#: Number of different bytes that a random secret of 24 bytes almost always has.
_MIN_DIFFERENT_BYTES = 12

log = get_logger("saveany.check")


class Area(IntEnum):
    """The subject of a check. Its number is the exit code if the check fails."""

    CONFIG = 2
    REDIS = 3
    STORAGE = 4
    TELEGRAM = 5
    MACHINE = 6
    CATALOGUE = 7


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `detail` says what to do unless the state is `ok`."""

    area: Area
    name: str
    status: State
    detail: str


def invalid(error: ConfigError) -> list[Check]:
    """The result for a configuration that does not load: one failed check per problem."""
    return [Check(Area.CONFIG, "config", "failed", line) for line in error.message.splitlines()]


async def configuration(config: Config) -> AsyncIterator[Check]:
    """Checks of the configuration itself."""
    yield Check(
        Area.CONFIG,
        "config",
        "ok",
        str(config.file or "no file; defaults and environment variables are used"),
    )
    for warning in config.warnings:
        yield Check(Area.CONFIG, "config", "warning", warning)
    if not config.users:
        detail = "there are no [[users]], so nobody can save files; add one with a Telegram user id"
        yield Check(Area.CONFIG, "users", "warning", detail)
    yield Check(Area.CONFIG, "api.token", *_token(config))
    yield Check(Area.CONFIG, "webhook", *_webhook(config))


async def port(config: Config, store: Store | None = None) -> AsyncIterator[Check]:
    """Whether the port of the API is free, or in use by the SaveAny that `store` belongs to."""
    if config.api.enable:
        yield Check(Area.CONFIG, "api.port", *await _port(config, store))


async def services(config: Config, db: Db) -> AsyncIterator[Check]:
    """Redis, the API's port, the storages and the Telegram accounts."""
    redis = await _redis(config, db)
    yield redis
    store = None if redis.status == "failed" else Store(db)
    async for check in _all_of(Area.CONFIG, "api.port", port(config, store)):
        yield check
    if store:
        async for check in _all_of(Area.MACHINE, "clock of redis", _clock_of_redis(db)):
            yield check
        async for check in _all_of(Area.CATALOGUE, "catalogue", catalogue(config, store)):
            yield check
    async for check in _all_of(Area.STORAGE, "storages", storages(config, store)):
        yield check
    telegram = _telegram(config, db) if store else _telegram_unknown()
    async for check in _all_of(Area.TELEGRAM, "telegram", telegram):
        yield check


async def catalogue(config: Config, store: Store) -> AsyncIterator[Check]:
    """Whether the catalogue can be used, its schema and size, and how many changes are not recorded yet."""
    from saveany.catalogue import schema  # imports the database library
    from saveany.catalogue.database import Database

    waiting = await store.recording.waiting()
    kind = "PostgreSQL" if config.catalogue.url else "SQLite"
    database = Database(config.catalogue.url, config.data_dir)
    if database.file and not database.file.exists():
        yield Check(Area.CATALOGUE, "catalogue", "ok", "SQLite; it is created by the first start")
        return
    try:
        version, size = await schema.describe(database)
    finally:
        await database.close()
    detail = f"{kind}, schema {version or 'none yet'}, {size / 1e6:.1f} MB, {waiting.count} changes wait"
    if version > schema.newest():
        detail += f"; a newer SaveAny has written it, this one knows schema {schema.newest()}"
        yield Check(Area.CATALOGUE, "catalogue", "failed", detail)
    elif waiting.since is not None and time.time() - waiting.since / 1000 > _WAITING:
        detail += f" since {rfc3339(waiting.since)}; is an API or a bot running?"
        yield Check(Area.CATALOGUE, "catalogue", "warning", detail)
    else:
        yield Check(Area.CATALOGUE, "catalogue", "ok", detail)


async def storages(config: Config, store: Store | None = None) -> AsyncIterator[Check]:
    """Write, read and delete a small file in each storage. With a `store`, first check that the disk of the
    storage is the expected one."""
    if not config.storages:
        detail = (
            f"there are no [[storages]]; to add one: {advice.command('storages add NAME TYPE KEY=VALUE')}"
        )
        yield Check(Area.STORAGE, "storages", "failed", detail)
    for options in config.storages:
        if not _needs_account(options):
            found = await _storage(options, config.services, store)
        elif store is None:
            found = "warning", "not checked, because it needs a Telegram account, and those need Redis"
        else:
            continue  # checked with the accounts
        yield Check(Area.STORAGE, f"storage {options.name}", *found)


def disks(config: Config) -> Iterator[Check]:
    """Free space for data_dir and local storages."""
    folders = {"data_dir": config.data_dir}
    for options in config.storages:
        if isinstance(base := getattr(options, "base_path", None), Path):
            folders[f"storage {options.name}"] = base
    for name, folder in folders.items():
        yield Check(Area.MACHINE, f"disk of {name}", *_disk(folder))
    for inbox in config.inboxes:
        yield Check(Area.MACHINE, f"watched folder {inbox.path}", *_inbox(inbox))


def _inbox(inbox: InboxConfig) -> tuple[State, str]:
    """Whether a watched folder can be read, and its files moved."""
    if not inbox.path.is_dir():
        return "warning", "it is not a folder of this machine; another one may have it"
    if not os.access(inbox.path, os.R_OK | os.X_OK):
        return "failed", "it cannot be read; give the user that runs SaveAny access"
    if inbox.after != "keep" and not os.access(inbox.path, os.W_OK):
        return (
            "failed",
            f'after = "{inbox.after}" must be able to remove its files; make it writable, or set "keep"',
        )
    moved = inbox.moved_files
    if moved and moved.exists() and moved.stat().st_dev != inbox.path.stat().st_dev:
        return "failed", f"{moved} is on another disk; choose a folder on the same one as move_to"
    return "ok", f"saved to {inbox.to or 'the default of its user'}"


def programs(config: Config) -> Iterator[Check]:
    """A warning for each program that is missing for a task type."""
    for source in sources().values():
        table: Any = getattr(config, source.table, None)
        program: str = getattr(table, "program", "")
        elsewhere: str = getattr(table, "url", "")
        if not program or elsewhere or not is_enabled(config, source) or find_program(program):
            continue
        detail = (
            f"{program} is not installed, so these tasks wait; install it, or set enable = false in "
            f"[{source.table}]"
        )
        yield Check(Area.CONFIG, f"task type {source.type}", "warning", detail)


def no_redis(error: SaveAnyError) -> Check:
    """The result if there is no Redis because the embedded server does not start."""
    return Check(Area.REDIS, "redis", "failed", error.message)


async def _telegram_unknown() -> AsyncIterator[Check]:
    yield telegram_unknown()


def telegram_unknown() -> Check:
    """The result for Telegram without Redis."""
    detail = (
        "not checked, because without Redis SaveAny does not know whether another machine uses the logins"
    )
    return Check(Area.TELEGRAM, "telegram", "warning", detail)


async def _all_of(area: Area, name: str, checks: AsyncIterator[Check]) -> AsyncIterator[Check]:
    """The checks. An unexpected error becomes a failed check, so that the other checks still run."""
    try:
        async for check in checks:
            yield check
    except SaveAnyError as error:
        yield Check(area, name, "failed", error.message)
    except Exception as error:
        yield Check(area, name, "failed", _internal(error))


def _internal(error: Exception) -> str:
    log.error("check_crashed", exc_info=error)
    return f"this is a bug in SaveAny, please report it: {type(error).__name__}"


def _token(config: Config) -> tuple[State, str]:
    token = config.api.token.get_secret_value()
    if not token:
        return "ok", "not set, so only this machine can connect"
    if is_loopback(config.api.host):
        return "ok", "set"
    if token == _PUBLIC_TOKEN or len(token) < _SHORT_TOKEN:
        return "warning", (
            "is easy to guess, and other machines can connect; set a random one: "
            + advice.command('config set api.token "$(openssl rand -hex 32)"')
        )
    return "ok", "set"


def _webhook(config: Config) -> tuple[State, str]:
    secret = config.api.webhook_secret.get_secret_value()
    url = urlsplit(config.api.webhook_url.get_secret_value())
    if secret and len(set(base64.b64decode(secret.removeprefix("whsec_")))) < _MIN_DIFFERENT_BYTES:
        return (
            "warning",
            "api.webhook_secret is easy to guess; leave it empty, and SaveAny generates a random one",
        )
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        return "warning", "api.webhook_url is http:, so others can read the token in each webhook; use https:"
    return "ok", "the secret is set" if secret else "SaveAny generates a random secret at the first start"


async def _port(config: Config, store: Store | None) -> tuple[State, str]:
    host, port = config.api.host, config.api.port
    try:
        bind(host, port).close()
        return "ok", f"{port} is free" if port else "SaveAny chooses a free port when it starts"
    except ConfigError as error:
        running = await asyncio.to_thread(running_instance, host, port)
        if running is None:
            return "failed", error.message
        try:
            ours = await store.instance() if store else None
        except StoreUnavailable:
            ours = None
    if ours is None:
        return "warning", f"a SaveAny uses port {port}; without Redis it is unknown whether it is this one"
    if running != ours:
        return "failed", other_instance_error(port)
    return "ok", f"this SaveAny is running on {port}"


async def _redis(config: Config, db: Db) -> Check:
    try:
        await db.check()
        info = await db.info()
    except SaveAnyError as error:
        return Check(Area.REDIS, "redis", "failed", error.message)
    except Exception as error:
        return Check(Area.REDIS, "redis", "failed", _internal(error))
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version")
    where = "embedded" if config.redis.url == "embedded" else "at redis.url"
    if not info.get("aof_enabled"):
        detail = (
            f"{name} {version}, {where}: its append-only file is off, so a crash loses the tasks accepted "
            "just before it; set `appendonly yes` in its configuration"
        )
        return Check(Area.REDIS, "redis", "warning", detail)
    return Check(Area.REDIS, "redis", "ok", f"{name} {version}, {where}, fsync {await _fsync(db)}")


async def _fsync(db: Db) -> str:
    with suppress(StoreUnavailable):  # many hosting providers forbid CONFIG
        found = await db.do("CONFIG", "GET", "appendfsync")
        return str((found[b"appendfsync"] if isinstance(found, dict) else found[1]).decode())
    return "unknown"


async def _clock_of_redis(db: Db) -> AsyncIterator[Check]:
    with suppress(StoreUnavailable):
        yield Check(Area.MACHINE, "clock of redis", *_clock("Redis's", await _redis_offset(db)))


async def _redis_offset(db: Db) -> float:
    """Seconds by which the clock of Redis is ahead of the clock of this machine."""
    before = time.time()
    redis_time = await db.time_ms() / 1000
    return redis_time - (before + time.time()) / 2


def _clock(whose: str, offset: float) -> tuple[State, str]:
    detail = f"this machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} {whose}"
    if abs(offset) <= _CLOCK_WARNING:
        return "ok", f"agrees with {whose}"
    state: State = "failed" if abs(offset) > _CLOCK_WRONG else "warning"
    return state, f"{detail}; set it, for example with chrony"


def _needs_account(options: StorageOptions) -> bool:
    try:
        return registry.capabilities(options.type).needs_account
    except SaveAnyError:  # a library is missing; opening the storage reports it
        return False


async def _storage(options: StorageOptions, services: Services, store: Store | None) -> tuple[State, str]:
    try:
        can = registry.capabilities(options.type)
        storage = registry.open_storage(options, services)
        try:
            expected = await store.workers.storage_identity(options.name) if store else ""
            if expected and await storage.identity() != expected:
                return "warning", (
                    "its folder has no matching .saveany-storage file: its disk is not mounted, or it is on "
                    "another machine"
                )
            await storage.probe()
        finally:
            await storage.close()
    except SaveAnyError as error:
        return "failed", error.message
    except Exception as error:  # a bug in this storage or its library; the other checks still run
        return "failed", f"{options.type}: {_internal(error)}"
    if can.needs_account:
        return "ok", f"{options.type}: the account can write to the chat"
    return "ok", f"{options.type}: a small file was written{', read back' if can.reads else ''} and deleted"


async def _telegram(config: Config, db: Db) -> AsyncIterator[Check]:
    """Whether each account is logged in; a bot without a login is logged in with its token. Then the storages
    that need an account."""
    stored: list[Check] = []
    try:
        accounts = Accounts(config.telegram, config.data_dir, TelegramStore(db), proxy=config.proxy)
        try:
            await accounts.start()
            ready, problems = accounts.ready, accounts.problems
            services = replace(config.services, message_sender=Uploader(accounts))
            for options in config.storages:
                if _needs_account(options):
                    found = await _storage(options, services, Store(db))
                    stored.append(Check(Area.STORAGE, f"storage {options.name}", *found))
        finally:
            await accounts.close()
    except SaveAnyError as error:
        yield Check(Area.TELEGRAM, "telegram", "failed", error.message)
        return
    except OSError as error:
        detail = f"cannot use {config.data_dir}: {error.strerror}"
        yield Check(Area.TELEGRAM, "telegram", "failed", detail)
        return
    for name in ready:
        yield Check(Area.TELEGRAM, f"telegram {name}", "ok", "logged in")
    for name, problem in problems.items():
        title = name if name == "telegram" else f"telegram {name}"
        yield Check(Area.TELEGRAM, title, "failed", str(problem))
    for check in stored:
        yield check
    with suppress(SaveAnyError):  # the checks of the accounts have reported it
        yield Check(Area.MACHINE, "clock of telegram", *_clock("Telegram's", await _telegram_offset(config)))


async def _telegram_offset(config: Config) -> float:
    """Seconds by which Telegram's clock is ahead of the clock of this machine."""
    client = MtprotoClient("", read(config.telegram, config.proxy), None)
    with translated():
        try:
            telegram_time = (await client.data_centers.config()).date.timestamp()
            return float(telegram_time) - time.time()
        finally:
            await client.close()


def _disk(folder: Path) -> tuple[State, str]:
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return "failed", f"cannot read {folder}: {error.strerror}; change its owner or mode"
    if not os.access(existing, os.W_OK | os.X_OK):
        return "failed", f"{existing} cannot be written to; change its owner or mode"
    detail = f"{free / 1e9:.1f} GB free in {existing}"
    if free < _NO_SPACE:
        return "failed", f"{detail}; free some space"
    if free < _LITTLE_SPACE:
        return "warning", f"{detail}; free some space soon"
    return "ok", detail
