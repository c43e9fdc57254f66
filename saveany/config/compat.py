"""Keys of SaveAny-Bot's config.toml that have no effect here. The file loads; each of them gives a warning.

Names and meanings are those of SaveAny-Bot v0.60.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Loc = tuple[str | int, ...]

_NOT_YET = "is not available yet and has no effect"

#: Dotted key or table -> why it has no effect. Shown in warnings and on the reference page.
IGNORED: Mapping[str, str] = {
    "threads": "has no effect: the number of connections follows the size of the file",
    "stream": "has no effect: files are always streamed to the storage",
    "no_clean_cache": "has no effect: there is no download cache",
    "telegram.rpc_retry": "has no effect: Telegram's reply decides how often a request is repeated",
    "telegram.flood_retry": "has no effect: SaveAny always waits as long as Telegram demands",
    "telegram.timeout": "has no effect: SaveAny tries again until Telegram replies",
    "telegram.media_group_timeout": "has no effect: the bot waits until an album is complete",
    "telegram.userbot": "has no effect: move its login here with the command `import`",
    "db": "has no effect: SaveAny keeps everything in Redis, see [redis]",
    "temp": "has no effect: there is no download cache",
    "cache": "has no effect: SaveAny keeps everything in Redis, see [redis]",
    "aria2.remove_after_transfer": "has no effect: files are removed unless keep_file is true",
    "parser": "has no effect: gallery-dl replaces parsers, see [gallery]",
    "parsers": "has no effect: gallery-dl replaces parsers, see [gallery]",
    "hook": _NOT_YET,
    "storages.spilt_size_mb": "has no effect, nor does it in SaveAny-Bot: the key is split_size_mb",
}


def take_ignored(data: dict[str, Any]) -> Iterator[tuple[Loc, str]]:
    """Remove every ignored key from `data` in place; yield the location and the warning of each."""
    for dotted, why in IGNORED.items():
        *parents, key = dotted.split(".")
        for loc, table in _tables(data, parents):
            if key in table:
                del table[key]
                yield (*loc, key), f"{dotted} {why}"


def _tables(data: Any, names: Sequence[str], loc: Loc = ()) -> Iterator[tuple[Loc, dict[str, Any]]]:
    """The location and content of the table `names`, or of each table if it is an array of tables."""
    if isinstance(data, list):
        for number, each in enumerate(data):
            yield from _tables(each, names, (*loc, number))
    elif isinstance(data, dict) and names:
        yield from _tables(data.get(names[0]), names[1:], (*loc, names[0]))
    elif isinstance(data, dict):
        yield loc, data


def is_ignored_variable(variable: str) -> bool:
    """Whether an environment variable stands for an ignored key, or for a key in an ignored table."""
    names = (f"SAVEANY_{dotted.replace('.', '_').upper()}" for dotted in IGNORED)
    return any(variable == name or variable.startswith(f"{name}_") for name in names)
