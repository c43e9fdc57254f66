"""Finds, reads and checks the configuration; every problem at once, each with its line."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from saveany import advice
from saveany.config import compat, keys, places
from saveany.config.hints import did_you_mean
from saveany.config.lines import Loc, key_lines
from saveany.config.schema import Config
from saveany.config.variables import Setting, read_variables
from saveany.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

#: Where a configuration is looked for when none is named.
PLACES = (Path("config.toml"), Path("/etc/saveany/config.toml"))

#: pydantic's error types in words for a user; for the others its own message will do.
_WORDS = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "tuple_type": 'must be a list, as in ["a", "b"]',
    "list_type": 'must be a list, as in ["a", "b"]',
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "ip_any_network": "must be a network, as in 192.168.1.0/24",
}


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Config:
    """The configuration: variables over file over defaults.

    The file is `path`, else `SAVEANY_CONFIG`, else ./config.toml, else /etc/saveany/config.toml, else none.
    Raises `ConfigError` with every problem, one per line, as `file:line: key what is wrong`.
    """
    file = find(path, env)
    return parse(read(file) if file else "", file, env)


def find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The file that `load` would read, None if there is none."""
    if path is None and env.get("SAVEANY_CONFIG"):
        path = Path(env["SAVEANY_CONFIG"])
    return path or next((place for place in PLACES if place.exists()), None)


def read(file: Path) -> str:
    """The text of a configuration file."""
    try:
        return file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {file}; `{advice.command('init')}` writes one") from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def parse(text: str, file: Path | None, env: Mapping[str, str], *, lines: bool = True) -> Config:
    """The configuration that `text`, as the content of `file`, and `env` make together.

    Without `lines` messages name the file only: for a `text` that is not written yet.
    """
    data = toml(text, file)
    found = read_variables(env)
    variables: dict[Loc, str] = {setting.key.path: setting.variable for setting in found.settings}
    origin = _Origin(file, key_lines(text) if lines else {}, variables)
    notes = [*compat.take_ignored(data)]
    for setting in found.settings:
        _put(data, setting)
    folder = (file.parent if file else Path()).absolute()
    config = _anchored(_validate(data, folder, origin, found.problems), folder)
    config._file = file
    wrong = places.problems(config, [file] if file else PLACES, _names(data))
    if problems := [f"{origin.place(loc)}: {spell(loc)}: {text}" for loc, text in wrong]:
        raise ConfigError("\n".join(problems))
    notes += _unknown_names(config, data)
    config._warnings = (*found.warnings, *(f"{origin.place(loc)}: {note}" for loc, note in notes))
    return config


def toml(text: str, file: Path | None) -> dict[str, Any]:
    """`text` parsed; `ConfigError` with the line where it is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)  # else it says "end of document"
        line = found[1] if found else max(1, len(text.splitlines()))
        raise ConfigError(f"{file}:{line}: this is not TOML: {reason}") from error


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where each value came from."""

    file: Path | None
    lines: Mapping[Loc, int]
    variables: Mapping[Loc, str]

    def place(self, loc: Loc) -> str:
        """The variable or the file and line that gave what is at `loc`, or the table it is missing from."""
        for end in range(len(loc), 0, -1):
            if loc[:end] in self.variables:
                return self.variables[loc[:end]]
            if loc[:end] in self.lines:
                return f"{self.file}:{self.lines[loc[:end]]}"
        return str(self.file or "configuration")

    def line(self, loc: Loc) -> int:
        """The line of that place, 0 for what the file does not have."""
        return next((self.lines[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in self.lines), 0)


def _put(data: dict[str, Any], setting: Setting) -> None:
    *parents, name = setting.key.path
    table: Any = data
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):  # not there, or wrong in the file, which the variable mends
            inner = table[parent] = {}
        table = inner
    table[name] = setting.value


def _validate(data: dict[str, Any], folder: Path, origin: _Origin, problems: Sequence[str]) -> Config:
    """`data` as a configuration; `ConfigError` with `problems` and its own."""
    try:
        # As JSON, strict: no "8080" for 8080, yet lists make tuples and text makes paths.
        text = json.dumps(data, default=str)
        config = Config.model_validate_json(text, strict=True, context={"folder": folder})
    except ValidationError as error:
        # a default that could not be made is the consequence of another error, which is listed too
        details = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
        details.sort(key=lambda one: origin.line(one["loc"]))
        problems = [*problems, *(f"{origin.place(one['loc'])}: {_describe(one, data)}" for one in details)]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _describe(error: ErrorDetails, data: dict[str, Any]) -> str:
    loc, text = error["loc"], _WORDS.get(error["type"])
    if error["type"] == "extra_forbidden":
        hint = keys.hint(str(loc[-1]), keys.names_at(loc[:-1], data), inside=loc[:-1])
        text = "there is no such key" + (f"; {hint}" if hint else "")
    elif error["type"] == "tuple_type" and spell(loc) in keys.TABLE_LISTS:
        text = f"must be a list of tables: [[{spell(loc)}]] in the file, JSON in a variable"
    elif text is None:
        text = re.sub(r"^\w+ should ", "must ", error["msg"].removeprefix("Value error, "))
    return f"{spell(loc)}: {text}"


def spell(loc: Loc) -> str:
    """A place as a person writes it: `storages[0].base_path`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _anchored(model: Model, folder: Path) -> Model:
    """`model` with every relative path in it, at any depth, counted from `folder`."""
    changes: dict[str, object] = {}
    for name in type(model).model_fields:
        match getattr(model, name):
            case Path() as path:
                changes[name] = folder / Path(os.path.expanduser(path))  # noqa: PTH111  Path's raises if ~ is unknown
            case BaseModel() as inner:
                changes[name] = _anchored(inner, folder)
            case tuple() as several:
                changes[name] = tuple(
                    _anchored(one, folder) if isinstance(one, BaseModel) else one for one in several
                )
    return model.model_copy(update=changes)


def _names(data: dict[str, Any]) -> dict[str, int]:
    """The place of each storage among the tables."""
    return {table["name"]: index for index, table in enumerate(data.get("storages", []))}


def _unknown_names(config: Config, data: dict[str, Any]) -> Iterator[tuple[Loc, str]]:
    """A warning for each storage that a user's list names and that is not there, enabled or not."""
    known = {table["name"] for table in data.get("storages", [])}
    for index, user in enumerate(config.users):
        for name in user.storages:
            if name not in known:
                hint = did_you_mean(name, known, fold=str)
                yield (
                    ("users", index, "storages"),
                    f"there is no storage {name!r}" + (f"; {hint}" if hint else ""),
                )
