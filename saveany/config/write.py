"""Changes a config.toml: nothing is written that would not load, and never half of it.

The file is written anew from its values, so comments in it are not kept.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from saveany.config import keys, loader
from saveany.config.schema import Config
from saveany.errors import ConfigError


def set_key(path: Path, dotted: str, value: object, env: Mapping[str, str] = os.environ) -> Config:
    """Set one key, `value` being what TOML would give: `set_key(path, "api.port", 8081)`.

    Returns the configuration as it is then. Raises `ConfigError`, and changes nothing, if there is no such
    key, the value does not fit, or the file cannot be written. A missing file is made.
    """
    key = keys.find(dotted)

    def change(data: dict[str, Any]) -> None:
        table = data
        for parent in key.path[:-1]:
            table = table.setdefault(parent, {})
        table[key.path[-1]] = value

    # the key's own variable would hide the new value from the check
    others = {name: text for name, text in env.items() if name not in (key.variable, f"{key.variable}_FILE")}
    return update(path, change, others)


def add_account(path: Path, name: str, session: str, env: Mapping[str, str] = os.environ) -> Config:
    """Add a Telegram user account, or replace the session of the one with that name."""

    def change(data: dict[str, Any]) -> None:
        accounts = data.setdefault("telegram", {}).setdefault("accounts", [])
        accounts[:] = [account for account in accounts if account["name"] != name]
        accounts.append({"name": name, "session": session})

    return update(path, change, env)


def update(
    path: Path, change: Callable[[dict[str, Any]], None], env: Mapping[str, str] = os.environ
) -> Config:
    """Apply `change` to the values of the file and write it if the result loads.

    The file as it is must load too, else `ConfigError`.
    """
    text = loader.read(path) if path.exists() else ""
    loader.parse(text, path, env)
    data = loader.toml(text, path)
    change(data)
    changed = tomli_w.dumps(data)
    loader.parse(changed, path, env, lines=False)
    _replace(path.resolve(), changed)
    return loader.parse(changed, path, env)


def create(path: Path, data: Mapping[str, Any], *, comment: str = "", replace: bool = False) -> Config:
    """Write a new file of `data` under `comment`, readable by its owner only; `ConfigError` if it exists."""
    if path.exists() and not replace:
        raise ConfigError(f"{path} exists already; add --force to replace it")
    text = "".join(f"# {line}\n" for line in comment.splitlines()) + tomli_w.dumps(data)
    loader.parse(text, path, {}, lines=False)
    _replace(path.resolve(), text)
    return loader.parse(text, path, {})


def _replace(path: Path, text: str) -> None:
    """Put `text` into `path` in one step that survives a power cut; mode and owner stay."""
    try:
        _replace_file(path, text)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _replace_file(path: Path, text: str) -> None:
    old = path.stat() if path.exists() else None
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            if old:
                os.fchmod(file.fileno(), old.st_mode & 0o777)
                with suppress(PermissionError):  # only root may give files away, and only root has to
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
