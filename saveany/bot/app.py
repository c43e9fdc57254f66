"""The bot process. Any number may run; one of them is active, and the others wait to take over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from saveany.archives.role import ArchiveRole
from saveany.bot.commands import menu
from saveany.bot.commands.login import after_restart
from saveany.bot.context import BotServices
from saveany.bot.conversation import Conversations
from saveany.bot.dispatch import Dispatcher
from saveany.bot.inbox import Inbox
from saveany.bot.membership import Membership
from saveany.bot.progress import ProgressUpdater
from saveany.bot.watch_notifier import WatchNotifier
from saveany.catalogue.standby import StandbyCatalogue
from saveany.config import Config
from saveany.config.follow import ConfigFollower
from saveany.errors import ConfigError, TaskError, Unavailable
from saveany.logs import get_logger
from saveany.loops import until_done, wait_for_store
from saveany.service import TaskReader, TaskService
from saveany.service.archives import ArchiveService
from saveany.service.links import LinkService
from saveany.service.live import LiveService
from saveany.store import Store, open_store
from saveany.store.bot import LOCK_MS
from saveany.supervisor import report_working
from saveany.telegram.accounts import Accounts
from saveany.telegram.bot_client import BotClient

if TYPE_CHECKING:
    from saveany.catalogue.catalogue import Catalogue

#: Seconds between two renewals of the lock.
_RENEW_SECONDS = LOCK_MS / 1000 / 3
#: Seconds between two attempts to take the lock.
_POLL_SECONDS = 1.0
#: Pause after a failed login, in seconds; it doubles up to the maximum.
_FIRST_PAUSE, _MAX_PAUSE = 1.0, 60.0
#: Seconds between two attempts to connect the user accounts.
_ACCOUNTS_SECONDS = 10.0

log = get_logger("saveany.bot")


class _LockLost(Exception):
    """Another process is the active bot now."""


async def serve(config: Config, url: str) -> None:
    """Serve as the bot until SIGTERM or SIGINT. Raises `ConfigError` if no token is set."""
    if not config.telegram.token.get_secret_value():
        raise ConfigError("telegram.token is not set: get a token from @BotFather and add it to config.toml")
    serving = asyncio.create_task(_serve(config, url))
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        log.info("bot_stopped")


async def _serve(config: Config, url: str) -> None:
    async with AsyncExitStack() as stack:
        store = await open_store(url)
        stack.push_async_callback(store.db.close)
        standby = StandbyCatalogue(config, store)
        stack.push_async_callback(standby.close)
        await stack.enter_async_context(standby.running())
        serve = partial(_run_until_lock_lost, config, store, cast("Catalogue", standby))
        while True:
            await until_done("bot", serve, _POLL_SECONDS)


async def _run_until_lock_lost(config: Config, store: Store, catalogue: Catalogue) -> None:
    try:
        await _hold_lock_and_run(config, store, catalogue)
    except* _LockLost:
        log.warning("lock_lost")


async def _hold_lock_and_run(config: Config, store: Store, catalogue: Catalogue) -> None:
    """Wait for the lock, then serve as the bot until it is lost (`_LockLost`)."""
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
    await _wait_for_lock(store, holder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_release_lock, store, holder)
        async with asyncio.TaskGroup() as group:
            group.create_task(_renew_lock(store, holder))
            group.create_task(_run(config, store, catalogue, stack))


async def _release_lock(store: Store, holder: str) -> None:
    with suppress(Unavailable):  # then the lock expires
        await store.bot.release_lock(holder)


async def _run(config: Config, store: Store, catalogue: Catalogue, stack: AsyncExitStack) -> None:
    accounts = Accounts(config.telegram, config.data_dir, store.telegram, proxy=config.proxy)
    stack.push_async_callback(accounts.close)
    client = await _log_in(config, store)
    stack.push_async_callback(client.close)
    await store.bot.use_for(client.me.id)
    services = _services(config, store, catalogue, accounts, client)
    conversations, dispatcher = services.conversations, Dispatcher(services)
    inbox = Inbox(store.bot, client, dispatcher.is_savable, conversations.expects, dispatcher.handle)
    stack.push_async_callback(inbox.close)
    stack.push_async_callback(conversations.close)
    await after_restart(services)
    archives = ArchiveRole(config, store, catalogue, services.tasks, partial(_started, accounts))
    report_working()
    log.info("bot_started", name=client.me.username)
    async with asyncio.TaskGroup() as group:
        group.create_task(ConfigFollower(config).run())
        group.create_task(until_done("accounts", accounts.start, _ACCOUNTS_SECONDS))
        group.create_task(_publish_menu(client))
        group.create_task(services.progress.run())
        group.create_task(inbox.run())
        group.create_task(archives.run())
        group.create_task(WatchNotifier(store, TaskReader(store, catalogue), client, config.lang).run())


async def _started(accounts: Accounts) -> Accounts:
    return accounts


def _services(
    config: Config, store: Store, catalogue: Catalogue, accounts: Accounts, client: BotClient
) -> BotServices:
    tasks = TaskService(config, store, catalogue)
    progress = ProgressUpdater(store, TaskReader(store, catalogue), client)
    return BotServices(
        config,
        store,
        catalogue,
        tasks,
        LinkService(catalogue, store, config),
        ArchiveService(config, store, catalogue, tasks, partial(_started, accounts)),
        LiveService(config, store, catalogue, tasks, partial(_started, accounts)),
        Membership(config, store, client),
        accounts,
        client,
        progress,
        Conversations(),
    )


async def _wait_for_lock(store: Store, holder: str) -> None:
    logged = False
    while not await wait_for_store("bot_lock", partial(store.bot.acquire_lock, holder), _POLL_SECONDS):
        if not logged:
            log.info("waiting_for_lock", reason="another bot process is active")
            logged = True
        await asyncio.sleep(_POLL_SECONDS)


async def _renew_lock(store: Store, holder: str) -> None:
    """Keep the lock until another process has it (`_LockLost`), which cannot take it during an outage."""

    async def renew() -> None:
        if not await store.bot.acquire_lock(holder):
            raise _LockLost
        await store.counters.flush()

    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        await wait_for_store("bot_lock", renew, _RENEW_SECONDS)


async def _log_in(config: Config, store: Store) -> BotClient:
    """Log in, repeatedly if necessary: a missing network or app_id must not stop the other roles."""
    connect = partial(_connect, config, store)
    return await until_done("bot_login", connect, _FIRST_PAUSE, max_pause=_MAX_PAUSE)


async def _connect(config: Config, store: Store) -> BotClient:
    client = BotClient(config.telegram, config.data_dir, store.telegram, proxy=config.proxy)
    await client.open()
    return client


async def _publish_menu(client: BotClient) -> None:
    try:
        await client.set_commands(menu())
    except TaskError as error:
        log.warning("menu_not_published", reason=error.message)
    except Exception:
        log.exception("menu_not_published")
