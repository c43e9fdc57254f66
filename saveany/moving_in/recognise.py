"""Recognises by their content the files that other programs leave behind, and has them read."""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from saveany import advice
from saveany.moving_in import bbolt, saveany_bot, sqlite
from saveany.moving_in.found import Finds, FoundConfig, UnreadableSource
from saveany.moving_in.sessions import gotd, pyrogram, tdl, telethon
from saveany.texts import Text

#: Larger files are none that this reads, except databases.
_MAX_BYTES, _MAX_DATABASE = 16 << 20, 1 << 30
#: How deep folders are searched, and how many entries of them.
_MAX_DEPTH, _MAX_ENTRIES = 5, 20_000
_HEAD_BYTES = 8192
_TDATA_MAGIC = b"TDF$"
#: What may be a session string in a text.
_STRING = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{351,368}={0,3}(?![A-Za-z0-9_=-])")
#: What a configuration of SaveAny-Bot consists of. It is also one of ours.
_TABLES = frozenset({"telegram", "users", "storages"})
#: The files that the configuration names, and their defaults.
_DATABASE = (("db", "path"), "data/saveany.db")
_BOT_LOGIN = (("db", "session"), "data/session.db")
_USER_LOGIN = (("telegram", "userbot", "session"), "data/usersession.db")
#: Databases with logins: what recognises them by their tables, and what reads them.
_DATABASES = (
    (gotd.is_gotgproto, gotd.read_gotgproto),
    (pyrogram.is_database, pyrogram.read_database),
    (telethon.is_database, telethon.read_database),
)
_UNKNOWN = Text("this is nothing that can be imported")
#: How an export of messages begins (Telegram Desktop, tdl); those of Desktop are sometimes no valid JSON.
_EXPORT = re.compile(r'\s*\{.{0,4096}?"(?:messages|chats)"\s*:', re.DOTALL)


def recognise(paths: Iterable[Path], finds: Finds, own: Path | None = None) -> None:
    """Read files and folders into `finds`, and the files that a configuration among them names.

    `own` is our configuration file, which is not taken for that of another program.
    """
    search = _Search(finds, own)
    for path in paths:
        search.visit(path)


def recognise_text(text: str, source: str, finds: Finds) -> None:
    """Read session strings in a text into `finds`."""
    before = len(finds.logins) + len(finds.left_out)
    _Search(finds, None).read_strings(text, source)
    if len(finds.logins) + len(finds.left_out) == before:
        finds.leave_out(source, _UNKNOWN)


class _Search:
    """Reads files, each of them once."""

    def __init__(self, finds: Finds, own: Path | None) -> None:
        self._finds = finds
        self._own = own.resolve() if own else None
        self._seen = set[tuple[int, int]]()

    def visit(self, path: Path) -> None:
        """Read a file or a folder that the user has named."""
        try:
            is_folder = path.is_dir()
            status = path.stat()
        except OSError as error:
            self._finds.leave_out(str(path), "it cannot be read: {reason}", reason=error.strerror or "")
            return
        if is_folder:
            self._visit_folder(path)
        elif not stat.S_ISREG(status.st_mode):
            self._finds.leave_out(str(path), "this is not a file")
        elif not self._read(path, status):
            self._finds.leave_out(str(path), _UNKNOWN)

    def _visit_folder(self, folder: Path) -> None:
        found = 0
        for number, file in enumerate(_files(folder)):
            if number >= _MAX_ENTRIES:
                self._finds.leave_out(
                    str(folder),
                    "only its first {count} files were looked at; name the others one by one",
                    count=_MAX_ENTRIES,
                )
                break
            try:
                found += self._read(file, file.stat())
            except OSError as error:
                self._finds.leave_out(str(file), "it cannot be read: {reason}", reason=error.strerror or "")
        if not found:
            self._finds.leave_out(str(folder), "no file in it can be imported")

    def _read(self, file: Path, status: os.stat_result) -> bool:
        """Read a file. Returns whether it was recognised, or was read before."""
        if (status.st_dev, status.st_ino) in self._seen:
            return True
        self._seen.add((status.st_dev, status.st_ino))
        try:
            with file.open("rb") as opened:
                head = opened.read(_HEAD_BYTES)
                if head.startswith(sqlite.MAGIC):
                    return status.st_size <= _MAX_DATABASE and self._read_database(file)
                if _EXPORT.match(head.decode(errors="replace")):
                    self._note_export(file)
                    return True
                if status.st_size > _MAX_BYTES or not _may_be_known(head):
                    return False
                data = head + opened.read(_MAX_BYTES - len(head))
            return self._read_content(file, data)
        except OSError as error:
            self._finds.leave_out(str(file), "it cannot be read: {reason}", reason=error.strerror or "")
        except UnreadableSource as error:
            self._finds.leave_out(str(file), error.text)
        return True

    def _read_database(self, file: Path) -> bool:
        source, logins = str(file), self._finds.logins
        with sqlite.opened(file) as database:
            tables = database.tables()
            if saveany_bot.is_database(tables):
                database.check()
                saveany_bot.read(database, source, self._finds)
                return True
            for is_known, read in _DATABASES:
                if is_known(tables):
                    database.check()
                    logins.append(read(database, source))
                    return True
        return False

    def _note_export(self, file: Path) -> None:
        self._finds.leave_out(
            str(file),
            "this is a list of messages; `{add}` saves what it lists, and `{adopt}` uses files that you have",
            add=advice.command("add -f"),
            adopt=advice.command("archive adopt --from"),
        )

    def _read_content(self, file: Path, data: bytes) -> bool:
        if data.startswith(tdl.ZSTD_MAGIC):
            self._read_tdl(file, tdl.read_backup(data))
            return True
        if bbolt.is_bbolt(data):
            self._read_tdl(file, tdl.read_store(data))
            return True
        if data.startswith(_TDATA_MAGIC):
            return self._note_tdata(file)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return False
        return self._read_text(file, text)

    def _read_tdl(self, file: Path, sessions: Iterator[tuple[str, bytes]]) -> None:
        found = 0
        for name, session in sessions:
            found += 1
            self._finds.logins.append(gotd.read_json(session, f"{file} ({name})", "tdl"))
        if not found:
            raise UnreadableSource("it contains no login")

    def _note_tdata(self, file: Path) -> bool:
        if file.name.startswith("key_data"):
            self._finds.leave_out(
                str(file.parent),
                "logins of Telegram Desktop cannot be taken over; `{command}` shows a code that "
                "Telegram's app scans",
                command=advice.command("login --qr"),
            )
        return True  # the folder has many such files, and is named once

    def _read_text(self, file: Path, text: str) -> bool:
        document = _json(text)
        if gotd.is_session(document):
            self._finds.logins.append(gotd.read(document, str(file)))
            return True
        if document is None and (table := _toml(text)) is not None and table.keys() & _TABLES:
            return self._read_config(file, text, table)
        return self.read_strings(text, str(file))

    def read_strings(self, text: str, source: str) -> bool:
        """Read the session strings in a text. Returns whether there are any."""
        found = False
        for match in _STRING.finditer(text):
            try:
                login = telethon.read_string(match[0], source) or pyrogram.read_string(match[0], source)
            except UnreadableSource as error:
                self._finds.leave_out(source, error.text)
                found = True
                continue
            if login is not None:
                self._finds.logins.append(login)
                found = True
        return found

    def _read_config(self, file: Path, text: str, table: dict[str, Any]) -> bool:
        if self._own is not None and file.resolve() == self._own:
            self._read_named(file, table)
            return True
        self._finds.configs.append(FoundConfig(file, text, table))
        self._read_named(file, table)
        return True

    def _read_named(self, config: Path, table: dict[str, Any]) -> None:
        """Read the files that a configuration names. Those that do not exist were never made."""
        for keys, default in (_DATABASE, _USER_LOGIN, _BOT_LOGIN):
            value: Any = table
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            file = config.parent / (value if isinstance(value, str) and value else default)
            if not file.is_file():
                continue
            before = len(self._finds.logins)
            if not self._read(file, file.stat()):
                self._finds.leave_out(str(file), _UNKNOWN)
            if default == _BOT_LOGIN[1]:
                logins = self._finds.logins[before:]
                self._finds.logins[before:] = [replace(each, is_bot=True) for each in logins]


def _may_be_known(head: bytes) -> bool:
    """Whether a file that begins so may be one of those that are read as a whole: text, or of a known
    format."""
    return b"\0" not in head or head.startswith((tdl.ZSTD_MAGIC, _TDATA_MAGIC)) or bbolt.is_bbolt(head)


def _files(folder: Path, depth: int = 0) -> Iterator[Path]:
    """The regular files below a folder, in the order of their names; no links are followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda each: each.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and depth < _MAX_DEPTH:
            yield from _files(Path(entry.path), depth + 1)


def _json(text: str) -> Any:
    """A JSON document; None if the text is none."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _toml(text: str) -> dict[str, Any] | None:
    """A TOML document; None if the text is none."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
