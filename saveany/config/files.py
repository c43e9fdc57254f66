"""Finds config.toml and reads it as TOML. It does not import the schema, which takes longer than a request to
the API."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saveany import advice
from saveany.errors import ConfigError

#: Files that are tried, in this order, when none is named.
DEFAULT_FILES = (Path("config.toml"), Path("/etc/saveany/config.toml"))

#: Message of tomllib -> the same in words for a user.
_TOML_ERRORS = {
    "Invalid value": "a value is missing or not valid; text needs quotes",
    "Cannot overwrite a value": "this key is set twice",
    "Unterminated string": "a text has no closing quote",
    "Unclosed array": "a list has no closing bracket",
    "Unclosed inline table": "a table has no closing brace",
    "Expected '=' after a key in a key/value pair": "a key must be followed by = and a value",
    "Expected newline or end of document after a statement": "there is more text after the value",
    "Unescaped '\\' in a string": "write \\ in a text as \\\\, or use single quotes",
}


def find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The file that `load` reads, None if there is none."""
    if path is None and env.get("SAVEANY_CONFIG"):
        path = Path(env["SAVEANY_CONFIG"])
    return path or next((file for file in DEFAULT_FILES if file.exists()), None)


def read(file: Path) -> str:
    """The text of a configuration file."""
    try:
        return file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            "there is no file {file}; `{command}` writes one", file=str(file), command=advice.command("init")
        ) from None
    except OSError as error:
        raise ConfigError(
            "cannot read {file}: {reason}", file=str(file), reason=error.strerror or ""
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "{file}:{line}: this is not UTF-8 text; save the file in UTF-8", file=str(file), line=line
        ) from error


def toml(text: str, file: Path | None) -> dict[str, Any]:
    """`text` parsed. Raises `ConfigError` with the line where it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, position = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", position)  # otherwise it is "end of document"
        raise ConfigError(
            "{file}:{line}: this is not TOML: {reason}",
            file=str(file),
            line=int(found[1]) if found else max(1, len(text.splitlines())),
            reason=_TOML_ERRORS.get(reason, "check this line, and the one before it"),
        ) from error


def anchored(path: str | Path, folder: Path) -> Path:
    """A path of the configuration: it starts from the folder that the file is in."""
    return folder / Path(os.path.expanduser(path))  # noqa: PTH111  Path's raises if ~ is unknown


def version(file: Path | None) -> tuple[int, ...]:
    """Changes with every change of the file."""
    try:
        found = file.stat() if file else None
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else ()
