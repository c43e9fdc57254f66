"""Finds, reads and checks the configuration. Reports all problems at once, each with its line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from saveany import validation
from saveany.config import compat, files, folders, keys
from saveany.config.hints import did_you_mean
from saveany.config.lines import Loc, key_lines
from saveany.config.schema import Config
from saveany.config.variables import VariableSetting, read_variables
from saveany.errors import ConfigError
from saveany.texts import Text

Model = TypeVar("Model", bound=BaseModel)
#: TOML and Redis have whole numbers of 64 bits.
_TOO_LARGE = 2**63


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Config:
    """The configuration. Variables override the file, the file overrides the defaults.

    The file is `path`, else `SAVEANY_CONFIG`, else ./config.toml, else /etc/saveany/config.toml, else none.
    Raises `ConfigError` with all problems, one per line: `file:line: key: what is wrong`.
    """
    file = files.find(path, env)
    version = files.version(file)  # before it is read: what is written meanwhile is a change
    config = parse(files.read(file) if file else "", file, env)
    config._file_version = version
    return config


def parse(text: str, file: Path | None, env: Mapping[str, str], *, lines: bool = True) -> Config:
    """The configuration made of `text`, the content of `file`, and of the variables in `env`.

    With `lines=False` messages name only the file, because `text` has not been written yet.
    """
    data = files.toml(text, file)
    found = read_variables(env)
    variables: dict[Loc, str] = {setting.key.path: setting.variable for setting in found.settings}
    origin = _Origin(file, key_lines(text) if lines else {}, variables)
    notes = [*compat.take_ignored(data)]
    for setting in found.settings:
        _put(data, setting)
    folder = (file.parent if file else Path()).absolute()
    config = _anchored(_validate(data, folder, origin, found.problems), folder)
    config._file = file
    used = [file] if file else files.DEFAULT_FILES
    refused = (*folders.problems(config, used, _storage_tables(data)), *folders.inbox_problems(config, used))
    if problems := [ConfigProblem(origin.source(loc), spell(loc), Text(text)) for loc, text in refused]:
        raise WrongValues(problems)
    notes += _unknown_names(config, data)
    config._warnings = (*found.warnings, *(f"{origin.source(loc)}: {note}" for loc, note in notes))
    return config


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """What is wrong with one value."""

    source: str  # its variable, or file and line
    key: str  # its name; "" for a variable that sets none
    text: Text

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.source, self.key, str(self.text))))


class WrongValues(ConfigError):
    """Values of the configuration are not valid."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class _Origin:
    """The file and line, or the variable, that each value comes from."""

    file: Path | None
    lines: Mapping[Loc, int]
    variables: Mapping[Loc, str]

    def source(self, loc: Loc) -> str:
        """The variable, or the file and line, that sets `loc`; of a missing key, that of its table."""
        for end in range(len(loc), 0, -1):
            if loc[:end] in self.variables:
                return self.variables[loc[:end]]
            if loc[:end] in self.lines:
                return f"{self.file}:{self.lines[loc[:end]]}"
        return str(self.file or "configuration")

    def line(self, loc: Loc) -> int:
        """The line of `loc` or of its table, 0 if the file has neither."""
        return next((self.lines[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in self.lines), 0)


def _put(data: dict[str, Any], setting: VariableSetting) -> None:
    *parents, name = setting.key.path
    table: Any = data
    for parent in parents:
        inner = table.get(parent)
        if not isinstance(inner, dict):  # missing, or not a table in the file: the variable replaces it
            inner = table[parent] = {}
        table = inner
    table[name] = setting.value


def _validate(data: dict[str, Any], folder: Path, origin: _Origin, problems: Sequence[str]) -> Config:
    """`data` as a configuration. Raises `ConfigError` with `problems` and those that it finds."""
    found = [ConfigProblem("", "", Text(each)) for each in problems]
    try:
        # Strict JSON mode refuses "8080" for 8080, but turns lists into tuples and text into paths.
        text = json.dumps(data, default=str)
        config = Config.model_validate_json(text, strict=True, context={"folder": folder})
    except ValidationError as error:
        # a default that could not be computed follows from another error, which is listed, too
        details = [one for one in error.errors() if one["type"] != "default_factory_not_called"]
        details.sort(key=lambda one: origin.line(one["loc"]))
        found += [
            ConfigProblem(origin.source(one["loc"]), spell(one["loc"]), _describe(one, data))
            for one in details
        ]
    found += [ConfigProblem(origin.source(loc), spell(loc), text) for loc, text in _unusable(data)]
    if found:
        raise WrongValues(found)
    return config


def _unusable(value: object, loc: Loc = ()) -> Iterator[tuple[Loc, Text]]:
    """Values that the schema permits, but neither the system nor Redis can store."""
    if isinstance(value, str) and "\0" in value:
        yield loc, Text("contains a null character")
    elif isinstance(value, int) and abs(value) >= _TOO_LARGE:
        yield loc, Text("is too large")
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _unusable(inner, (*loc, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unusable(inner, (*loc, index))


def _describe(error: ErrorDetails, data: dict[str, Any]) -> Text:
    loc = error["loc"]
    if error["type"] == "extra_forbidden":
        hint = keys.hint(str(loc[-1]), keys.names_at(loc[:-1], data), inside=loc[:-1])
        return Text("there is no such key; {hint}", {"hint": hint}) if hint else Text("there is no such key")
    if error["type"] == "tuple_type" and spell(loc) in keys.TABLE_LISTS:
        return Text(
            "must be a list of tables: [[{key}]] in the file, or JSON in a variable", {"key": spell(loc)}
        )
    return validation.describe(error)


def spell(loc: Loc) -> str:
    """A location as a user writes it: `storages[0].base_path`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _anchored(model: Model, folder: Path) -> Model:
    """A copy of `model` in which every relative path, at any depth, starts from `folder`."""
    changes: dict[str, object] = {}
    for name in type(model).model_fields:
        match getattr(model, name):
            case Path() as path:
                changes[name] = files.anchored(path, folder)
            case BaseModel() as inner:
                changes[name] = _anchored(inner, folder)
            case tuple() as several:
                changes[name] = tuple(
                    _anchored(one, folder) if isinstance(one, BaseModel) else one for one in several
                )
    return model.model_copy(update=changes)


def _storage_tables(data: dict[str, Any]) -> dict[str, int]:
    """Name of each storage -> number of its table."""
    return {table["name"]: index for index, table in enumerate(data.get("storages", []))}


def _unknown_names(config: Config, data: dict[str, Any]) -> Iterator[tuple[Loc, str]]:
    """A warning for each name in a user's list of storages that is not the name of a storage."""
    known = {table["name"] for table in data.get("storages", [])}
    for index, user in enumerate(config.users):
        for name in user.storages:
            if name not in known:
                hint = did_you_mean(name, known, fold=str)
                yield (
                    ("users", index, "storages"),
                    f"there is no storage {name!r}" + (f"; {hint}" if hint else ""),
                )
