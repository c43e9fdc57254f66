"""`saveany init`: write a first config.toml."""

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
    "SaveAny. All keys: config.example.toml and docs/reference/config.md. This file contains secrets: keep "
    "it private."
)
_THIS_MACHINE, _EVERY_NETWORK = "127.0.0.1", "0.0.0.0"  # noqa: S104  used only after a question
_HOST_VARIABLE = "SAVEANY_API_HOST"
#: User id for an installation without Telegram; every request needs a user.
_LOCAL_USER = 1


@dataclass
class Replies:
    """The replies of the user, or the flags and defaults."""

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
        """The absolute path of the folder for files."""
        return Path(os.path.expanduser(self.storage_dir)).resolve()  # noqa: PTH111  Path.expanduser raises if ~ is unknown

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
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask no questions; use flags and defaults.")
    ] = False,
    token: Annotated[str, typer.Option(help="API token. Default: a new random token.")] = "",
    bot_token: Annotated[str, typer.Option(help="Telegram bot token, from @BotFather.")] = "",
    app_id: Annotated[int, typer.Option(help="API id, from https://my.telegram.org.")] = 0,
    app_hash: Annotated[str, typer.Option(help="API hash, from the same page.")] = "",
    user: Annotated[
        int, typer.Option(help="Your Telegram user id; send @userinfobot a message to learn it.")
    ] = 0,
    storage_dir: Annotated[Path, typer.Option(help="Folder for saved files.")] = Path("downloads"),
    host: Annotated[
        str, typer.Option(help="Address that the API listens on; 0.0.0.0 opens it to the network.")
    ] = _THIS_MACHINE,
    port: Annotated[int, typer.Option(help="Port of the API.", min=0, max=65535)] = 8080,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a first config.toml. Asks a few questions, or with --yes takes the flags.

    Press Enter to skip a question; you can change every setting later. The file is
    written after the last question.
    """
    file = config_path(ctx) or Path("config.toml")
    if file.exists() and not force:
        raise ConfigError("{file} already exists; add --force to replace it", file=str(file))
    replies = Replies(
        app_id, app_hash, bot_token, user, storage_dir, host, port, token or secrets.token_urlsafe(32)
    )
    method: Literal["", "phone", "qr"] = ""
    if not yes:
        _require_terminal()
        method = _interview(replies, file)
    write.create(file, replies.tables(), comment=_COMMENT, replace=force)
    _say(f"\nWrote {file}. Files will be saved in {replies.folder}.")
    if method:
        _log_in(file, method)
    _print_summary(replies, new_token=not token)


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal for questions; set everything with flags: {command} --yes --bot-token "
            "TOKEN --app-id ID --app-hash HASH --user ID --storage-dir DIR",
            command=advice.command("init"),
        )


def _interview(replies: Replies, file: Path) -> Literal["", "phone", "qr"]:
    """Ask for everything that the flags leave open. Returns how the user wants to log in, "" for not now."""
    _say(
        "SaveAny saves files from Telegram and from the web in your own storages: you send it a link, and "
        f"it does the rest. After a few questions this command writes {file}. Press Enter to skip a "
        "question; you can change everything later.\n"
    )
    _ask_telegram(replies)
    replies.storage_dir = _ask("Folder for saved files", Path, default=str(replies.storage_dir))
    _ask_network(replies)
    return _ask_login(replies)


def _ask_telegram(replies: Replies) -> None:
    if not replies.app_id:
        _say(
            "Telegram requires an API id for every program. Open https://my.telegram.org, log in with your "
            "phone number, choose “API development tools”, and fill in the form (any title will do). The "
            "page then shows App api_id and App api_hash."
        )
        replies.app_id = _ask("API id (Enter: no Telegram for now)", _optional_number)
    if not replies.app_id:
        replies.user = replies.user or _LOCAL_USER
        _say(
            "Without Telegram, SaveAny saves links of the web. To add Telegram, run this again with "
            "--force.\n"
        )
        return
    replies.app_hash = replies.app_hash or _ask("API hash", _hash)
    if not replies.bot_token:
        _say(
            "\nA bot lets you use SaveAny from Telegram, and reads public channels. Open "
            "https://t.me/BotFather, send /newbot, and choose a name. It replies with a token like "
            "123456789:AAH…"
        )
        replies.bot_token = _ask("Bot token (Enter: no bot)", _bot_token)
    if not replies.user:
        _say(
            "\nSaveAny serves only the people in its list of Telegram user ids. Send any message to "
            "https://t.me/userinfobot; it replies with your id."
        )
        replies.user = _ask("Your Telegram user id", _number)


def _ask_network(replies: Replies) -> None:
    if os.environ.get(_HOST_VARIABLE):  # in a container, the mapping of its port decides
        return
    if not is_loopback(replies.host):
        _say(f"\nThe API will listen on {replies.host}, port {replies.port}; other machines can reach it.")
        return
    _say(f"\nThe API will listen on {_address(replies)}. Only programs on this machine can reach it.")
    if typer.confirm("Allow other machines in your network to use it, too?", default=False):
        replies.host = _EVERY_NETWORK
        _say("They need the API token. Without HTTPS, others in the network can read the token.")


def _ask_login(replies: Replies) -> Literal["", "phone", "qr"]:
    if not replies.app_id:
        return ""
    _say(
        "\nA bot sees only the chats that it is a member of. With your own account, SaveAny also reads your "
        "private chats and channels."
    )
    return _ask("Log in to your account now? Type phone or qr, or press Enter to skip", _login_method)


def _log_in(file: Path, method: Literal["phone", "qr"]) -> None:
    """Log in to the account of the user. If that fails, the configuration stays, and the login can be
    repeated."""
    from saveany.cli.login import log_in_user

    try:
        typer.echo(f"Logged in as {log_in_user(load(file), method)}.")
    except SaveAnyError as error:
        typer.echo(f"error: {error.message}", err=True)
        _say(f"To try the login again: {advice.command(f'login --{method}')}")


def _print_summary(replies: Replies, *, new_token: bool) -> None:
    if new_token:
        typer.echo(f"API token, shown only now: {replies.api_token}")
    for missing in _missing(replies):
        _say(f"Still missing: {missing}")
    typer.echo(f"\nThe API: {_address(replies)}")
    typer.echo(f"Check it:  {advice.command('check')}")
    typer.echo(f"Start it:  {advice.command('run')}")


def _missing(replies: Replies) -> list[str]:
    users = advice.command("config set users '[{\"id\": ID}]'")
    wanted = {
        f"users: nobody can use SaveAny yet ({users})": not replies.user,
        "telegram.app_id and app_hash (https://my.telegram.org)": not replies.app_id,
        f"a bot token (telegram.token), or {advice.command('login --phone')}": not replies.bot_token,
    }
    return [text for text, missing in wanted.items() if missing]


def _address(replies: Replies) -> str:
    host = os.environ.get(_HOST_VARIABLE) or replies.host
    shown = "127.0.0.1" if host == _EVERY_NETWORK else host
    return f"http://[{shown}]:{replies.port}" if ":" in shown else f"http://{shown}:{replies.port}"


def _ask(question: str, read: Callable[[str], T], default: str = "") -> T:
    """The reply, converted by `read`. Asks again while `read` raises `ValueError`."""
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
        raise ValueError("type a number, such as 12345678")
    return int(text)


def _optional_number(text: str) -> int:
    return _number(text) if text else 0


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise ValueError("type 32 characters: digits and the letters a to f")
    return text


def _login_method(text: str) -> Literal["", "phone", "qr"]:
    methods: dict[str, Literal["", "phone", "qr"]] = {"": "", "no": "", "n": "", "phone": "phone", "qr": "qr"}
    if text.lower() not in methods:
        raise ValueError("type phone or qr, or press Enter")
    return methods[text.lower()]


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _say(text: str) -> None:
    """Print text wrapped to the width of the terminal, with its blank lines."""
    width = min(shutil.get_terminal_size().columns, 100)
    for line in text.split("\n"):
        typer.echo(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False))
