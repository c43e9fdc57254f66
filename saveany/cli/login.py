"""`saveany login`: log in to a Telegram account."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from saveany import advice
from saveany.cli import load_config
from saveany.cli.role import prepare, run_async
from saveany.config import Config, keys, write
from saveany.config.schema import LogConfig
from saveany.errors import ConfigError, NeedsLogin
from saveany.telegram import qr as qrcode
from saveany.telegram.codes import CodeSent, NoCode
from saveany.telegram.login import BOT, Question, login_bot, login_phone, login_qr, login_session
from saveany.telegram.settings import read as read_settings

T = TypeVar("T")

_MAX_ATTEMPTS = 3
_TOKEN_KEY = "telegram.token"  # noqa: S105  the name of a key


def login(
    ctx: typer.Context,
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE",
            help="Bot token, phone number or session string; - reads it from stdin. Default: ask for it.",
        ),
    ] = "",
    bot: Annotated[bool, typer.Option("--bot", help="Log in as the bot, with its token.")] = False,
    phone: Annotated[
        bool, typer.Option("--phone", help="Log in as a user, with a phone number and a code.")
    ] = False,
    qr: Annotated[
        bool, typer.Option("--qr", help="Log in as a user, with a QR code for Telegram's app.")
    ] = False,
    session: Annotated[
        bool, typer.Option("--session", help="Log in as a user, with a session string from Telethon.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the user account in SaveAny.")] = "me",
) -> None:
    """Log in to a Telegram account, and keep the login in data_dir/sessions.

    Choose one of --bot, --phone, --qr and --session. A new bot token is written to
    the configuration. The command asks for missing values on the terminal; without
    a terminal it fails with the command to use. A running SaveAny on this machine
    uses a new user login within seconds.
    """
    if bot + phone + qr + session != 1:
        raise ConfigError(
            "choose how to log in: {command} --bot, --phone, --qr or --session",
            command=advice.command("login"),
        )
    config = load_config(ctx)
    prepare(config.model_copy(update={"log": LogConfig(level="error")}))
    # If the configuration is wrong, this fails before the first question.
    read_settings(config.telegram, config.proxy)
    if value == "-":
        value = sys.stdin.readline().strip()
    if bot:
        display, name = _bot(config, value), BOT
    else:
        _refuse_taken(config, name)
        display = _user(config, value, name, phone=phone, qr=qr)
    typer.echo(f"Logged in as {display}; the login is stored as {name!r} in {config.data_dir / 'sessions'}.")


def _bot(config: Config, token: str) -> str:
    configured = config.telegram.token.get_secret_value()

    def log_in(token: str) -> tuple[str, str]:
        return run_async(login_bot(config.telegram, config.data_dir, token, proxy=config.proxy)), token

    given = token or configured
    display, used = log_in(given) if given else _use_reply("Bot token, from @BotFather", "--bot", log_in)
    if used != configured:
        _store_token(config, used)
    return display


def _store_token(config: Config, token: str) -> None:
    file = config.file or Path("config.toml")
    variable = keys.find(_TOKEN_KEY).variable
    try:
        write.set_key(file, _TOKEN_KEY, token)
    except ConfigError as error:
        raise ConfigError(
            "you are logged in, but the token could not be stored, so set {variable} to it ({reason})",
            variable=variable,
            reason=error.text,
        ) from error
    for each in (variable, f"{variable}_FILE"):
        if os.environ.get(each):
            typer.echo(f"warning: {each} is set and overrides the token in {file}", err=True)


def _user(config: Config, value: str, name: str, *, phone: bool, qr: bool) -> str:
    if phone:
        return _phone(config, value, name)
    return _qr(config, name) if qr else _session(config, value, name)


def log_in_user(config: Config, method: Literal["phone", "qr"], name: str = "me") -> str:
    """Log in as a user, with questions on the terminal, and store the login. Returns the display name."""
    prepare(config.model_copy(update={"log": LogConfig(level="error")}))
    _refuse_taken(config, name)
    return _user(config, "", name, phone=method == "phone", qr=method == "qr")


def _phone(config: Config, number: str, name: str) -> str:
    _require_terminal(f"--phone --name {name}")  # to ask for the code that Telegram sends

    async def ask(question: Question) -> str:
        if question is Question.PHONE and number:
            return number
        return _prompt(question.value, hidden=question not in (Question.PHONE, Question.PHONE_AGAIN))

    async def announce(sent: CodeSent) -> None:
        typer.echo(sent.text)

    try:
        return run_async(
            login_phone(config.telegram, config.data_dir, name, ask, announce, proxy=config.proxy)
        )
    except NoCode as error:
        typer.echo(error.message)
        return _qr(config, name)


def _qr(config: Config, name: str) -> str:
    async def show(link: str, expires: datetime) -> None:
        code = (
            typer.style(line, fg=typer.colors.BRIGHT_WHITE, bg=typer.colors.BLACK)
            for line in qrcode.lines(link)
        )
        typer.echo("\n".join(("", *code, link)))
        typer.echo(
            "Scan it with Telegram's app: Settings > Devices > Link Desktop Device. It is renewed "
            "automatically."
        )

    async def ask(question: Question) -> str:
        _require_terminal(f"--qr --name {name}")
        return _prompt(question.value, hidden=True)

    return run_async(login_qr(config.telegram, config.data_dir, name, show, ask, proxy=config.proxy))


def _session(config: Config, text: str, name: str) -> str:
    def log_in(text: str) -> str:
        return run_async(login_session(config.telegram, config.data_dir, name, text, proxy=config.proxy))

    return log_in(text) if text else _use_reply("Session string", f"--session --name {name}", log_in)


def _refuse_taken(config: Config, name: str) -> None:
    if name in (account.name for account in config.telegram.user_accounts):
        raise ConfigError(
            "the configuration already has an account {name!r}, which would be used instead of this login; "
            "choose another --name, or remove the account from telegram.accounts",
            name=name,
        )


def _use_reply(question: str, options: str, use: Callable[[str], T]) -> T:
    """The result of `use` for the reply. Asks again if the reply is wrong."""
    _require_terminal(options)
    for _ in range(_MAX_ATTEMPTS - 1):
        try:
            return use(_prompt(question, hidden=True).strip())
        except (ConfigError, NeedsLogin) as error:
            typer.echo(f"error: {error.message}", err=True)
    return use(_prompt(question, hidden=True).strip())


def _require_terminal(options: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal for questions; run this on one: {command}",
            command=advice.command(f"login {options}"),
        )


def _prompt(question: str, *, hidden: bool) -> str:
    """The reply, unchanged: a password may begin or end with a space."""
    with _interruptible():
        reply: str = typer.prompt(question, hide_input=hidden)
    return reply


@contextmanager
def _interruptible() -> Iterator[None]:
    """Inside, Ctrl-C interrupts a prompt. The handler of the event loop would only set a flag."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
