"""`saveany init`: a first config.toml."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from saveany import advice
from saveany.cli import config_path
from saveany.config import write
from saveany.errors import ConfigError

T = TypeVar("T")

_COMMENT = (
    "SaveAny. All keys: config.example.toml and docs/reference/config.md. Contains secrets: keep it private."
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
    port: Annotated[int, typer.Option(help="Port of the API.", min=0, max=65535)] = 8080,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a first config.toml: asks what is needed, or takes it from flags with --yes."""
    file = config_path(ctx) or Path("config.toml")
    if file.exists() and not force:
        raise ConfigError(f"{file} exists already; add --force to replace it")
    if not yes:
        _require_terminal()
        bot_token = bot_token or _ask("Bot token, from @BotFather (empty: none)", _bot_token)
        app_id = app_id or _ask("API id, from https://my.telegram.org > API development tools", _positive)
        app_hash = app_hash or _ask("API hash, from the same page", _hash)
        user = user or _ask("Your Telegram user id, from @userinfobot", _positive)
        storage_dir = _ask("Folder to save files in", Path, default=str(storage_dir))
    folder = Path(os.path.expanduser(storage_dir)).resolve()  # noqa: PTH111  Path's raises if ~ is unknown
    api_token = token or secrets.token_urlsafe(32)
    data = {
        "api": {"token": api_token, "port": port},
        "telegram": _given(token=bot_token, app_id=app_id, app_hash=app_hash),
        "users": [{"id": user}] if user else [],
        "storages": [{"name": "local1", "type": "local", "base_path": str(folder)}],
    }
    write.create(file, _given(**data), comment=_COMMENT, replace=force)
    _report(file, folder, "" if token else api_token, data)


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"there is no terminal to ask on; give the replies as flags: {advice.command('init')} --yes "
            "--bot-token TOKEN --app-id ID --app-hash HASH --user ID --storage-dir DIR"
        )


def _ask(question: str, read: Callable[[str], T], default: str = "") -> T:
    """The answer as `read` takes it; asks again while `read` raises ValueError."""
    while True:
        answer = typer.prompt(question, default=default, show_default=bool(default)).strip()
        try:
            return read(answer)
        except ValueError as error:
            typer.echo(f"  {error}", err=True)


def _bot_token(text: str) -> str:
    if text and not re.fullmatch(r"\d+:[\w-]{20,}", text, re.ASCII):
        raise ValueError("a bot token looks like 123456789:AAH…")
    return text


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,18}", text, re.ASCII):
        raise ValueError("this is a number, such as 12345678")
    return int(text)


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        raise ValueError("this is 32 digits and letters a to f")
    return text


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _report(file: Path, folder: Path, new_token: str, data: dict[str, Any]) -> None:
    typer.echo(f"Wrote {file}. Files will be saved in {folder}.")
    if new_token:
        typer.echo(f"API token, shown only now: {new_token}")
    missing = [
        *(
            []
            if data["users"]
            else ["users: nobody may use it yet (saveany config set users '[{\"id\": ID}]')"]
        ),
        *([] if "app_id" in data["telegram"] else ["telegram.app_id and app_hash (https://my.telegram.org)"]),
        *(
            []
            if "token" in data["telegram"]
            else [f"an account: a bot token, or `{advice.command('login')}`"]
        ),
    ]
    for what in missing:
        typer.echo(f"Still missing: {what}")
    typer.echo(f"Next: {advice.command('check')}, then {advice.command('run')}")
