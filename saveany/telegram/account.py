"""One Telegram account, and how it is connected with its stored login."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from saveany.errors import NeedsLogin, Permanent, Retryable, SaveAnyError, StoreUnavailable, TaskError
from saveany.logs import get_logger
from saveany.store.telegram import TelegramStore
from saveany.telegram import login as logins
from saveany.telegram.client import MtprotoClient
from saveany.telegram.errors import login_command, of_account, translated
from saveany.telegram.messages import MessageReader
from saveany.telegram.session import Login, SessionFolder
from saveany.telegram.settings import ClientSettings
from saveany.texts import Text

#: Seconds after which another machine may use a user login that this machine has not renewed.
_LEASE_SECONDS = 90

_log = get_logger(__name__)


@dataclass
class Account:
    """An account, its connection if it is open, and its problem if it cannot be used."""

    name: str
    credential: str = field(default="", repr=False)  # session string or bot token from the configuration
    client: MtprotoClient | None = None
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


class AccountOpener:
    """Connects accounts with their logins, and leases the logins of users for this machine.

    Telegram ends a login that is used from two addresses at once; a lease keeps other machines from using it.
    """

    def __init__(
        self,
        settings: ClientSettings,
        folder: SessionFolder,
        store: TelegramStore | None,
        *,
        retry_seconds: float,
    ) -> None:
        """`retry_seconds`: seconds after which an account that failed unexpectedly is opened again."""
        self._settings = settings
        self._folder = folder
        self._store = store
        self._retry_seconds = retry_seconds

    async def open(self, account: Account) -> None:
        """Connect the account, or record why it cannot be used."""
        before = account.problem.message if account.problem else ""
        try:
            with translated(account.name, is_bot=account.is_bot):
                await (self._open_bot if account.is_bot else self._open_user)(account)
            account.problem = None
            _log.info("account_ready", account=account.name)
        except TaskError as error:
            account.problem = error
        except SaveAnyError as error:
            account.problem = Permanent(of_account(account.name, error.text))
        except Exception as error:  # a bug, or an unknown error of a library: the other accounts must work
            _log.exception("account_open_failed", account=account.name)
            reason = Text("internal error ({error}); see the log", {"error": type(error).__name__})
            account.problem = Retryable(of_account(account.name, reason), after=self._retry_seconds)
        if account.problem and account.problem.message != before:
            _log.warning("account_not_ready", account=account.name, reason=account.problem.message)

    async def _open_user(self, account: Account) -> None:
        account.version = self._stored_version(account)  # read first: a login stored in between counts as new
        stored = account.credential
        login = Login.from_string(stored) if stored else self._folder.load(account.name)
        if login is None:
            command = login_command(account.name, False)
            raise NeedsLogin("The login is damaged. Log in again: {command}", command=command)
        await self._lease(account.name, login)
        await self._connect(account, login)

    async def _open_bot(self, account: Account) -> None:
        connect = partial(self._connect, account)
        await logins.open_bot(self._settings, self._folder, account.credential, connect)

    async def _connect(self, account: Account, login: Login) -> None:
        client = MtprotoClient(account.name, self._settings, login, self._store)
        try:
            await client.open()
        except BaseException:
            await client.close()
            raise
        account.client, account.reader = client, MessageReader(client)

    async def renew_lease(self, account: Account, client: MtprotoClient) -> None:
        """Renew the lease of a user's login. Raises `Retryable` if another machine has taken it."""
        await self._lease(account.name, client.session.login(0, ""))

    async def _lease(self, name: str, login: Login) -> None:
        """Lease a login for this machine; without Redis, as if no other machine used it."""
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

    def has_new_login(self, account: Account) -> bool:
        """Whether another login was stored for the account since it was opened."""
        return account.version != self._stored_version(account)

    def _stored_version(self, account: Account) -> int:
        return 0 if account.credential else self._folder.version(account.name)
