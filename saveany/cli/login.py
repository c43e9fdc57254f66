"""`saveany login`: log a Telegram account in."""

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

_TRIES = 3
_TOKEN_KEY = "telegram.token"  # noqa: S105  its name


def login(
    ctx: typer.Context,
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE",
            help="Bot token, phone number or session string; - reads it from stdin. Default: it is asked.",
        ),
    ] = "",
    bot: Annotated[bool, typer.Option("--bot", help="Log the bot in by its token.")] = False,
    phone: Annotated[bool, typer.Option("--phone", help="Log a user in by phone number and code.")] = False,
    qr: Annotated[
        bool, typer.Option("--qr", help="Log a user in by a QR code that Telegram's app scans.")
    ] = False,
    session: Annotated[
        bool, typer.Option("--session", help="Use a session string that Telethon has made.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name for a user's account.")] = "me",
) -> None:
    """Log a Telegram account in, and keep the login in data_dir/sessions.

    Say which: --bot, --phone, --qr or --session. The bot's token is written into
    the configuration if it is not there. What is not given is asked for on the
    terminal; without one nothing is asked, and the error names the command to
    use. What runs on this machine uses a user's login within seconds.
    """
    if bot + phone + qr + session != 1:
        raise ConfigError(f"say what to log in: {advice.command('login')} --bot, --phone, --qr or --session")
    config = load_config(ctx)
    prepare(config.model_copy(update={"log": LogConfig(level="error")}))
    read_settings(config.telegram, config.proxy)  # what is wrong in it is said before anything is asked
    if value == "-":
        value = sys.stdin.readline().strip()
    if bot:
        display, name = _bot(config, value), BOT
    else:
        _refuse_taken(config, name)
        display = _user(config, value, name, phone=phone, qr=qr)
    typer.echo(f"Logged in as {display}; the login is kept as {name!r} in {config.data_dir / 'sessions'}.")


def _bot(config: Config, token: str) -> str:
    configured = config.telegram.token.get_secret_value()

    def log_in(token: str) -> tuple[str, str]:
        return run_async(login_bot(config.telegram, config.data_dir, token, proxy=config.proxy)), token

    given = token or configured
    display, used = log_in(given) if given else _asked("Bot token, from @BotFather", "--bot", log_in)
    if used != configured:
        _keep_token(config, used)
    return display


def _keep_token(config: Config, token: str) -> None:
    file = config.file or Path("config.toml")
    variable = keys.find(_TOKEN_KEY).variable
    try:
        write.set_key(file, _TOKEN_KEY, token)
    except ConfigError as error:
        raise ConfigError(
            f"logged in, but the token is not in the configuration: {error.message}; set {variable} to it"
        ) from error
    for each in (variable, f"{variable}_FILE"):
        if os.environ.get(each):
            typer.echo(f"warning: {each} is set and wins over the token in {file}", err=True)


def _user(config: Config, value: str, name: str, *, phone: bool, qr: bool) -> str:
    if phone:
        return _phone(config, value, name)
    return _qr(config, name) if qr else _session(config, value, name)


def log_in_user(config: Config, method: Literal["phone", "qr"], name: str = "me") -> str:
    """Log a user in on the terminal and keep the login; the name of the account."""
    prepare(config.model_copy(update={"log": LogConfig(level="error")}))
    _refuse_taken(config, name)
    return _user(config, "", name, phone=method == "phone", qr=method == "qr")


def _phone(config: Config, number: str, name: str) -> str:
    _require_terminal(f"--phone --name {name}")  # for the code, which comes in a moment

    async def ask(question: Question) -> str:
        if question is Question.PHONE and number:
            return number
        return _prompt(question.value, hidden=question not in (Question.PHONE, Question.PHONE_AGAIN))

    async def tell(sent: CodeSent) -> None:
        typer.echo(sent.text)

    try:
        return run_async(login_phone(config.telegram, config.data_dir, name, ask, tell, proxy=config.proxy))
    except NoCode as error:
        typer.echo(f"{error.message} Here is one:")
        return _qr(config, name)


def _qr(config: Config, name: str) -> str:
    async def show(link: str, expires: datetime) -> None:
        code = (
            typer.style(line, fg=typer.colors.BRIGHT_WHITE, bg=typer.colors.BLACK)
            for line in qrcode.lines(link)
        )
        typer.echo("\n".join(("", *code, link)))
        typer.echo(
            "Scan it with Telegram's app: Settings > Devices > Link Desktop Device. It changes by itself."
        )

    async def ask(question: Question) -> str:
        _require_terminal(f"--qr --name {name}")
        return _prompt(question.value, hidden=True)

    return run_async(login_qr(config.telegram, config.data_dir, name, show, ask, proxy=config.proxy))


def _session(config: Config, text: str, name: str) -> str:
    def log_in(text: str) -> str:
        return run_async(login_session(config.telegram, config.data_dir, name, text, proxy=config.proxy))

    return log_in(text) if text else _asked("Session string", f"--session --name {name}", log_in)


def _refuse_taken(config: Config, name: str) -> None:
    if name in (account.name for account in config.telegram.user_accounts):
        raise ConfigError(
            f"the configuration has an account {name!r}, which would be used instead; choose another --name, "
            "or take it out of telegram.accounts"
        )


def _asked(question: str, options: str, use: Callable[[str], T]) -> T:
    """Use what is typed; what is wrong is asked for again."""
    _require_terminal(options)
    for _ in range(_TRIES - 1):
        try:
            return use(_prompt(question, hidden=True).strip())
        except (ConfigError, NeedsLogin) as error:
            typer.echo(f"That was wrong: {error.message}", err=True)
    return use(_prompt(question, hidden=True).strip())


def _require_terminal(options: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(f"there is no terminal to ask on; use one: {advice.command(f'login {options}')}")


def _prompt(question: str, *, hidden: bool) -> str:
    """What is typed, as it is: a password may begin or end with a space."""
    with _interruptible():
        answer: str = typer.prompt(question, hide_input=hidden)
    return answer


@contextmanager
def _interruptible() -> Iterator[None]:
    """Inside, Ctrl-C ends the waiting for a key; the event loop's own handler would only take note of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
