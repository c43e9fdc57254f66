"""The Telegram accounts of one process: opens them, keeps them usable and tries them in order.

The bot comes first, then the users. An account that cannot be used does not raise an error; its problem is
recorded, with what to do about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from saveany.errors import NeedsLogin, Retryable, TaskError
from saveany.logs import get_logger
from saveany.loops import Signal, repeat
from saveany.store.telegram import TelegramStore
from saveany.telegram import login as logins
from saveany.telegram.account import Account, AccountOpener
from saveany.telegram.client import MtprotoClient
from saveany.telegram.errors import AccountRefused, translated
from saveany.telegram.messages import MessageNotFound, MessageReader
from saveany.telegram.refusals import MEMBER_ADVICE, combined_error, no_allowed_account
from saveany.telegram.session import SessionFolder
from saveany.telegram.settings import TelegramTable, read

T = TypeVar("T")

#: Seconds between renewals of leases and retries of accounts that failed for a passing reason.
_MAINTENANCE_SECONDS = 20.0
#: Seconds between checks for logins that were added to, or removed from, the sessions folder.
_FOLDER_POLL_SECONDS = 2.0

_log = get_logger(__name__)


class AccountSet:
    """All accounts, in the order in which they are tried: the bot, configured users, other stored logins."""

    def __init__(
        self,
        table: TelegramTable,
        folder: SessionFolder,
        store: TelegramStore | None,
        proxy: str,
        on_close: Callable[[str], Awaitable[None]],
        changed: Signal,
    ) -> None:
        """`on_close` is called with the name of an account before its connection is closed. `changed` is sent
        when it may have changed which accounts can be used."""
        self._table = table
        self._folder = folder
        self._store = store
        self._proxy = proxy
        self._on_close = on_close
        self._changed = changed
        self._accounts: dict[str, Account] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._started = asyncio.Event()

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def __bool__(self) -> bool:
        return bool(self._accounts)

    async def start(self) -> None:
        """Log in with all stored logins; from then on, logins that are added to or removed from the sessions
        folder take effect within seconds. Never prompts.

        Raises `ConfigError` for an invalid setting; the problem of an account that cannot log in is recorded.
        """
        self._accounts = {each.name: each for each in self._configured()}
        try:
            settings = read(self._table, self._proxy)
        except NeedsLogin as error:
            for account in self:
                account.problem = error
            self._started.set()
            return
        opener = AccountOpener(settings, self._folder, self._store, retry_seconds=_MAINTENANCE_SECONDS)
        await asyncio.gather(*(opener.open(each) for each in self))
        self._started.set()
        self._loops = [
            asyncio.create_task(_every(_MAINTENANCE_SECONDS, partial(self._maintain, opener))),
            asyncio.create_task(_every(_FOLDER_POLL_SECONDS, partial(self._apply_folder, opener))),
        ]

    async def started(self) -> None:
        """Wait until `start` has finished."""
        await self._started.wait()

    async def stop(self) -> None:
        """Stop maintaining the accounts; they stay open."""
        for each in self._loops:
            each.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def close(self) -> None:
        """Disconnect all accounts. The logins stay valid."""
        await asyncio.gather(*(each.client.close() for each in self if each.client))

    def get(self, name: str) -> Account | None:
        """The account of that name; None if there is none."""
        return self._accounts.get(name)

    def client(self, name: str) -> MtprotoClient:
        """The control connection of an account. Raises `Retryable` if the account is not ready."""
        account = self._accounts.get(name)
        if account is None or account.client is None or account.problem:
            raise Retryable("Telegram account {account} is not ready", account=name)
        return account.client

    async def first(
        self,
        query: Callable[[MessageReader], Awaitable[T]],
        prefer: str = "",
        without: Collection[str] = (),
        advice: str = MEMBER_ADVICE,
        only: Collection[str] = (),
    ) -> T:
        """The result of `query` for the first account with which it succeeds. `prefer` is tried first,
        accounts in `without` not at all; if `only` is not empty, no others than these. Raises one error that
        states the reasons of all."""
        candidates = [each for each in self if each.name not in without and (not only or each.name in only)]
        if only and not candidates:
            raise NeedsLogin(no_allowed_account(only))
        refusals: dict[str, TaskError] = {each.name: each.problem for each in candidates if each.problem}
        for account in sorted(candidates, key=lambda each: each.name != prefer):
            if account.reader is None or not account.ready:
                continue
            try:
                with translated(account.name, is_bot=account.is_bot):
                    return await query(account.reader)
            except NeedsLogin as error:
                refusals[account.name] = await self._on_login_lost(account.name, error)
            except (AccountRefused, MessageNotFound, Retryable) as error:
                refusals[account.name] = error
        raise combined_error(refusals, advice)

    @asynccontextmanager
    async def login_checked(self, name: str) -> AsyncIterator[None]:
        """Stop using the account if `NeedsLogin` is raised inside. It becomes `Retryable` if another account
        is ready or the bot can log in again."""
        try:
            yield
        except NeedsLogin as error:
            problem = await self._on_login_lost(name, error)
            if any(each.ready for each in self) or problem.retryable:
                raise Retryable(error.text) from error
            raise

    async def _on_login_lost(self, name: str, error: NeedsLogin) -> TaskError:
        """Stop using an account whose login is dead. The next maintenance logs the bot in again."""
        account = self._accounts.get(name)
        if account is None:  # it was logged out
            return error
        if account.problem:  # another request has found this out already
            return account.problem
        _log.warning("account_login_lost", account=name, reason=error.message)
        problem = Retryable(error.text, after=_MAINTENANCE_SECONDS) if account.is_bot else error
        await self._disable(account, problem)
        return problem

    async def _disable(self, account: Account, problem: TaskError) -> None:
        account.problem = problem
        self._changed.send()
        await self._on_close(account.name)
        if account.client is not None:
            await account.client.close()

    # Logging in.

    def _configured(self) -> list[Account]:
        token = self._table.token.get_secret_value()
        sessions = {each.name: each.session.get_secret_value() for each in self._table.user_accounts}
        stored = [name for name in self._folder.names() if name not in (*logins.BOTS, *sessions)]
        users = [Account(name, text) for name, text in sessions.items()] + [Account(name) for name in stored]
        return [Account(logins.BOT, token), *users] if token else users

    # Maintenance.

    async def _maintain(self, opener: AccountOpener) -> None:
        await asyncio.gather(*(self._maintain_one(each, opener) for each in self))

    async def _maintain_one(self, account: Account, opener: AccountOpener) -> None:
        async with account.lock:
            if isinstance(account.problem, Retryable):
                await self._open(account, opener)
            elif account.client and account.ready and not account.is_bot:
                await self._renew_lease(account, account.client, opener)

    async def _apply_folder(self, opener: AccountOpener) -> None:
        """Open logins that were added to the sessions folder or to the configuration, or replaced, and close
        those that were removed."""
        before, now = self._accounts, {each.name: each for each in self._configured()}
        kept = {name for name in before.keys() & now if before[name].credential == now[name].credential}
        self._accounts = {name: before[name] if name in kept else each for name, each in now.items()}
        for name in before.keys() - kept:
            async with before[name].lock:
                problem = NeedsLogin("Telegram account {account} was logged out", account=name)
                await self._disable(before[name], problem)
            _log.info("account_logged_out", account=name)
        changed = [each for each in self if each.name not in kept or opener.has_new_login(each)]
        await asyncio.gather(*(self._reopen(each, opener) for each in changed))

    async def _reopen(self, account: Account, opener: AccountOpener) -> None:
        async with account.lock:
            problem = Retryable("Telegram account {account} is logging in", account=account.name)
            await self._disable(account, problem)
            await self._open(account, opener)

    async def _open(self, account: Account, opener: AccountOpener) -> None:
        await opener.open(account)
        self._changed.send()

    async def _renew_lease(self, account: Account, client: MtprotoClient, opener: AccountOpener) -> None:
        """Renew a user's lease; stop using the account if another machine has taken it."""
        try:
            await opener.renew_lease(account, client)
        except Retryable as error:
            await self._disable(account, error)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    await repeat("account_maintenance", work, seconds)
