"""Logs accounts in and stores the logins for all processes of this machine. Nothing here prompts the user:
the caller passes functions that do."""

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
from saveany.telegram.client import MtprotoClient
from saveany.telegram.errors import translated
from saveany.telegram.session import Login, SessionFolder
from saveany.telegram.settings import ClientSettings, TelegramTable, read
from saveany.texts import Text

#: The name of the bot's account; there is at most one bot.
BOT = "bot"
#: The same bot's second login, to which Telegram sends the bot's updates.
LISTENER = "bot-updates"
BOTS = (BOT, LISTENER)

_TRIES = 3
_SCAN_SECONDS = 300.0  # time to scan a QR code before the login is given up
_SCAN_POLL_SECONDS = 3.0


class Question(StrEnum):
    """A question that a login asks the user; the value is its text."""

    PHONE = "Phone number (international, like +491701234567)"
    PHONE_AGAIN = "Telegram does not know this number. Phone number"
    CODE = "Login code"
    CODE_AGAIN = "That code was wrong. Login code"
    PASSWORD = "Password of your two-step verification"  # noqa: S105  # the question, not the answer
    PASSWORD_AGAIN = "That password was wrong. Password"  # noqa: S105  # the question, not the answer


class BotLogin(ConfigError):
    """The login belongs to a bot."""


Ask = Callable[[Question], Awaitable[str]]

#: Tells the user where a code was sent, before the code is asked for.
OnCodeSent = Callable[[codes.CodeSent], Awaitable[None]]

#: Shows a link, `tg://login?token=…`, as a QR code in place of the previous one; it is valid until the given
#: time.
ShowQr = Callable[[str, datetime], Awaitable[None]]


async def login_bot(table: TelegramTable, data_dir: Path, token: str = "", *, proxy: str = "") -> str:
    """Log the bot in with `token` (or the configured one) and store the login. Returns the bot's display
    name."""
    folder, settings = SessionFolder(data_dir), read(table, proxy)
    async with folder.lock(BOT):
        return (await create_bot_login(settings, folder, token or table.token.get_secret_value())).display


async def login_phone(
    table: TelegramTable,
    data_dir: Path,
    name: str,
    ask: Ask,
    on_code_sent: OnCodeSent | None = None,
    *,
    proxy: str = "",
) -> str:
    """Log a user in by phone number, code and, if the account has one, password; store the login as `name`.

    Returns the account's display name. A wrong number, code or password is asked for again, up to three times
    in all. Raises `codes.NoCode` for an account that can only log in by QR code.
    """
    folder = _folder_for_user(data_dir, name)
    async with _new_client(name, read(table, proxy)) as client:
        return _save(folder, client, await _by_phone(client, ask, on_code_sent))


async def login_qr(
    table: TelegramTable, data_dir: Path, name: str, show: ShowQr, ask: Ask, *, proxy: str = ""
) -> str:
    """Log a user in by a QR code that the user scans with Telegram's app; store the login as `name`.

    A new code is shown about every 30 s. Raises `Permanent` if none is scanned within five minutes. Only a
    password is asked for. Returns the account's display name.
    """
    folder = _folder_for_user(data_dir, name)
    async with _new_client(name, read(table, proxy)) as client:
        return _save(folder, client, await _by_qr(client, show, ask))


async def login_session(
    table: TelegramTable, data_dir: Path, name: str, text: str, *, proxy: str = ""
) -> str:
    """Check a Telethon session string with Telegram and store it as `name`. Returns the account's display
    name."""
    folder, login = _folder_for_user(data_dir, name), Login.from_string(text)
    checked = await check_login(table, name, login, proxy=proxy)
    folder.save(name, checked)
    return checked.display


async def check_login(table: TelegramTable, name: str, login: Login, *, proxy: str = "") -> Login:
    """The login of a user with the id and the display name that Telegram knows. `name` is that of the account
    in messages. Raises `BotLogin`, and `NeedsLogin` for a login that Telegram does not accept."""
    async with _new_client(name, read(table, proxy), login) as client:
        user = await client.open()
        if user.bot:
            raise BotLogin(
                "This session string belongs to a bot; use: {command}", command=advice.command("login --bot")
            )
        return client.session.login(user.id, utils.get_display_name(user))


def keep_login(data_dir: Path, name: str, login: Login) -> None:
    """Store the login of a user, which all processes of this machine use within seconds."""
    _folder_for_user(data_dir, name).save(name, login)


def users(data_dir: Path) -> list[str]:
    """Names of the user logins that are stored on this machine."""
    return [name for name in SessionFolder(data_dir).names() if name not in BOTS]


async def logout(table: TelegramTable, data_dir: Path, name: str, *, proxy: str = "") -> str:
    """End a user's login at Telegram and delete it here. Returns the display name of the account.

    Raises `Permanent` if there is no login of this name. If Telegram cannot be reached, the login is kept.
    """
    folder, names = SessionFolder(data_dir), users(data_dir)
    login = folder.load(name) if name in names else None
    if login is None:
        raise Permanent(
            'There is no login "{name}" here. Logins: {names}.',
            name=name,
            names=", ".join(names) or Text("none"),
        )
    async with _new_client(name, read(table, proxy), login) as client:
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
    """Call `connect` with the bot's login stored on this machine. A missing or dead login is replaced, once
    for all processes of the machine."""
    async with folder.lock(name):
        login = folder.load(name)
        if login is None or str(login.user_id) != token.partition(":")[0]:
            login = await create_bot_login(settings, folder, token, name)
    try:
        with translated(name, is_bot=True):
            await connect(login)
    except NeedsLogin:
        async with folder.lock(name):
            stored = folder.load(name)
            if stored is None or stored.key == login.key:
                stored = await create_bot_login(settings, folder, token, name)
        await connect(stored)


async def create_bot_login(
    settings: ClientSettings, folder: SessionFolder, token: str, name: str = BOT
) -> Login:
    """Log the bot in and store the login. The caller holds its lock, because logins are flood-limited."""
    if not token:
        raise ConfigError("telegram.token is not set: get a token from @BotFather")
    async with _new_client(name, settings, is_bot=True) as client:
        reply = await client.call(
            functions.auth.ImportBotAuthorizationRequest(0, settings.app_id, settings.app_hash, token)
        )
        login = client.session.login(reply.user.id, utils.get_display_name(reply.user))
        folder.save(name, login)
        return login


@asynccontextmanager
async def _new_client(
    name: str, settings: ClientSettings, login: Login | None = None, *, is_bot: bool = False
) -> AsyncIterator[MtprotoClient]:
    client = MtprotoClient(name, settings, login)
    with translated(name, is_bot=is_bot):
        try:
            yield client
        finally:
            await client.close()


async def _by_phone(client: MtprotoClient, ask: Ask, on_code_sent: OnCodeSent | None) -> types.User:
    try:
        with codes.code_login():
            phone, reply = await _send_code(client, ask)
            if isinstance(reply, types.auth.SentCodeSuccess):
                reply = reply.authorization
            else:
                sent = codes.sent(reply)
                if on_code_sent:
                    await on_code_sent(sent)
                reply = await _sign_in(client, ask, phone, reply.phone_code_hash, sent.method)
    except tg.SessionPasswordNeededError:
        reply = await _check_password(client, ask)
    if isinstance(reply, types.auth.AuthorizationSignUpRequired):
        raise Permanent("No Telegram account has this phone number; create one in Telegram's app first.")
    return reply.user


async def _send_code(client: MtprotoClient, ask: Ask) -> tuple[str, Any]:
    """The phone number, and Telegram's reply to it."""
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
    raise AssertionError("the last attempt returns or raises")


async def _by_qr(client: MtprotoClient, show: ShowQr, ask: Ask) -> types.User:
    """See https://core.telegram.org/api/qr-login. Polls every few seconds instead of waiting for an update,
    as Telegram's web client does: Telegram returns the same code until it expires or is scanned."""
    try:
        async with asyncio.timeout(_SCAN_SECONDS) as limit:
            reply = await _scanned(client, show)
    except tg.SessionPasswordNeededError:
        reply = await _check_password(client, ask)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise Permanent("Nobody scanned the QR code for five minutes. Start again.") from error
    return reply.user


async def _scanned(client: MtprotoClient, show: ShowQr) -> Any:
    settings, shown = client.settings, b""
    while True:
        reply = await client.call(
            functions.auth.ExportLoginTokenRequest(settings.app_id, settings.app_hash, except_ids=[])
        )
        if isinstance(reply, types.auth.LoginTokenMigrateTo):
            await client.move_to_dc(reply.dc_id)
            reply = await client.call(functions.auth.ImportLoginTokenRequest(reply.token))
        if isinstance(reply, types.auth.LoginTokenSuccess):
            return reply.authorization
        if reply.token != shown:
            shown = reply.token
            await show(f"tg://login?token={_base64url(shown)}", reply.expires)
        await asyncio.sleep(_SCAN_POLL_SECONDS)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def _sign_in(
    client: MtprotoClient, ask: Ask, phone: str, sent: str, method: codes.DeliveryMethod
) -> Any:
    question = Question.CODE
    for attempt in range(_TRIES):
        code = (await ask(question)).strip()
        email = types.EmailVerificationCode(code) if method is codes.DeliveryMethod.EMAIL else None
        request = functions.auth.SignInRequest(phone, sent, None if email else code, email_verification=email)
        try:
            return await client.call(request)
        except (tg.PhoneCodeInvalidError, tg.PhoneCodeEmptyError, tg.CodeInvalidError):
            if attempt == _TRIES - 1:
                raise
            question = Question.CODE_AGAIN
    raise AssertionError("the last attempt returns or raises")


async def _check_password(client: MtprotoClient, ask: Ask) -> Any:
    question = Question.PASSWORD
    for attempt in range(_TRIES):
        password = await client.call(functions.account.GetPasswordRequest())
        proof = compute_check(password, await ask(question))
        try:
            return await client.call(functions.auth.CheckPasswordRequest(proof))
        except tg.PasswordHashInvalidError:
            if attempt == _TRIES - 1:
                raise
            question = Question.PASSWORD_AGAIN
    raise AssertionError("the last attempt returns or raises")


def _folder_for_user(data_dir: Path, name: str) -> SessionFolder:
    if name in BOTS:
        raise ConfigError('The name "{name}" belongs to the bot; choose another one with --name', name=name)
    return SessionFolder(data_dir)


def _save(folder: SessionFolder, client: MtprotoClient, user: types.User) -> str:
    login = client.session.login(user.id, utils.get_display_name(user))
    folder.save(client.name, login)
    return login.display
