"""Changes a config.toml: nothing is written that would not load, and never half of it.

A change keeps every comment, the order of the keys and the notation of everything it does not touch. Lists of
tables are written as `[[blocks]]`, so that another block can be added by hand.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.container import Container
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Comment, Item, Key, Table, Whitespace

from saveany.config import keys, loader
from saveany.config.schema import Config
from saveany.errors import ConfigError


def set_key(path: Path, dotted: str, value: object, env: Mapping[str, str] = os.environ) -> Config:
    """Set one key, `value` being what TOML would give: `set_key(path, "api.port", 8081)`.

    An element of a list of tables is named by its number from 0: `storages.0.base_path`. Returns the
    configuration as it is then. Raises `ConfigError`, and changes nothing, if there is no such key, the value
    does not fit, or the file cannot be written. A missing file is made.
    """
    key = keys.find(dotted, loader.toml(loader.read(path), path) if path.exists() else {})

    def change(document: TOMLDocument) -> None:
        table: Any = document
        for parent in key.path[:-1]:
            if isinstance(parent, str) and parent not in table:
                put(table, parent, tomlkit.table())
            table = table[parent]
        put(table, str(key.path[-1]), value)

    # The key's own variable would hide the new value from the check.
    others = {name: text for name, text in env.items() if name not in (key.variable, f"{key.variable}_FILE")}
    return update(path, change, others)


def add_account(path: Path, name: str, session: str, env: Mapping[str, str] = os.environ) -> Config:
    """Add a Telegram user account, or replace the session of the one with that name."""

    def change(document: TOMLDocument) -> None:
        if "telegram" not in document:
            put(document, "telegram", tomlkit.table())
        for account in document["telegram"].get("accounts", []):
            if account["name"] == name:
                put(account, "session", session)
                return
        add_block(document, ("telegram", "accounts"), {"name": name, "session": session})

    return update(path, change, env)


def add_storage(path: Path, values: Mapping[str, object], env: Mapping[str, str] = os.environ) -> Config:
    """Add a `[[storages]]` block. `ConfigError` if it does not fit, or the name is taken."""
    return update(path, lambda document: add_block(document, ("storages",), values), env)


def remove_storage(path: Path, name: str, env: Mapping[str, str] = os.environ) -> Config:
    """Remove the `[[storages]]` block of that name; `ConfigError` if the file has none."""

    def change(document: TOMLDocument) -> None:
        blocks = document.get("storages", [])
        for index, block in enumerate(blocks):
            if block.get("name") == name:
                remove_block(document, "storages", index)
                return
        raise ConfigError(f"{path} has no storage {name!r}")

    return update(path, change, env)


def update(path: Path, change: Callable[[TOMLDocument], None], env: Mapping[str, str] = os.environ) -> Config:
    """Apply `change` to the document and write it if the result loads.

    The file as it is must load too, else `ConfigError`.
    """
    text = loader.read(path) if path.exists() else ""
    loader.parse(text, path, env)
    try:
        document = tomlkit.parse(text)
        change(document)
    except TOMLKitError as error:  # tomlkit refuses a few texts that tomllib reads
        raise ConfigError(f"cannot change {path}: {error}; change it with an editor") from error
    changed = tomlkit.dumps(document)
    loader.parse(changed, path, env, lines=False)
    _replace(path.resolve(), changed)
    return loader.parse(changed, path, env)


def put(table: Any, key: str, value: object) -> None:
    """Set a key of a table or of the document. A new key goes behind the last one, before the comments and
    blank lines that lead over to the next table."""
    if key in table:
        table[key] = value
        return
    container: Any = table.value if isinstance(table, Table) else table
    if not isinstance(container, Container) or isinstance(value, Table | AoT):
        table[key] = value  # an inline table, or a new table at the end of the file
        return
    body = container.body
    plain = [n for n, (name, item) in enumerate(body) if name and not isinstance(item, Table | AoT)]
    place = plain[-1] + 1 if plain else _after_heading(body) if table is container else 0
    if place == len(body):
        table[key] = value
    else:  # tomlkit itself would put the key below those comments, and has no public method for this
        container._insert_at(place, key, tomlkit.item(value))


def _after_heading(body: Sequence[tuple[Key | None, Item]]) -> int:
    """The end of the comments that the file begins with, if they are a paragraph of their own."""
    lines = 0
    while lines < len(body) and isinstance(body[lines][1], Comment):
        lines += 1
    return lines if lines < len(body) and body[lines][0] is None else 0


def add_block(document: TOMLDocument, place: tuple[str, ...], values: Mapping[str, object]) -> None:
    """Add a block to the list of tables at `place`."""
    parent: Any = document
    for name in place[:-1]:
        parent = parent[name]
    block = tomlkit.table()
    block.update(values)
    blocks = parent.get(place[-1])
    if isinstance(blocks, AoT) and blocks:
        trailing = _take_trailing(blocks[-1])
        blocks[-1].add(tomlkit.nl())
        blocks.append(block)
        for item in trailing:
            block.add(item)
    elif blocks:  # an array of inline tables
        inline = tomlkit.inline_table()
        inline.update(values)
        blocks.append(inline)
    else:
        parent.pop(place[-1], None)
        parent[place[-1]] = tomlkit.aot()
        parent[place[-1]].append(block)


def remove_block(document: TOMLDocument, name: str, index: int) -> None:
    """Remove a block of a list of tables; the comments behind it, which are about what follows, stay."""
    blocks: Any = document[name]
    trailing = _take_trailing(blocks[index]) if isinstance(blocks, AoT) else []
    del blocks[index]
    if not blocks:
        del document[name]
    elif index and isinstance(blocks, AoT):
        for item in trailing:
            blocks[index - 1].add(item)


def _take_trailing(block: Table) -> list[Comment | Whitespace]:
    """Take the comments and blank lines off the end of a block."""
    body = block.value.body
    taken: list[Comment | Whitespace] = []
    while body and isinstance(item := body[-1][1], Comment | Whitespace):
        body.pop()
        taken.insert(0, item)
    return taken


def create(path: Path, data: Mapping[str, Any], *, comment: str = "", replace: bool = False) -> Config:
    """Write a new file of `data` under `comment`, readable by its owner only; `ConfigError` if it exists."""
    if path.exists() and not replace:
        raise ConfigError(f"{path} exists already; add --force to replace it")
    text = "".join(f"# {line}\n" for line in comment.splitlines()) + tomlkit.dumps(data)
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
