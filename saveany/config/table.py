"""The base of all tables of config.toml, and checks that several of them share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, SerializeAsAny, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from saveany.config.hints import did_you_mean
from storages import registry
from storages.base import StorageOptions

T = TypeVar("T")


class Table(BaseModel):
    """A table of config.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def error_at(loc: tuple[str | int, ...], text: str) -> ValidationError:
    """An error to raise in a validator for a value below the one that it validates, such as (2, "name")."""
    error = PydanticCustomError("value_error", "{text}", {"text": text})
    return ValidationError.from_exception_data(
        "config", [InitErrorDetails(type=error, loc=loc, input=None)], hide_input=True
    )


def distinct(tables: tuple[T, ...], key: str, value_of: Callable[[T], object]) -> tuple[T, ...]:
    """The tables; a `ValidationError` if two of them have the same value for `key`."""
    seen: set[object] = set()
    for index, table in enumerate(tables):
        if value_of(table) in seen:
            raise error_at((index, key), f"{value_of(table)} is used twice; change one of them")
        seen.add(value_of(table))
    return tables


def _storage(value: object) -> StorageOptions:
    """The options of the storage type that the table names."""
    if isinstance(value, StorageOptions):
        return value
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    kind = value.get("type")
    known = f"known types: {', '.join(registry.types())}"
    if kind is None:  # the other keys cannot be checked without it
        raise error_at(("type",), f"is missing; {known}")
    model = registry.options_model(kind) if isinstance(kind, str) else StorageOptions
    if model is None:
        hint = did_you_mean(kind, registry.types()) or known
        raise error_at(("type",), f"there is no storage type {kind!r}; {hint}")
    return model.model_validate_json(json.dumps(value, default=str), strict=True)


#: One of `[[storages]]`.
AnyStorage = Annotated[SerializeAsAny[StorageOptions], PlainValidator(_storage)]
