"""The schema as a flat list of keys: for environment variables, `saveany config get|set` and hints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from saveany.config.hints import did_you_mean
from saveany.config.schema import Config, Table
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
_URL_PASSWORD = re.compile(r"(://[^/@:]*:)[^/@]+@")


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key of the configuration."""

    path: tuple[str | int, ...]
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """As a person writes it: `api.port`, `storages.0.name`."""
        return ".".join(map(str, self.path))

    @property
    def variable(self) -> str:
        """Its environment variable; keys inside a list of tables have none that is read."""
        return "_".join(("SAVEANY", *map(str, self.path))).upper()

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self.field.annotation) is tuple

    @property
    def is_secret(self) -> bool:
        """Whether its value must not be shown."""
        return SecretStr in (self.field.annotation, *get_args(self.field.annotation))

    def parse(self, text: str) -> object:
        """The value a person typed, as TOML would give it. What does not fit stays text, which is refused."""
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
    """The model behind a field: its own, or that of the elements of its list."""
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


#: Every key outside `[[arrays of tables]]`, which are one key each, by its dotted name.
KEYS: Mapping[str, ConfigKey] = {key.dotted: key for key in _walk(Config)}

#: The `[[arrays of tables]]`.
TABLE_LISTS = frozenset(name for name, key in KEYS.items() if element(key.field.annotation))


def find(dotted: str, data: Mapping[str, Any] | None = None) -> ConfigKey:
    """The key of that name. Raises `ConfigError` with a did-you-mean.

    With the values of a file it finds keys inside its lists of tables too: `storages.0.base_path`.
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
        count = len(tables)
        raise ConfigError(f"there is no {title}.{number}; the file has {count}, counted from 0")
    place = (*path, number)
    model = _model_at(place, data)
    if name not in model.model_fields:
        near = did_you_mean(name, model.model_fields)
        raise ConfigError(f"there is no key {title}.{number}.{name}" + (f"; {near}" if near else ""))
    return ConfigKey((*place, name), model.model_fields[name])


def unknown(dotted: str) -> ConfigError:
    """The error for a dotted name that is no key."""
    near = hint(dotted, KEYS, inside=())
    return ConfigError(f"there is no key {dotted!r}" + (f"; {near}" if near else ""))


def hint(name: str, known: Iterable[str], inside: tuple[str | int, ...]) -> str:
    """What may have been meant by `name`, which the table at `inside` with the keys `known` does not have."""
    tables = [key.path[:-1] for key in KEYS.values() if key.path[-1] == name and key.path[:-1] != inside]
    places = (
        f"it belongs into [{'.'.join(map(str, table))}]" if table else "it belongs above the first [table]"
        for table in tables
    )
    return did_you_mean(name, known) or " or ".join(places)


def names_at(loc: tuple[str | int, ...], data: Any) -> list[str]:
    """The keys that the table at `loc` may have; `data` tells the type of a storage."""
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
    """A value of the configuration in terms of JSON and TOML; secrets as ******** unless `reveal`."""
    match value:
        case BaseModel():
            names = type(value).model_fields
            values = {name: plain(getattr(value, name), reveal=reveal) for name in names}
            return {name: inner for name, inner in values.items() if inner is not None}
        case list() | tuple():
            return [plain(inner, reveal=reveal) for inner in value]
        case SecretStr():
            text = value.get_secret_value()
            return text if reveal or not text else "********"
        case None | bool() | int() | float():
            return value
        case _:
            return str(value) if reveal else _URL_PASSWORD.sub(r"\1********@", str(value))
