"""What a SaveAny-Bot config.toml may have that does nothing here: it loads, with a warning each.

Names and meanings are those of SaveAny-Bot v0.60.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Loc = tuple[str | int, ...]

_NOT_YET = "is not available yet and has no effect"

#: Dotted key or table -> what to know about it. Read by the loader and by the reference page.
IGNORED: Mapping[str, str] = {
    "threads": "has no effect: the number of connections follows the size of the file",
    "stream": "has no effect: files always go straight into the storage",
    "no_clean_cache": "has no effect: there is no download cache",
    "telegram.rpc_retry": "has no effect: how often to try again follows from Telegram's answer",
    "telegram.flood_retry": "has no effect: flood waits are always waited for",
    "telegram.timeout": "has no effect: Telegram is tried again until it answers",
    "telegram.media_group_timeout": "has no effect: the bot waits until an album is complete",
    "telegram.userbot": "has no effect: log the account in with the command `login --phone` instead",
    "db": "has no effect: everything is kept in Redis, see [redis]",
    "temp": "has no effect: there is no download cache",
    "cache": "has no effect: everything is kept in Redis, see [redis]",
    "aria2.remove_after_transfer": "has no effect: files are removed unless keep_file is true",
    "parser": "has no effect: gallery-dl takes the place of parsers, see [gallery]",
    "parsers": "has no effect: gallery-dl takes the place of parsers, see [gallery]",
    "hook": _NOT_YET,
    "storages.spilt_size_mb": "has no effect, in SaveAny-Bot neither: the key is split_size_mb",
}


def take_ignored(data: dict[str, Any]) -> Iterator[tuple[Loc, str]]:
    """Remove every ignored key from `data`, in place; yields each with its warning."""
    for dotted, why in IGNORED.items():
        *parents, key = dotted.split(".")
        for loc, table in _tables(data, parents):
            if key in table:
                del table[key]
                yield (*loc, key), f"{dotted} {why}"


def _tables(data: Any, names: Sequence[str], loc: Loc = ()) -> Iterator[tuple[Loc, dict[str, Any]]]:
    """The table of these names, or each of an array of tables, and where it is."""
    if isinstance(data, list):
        for number, each in enumerate(data):
            yield from _tables(each, names, (*loc, number))
    elif isinstance(data, dict) and names:
        yield from _tables(data.get(names[0]), names[1:], (*loc, names[0]))
    elif isinstance(data, dict):
        yield loc, data


def is_ignored_variable(variable: str) -> bool:
    """Whether an environment variable sets an ignored key, or one inside an ignored table."""
    names = (f"SAVEANY_{dotted.replace('.', '_').upper()}" for dotted in IGNORED)
    return any(variable == name or variable.startswith(f"{name}_") for name in names)
