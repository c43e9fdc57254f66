"""The bot's process: one of them is the bot at a time, the others wait for it to go."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack, suppress
from functools import partial
from uuid import uuid4

from saveany.bot.commands import menu
from saveany.bot.commands.login import after_restart
from saveany.bot.context import BotServices
from saveany.bot.conversation import Conversations
from saveany.bot.dispatch import Dispatcher
from saveany.bot.inbox import Inbox
from saveany.bot.progress import ProgressUpdater
from saveany.bot.watch_notifier import WatchNotifier
from saveany.config import Config
from saveany.errors import ConfigError, Retryable, TaskError
from saveany.logs import get_logger
from saveany.service import TaskService
from saveany.store import Store, open_store
from saveany.store.bot import LOCK_MS
from saveany.store.db import TROUBLE
from saveany.store.loops import until_done
from saveany.supervisor import worked
from saveany.telegram.accounts import Accounts
from saveany.telegram.bot_client import BotClient
from saveany.watching import ChatWatcher

_RENEW_SECONDS = LOCK_MS / 1000 / 3
_LOOK_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_ACCOUNTS_SECONDS = 10.0

log = get_logger("saveany.bot")


class _Lost(Exception):
    """Another process is the bot now."""


async def serve(config: Config, url: str) -> None:
    """Be the bot until SIGTERM or SIGINT. Raises `ConfigError` if there is no token."""
    if not config.telegram.token.get_secret_value():
        raise ConfigError("telegram.token is not set: take it from @BotFather, and write it into config.toml")
    serving = asyncio.create_task(_serve(config, url))
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        log.info("the bot stops")


async def _serve(config: Config, url: str) -> None:
    async with AsyncExitStack() as stack:
        store = await open_store(url)
        stack.push_async_callback(store.db.close)
        while True:
            await until_done("bot", partial(_one_term, config, store), _LOOK_SECONDS)


async def _one_term(config: Config, store: Store) -> None:
    try:
        await _be_the_bot(config, store)
    except* _Lost:
        log.warning("another process is the bot now")


async def _be_the_bot(config: Config, store: Store) -> None:
    """Once nobody else is it. Ends with `_Lost` only."""
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
    await _wait_for(store, holder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_let_go, store, holder)
        async with asyncio.TaskGroup() as group:
            group.create_task(_hold(store, holder))
            group.create_task(_run(config, store, stack))


async def _let_go(store: Store, holder: str) -> None:
    with suppress(*TROUBLE):  # then the lock ends by itself
        await store.bot.let_go(holder)


async def _run(config: Config, store: Store, stack: AsyncExitStack) -> None:
    accounts = Accounts(config.telegram, config.data_dir, store.telegram, proxy=config.proxy)
    stack.push_async_callback(accounts.close)
    talk = await _opened(config, store)
    stack.push_async_callback(talk.close)
    await store.bot.belong_to(talk.me.id)
    services = _services(config, store, accounts, talk)
    dispatcher = Dispatcher(services)
    inbox = Inbox(store.bot, talk, dispatcher.collects, services.conversations.awaits, dispatcher.handle)
    stack.push_async_callback(inbox.close)
    stack.push_async_callback(services.conversations.close)
    await after_restart(services)
    watcher = ChatWatcher(accounts, store, services.tasks, config)
    worked()
    log.info("the bot listens", name=talk.me.username)
    async with asyncio.TaskGroup() as group:
        group.create_task(until_done("accounts", accounts.start, _ACCOUNTS_SECONDS))
        group.create_task(_publish_menu(talk))
        group.create_task(services.live.run())
        group.create_task(inbox.run())
        group.create_task(watcher.run())
        group.create_task(WatchNotifier(store, talk, config.lang).run())


def _services(config: Config, store: Store, accounts: Accounts, talk: BotClient) -> BotServices:
    tasks = TaskService(config, store)
    return BotServices(config, store, tasks, accounts, talk, ProgressUpdater(store, talk), Conversations())


async def _wait_for(store: Store, holder: str) -> None:
    told = False
    while True:
        try:
            if await store.bot.hold(holder):
                return
            if not told:
                log.info("another process is the bot; waiting")
                told = True
        except TROUBLE as error:
            log.warning("redis is away or full", error=str(error))
        await asyncio.sleep(_LOOK_SECONDS)


async def _hold(store: Store, holder: str) -> None:
    """Keep the lock. While Redis is away nobody can take it, and nothing can be done either."""
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        try:
            if not await store.bot.hold(holder):
                raise _Lost
            await store.counters.flush()
        except TROUBLE as error:
            log.warning("redis is away or full", error=str(error))


async def _opened(config: Config, store: Store) -> BotClient:
    """Log in, as often as it takes: what is missing, a network or an app_id, must not stop the rest."""
    pause = _FIRST_PAUSE
    while True:
        try:
            talk = BotClient(config.telegram, config.data_dir, store.telegram, proxy=config.proxy)
            await talk.open()
            return talk
        except TaskError as error:
            wait = max(pause, error.after if isinstance(error, Retryable) else 0.0)
            log.warning("the bot cannot log in", reason=error.message, again_in=wait)
        except ConfigError:
            raise
        except Exception:
            wait = pause
            log.exception("the bot failed unexpectedly when it logged in", again_in=wait)
        await asyncio.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _publish_menu(talk: BotClient) -> None:
    try:
        await talk.set_commands(menu())
    except TaskError as error:
        log.warning("the list of commands could not be published", reason=error.message)
    except Exception:
        log.exception("the list of commands could not be published")
