"""`saveany init`: a first config.toml."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from saveany import advice
from saveany.cli import config_path
from saveany.config import load, write
from saveany.config.values import is_loopback
from saveany.errors import ConfigError, SaveAnyError

T = TypeVar("T")

_COMMENT = (
    "SaveAny. All keys: config.example.toml and docs/reference/config.md. Contains secrets: keep it private."
)
_THIS_MACHINE, _EVERY_NETWORK = "127.0.0.1", "0.0.0.0"  # noqa: S104  asked before it is used
_HOST_VARIABLE = "SAVEANY_API_HOST"
#: The user of an installation without Telegram: requests need one.
_LOCAL_USER = 1


@dataclass
class Answers:
    """What the configuration is made of."""

    app_id: int
    app_hash: str
    bot_token: str
    user: int
    storage_dir: Path
    host: str
    port: int
    api_token: str

    @property
    def folder(self) -> Path:
        """The folder to save in, absolute."""
        return Path(os.path.expanduser(self.storage_dir)).resolve()  # noqa: PTH111  Path's raises if ~ is unknown

    def tables(self) -> dict[str, Any]:
        """The tables of the file."""
        return _given(
            api={"token": self.api_token, "host": self.host, "port": self.port},
            telegram=_given(token=self.bot_token, app_id=self.app_id, app_hash=self.app_hash),
            users=[{"id": self.user}] if self.user else [],
            storages=[{"name": "local1", "type": "local", "base_path": str(self.folder)}],
        )


def init(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: flags and defaults.")] = False,
    token: Annotated[str, typer.Option(help="API token. Default: a new random one.")] = "",
    bot_token: Annotated[str, typer.Option(help="Telegram bot token, from @BotFather.")] = "",
    app_id: Annotated[int, typer.Option(help="API id, from https://my.telegram.org.")] = 0,
    app_hash: Annotated[str, typer.Option(help="API hash that belongs to it.")] = "",
    user: Annotated[int, typer.Option(help="Your Telegram user id; @userinfobot tells it.")] = 0,
    storage_dir: Annotated[Path, typer.Option(help="Folder to save files in.")] = Path("downloads"),
    host: Annotated[
        str, typer.Option(help="Address the API listens on; 0.0.0.0 opens it to the network.")
    ] = _THIS_MACHINE,
    port: Annotated[int, typer.Option(help="Port of the API.", min=0, max=65535)] = 8080,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a first config.toml: asks what is needed, or takes it from flags with --yes.

    Everything can be skipped with Enter and changed later. Nothing is written
    before the last question is answered.
    """
    file = config_path(ctx) or Path("config.toml")
    if file.exists() and not force:
        raise ConfigError(f"{file} exists already; add --force to replace it")
    answers = Answers(
        app_id, app_hash, bot_token, user, storage_dir, host, port, token or secrets.token_urlsafe(32)
    )
    method: Literal["", "phone", "qr"] = ""
    if not yes:
        _require_terminal()
        method = _interview(answers, file)
    write.create(file, answers.tables(), comment=_COMMENT, replace=force)
    _say(f"\nWrote {file}. Files will be saved in {answers.folder}.")
    if method:
        _log_in(file, method)
    _report(answers, new_token=not token)


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"there is no terminal to ask on; give the replies as flags: {advice.command('init')} --yes "
            "--bot-token TOKEN --app-id ID --app-hash HASH --user ID --storage-dir DIR"
        )


def _interview(answers: Answers, file: Path) -> Literal["", "phone", "qr"]:
    """Ask for what the flags do not say. Returns how the user wants to log in, if at all."""
    _say(
        "SaveAny saves files from Telegram, and from the web, into your own storages: you send it a link, it "
        f"does the rest. A few questions, then {file} is written. Enter skips a question; everything can be "
        "changed later.\n"
    )
    _ask_telegram(answers)
    answers.storage_dir = _ask("Folder to save files in", Path, default=str(answers.storage_dir))
    _ask_network(answers)
    return _ask_login(answers)


def _ask_telegram(answers: Answers) -> None:
    if not answers.app_id:
        _say(
            "Telegram wants every program to have an API id. Open https://my.telegram.org, log in with your "
            "phone number, choose “API development tools”, and fill in the form (any title will do). The "
            "page then shows App api_id and App api_hash."
        )
        answers.app_id = _ask("API id (Enter: without Telegram for now)", _optional_number)
    if not answers.app_id:
        answers.user = answers.user or _LOCAL_USER
        _say("Without Telegram SaveAny saves links of the web. Run this again with --force to add it.\n")
        return
    answers.app_hash = answers.app_hash or _ask("API hash", _hash)
    if not answers.bot_token:
        _say(
            "\nA bot reads public channels and is how you use SaveAny from Telegram. Open "
            "https://t.me/BotFather, send /newbot, and choose a name. It replies with a token like "
            "123456789:AAH…"
        )
        answers.bot_token = _ask("Bot token (Enter: no bot)", _bot_token)
    if not answers.user:
        _say(
            "\nSaveAny serves only people whose Telegram user id it knows. Send any message to "
            "https://t.me/userinfobot; it replies with your id."
        )
        answers.user = _ask("Your Telegram user id", _number)


def _ask_network(answers: Answers) -> None:
    if os.environ.get(_HOST_VARIABLE):  # in a container, where the mapping of its port decides
        return
    if not is_loopback(answers.host):
        _say(f"\nThe API will listen on {answers.host}, port {answers.port}; other machines can reach it.")
        return
    _say(f"\nThe API will listen on {_address(answers)}. Only programs on this machine can reach it.")
    if typer.confirm("Let other machines of your network use it too?", default=False):
        answers.host = _EVERY_NETWORK
        _say("It will ask each of them for the API token. Without HTTPS the token can be read on the way.")


def _ask_login(answers: Answers) -> Literal["", "phone", "qr"]:
    if not answers.app_id:
        return ""
    _say(
        "\nA bot sees only chats it is a member of. With your own account SaveAny also reads your private "
        "chats and channels."
    )
    return _ask("Log your account in now? phone, qr, or Enter to skip", _login_method)


def _log_in(file: Path, method: Literal["phone", "qr"]) -> None:
    """Log the user in; a login that fails can be repeated, the rest stays."""
    from saveany.cli.login import log_in_user

    try:
        typer.echo(f"Logged in as {log_in_user(load(file), method)}.")
    except SaveAnyError as error:
        typer.echo(f"error: {error.message}", err=True)
        _say(f"The login did not work. Try it again with: {advice.command(f'login --{method}')}")


def _report(answers: Answers, *, new_token: bool) -> None:
    if new_token:
        typer.echo(f"API token, shown only now: {answers.api_token}")
    for missing in _missing(answers):
        _say(f"Still missing: {missing}")
    typer.echo(f"\nThe API: {_address(answers)}")
    typer.echo(f"Try everything:  {advice.command('check')}")
    typer.echo(f"Start it:        {advice.command('run')}")


def _missing(answers: Answers) -> list[str]:
    users = advice.command("config set users '[{\"id\": ID}]'")
    wanted = {
        f"users: nobody may use it yet ({users})": not answers.user,
        "telegram.app_id and app_hash (https://my.telegram.org)": not answers.app_id,
        f"a bot token (telegram.token), or {advice.command('login --phone')}": not answers.bot_token,
    }
    return [text for text, missing in wanted.items() if missing]


def _address(answers: Answers) -> str:
    host = os.environ.get(_HOST_VARIABLE) or answers.host
    shown = "127.0.0.1" if host == _EVERY_NETWORK else host
    return f"http://[{shown}]:{answers.port}" if ":" in shown else f"http://{shown}:{answers.port}"


def _ask(question: str, read: Callable[[str], T], default: str = "") -> T:
    """The reply as `read` takes it; asks again while `read` raises ValueError."""
    while True:
        reply = typer.prompt(question, default=default, show_default=bool(default)).strip()
        try:
            return read(reply)
        except ValueError as error:
            typer.echo(f"  {error}", err=True)


def _bot_token(text: str) -> str:
    if text and not re.fullmatch(r"\d+:[\w-]{20,}", text, re.ASCII):
        raise ValueError("a bot token looks like 123456789:AAH…")
    return text


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,18}", text, re.ASCII):
        raise ValueError("this is a number, such as 12345678")
    return int(text)


def _optional_number(text: str) -> int:
    return _number(text) if text else 0


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise ValueError("this is 32 digits and letters a to f")
    return text


def _login_method(text: str) -> Literal["", "phone", "qr"]:
    methods: dict[str, Literal["", "phone", "qr"]] = {"": "", "no": "", "n": "", "phone": "phone", "qr": "qr"}
    if text.lower() not in methods:
        raise ValueError("phone, qr, or Enter")
    return methods[text.lower()]


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _say(text: str) -> None:
    """Print text in the width of the terminal; blank lines around it stay."""
    width = min(shutil.get_terminal_size().columns, 100)
    for line in text.split("\n"):
        typer.echo(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False))
