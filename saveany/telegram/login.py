"""Logging accounts in, and keeping the login for every process of this machine. Nothing here prompts: who
calls hands in a function that asks."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from telethon import errors as tg
from telethon import utils
from telethon.password import compute_check
from telethon.tl import functions, types

from saveany import advice
from saveany.errors import ConfigError, NeedsLogin, Permanent
from saveany.telegram import codes
from saveany.telegram.client import Client
from saveany.telegram.errors import translated
from saveany.telegram.session import Login, SessionFolder
from saveany.telegram.settings import ClientSettings, TelegramTable, read

#: The name of the bot among the accounts; there is one.
BOT = "bot"
#: The same bot's other login, to which Telegram tells what is said to the bot.
LISTENER = "bot-updates"
BOTS = (BOT, LISTENER)

_TRIES = 3
_SCAN_SECONDS = 300.0  # somebody who has not scanned a code in this time has gone away
_SCAN_POLL = 3.0


class Question(StrEnum):
    """What a login by phone asks for; the value is the question."""

    PHONE = "Phone number (international, like +491701234567)"
    PHONE_AGAIN = "Telegram knows no such number. Phone number"
    CODE = "Login code"
    CODE_AGAIN = "That code was wrong. Login code"
    PASSWORD = "Password of your two-step verification"  # noqa: S105  # the question, not the answer
    PASSWORD_AGAIN = "That password was wrong. Password"  # noqa: S105  # the question, not the answer


Ask = Callable[[Question], Awaitable[str]]

#: Told where a code was sent, before it is asked for.
Tell = Callable[[codes.CodeSent], Awaitable[None]]

#: Shows a link, `tg://login?token=…`, as a QR code, in place of the one before; it is good until then.
Show = Callable[[str, datetime], Awaitable[None]]


async def login_bot(table: TelegramTable, data_dir: Path, token: str = "", *, proxy: str = "") -> str:
    """Log the bot in with `token` (or the configured one), keep the login, return the bot's display name."""
    folder, settings = SessionFolder(data_dir), read(table, proxy)
    async with folder.lock(BOT):
        return (await bot(settings, folder, token or table.token.get_secret_value())).display


async def login_phone(
    table: TelegramTable,
    data_dir: Path,
    name: str,
    ask: Ask,
    tell: Tell | None = None,
    *,
    proxy: str = "",
) -> str:
    """Log a user in by phone number, code and (if the account has one) password; keep the login as `name`.

    Returns the account's display name. A wrong number, code or password is asked for again, up to three
    times. Raises `codes.NoCode` for an account that can only log in by QR code.
    """
    folder = _folder_for_user(data_dir, name)
    async with _fresh(name, read(table, proxy)) as client:
        return _keep(folder, client, await _by_phone(client, ask, tell))


async def login_qr(
    table: TelegramTable, data_dir: Path, name: str, show: Show, ask: Ask, *, proxy: str = ""
) -> str:
    """Log a user in by a QR code that is scanned with Telegram's app; keep the login as `name`.

    Every 30 s or so there is another code to show; nobody scanning one for five minutes is `Permanent`. Only
    a password is asked for. Returns the account's display name.
    """
    folder = _folder_for_user(data_dir, name)
    async with _fresh(name, read(table, proxy)) as client:
        return _keep(folder, client, await _by_qr(client, show, ask))


async def login_session(
    table: TelegramTable, data_dir: Path, name: str, text: str, *, proxy: str = ""
) -> str:
    """Check a Telethon session string by asking Telegram who it is, keep it as `name`, return the account's
    display name."""
    folder, login = _folder_for_user(data_dir, name), Login.from_string(text)
    async with _fresh(name, read(table, proxy), login) as client:
        user = await client.open()
        if user.bot:
            raise ConfigError(f"this session string is a bot's; use: {advice.command('login --bot')}")
        return _keep(folder, client, user)


def users(data_dir: Path) -> list[str]:
    """Names of the users' logins that are kept on this machine."""
    return [name for name in SessionFolder(data_dir).names() if name not in BOTS]


async def logout(table: TelegramTable, data_dir: Path, name: str, *, proxy: str = "") -> str:
    """End a user's login at Telegram and drop it here; returns whose it was.

    Raises `Permanent` if there is none of this name. If Telegram cannot be reached the login is kept.
    """
    folder, names = SessionFolder(data_dir), users(data_dir)
    login = folder.load(name) if name in names else None
    if login is None:
        raise Permanent(f"there is no login {name!r} here; there are: {', '.join(names) or 'none'}")
    async with _fresh(name, read(table, proxy), login) as client:
        with suppress(tg.UnauthorizedError):  # it had ended already
            await client.call(functions.auth.LogOutRequest())
    folder.forget(name)
    return login.display


async def open_bot(
    settings: ClientSettings,
    folder: SessionFolder,
    token: str,
    connect: Callable[[Login], Awaitable[None]],
    name: str = BOT,
) -> None:
    """`connect` with the login that is kept on this machine; with a new one if there is none or it is dead,
    made once for all processes of the machine."""
    async with folder.lock(name):
        login = folder.load(name)
        if login is None or str(login.user_id) != token.partition(":")[0]:
            login = await bot(settings, folder, token, name)
    try:
        with translated(name, is_bot=True):
            await connect(login)
    except NeedsLogin:
        async with folder.lock(name):
            kept = folder.load(name)
            if kept is None or kept.key == login.key:
                kept = await bot(settings, folder, token, name)
        await connect(kept)


async def bot(settings: ClientSettings, folder: SessionFolder, token: str, name: str = BOT) -> Login:
    """Log the bot in and keep the login. The caller holds its lock: logins are flood-limited."""
    if not token:
        raise ConfigError("telegram.token is not set: take it from @BotFather")
    async with _fresh(name, settings, is_bot=True) as client:
        answer = await client.call(
            functions.auth.ImportBotAuthorizationRequest(0, settings.app_id, settings.app_hash, token)
        )
        login = client.session.login(answer.user.id, utils.get_display_name(answer.user))
        folder.save(name, login)
        return login


@asynccontextmanager
async def _fresh(
    name: str, settings: ClientSettings, login: Login | None = None, *, is_bot: bool = False
) -> AsyncIterator[Client]:
    client = Client(name, settings, login)
    with translated(name, is_bot=is_bot):
        try:
            yield client
        finally:
            await client.close()


async def _by_phone(client: Client, ask: Ask, tell: Tell | None) -> types.User:
    try:
        with codes.by_code():
            phone, answer = await _send_code(client, ask)
            if isinstance(answer, types.auth.SentCodeSuccess):
                answer = answer.authorization
            else:
                sent = codes.sent(answer)
                if tell:
                    await tell(sent)
                answer = await _sign_in(client, ask, phone, answer.phone_code_hash, sent.way)
    except tg.SessionPasswordNeededError:
        answer = await _check_password(client, ask)
    if isinstance(answer, types.auth.AuthorizationSignUpRequired):
        raise Permanent("No Telegram account has this phone number; make one in Telegram's app first.")
    return answer.user


async def _send_code(client: Client, ask: Ask) -> tuple[str, Any]:
    """The phone number, and what Telegram answers to it."""
    settings, question = client.settings, Question.PHONE
    for attempt in range(_TRIES):
        phone = (await ask(question)).strip()
        request = functions.auth.SendCodeRequest(
            phone, settings.app_id, settings.app_hash, types.CodeSettings()
        )
        try:
            return phone, await client.call(request)
        except (tg.PhoneNumberInvalidError, tg.PhoneNumberUnoccupiedError):
            if attempt == _TRIES - 1:
                raise
            question = Question.PHONE_AGAIN
    raise AssertionError("the last try returns or raises")


async def _by_qr(client: Client, show: Show, ask: Ask) -> types.User:
    """See https://core.telegram.org/api/qr-login. Instead of waiting for an update it asks every few seconds,
    as Telegram's web client does: the answer is the same code until that expires or is scanned."""
    try:
        async with asyncio.timeout(_SCAN_SECONDS) as limit:
            answer = await _scanned(client, show)
    except tg.SessionPasswordNeededError:
        answer = await _check_password(client, ask)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise Permanent("Nobody scanned the QR code for five minutes. Start again.") from error
    return answer.user


async def _scanned(client: Client, show: Show) -> Any:
    settings, shown = client.settings, b""
    while True:
        answer = await client.call(
            functions.auth.ExportLoginTokenRequest(settings.app_id, settings.app_hash, except_ids=[])
        )
        if isinstance(answer, types.auth.LoginTokenMigrateTo):
            await client.move(answer.dc_id)
            answer = await client.call(functions.auth.ImportLoginTokenRequest(answer.token))
        if isinstance(answer, types.auth.LoginTokenSuccess):
            return answer.authorization
        if answer.token != shown:
            shown = answer.token
            await show(f"tg://login?token={_base64url(shown)}", answer.expires)
        await asyncio.sleep(_SCAN_POLL)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def _sign_in(client: Client, ask: Ask, phone: str, sent: str, way: codes.DeliveryMethod) -> Any:
    question = Question.CODE
    for attempt in range(_TRIES):
        code = (await ask(question)).strip()
        email = types.EmailVerificationCode(code) if way is codes.DeliveryMethod.EMAIL else None
        request = functions.auth.SignInRequest(phone, sent, None if email else code, email_verification=email)
        try:
            return await client.call(request)
        except (tg.PhoneCodeInvalidError, tg.PhoneCodeEmptyError, tg.CodeInvalidError):
            if attempt == _TRIES - 1:
                raise
            question = Question.CODE_AGAIN
    raise AssertionError("the last try returns or raises")


async def _check_password(client: Client, ask: Ask) -> Any:
    question = Question.PASSWORD
    for attempt in range(_TRIES):
        password = await client.call(functions.account.GetPasswordRequest())
        answer = compute_check(password, await ask(question))
        try:
            return await client.call(functions.auth.CheckPasswordRequest(answer))
        except tg.PasswordHashInvalidError:
            if attempt == _TRIES - 1:
                raise
            question = Question.PASSWORD_AGAIN
    raise AssertionError("the last try returns or raises")


def _folder_for_user(data_dir: Path, name: str) -> SessionFolder:
    if name in BOTS:
        raise ConfigError(f'the name "{name}" is taken by the bot; choose another one with --name')
    return SessionFolder(data_dir)


def _keep(folder: SessionFolder, client: Client, user: types.User) -> str:
    login = client.session.login(user.id, utils.get_display_name(user))
    folder.save(client.name, login)
    return login.display
