"""Changes a config.toml. It writes a file only if the result loads, and in one step.

A change keeps comments, the order of keys, and the notation of all other values. Lists of tables are written
as `[[blocks]]`, so that a user can add another block by hand.
"""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.container import Container
from tomlkit.exceptions import ConvertError, TOMLKitError
from tomlkit.items import AoT, Comment, Item, Key, Table, Whitespace

from saveany.config import files, keys, loader
from saveany.config.schema import Config
from saveany.errors import ConfigError

#: How the name of a file ends that is not complete yet.
_UNFINISHED = ".unfinished"

#: Changes the document of a file in place. Raises `ConfigError` if it cannot.
Change = Callable[[TOMLDocument], None]


def set_key(path: Path, dotted: str, value: object, env: Mapping[str, str] = os.environ) -> Config:
    """Set one key and return the new configuration: `set_key(path, "api.port", 8081)`.

    `value` has the type that TOML would give it. Elements of a list of tables are numbered from 0:
    `storages.0.base_path`. A missing file is created. Raises `ConfigError`, and changes nothing, if there is
    no such key, the value is not valid, or the file cannot be written.
    """
    key = keys.find(dotted, files.toml(files.read(path), path) if path.exists() else {})
    # The key's variable would override the new value, which would then not be checked.
    others = {name: text for name, text in env.items() if name not in (key.variable, f"{key.variable}_FILE")}
    return update(path, setting({key: value}), others)


def setting(values: Mapping[keys.ConfigKey, object]) -> Change:
    """A change that sets keys, and removes those with the value None."""

    def change(document: TOMLDocument) -> None:
        for key, value in values.items():
            table: Any = document
            for parent in key.path[:-1]:
                if isinstance(parent, str) and parent not in table:
                    if value is None:
                        break
                    put(table, parent, tomlkit.table())
                table = table[parent]
            else:
                if value is None:
                    table.pop(str(key.path[-1]), None)
                else:
                    put(table, str(key.path[-1]), value)

    return change


def add_account(path: Path, name: str, session: str, env: Mapping[str, str] = os.environ) -> Config:
    """Add a Telegram user account, or replace the session of the account with that name."""

    def change(document: TOMLDocument) -> None:
        if "telegram" not in document:
            put(document, "telegram", tomlkit.table())
        for account in document["telegram"].get("accounts", []):
            if account["name"] == name:
                put(account, "session", session)
                return
        add_block(document, ("telegram", "accounts"), {"name": name, "session": session})

    return update(path, change, env)


def changing_block(name: str, key: str, value: object, changed: Mapping[str, object]) -> Change:
    """A change of the block of a list of tables (`users`, `storages`) in which `key` has `value`. Values that
    are None are removed from it."""

    def change(document: TOMLDocument) -> None:
        block = document[name][_index(document, name, key, value)]
        for each, new in changed.items():
            if new is None:
                block.pop(each, None)
            else:
                put(block, each, new)

    return change


def removing_block(name: str, key: str, value: object) -> Change:
    """A change that removes the block of a list of tables in which `key` has `value`."""
    return lambda document: remove_block(document, name, _index(document, name, key, value))


def adding_block(name: str, values: Mapping[str, object]) -> Change:
    """A change that adds a block to a list of tables."""
    return lambda document: add_block(document, (name,), values)


def _index(document: TOMLDocument, name: str, key: str, value: object) -> int:
    for index, block in enumerate(document.get(name, [])):
        if block.get(key) == value:
            return index
    raise ConfigError(
        "the file has no [[{table}]] with {key} = {value!r}", table=name, key=key, value=str(value)
    )


def add_storage(path: Path, values: Mapping[str, object], env: Mapping[str, str] = os.environ) -> Config:
    """Add a `[[storages]]` block. Raises `ConfigError` if it is not valid, or the name is in use."""
    return update(path, lambda document: add_block(document, ("storages",), values), env)


def remove_storage(path: Path, name: str, env: Mapping[str, str] = os.environ) -> Config:
    """Remove the `[[storages]]` block with that name. Raises `ConfigError` if the file has none."""

    def change(document: TOMLDocument) -> None:
        blocks = document.get("storages", [])
        for index, block in enumerate(blocks):
            if block.get("name") == name:
                remove_block(document, "storages", index)
                return
        raise ConfigError("{file} has no storage {name!r}", file=str(path), name=name)

    return update(path, change, env)


def update(path: Path, change: Change, env: Mapping[str, str] = os.environ) -> Config:
    """Apply `change` to the document, write the result if it loads, and return the new configuration.

    Raises `ConfigError` if the file or the result does not load.
    """
    with _locked(path.resolve()):
        changed, _ = _changed(path, change, env)
        _replace(path.resolve(), changed)
    return loader.parse(changed, path, env)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads from changing a file in the folder of `path` in between. Not all file
    systems of networks can do that. Removes what writers of `path` that were killed have left, which contains
    secrets."""
    try:
        handle = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
            for each in path.parent.glob(f"{glob.escape(_unfinished(path))}*{_UNFINISHED}"):
                each.unlink()
        yield
    finally:
        os.close(handle)


def _unfinished(path: Path) -> str:
    """How the name of a file begins that is about to replace `path`."""
    return f".{path.name}."


def preview(path: Path, change: Change, env: Mapping[str, str] = os.environ) -> Config:
    """The configuration that `update` would write. Raises as `update` does."""
    return _changed(path, change, env)[1]


def _changed(path: Path, change: Change, env: Mapping[str, str]) -> tuple[str, Config]:
    text = files.read(path) if path.exists() else ""
    loader.parse(text, path, env)
    try:
        document = tomlkit.parse(text)
        change(document)
    except ConvertError as error:
        raise ConfigError("a list or a table cannot contain null") from error
    except TOMLKitError as error:  # tomlkit refuses a few texts that tomllib accepts
        raise ConfigError(
            "{file} is written in a way that this command cannot change; use an editor", file=str(path)
        ) from error
    changed = tomlkit.dumps(document)
    return changed, loader.parse(changed, path, env, lines=False)


def put(table: Any, key: str, value: object) -> None:
    """Set a key of a table or of the document. A new key is placed after the last key, before the comments
    and blank lines that precede the next table."""
    if key in table:
        table[key] = value
        return
    container: Any = table.value if isinstance(table, Table) else table
    if not isinstance(container, Container) or isinstance(value, Table | AoT):
        table[key] = value  # an inline table, or a new table at the end of the file
        return
    body = container.body
    plain = [n for n, (name, item) in enumerate(body) if name and not isinstance(item, Table | AoT)]
    position = plain[-1] + 1 if plain else _after_heading(body) if table is container else 0
    if position == len(body):
        table[key] = value
    else:  # tomlkit would append the key after those comments; it has no public method to insert one
        container._insert_at(position, key, tomlkit.item(value))


def _after_heading(body: Sequence[tuple[Key | None, Item]]) -> int:
    """The index after the comment at the top of the file, if a blank line follows it; else 0."""
    lines = 0
    while lines < len(body) and isinstance(body[lines][1], Comment):
        lines += 1
    return lines if lines < len(body) and body[lines][0] is None else 0


def add_block(document: TOMLDocument, path: tuple[str, ...], values: Mapping[str, object]) -> None:
    """Add a block to the list of tables at `path`, without the values that are None."""
    parent: Any = document
    for name in path[:-1]:
        parent = parent[name]
    values = {key: value for key, value in values.items() if value is not None}
    block = tomlkit.table()
    block.update(values)
    blocks = parent.get(path[-1])
    if isinstance(blocks, AoT) and blocks:
        trailing = _take_trailing(blocks[-1])
        blocks[-1].add(tomlkit.nl())
        blocks.append(block)
        for item in trailing:
            block.add(item)
        if not trailing and document.body[-1][0] != path[0]:
            block.add(tomlkit.nl())  # before the table that follows
    elif blocks:  # an array of inline tables
        inline = tomlkit.inline_table()
        inline.update(values)
        blocks.append(inline)
    else:
        parent.pop(path[-1], None)
        parent[path[-1]] = tomlkit.aot()
        parent[path[-1]].append(block)


def remove_block(document: TOMLDocument, name: str, index: int) -> None:
    """Remove a block of a list of tables, but keep the comments after it, which describe the next block."""
    blocks: Any = document[name]
    trailing = _take_trailing(blocks[index]) if isinstance(blocks, AoT) else []
    del blocks[index]
    if not blocks:
        del document[name]
    elif index and isinstance(blocks, AoT):
        for item in trailing:
            blocks[index - 1].add(item)


def _take_trailing(block: Table) -> list[Comment | Whitespace]:
    """Remove the comments and blank lines at the end of a block, and return them."""
    body = block.value.body
    taken: list[Comment | Whitespace] = []
    while body and isinstance(item := body[-1][1], Comment | Whitespace):
        body.pop()
        taken.insert(0, item)
    return taken


def create(path: Path, data: Mapping[str, Any], *, comment: str = "", replace: bool = False) -> Config:
    """Write `data` to a new file that only its owner can read, with `comment` at the top. Raises
    `ConfigError` if the file exists, unless `replace`."""
    text = "".join(f"# {line}\n" for line in comment.splitlines()) + tomlkit.dumps(data)
    with _locked(path.resolve()):
        if path.exists() and not replace:
            raise ConfigError("{file} already exists; add --force to replace it", file=str(path))
        loader.parse(text, path, {}, lines=False)
        _replace(path.resolve(), text)
    return loader.parse(text, path, {})


def _replace(path: Path, text: str) -> None:
    """Replace the content of `path` with `text` in one step, safe against power cuts. Mode and owner stay."""
    try:
        _replace_file(path, text)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError("cannot write {file}: {reason}", file=str(path), reason=error.strerror or "")


def _replace_file(path: Path, text: str) -> None:
    old = path.stat() if path.exists() else None
    handle, name = tempfile.mkstemp(_UNFINISHED, _unfinished(path), path.parent)  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            if old:
                os.fchmod(file.fileno(), old.st_mode & 0o777)
                with suppress(PermissionError):  # only root can change the owner, and only root needs to
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
