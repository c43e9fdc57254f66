"""The schema as a flat list of keys, for environment variables, `saveany config get|set` and hints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from saveany.config.hidden import HIDDEN, without_password
from saveany.config.hints import did_you_mean
from saveany.config.schema import Config
from saveany.config.table import Table
from saveany.errors import ConfigError
from storages import registry
from storages.base import StorageOptions

_BOOLS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key of the configuration."""

    path: tuple[str | int, ...]
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """The key as a user writes it: `api.port`, `storages.0.name`."""
        return ".".join(map(str, self.path))

    @property
    def variable(self) -> str:
        """Its environment variable, which SaveAny ignores for keys inside a list of tables."""
        return "_".join(("SAVEANY", *map(str, self.path))).upper()

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return get_origin(self.field.annotation) is tuple

    @property
    def is_secret(self) -> bool:
        """Whether its value is secret."""
        return SecretStr in (self.field.annotation, *get_args(self.field.annotation))

    def parse(self, text: str) -> object:
        """The value that a user typed, converted as TOML would. Text that does not fit stays text, and
        validation refuses it."""
        if self.is_list:
            return _json(text) if text.lstrip().startswith("[") else _split(text)
        if self.field.annotation is bool:
            return _BOOLS.get(text.lower(), text)
        return _json(text) if self.field.annotation in (int, float) else text


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _split(text: str) -> list[str]:
    parts = text.replace("\n", ",").split(",")
    return [part.strip() for part in parts if part.strip()]


def element(annotation: object) -> type[BaseModel] | None:
    """The model of a field, or of the elements of its list; None if it has none."""
    for candidate in (annotation, *get_args(annotation)):
        inner = get_args(candidate)[0] if get_args(candidate) else candidate
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner
    return None


def _walk(model: type[Table], path: tuple[str, ...] = ()) -> Iterator[ConfigKey]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            yield from _walk(field.annotation, (*path, name))
        else:
            yield ConfigKey((*path, name), field)


#: Dotted name -> key. An `[[array of tables]]` is one key.
KEYS: Mapping[str, ConfigKey] = {key.dotted: key for key in _walk(Config)}

#: Dotted names of the `[[arrays of tables]]`.
TABLE_LISTS = frozenset(name for name, key in KEYS.items() if element(key.field.annotation))


def tables() -> dict[str, str]:
    """Dotted name of each table -> what it is for; the top level is ""."""
    found = {"": cleandoc(Config.__doc__ or "")}
    for key in KEYS.values():
        model: type[BaseModel] = Config
        for end, name in enumerate(key.path[:-1], 1):
            model = element(model.model_fields[str(name)].annotation) or model
            found[".".join(map(str, key.path[:end]))] = cleandoc(model.__doc__ or "")
    return found


def find(dotted: str, data: Mapping[str, Any] | None = None) -> ConfigKey:
    """The key with that dotted name. Raises `ConfigError`, with a hint, if there is none.

    With `data`, the content of the file, it also finds keys inside lists of tables: `storages.0.base_path`.
    """
    if dotted in KEYS:
        return KEYS[dotted]
    table = next((table for table in TABLE_LISTS if dotted.startswith(f"{table}.")), "")
    name, number, *rest = (table, *dotted.removeprefix(f"{table}.").split(".")) if table else (dotted, "")
    if data is None or len(rest) != 1 or not re.fullmatch(r"[0-9]{1,4}", number):
        raise unknown(dotted)
    return _inside(KEYS[name].path, int(number), rest[0], data)


def _inside(path: tuple[str | int, ...], number: int, name: str, data: Mapping[str, Any]) -> ConfigKey:
    """A key inside a table of a list of tables."""
    tables: Any = data
    for part in path:
        tables = tables.get(part, []) if isinstance(tables, dict) else []
    title = ".".join(map(str, path))
    if number >= len(tables):
        raise ConfigError(
            _out_of_range(len(tables)), key=f"{title}.{number}", table=title, last=len(tables) - 1
        )
    loc = (*path, number)
    model = _model_at(loc, data)
    if name not in model.model_fields:
        near = did_you_mean(name, model.model_fields)
        raise _no_such_key(f"{title}.{number}.{name}", near)
    return ConfigKey((*loc, name), model.model_fields[name])


def _out_of_range(count: int) -> str:
    if not count:
        return "there is no {key}: the file has no [[{table}]]"
    if count == 1:
        return "there is no {key}: the file has only {table}.0"
    return "there is no {key}: the file has {table}.0 to {table}.{last}"


def unknown(dotted: str) -> ConfigError:
    """The error for a dotted name that is not a key."""
    return _no_such_key(dotted, hint(dotted, KEYS, inside=()))


def _no_such_key(dotted: str, near: str) -> ConfigError:
    if near:
        return ConfigError("there is no key {key!r}; {hint}", key=dotted, hint=near)
    return ConfigError("there is no key {key!r}", key=dotted)


def hint(name: str, known: Iterable[str], inside: tuple[str | int, ...]) -> str:
    """What `name` was probably meant to be; the table at `inside` has only the keys `known`."""
    tables = [key.path[:-1] for key in KEYS.values() if key.path[-1] == name and key.path[:-1] != inside]
    advice = (
        f"it belongs in [{'.'.join(map(str, table))}]" if table else "it belongs above the first [table]"
        for table in tables
    )
    return did_you_mean(name, known) or " or ".join(advice)


def names_at(loc: tuple[str | int, ...], data: Any) -> list[str]:
    """The keys that the table at `loc` may have. `data` names the type of a storage."""
    return list(_model_at(loc, data).model_fields)


def _model_at(loc: tuple[str | int, ...], data: Any) -> type[BaseModel]:
    model: type[BaseModel] = Config
    for part in loc:
        data = data[part]
        if isinstance(part, str):
            model = element(model.model_fields[part].annotation) or model
        elif issubclass(model, StorageOptions):
            model = registry.options_model(str(data.get("type"))) or model
    return model


def plain(value: object, *, reveal: bool = False) -> Any:
    """A value of the configuration as JSON and TOML write it; secrets are ******** unless `reveal`."""
    match value:
        case BaseModel():
            names = type(value).model_fields
            values = {name: plain(getattr(value, name), reveal=reveal) for name in names}
            return {name: inner for name, inner in values.items() if inner is not None}
        case list() | tuple():
            return [plain(inner, reveal=reveal) for inner in value]
        case SecretStr():
            text = value.get_secret_value()
            return text if reveal or not text else HIDDEN
        case None | bool() | int() | float():
            return value
        case _:
            return str(value) if reveal else without_password(str(value))
