"""The Telegram accounts of one process: one bot, any number of users. What needs Telegram asks here.

Which account answers is decided here and nowhere else: the bot first, then the users, until one can. An
account that cannot be used is never an error of its own; it is in `problems`, with what to do about it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from telethon import utils
from telethon.tl import types

from saveany.advice import command
from saveany.errors import NeedsLogin, Offline, Permanent, Retryable, SaveAnyError, TaskError
from saveany.logs import get_logger
from saveany.telegram import history
from saveany.telegram import login as logins
from saveany.telegram.client import Client
from saveany.telegram.errors import AccountRefused, login_command, translated
from saveany.telegram.file import OnWait
from saveany.telegram.links import MessageLink
from saveany.telegram.media import Media
from saveany.telegram.messages import NotThere, Reader, Withheld
from saveany.telegram.parallel import Downloader, Range, Write
from saveany.telegram.pool import ConnectionPool, PoolLimits
from saveany.telegram.session import PREFIX, REDIS_AWAY, Login, SessionFolder
from saveany.telegram.settings import ClientSettings, TelegramTable, read

T = TypeVar("T")

#: How often leases are renewed and accounts that failed for a passing reason are tried again.
_TEND_SECONDS = 20.0
#: How often it is looked whether logins were kept in, or dropped from, the sessions folder.
_LOOK_SECONDS = 2.0
#: A user login belongs to the machine that renewed this last.
_LEASE_SECONDS = 90

_ADVICE = "Add the bot to the chat, or log in a user who is a member: "
_USER_ADVICE = "Log in a user who is a member of the chat: /login in the bot, or "
_LOGIN = "login --phone"

_NUMBER = re.compile(r"-?\d+", re.ASCII)

_log = get_logger(__name__)


@dataclass
class _Account:
    name: str
    text: str = field(default="", repr=False)  # session string or bot token, when the configuration has it
    client: Client | None = None
    reader: Reader | None = None
    problem: TaskError | None = None
    version: int = 0  # of the login in the folder that it was opened with
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while it is opened or dropped

    @property
    def is_bot(self) -> bool:
        return self.name == logins.BOT

    @property
    def ready(self) -> bool:
        return self.client is not None and self.problem is None


class Accounts:
    """All accounts. Start it once per process, close it at the end."""

    def __init__(
        self,
        table: TelegramTable,
        data_dir: Path,
        redis: Redis | None = None,
        *,
        proxy: str = "",
        limits: PoolLimits | None = None,
    ) -> None:
        self._table = table
        self._proxy = proxy
        self._folder = SessionFolder(data_dir)
        self._redis = redis
        self._accounts: dict[str, _Account] = {}
        self._downloader = Downloader(
            self._client, self._folder, self._read_again, self._elsewhere, limits, redis
        )
        self._tending: list[asyncio.Task[None]] = []
        self._started = asyncio.Event()

    async def start(self) -> None:
        """Log in with what is there, never asking anything; and from then on with what comes: logins that are
        kept in data_dir/sessions later are used within seconds, dropped ones no longer.

        Raises `ConfigError` for a setting that cannot work; an account that cannot log in is in `problems`.
        """
        self._accounts = {each.name: each for each in self._configured()}
        try:
            settings = read(self._table, self._proxy)
        except NeedsLogin as error:
            for account in self._accounts.values():
                account.problem = error
            self._started.set()
            return
        await asyncio.gather(*(self._open(each, settings) for each in self._accounts.values()))
        self._started.set()
        self._tending = [
            asyncio.create_task(_every(_TEND_SECONDS, partial(self._tend, settings))),
            asyncio.create_task(_every(_LOOK_SECONDS, partial(self._follow, settings))),
        ]

    async def close(self) -> None:
        """Hang up everywhere. Logins stay valid."""
        for each in self._tending:
            each.cancel()
        await asyncio.gather(*self._tending, return_exceptions=True)
        await self._downloader.close()
        await asyncio.gather(*(each.client.close() for each in self._accounts.values() if each.client))

    @property
    def ready(self) -> list[str]:
        """Names of the accounts that can be used now, the bot first."""
        return [each.name for each in self._accounts.values() if each.ready]

    @property
    def problems(self) -> dict[str, str]:
        """Why the other accounts cannot be used, and what to do."""
        if not self._accounts:
            return {"telegram": _nobody()}
        return {each.name: each.problem.message for each in self._accounts.values() if each.problem}

    def display_name(self, name: str) -> str:
        """The display name of an account that is ready."""
        return utils.get_display_name(self._client(name).user) or name

    async def resolve(
        self, link: MessageLink, only: Sequence[str] = (), *, username: str = ""
    ) -> list[Media]:
        """The files a link means, an album's in order. `only` names the accounts that may read it, now and
        later, if not every one may. `username` is one that the chat of the link had: a second way to it for
        accounts that do not know its id.

        Raises `Permanent` (no such message, nothing in it, no account may see it), `Retryable` (flood wait
        in `after`, network) or `NeedsLogin`; each says why and what to do.
        """
        try:
            found = await self._first(lambda reader: reader.resolve(link, username), only=only)
        except Withheld as withheld:
            if not withheld.rest:
                raise
            found = withheld.rest  # of a range, what any account may have
        return [replace(media, only=tuple(only)) for media in found] if only else found

    async def find(self, source: Mapping[str, Any]) -> Media:
        """The file of `Media.source`, read again by whichever account can. Raises as `resolve` does, and
        `Permanent` if the message is deleted or has another file now."""
        return await self._find(source)

    async def download(
        self, media: Media, write: Write, *, have: Sequence[Range] = (), on_wait: OnWait | None = None
    ) -> None:
        """Hand the bytes of a file to `write(offset, data)`; see `Downloader.download`.

        A login that died is `Retryable` while another account is ready or the bot can log in again.
        """
        async with self._watched(media.account):
            await self._downloader.download(media, write, have=have, on_wait=on_wait)

    def limit_memory(self, most: int) -> None:
        """Of all that is downloaded, ask for so many bytes at a time from now on; 0 for as many as help."""
        self._downloader.most = most or sys.maxsize

    async def read(self, media: Media, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `offset` on, at most `length`, in order; see `Downloader.read`.

        Raises as `download` does. A consumer that stops early closes the iterator (`contextlib.aclosing`).
        """
        async with (
            self._watched(media.account),
            aclosing(self._downloader.read(media, offset, length)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    # For those who send.

    def sender(self, name: str = "", *, user: bool = False) -> str:
        """The account of that name; without a name the first that is configured, or the first user.

        Which one it is does not depend on who is ready: what one has sent another would send a second time.
        Raises `Retryable`, `NeedsLogin` or `Permanent` if it cannot be used.
        """
        if not self._accounts:
            raise NeedsLogin(_nobody())
        for account in self._accounts.values():
            if account.name == name if name else not (user and account.is_bot):
                if account.problem:
                    raise _verdict({account.name: account.problem})
                return account.name
        if name:
            raise Permanent(f"there is no Telegram account {name!r}; there are: {', '.join(self._accounts)}")
        raise NeedsLogin(f"a bot has no Saved Messages. Log in a user: {command(_LOGIN)}")

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[Client]:
        """The connection of an account. Inside, errors may be Telethon's; a login that dies is noted."""
        client = self._client(name)
        async with self._watched(name):
            with translated(name, is_bot=client.is_bot):
                yield client

    def client(self, name: str) -> Client:
        """The connection of an account; raises `Retryable` if it is not ready."""
        return self._client(name)

    def pool(self, name: str) -> ConnectionPool:
        """Connections of an account to its own data centre that carry parts of files."""
        return self._downloader.pool(name, self._client(name).home)

    async def peer(self, name: str, chat: str) -> Any:
        """How an account names a chat: `me`, @name, -100… of a channel or group, -… of a small group, or the
        id of a person. Raises as `resolve` does."""
        client = self._client(name)
        if chat == "me":
            if client.is_bot:
                raise Permanent("a bot has no Saved Messages; give the id of a chat")
            return types.InputPeerSelf()
        number, sort = utils.resolve_id(int(chat)) if _NUMBER.fullmatch(chat) else (0, None)
        if sort is types.PeerChat:
            return types.InputPeerChat(number)
        if sort is types.PeerUser:
            return types.InputPeerUser(number, await client.session.access_hash(number) or 0)
        reader = self._accounts[name].reader or Reader(client)
        with translated(name, is_bot=client.is_bot):
            found = await reader.chat(chat)
        return types.InputPeerChannel(found.channel_id, found.access_hash)

    # For those who watch chats.

    async def chat_state(self, chat: str, only: Collection[str] = ()) -> history.ChatState:
        """A chat by @name or -100…, as the first user account that may read it sees it; `only` as in
        `resolve`, which raises the same."""
        return await self._users(lambda reader: history.chat_state(reader, chat), only=only)

    async def newest_ids(self, name: str, chats: Mapping[int, str]) -> dict[int, int]:
        """Id of the newest message of each chat that the account can see; of none if it is not ready.
        `chats`: marked id -> username. Raises `Retryable`."""
        account = self._accounts.get(name)
        if account is None or account.reader is None or not account.ready:
            return {}
        async with self._watched(name):
            with translated(name):
                return await history.newest_ids(account.reader, chats)

    async def messages_after(
        self, chat: int, seen: int, *, username: str = "", prefer: str = "", only: Collection[str] = ()
    ) -> history.MessagePage:
        """What follows a message in a chat, as the user account `prefer` sees it, or else another one; `only`
        as in `resolve`, which raises the same."""
        return await self._users(
            lambda reader: history.messages_after(reader, chat, seen, username), prefer, only
        )

    async def _users(
        self, ask: Callable[[Reader], Awaitable[T]], prefer: str = "", only: Collection[str] = ()
    ) -> T:
        await self._started.wait()
        if all(each.is_bot for each in self._accounts.values()):
            raise NeedsLogin(f"A bot cannot watch chats. {_USER_ADVICE}{command(_LOGIN)}")
        return await self._first(ask, prefer, without=[logins.BOT], advice=_USER_ADVICE, only=only)

    @asynccontextmanager
    async def _watched(self, account: str) -> AsyncIterator[None]:
        try:
            yield
        except NeedsLogin as error:
            problem = await self._lost(account, error)
            if self.ready or isinstance(problem, Retryable):
                raise Retryable(error.message) from error
            raise

    # Asking one after the other.

    async def _first(
        self,
        ask: Callable[[Reader], Awaitable[T]],
        prefer: str = "",
        without: Collection[str] = (),
        advice: str = _ADVICE,
        only: Collection[str] = (),
    ) -> T:
        """The answer of the first account that has one, of those in `only` if there are some."""
        asked = [
            each
            for each in self._accounts.values()
            if each.name not in without and (not only or each.name in only)
        ]
        if only and not asked:
            raise NeedsLogin(_nobody_of(only))
        refusals: dict[str, TaskError] = {each.name: each.problem for each in asked if each.problem}
        for account in sorted(asked, key=lambda each: each.name != prefer):
            if account.reader is None or not account.ready:
                continue
            try:
                with translated(account.name, is_bot=account.is_bot):
                    return await ask(account.reader)
            except NeedsLogin as error:
                refusals[account.name] = await self._lost(account.name, error)
            except (AccountRefused, NotThere, Retryable) as error:
                refusals[account.name] = error
        raise _verdict(refusals, advice)

    async def _read_again(self, media: Media) -> Media:
        return await self._find(media.source(), prefer=media.account)

    async def _elsewhere(self, media: Media, without: Collection[str]) -> Media | None:
        """File references and access hashes belong to an account: the other one reads the message itself."""
        try:
            return await self._find(media.source(), without=without)
        except TaskError:
            return None

    async def _find(
        self, source: Mapping[str, Any], prefer: str = "", without: Collection[str] = ()
    ) -> Media:
        only = tuple(source.get("only", ()))
        found = await self._first(lambda reader: reader.find(source), prefer, without, only=only)
        return replace(found, only=only) if only else found

    def _client(self, name: str) -> Client:
        account = self._accounts.get(name)
        if account is None or account.client is None or account.problem:
            raise Retryable(f"Telegram account {name} is not ready")
        return account.client

    async def _lost(self, name: str, error: NeedsLogin) -> TaskError:
        """An account's login is dead: stop using it. A bot logs in again by itself, at the next tending."""
        account = self._accounts.get(name)
        if account is None:  # it was logged out
            return error
        _log.warning("telegram account lost its login", account=name, reason=error.message)
        problem = Retryable(error.message, after=_TEND_SECONDS) if account.is_bot else error
        await self._put_aside(account, problem)
        return problem

    async def _put_aside(self, account: _Account, problem: TaskError) -> None:
        account.problem = problem
        await self._downloader.forget(account.name)
        if account.client is not None:
            await account.client.close()

    # Logging in.

    def _configured(self) -> list[_Account]:
        token = self._table.token.get_secret_value()
        named = {each.name: each.session.get_secret_value() for each in self._table.user_accounts}
        kept = [name for name in self._folder.names() if name not in (*logins.BOTS, *named)]
        users = [_Account(name, text) for name, text in named.items()] + [_Account(name) for name in kept]
        return [_Account(logins.BOT, token), *users] if token else users

    async def _open(self, account: _Account, settings: ClientSettings) -> None:
        """Make the account usable, or note why it is not."""
        before = account.problem.message if account.problem else ""
        try:
            with translated(account.name, is_bot=account.is_bot):
                await (self._open_bot if account.is_bot else self._open_user)(account, settings)
            account.problem = None
            _log.info("telegram account ready", account=account.name)
        except TaskError as error:
            account.problem = error
        except SaveAnyError as error:
            account.problem = Permanent(f"Telegram account {account.name}: {error.message}")
        except Exception as error:  # a bug, or an error of a library that nobody knows: the others go on
            _log.exception("a telegram account failed unexpectedly", account=account.name)
            what = f"internal error ({type(error).__name__}); the log tells more"
            account.problem = Retryable(f"Telegram account {account.name}: {what}", after=_TEND_SECONDS)
        if account.problem and account.problem.message != before:
            _log.warning("telegram account not ready", account=account.name, reason=account.problem.message)

    async def _open_user(self, account: _Account, settings: ClientSettings) -> None:
        account.version = self._kept(account)  # taken first: what comes meanwhile counts as new
        login = Login.from_string(account.text) if account.text else self._folder.load(account.name)
        if login is None:
            raise NeedsLogin(f"the login is damaged. Log in again: {login_command(account.name, False)}")
        await self._claim(account.name, login)
        await self._connect(account, settings, login)

    async def _open_bot(self, account: _Account, settings: ClientSettings) -> None:
        await logins.open_bot(settings, self._folder, account.text, partial(self._connect, account, settings))

    async def _connect(self, account: _Account, settings: ClientSettings, login: Login) -> None:
        client = Client(account.name, settings, login, self._redis)
        try:
            await client.open()
        except BaseException:
            await client.close()
            raise
        account.client, account.reader = client, Reader(client)

    # Over time.

    async def _tend(self, settings: ClientSettings) -> None:
        await asyncio.gather(*(self._look_after(each, settings) for each in self._accounts.values()))

    async def _look_after(self, account: _Account, settings: ClientSettings) -> None:
        async with account.changing:
            if isinstance(account.problem, Retryable):
                await self._open(account, settings)
            elif account.client and account.ready and not account.is_bot:
                await self._keep(account, account.client)

    async def _follow(self, settings: ClientSettings) -> None:
        """Use the logins that are kept in the folder now."""
        before = self._accounts
        self._accounts = {each.name: before.get(each.name, each) for each in self._configured()}
        for name in before.keys() - self._accounts.keys():
            async with before[name].changing:
                await self._put_aside(before[name], NeedsLogin(f"Telegram account {name} was logged out"))
            _log.info("telegram account logged out", account=name)
        changed = [each for each in self._accounts.values() if each.version != self._kept(each)]
        await asyncio.gather(*(self._reopen(each, settings) for each in changed))

    def _kept(self, account: _Account) -> int:
        return 0 if account.text else self._folder.version(account.name)

    async def _reopen(self, account: _Account, settings: ClientSettings) -> None:
        async with account.changing:
            await self._put_aside(account, Retryable(f"Telegram account {account.name} is logging in"))
            await self._open(account, settings)

    async def _keep(self, account: _Account, client: Client) -> None:
        """Renew a user's lease; stop using the account if another machine took it meanwhile."""
        try:
            await self._claim(account.name, client.session.login(0, ""))
        except Retryable as error:
            await self._put_aside(account, error)

    async def _claim(self, name: str, login: Login) -> None:
        """A login used from two addresses at once is ended by Telegram, so a machine claims it first."""
        if self._redis is None:
            return
        key, machine = f"{PREFIX}machine:{login.fingerprint}", self._folder.machine()
        with suppress(*REDIS_AWAY):
            await self._redis.set(key, machine, nx=True, ex=_LEASE_SECONDS)
            holder = await self._redis.get(key)
            if holder is not None and _text(holder) != machine:
                raise Retryable(
                    f"Telegram account {name} is in use on another machine, and a login must stay on one: "
                    f"stop SaveAny there, or give this machine its own login: {login_command(name, False)}",
                    after=_LEASE_SECONDS,
                )
            await self._redis.expire(key, _LEASE_SECONDS)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            _log.exception("telegram accounts could not be looked after")


def _verdict(refusals: Mapping[str, TaskError], advice: str = _ADVICE) -> TaskError:
    """The one error for what every account refused."""
    if not refusals:
        return NeedsLogin(_nobody())
    passing = [each for each in refusals.values() if isinstance(each, Retryable)]
    missing = [each for each in refusals.values() if isinstance(each, NotThere)]
    if missing and not passing:
        best = max(missing, key=_seen)
        if _seen(best) or len(missing) == len(refusals):
            return best
    if len(passing) == len(refusals) == 1:
        return next(iter(refusals.values()))
    reasons = "; ".join(
        f"{name}: {error.message.removeprefix(f'Telegram account {name}: ').rstrip('.')}"
        for name, error in refusals.items()
    )
    if passing:
        way = Offline if all(isinstance(each, Offline) for each in passing) else Retryable
        after = min(each.after for each in passing)
        return way(f"No Telegram account can read this now. {reasons}", after=after)
    if all(isinstance(each, NeedsLogin) for each in refusals.values()):
        return NeedsLogin(f"No Telegram account is ready. {reasons}")
    return Permanent(f"No Telegram account can read this. {reasons}. {advice}{command(_LOGIN)}")


def _seen(missing: NotThere) -> int:
    """How many files of a range an account sees that does not see all."""
    return len(missing.rest) if isinstance(missing, Withheld) else 0


def _nobody_of(only: Collection[str]) -> str:
    return (
        f"This user's links are read through {', '.join(only)} only (accounts in [[users]]), and no such "
        "Telegram account can read this"
    )


def _nobody() -> str:
    login = command("login")
    return f"There is no Telegram account: set telegram.token, or log in with {login} --bot | --phone"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
