"""The Telegram accounts of one process: opens them, keeps them usable and tries them in order.

The bot comes first, then the users. An account that cannot be used does not raise an error; its problem is
recorded, with what to do about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from saveany.errors import NeedsLogin, Permanent, Retryable, SaveAnyError, StoreUnavailable, TaskError
from saveany.logs import get_logger
from saveany.loops import repeat
from saveany.store.telegram import TelegramStore
from saveany.telegram import login as logins
from saveany.telegram.client import Client
from saveany.telegram.errors import AccountRefused, login_command, of_account, translated
from saveany.telegram.messages import MessageReader, NotThere
from saveany.telegram.refusals import MEMBER_ADVICE, combined_error, no_allowed_account
from saveany.telegram.session import Login, SessionFolder
from saveany.telegram.settings import ClientSettings, TelegramTable, read
from saveany.texts import Text

T = TypeVar("T")

#: Seconds between renewals of leases and retries of accounts that failed for a passing reason.
_MAINTENANCE_SECONDS = 20.0
#: Seconds between checks for logins that were added to, or removed from, the sessions folder.
_FOLDER_POLL_SECONDS = 2.0
#: Seconds after which another machine may use a user login that this machine has not renewed.
_LEASE_SECONDS = 90

_log = get_logger(__name__)


@dataclass
class Account:
    """An account, its connection if it is open, and its problem if it cannot be used."""

    name: str
    credential: str = field(default="", repr=False)  # session string or bot token from the configuration
    client: Client | None = None
    reader: MessageReader | None = None
    problem: TaskError | None = None
    version: int = 0  # of the login in the sessions folder that it was opened with
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while it is opened or closed

    @property
    def is_bot(self) -> bool:
        """Whether it is the bot."""
        return self.name == logins.BOT

    @property
    def ready(self) -> bool:
        """Whether it can be used now."""
        return self.client is not None and self.problem is None


class AccountSet:
    """All accounts, in the order in which they are tried: the bot, configured users, other stored logins."""

    def __init__(
        self,
        table: TelegramTable,
        folder: SessionFolder,
        store: TelegramStore | None,
        proxy: str,
        on_close: Callable[[str], Awaitable[None]],
    ) -> None:
        """`on_close` is called with the name of an account before its connection is closed."""
        self._table = table
        self._folder = folder
        self._store = store
        self._proxy = proxy
        self._on_close = on_close
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
        await asyncio.gather(*(self._open(each, settings) for each in self))
        self._started.set()
        self._loops = [
            asyncio.create_task(_every(_MAINTENANCE_SECONDS, partial(self._maintain, settings))),
            asyncio.create_task(_every(_FOLDER_POLL_SECONDS, partial(self._apply_folder, settings))),
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

    def client(self, name: str) -> Client:
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
            except (AccountRefused, NotThere, Retryable) as error:
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
        _log.warning("account_login_lost", account=name, reason=error.message)
        problem = Retryable(error.text, after=_MAINTENANCE_SECONDS) if account.is_bot else error
        await self._disable(account, problem)
        return problem

    async def _disable(self, account: Account, problem: TaskError) -> None:
        account.problem = problem
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

    async def _open(self, account: Account, settings: ClientSettings) -> None:
        """Connect the account, or record why it cannot be used."""
        before = account.problem.message if account.problem else ""
        try:
            with translated(account.name, is_bot=account.is_bot):
                await (self._open_bot if account.is_bot else self._open_user)(account, settings)
            account.problem = None
            _log.info("account_ready", account=account.name)
        except TaskError as error:
            account.problem = error
        except SaveAnyError as error:
            account.problem = Permanent(of_account(account.name, error.text))
        except Exception as error:  # a bug, or an unknown error of a library: the other accounts must work
            _log.exception("account_open_failed", account=account.name)
            reason = Text("internal error ({error}); see the log", {"error": type(error).__name__})
            account.problem = Retryable(of_account(account.name, reason), after=_MAINTENANCE_SECONDS)
        if account.problem and account.problem.message != before:
            _log.warning("account_not_ready", account=account.name, reason=account.problem.message)

    async def _open_user(self, account: Account, settings: ClientSettings) -> None:
        account.version = self._stored_version(account)  # read first: a login stored meanwhile counts as new
        stored = account.credential
        login = Login.from_string(stored) if stored else self._folder.load(account.name)
        if login is None:
            command = login_command(account.name, False)
            raise NeedsLogin("The login is damaged. Log in again: {command}", command=command)
        await self._claim(account.name, login)
        await self._connect(account, settings, login)

    async def _open_bot(self, account: Account, settings: ClientSettings) -> None:
        connect = partial(self._connect, account, settings)
        await logins.open_bot(settings, self._folder, account.credential, connect)

    async def _connect(self, account: Account, settings: ClientSettings, login: Login) -> None:
        client = Client(account.name, settings, login, self._store)
        try:
            await client.open()
        except BaseException:
            await client.close()
            raise
        account.client, account.reader = client, MessageReader(client)

    # Maintenance.

    async def _maintain(self, settings: ClientSettings) -> None:
        await asyncio.gather(*(self._maintain_one(each, settings) for each in self))

    async def _maintain_one(self, account: Account, settings: ClientSettings) -> None:
        async with account.lock:
            if isinstance(account.problem, Retryable):
                await self._open(account, settings)
            elif account.client and account.ready and not account.is_bot:
                await self._renew_lease(account, account.client)

    async def _apply_folder(self, settings: ClientSettings) -> None:
        """Open logins that were added to the sessions folder or replaced, and close those that were
        removed."""
        before = self._accounts
        self._accounts = {each.name: before.get(each.name, each) for each in self._configured()}
        for name in before.keys() - self._accounts.keys():
            async with before[name].lock:
                problem = NeedsLogin("Telegram account {account} was logged out", account=name)
                await self._disable(before[name], problem)
            _log.info("account_logged_out", account=name)
        changed = [each for each in self if each.version != self._stored_version(each)]
        await asyncio.gather(*(self._reopen(each, settings) for each in changed))

    def _stored_version(self, account: Account) -> int:
        return 0 if account.credential else self._folder.version(account.name)

    async def _reopen(self, account: Account, settings: ClientSettings) -> None:
        async with account.lock:
            problem = Retryable("Telegram account {account} is logging in", account=account.name)
            await self._disable(account, problem)
            await self._open(account, settings)

    async def _renew_lease(self, account: Account, client: Client) -> None:
        """Renew a user's lease; stop using the account if another machine has taken it."""
        try:
            await self._claim(account.name, client.session.login(0, ""))
        except Retryable as error:
            await self._disable(account, error)

    async def _claim(self, name: str, login: Login) -> None:
        """Lease a login for this machine. Telegram ends a login that is used from two addresses at once."""
        if self._store is None:
            return
        claimed = True
        with suppress(StoreUnavailable):
            claimed = await self._store.claim_login(login.fingerprint, self._folder.machine(), _LEASE_SECONDS)
        if not claimed:
            raise Retryable(
                "Telegram account {account} is in use on another machine, and a login must stay on one: "
                "stop SaveAny there, or give this machine a separate login: {command}",
                after=_LEASE_SECONDS,
                account=name,
                command=login_command(name, False),
            )


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    await repeat("account_maintenance", work, seconds)
