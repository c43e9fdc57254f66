"""Logging accounts in, and keeping the login for every process of this machine. Nothing here prompts: who
calls hands in a function that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from telethon import errors as tg
from telethon import utils
from telethon.password import compute_check
from telethon.tl import functions, types

from saveany.errors import ConfigError, Permanent
from saveany.telegram.client import Client
from saveany.telegram.errors import translated
from saveany.telegram.session import Folder, Login
from saveany.telegram.settings import Settings, TelegramTable, read

#: The name of the bot among the accounts; there is one.
BOT = "bot"

_TRIES = 3


class Question(StrEnum):
    """What a login by phone asks for; the value is the question."""

    PHONE = "Phone number (international, like +491701234567)"
    CODE = "Login code that Telegram sent you"
    CODE_AGAIN = "That code was wrong. Login code"
    PASSWORD = "Password of your two-step verification"  # noqa: S105  # the question, not the answer
    PASSWORD_AGAIN = "That password was wrong. Password"  # noqa: S105  # the question, not the answer


Ask = Callable[[Question], Awaitable[str]]


async def login_bot(table: TelegramTable, data_dir: Path, token: str = "", *, proxy: str = "") -> str:
    """Log the bot in with `token` (or the configured one), keep the login, return the bot's display name."""
    folder, settings = Folder(data_dir), read(table, proxy)
    async with folder.lock(BOT):
        return (await bot(settings, folder, token or table.token.get_secret_value())).display


async def login_phone(table: TelegramTable, data_dir: Path, name: str, ask: Ask, *, proxy: str = "") -> str:
    """Log a user in by phone number, code and (if the account has one) password; keep the login as `name`.

    Returns the account's display name. A wrong code or password is asked for again, up to three times.
    """
    folder = _folder_for_user(data_dir, name)
    async with _fresh(name, read(table, proxy)) as client:
        return _keep(folder, client, await _by_phone(client, ask))


async def login_session(
    table: TelegramTable, data_dir: Path, name: str, text: str, *, proxy: str = ""
) -> str:
    """Check a Telethon session string by asking Telegram who it is, keep it as `name`, return the account's
    display name."""
    folder, login = _folder_for_user(data_dir, name), Login.from_string(text)
    async with _fresh(name, read(table, proxy), login) as client:
        user = await client.open()
        if user.bot:
            raise ConfigError("this session string is a bot's; use: saveany login --bot")
        return _keep(folder, client, user)


async def bot(settings: Settings, folder: Folder, token: str) -> Login:
    """Log the bot in and keep the login. The caller holds the bot's lock: logins are flood-limited."""
    if not token:
        raise ConfigError("telegram.token is not set: take it from @BotFather")
    async with _fresh(BOT, settings, is_bot=True) as client:
        answer = await client.call(
            functions.auth.ImportBotAuthorizationRequest(0, settings.app_id, settings.app_hash, token)
        )
        login = client.session.login(answer.user.id, utils.get_display_name(answer.user))
        folder.save(BOT, login)
        return login


@asynccontextmanager
async def _fresh(
    name: str, settings: Settings, login: Login | None = None, *, is_bot: bool = False
) -> AsyncIterator[Client]:
    client = Client(name, settings, login)
    with translated(name, is_bot=is_bot):
        try:
            yield client
        finally:
            await client.close()


async def _by_phone(client: Client, ask: Ask) -> types.User:
    phone = await ask(Question.PHONE)
    settings = client.settings
    sent = await client.call(
        functions.auth.SendCodeRequest(phone, settings.app_id, settings.app_hash, types.CodeSettings())
    )
    try:
        answer = await _sign_in(client, ask, phone, sent.phone_code_hash)
    except tg.SessionPasswordNeededError:
        answer = await _check_password(client, ask)
    if isinstance(answer, types.auth.AuthorizationSignUpRequired):
        raise Permanent("No Telegram account has this phone number; make one in Telegram's app first.")
    return answer.user


async def _sign_in(client: Client, ask: Ask, phone: str, sent: str) -> Any:
    question = Question.CODE
    for attempt in range(_TRIES):
        try:
            return await client.call(functions.auth.SignInRequest(phone, sent, (await ask(question)).strip()))
        except (tg.PhoneCodeInvalidError, tg.PhoneCodeEmptyError):
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


def _folder_for_user(data_dir: Path, name: str) -> Folder:
    if name == BOT:
        raise ConfigError(f'the name "{BOT}" is taken by the bot; choose another one with --name')
    return Folder(data_dir)


def _keep(folder: Folder, client: Client, user: types.User) -> str:
    login = client.session.login(user.id, utils.get_display_name(user))
    folder.save(client.name, login)
    return login.display
