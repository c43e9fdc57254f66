"""Reads the database of SaveAny-Bot: users with their default storages, folders, rules and watched chats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from saveany.moving_in.found import Finds, FoundRule, FoundUser, FoundWatch, UnreadableSource
from saveany.moving_in.sqlite import SqliteFile, has

T = TypeVar("T")
Row = Mapping[str, Any]

#: The columns that each table has since version 0.60, besides those of every table.
_COMMON = ("id", "created_at", "updated_at", "deleted_at")
_TABLES = {
    "users": (
        *("chat_id", "silent", "default_storage", "default_dir", "apply_rule"),
        *("filename_strategy", "filename_template", "conflict_strategy"),
    ),
    "dirs": ("user_id", "storage_name", "path"),
    "rules": ("user_id", "type", "data", "storage_name", "dir_path"),
    "watch_chats": ("user_id", "chat_id", "filter"),
}
_MAX_ROWS = 10_000
_MAX_ID = 2**53


def is_database(tables: Mapping[str, Sequence[str]]) -> bool:
    """Whether a database is one of SaveAny-Bot, of any version."""
    return has(tables, "users", "chat_id", "silent", "default_storage")


def read(file: SqliteFile, source: str, finds: Finds) -> None:
    """Add the users in the database to `finds`. Raises `UnreadableSource` for one of another version."""
    _check_version(file.tables())
    rows = {name: [each for each in _rows(file, name) if each["deleted_at"] is None] for name in _TABLES}
    dirs, rules, watches = (_by_user(rows[name]) for name in ("dirs", "rules", "watch_chats"))
    folders = {row["id"]: row["path"] for row in rows["dirs"]}
    known = {row["id"] for row in rows["users"]}
    for owner in {*dirs, *rules, *watches} - known:
        finds.leave_out(f"{source}: settings of user number {owner}", "the user was deleted there")
    for row in rows["users"]:
        user_id = _id(row["chat_id"])
        if not user_id:
            finds.leave_out(f"{source}: user {row['chat_id']!r}", "this is not the id of a Telegram user")
            continue
        default = row["default_dir"] or 0
        if default and default not in folders:
            finds.leave_out(f"user {user_id}: default folder", "the folder was deleted there")
        finds.users.append(
            FoundUser(
                id=user_id,
                silent=bool(row["silent"]),
                storage=_text(row["default_storage"]),
                folder=_text(folders[default]) if default in folders else None,
                rules_on=bool(row["apply_rule"]),
                naming=_text(row["filename_strategy"]) or "default",
                template=_text(row["filename_template"]),
                on_conflict=_text(row["conflict_strategy"]),
                shortcuts=_made(
                    dirs[row["id"]], lambda each: (_text(each["storage_name"]), _text(each["path"]))
                ),
                rules=_made(rules[row["id"]], _rule),
                watches=_made(
                    watches[row["id"]],
                    lambda each: FoundWatch(chat=_chat(each["chat_id"]), filter=_text(each["filter"])),
                ),
            )
        )


def _check_version(tables: Mapping[str, Sequence[str]]) -> None:
    """Raise `UnreadableSource` unless the tables are as in version 0.60."""
    for name, columns in _TABLES.items():
        missing = [each for each in (*_COMMON, *columns) if not has(tables, name, each)]
        if missing:
            raise UnreadableSource(
                "the database was written by a SaveAny-Bot older than 0.60 (it has no {column}); start "
                "SaveAny-Bot 0.60 once, which updates it",
                column=f"{name}.{missing[0]}",
            )
        unknown = [each for each in tables[name] if each not in (*_COMMON, *columns)]
        if unknown:
            raise UnreadableSource(
                "the database was written by a SaveAny-Bot newer than 0.60 (it has {column}), which this "
                "SaveAny does not know; a newer SaveAny may",
                column=f"{name}.{unknown[0]}"[:100],
            )


def _rows(file: SqliteFile, name: str) -> list[dict[str, Any]]:
    return file.rows(name, ("id", "deleted_at", *_TABLES[name]), at_most=_MAX_ROWS)


def _by_user(rows: Iterable[Row]) -> defaultdict[Any, list[Row]]:
    found: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["user_id"]].append(row)
    return found


def _made(rows: Iterable[Row], make: Callable[[Row], T]) -> tuple[T, ...]:
    return tuple(make(row) for row in rows)


def _rule(row: Row) -> FoundRule:
    return FoundRule(
        kind=_text(row["type"]),
        data=_text(row["data"]),
        storage=_text(row["storage_name"]),
        folder=_text(row["dir_path"]),
    )


def _id(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < _MAX_ID else 0


def _chat(value: object) -> int:
    return value if isinstance(value, int) and abs(value) < _MAX_ID else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
