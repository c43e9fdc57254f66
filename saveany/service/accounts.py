"""Telegram accounts: which there are, and logins in which somebody answers questions one after the other.

Answers are secrets: they are neither stored nor logged. A login is kept in the memory of this process, and
given up when nobody answers for some minutes.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from saveany.config import Config
from saveany.errors import ConfigError, InvalidInput, NotFound, Permanent, SaveAnyError, TooMany, WrongState
from saveany.logs import get_logger
from saveany.service.principal import Principal
from saveany.store import Store
from saveany.texts import Text, loaded

if TYPE_CHECKING:
    from saveany.telegram.codes import CodeSent
    from saveany.telegram.login import Question

#: Seconds without an answer after which a login is given up, and for which its end can be read.
_ANSWER_SECONDS, _KEPT_SECONDS = 300.0, 600.0
#: Maximum number of logins at a time.
_MAX_LOGINS = 8

Method = Literal["qr", "phone", "session"]
State = Literal["working", "asks", "shows_qr", "done", "failed"]
QuestionName = Literal["phone", "code", "password"]

log = get_logger("saveany.accounts")


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """An account."""

    name: str
    is_bot: bool
    is_configured: bool  # in the configuration file; else its login is in data_dir
    owner: str  # display name; "" if it is not known here
    user_id: int  # of Telegram; 0 if it is not known here
    problem: Text | None  # why it cannot be used; None if it can


@dataclass(slots=True)
class LoginAttempt:
    """A login that runs, or has ended."""

    id: str
    name: str
    method: Method
    state: State = "working"
    question: QuestionName | None = None
    is_wrong: bool = False  # the last answer was, and the question is asked again
    sent: str = ""  # where Telegram has sent the code
    link: str = ""  # what the QR code contains
    png: str = field(default="", repr=False)  # the QR code as a picture, in base64
    expires_at: int = 0  # of the QR code, in ms since the epoch
    owner: str = ""  # display name of the account, when it is logged in
    user_id: int = 0
    problem: Text | None = None
    ended_at: float = 0.0  # monotonic
    answer: asyncio.Future[str] | None = field(default=None, repr=False)
    running: asyncio.Task[None] | None = field(default=None, repr=False)


class AccountService:
    """The accounts of this machine. Everything needs the operator (`Forbidden`)."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._logins: dict[str, LoginAttempt] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Permit logins until the block ends."""
        try:
            yield
        finally:
            tasks = [each.running for each in self._logins.values() if each.running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def all(self, principal: Principal) -> list[KnownAccount]:
        """All accounts: the bot first, then those of the configuration, then other logins."""
        from saveany.telegram.session import SessionFolder

        principal.require_operator()
        problems: dict[str, Text | None] = {}
        for worker in await self._store.workers.living():
            for name, problem in worker.accounts.items():
                if name not in problems or str(problem) < str(problems[name] or ""):
                    problems[name] = loaded(problem)
        table, folder = self._config.telegram, SessionFolder(self._config.data_dir)
        configured = [each.name for each in table.user_accounts]
        names = ["bot"] if table.token.get_secret_value() else []
        names += configured
        names += [each for each in folder.names() if each not in (*configured, "bot", "bot-updates")]
        unknown = Text("no running worker uses it")
        found = []
        for name in names:
            login = folder.load(name) if name not in configured else None
            found.append(
                KnownAccount(
                    name=name,
                    is_bot=name == "bot",
                    is_configured=name == "bot" or name in configured,
                    owner=login.display if login else "",
                    user_id=login.user_id if login else 0,
                    problem=problems.get(name, problems.get("telegram", unknown)),
                )
            )
        return found

    async def begin(self, principal: Principal, name: str, method: Method, session: str = "") -> LoginAttempt:
        """Begin to log an account in, in place of an earlier login of that name that still runs. Raises
        `WrongState` for a name that the configuration uses, and `TooMany`."""
        principal.require_operator()
        if name in ("bot", "bot-updates", *(each.name for each in self._config.telegram.user_accounts)):
            raise WrongState("the configuration has an account {name!r}; choose another name", name=name)
        self._forget_ended()
        for each in [one for one in self._logins.values() if one.name == name]:
            await self._cancel(each)
        if len(self._logins) >= _MAX_LOGINS:
            raise TooMany("too many accounts are being logged in; cancel one", _MAX_LOGINS)
        login = LoginAttempt(secrets.token_urlsafe(9), name, method)
        self._logins[login.id] = login
        login.running = asyncio.create_task(self._run(login, session))
        return login

    def get(self, principal: Principal, login_id: str) -> LoginAttempt:
        """A login. Raises `NotFound` for one that this process does not know."""
        principal.require_operator()
        self._forget_ended()
        if login_id not in self._logins:
            raise NotFound("there is no such login; begin again")
        return self._logins[login_id]

    def answer(self, principal: Principal, login_id: str, text: str) -> LoginAttempt:
        """Answer the question of a login. Raises `NotFound`, and `WrongState` if it asks none."""
        login = self.get(principal, login_id)
        if login.answer is None or login.answer.done():
            raise WrongState("this login asks nothing now")
        login.state, login.question = "working", None
        login.answer.set_result(text)
        return login

    async def cancel(self, principal: Principal, login_id: str) -> None:
        """Give a login up."""
        await self._cancel(self.get(principal, login_id))

    async def log_out(self, principal: Principal, name: str) -> str:
        """End a login at Telegram, and delete it. Returns the name of its owner. Raises `NotFound`, and
        `WrongState` for an account of the configuration."""
        from saveany.telegram import login as logins

        principal.require_operator()
        config = self._config
        if name == "bot" or name in (each.name for each in config.telegram.user_accounts):
            raise WrongState("account {name!r} is in the configuration; remove it there", name=name)
        if name not in logins.users(config.data_dir):
            raise NotFound("there is no account {name!r}", name=name)
        owner = await logins.logout(config.telegram, config.data_dir, name, proxy=config.proxy)
        log.info("account_logged_out", account=name)
        return owner

    async def _cancel(self, login: LoginAttempt) -> None:
        self._logins.pop(login.id, None)
        if login.running:
            login.running.cancel()
            await asyncio.gather(login.running, return_exceptions=True)

    def _forget_ended(self) -> None:
        now = time.monotonic()
        for each in list(self._logins.values()):
            if each.ended_at and now - each.ended_at > _KEPT_SECONDS:
                del self._logins[each.id]

    async def _run(self, login: LoginAttempt, session: str) -> None:
        from saveany.telegram.session import SessionFolder

        try:
            login.owner = await self._log_in(login, session)
            stored = SessionFolder(self._config.data_dir).load(login.name)
            login.user_id = stored.user_id if stored else 0
            login.state = "done"
            log.info("account_logged_in", account=login.name)
        except SaveAnyError as error:
            login.state, login.problem = "failed", error.text
        except Exception:
            log.exception("login_failed", account=login.name)
            login.state, login.problem = "failed", Text("internal error; see the log")
        finally:
            login.png = login.link = ""
            login.question = login.answer = None
            login.ended_at = time.monotonic()

    async def _log_in(self, login: LoginAttempt, session: str) -> str:
        from saveany.telegram import login as logins
        from saveany.telegram.codes import NoCode

        table, folder, proxy = self._config.telegram, self._config.data_dir, self._config.proxy
        ask, show = _Asker(login), _QrShower(login)
        if login.method == "session":
            try:
                return await logins.login_session(table, folder, login.name, session, proxy=proxy)
            except ConfigError as error:
                raise InvalidInput(error.text, "session") from error
        if login.method == "phone":
            try:
                return await logins.login_phone(table, folder, login.name, ask, ask.note_sent, proxy=proxy)
            except NoCode as error:
                login.problem = error.text
                login.method = "qr"
        return await logins.login_qr(table, folder, login.name, show, ask, proxy=proxy)


class _Asker:
    """Asks the questions of a login of whoever is at the page."""

    def __init__(self, login: LoginAttempt) -> None:
        self._login = login

    async def __call__(self, question: Question) -> str:
        login, name = self._login, question.name.lower()
        login.link = login.png = ""
        login.is_wrong = name.endswith("_again")
        login.question = _QUESTIONS[name.removesuffix("_again")]
        login.answer = asyncio.get_running_loop().create_future()
        login.state = "asks"
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await login.answer
        except TimeoutError as error:
            raise Permanent("The login was given up, because there was no answer. Begin again.") from error

    async def note_sent(self, sent: CodeSent) -> None:
        """Tell where Telegram has sent the code."""
        self._login.sent = sent.text


_QUESTIONS: dict[str, QuestionName] = {"phone": "phone", "code": "code", "password": "password"}


class _QrShower:
    """Shows the QR codes of a login."""

    def __init__(self, login: LoginAttempt) -> None:
        self._login = login

    async def __call__(self, link: str, expires: datetime) -> None:
        from saveany.telegram import qr

        self._login.link, self._login.png = link, base64.b64encode(qr.png(link)).decode()
        self._login.expires_at = int(expires.timestamp() * 1000)
        self._login.state = "shows_qr"
