"""The keys of the configuration, and the options of storages, as a form needs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from saveany.config import keys
from storages import registry

ValueKind = Literal["boolean", "integer", "number", "text", "secret", "path", "choice", "list", "tables"]

_KINDS: dict[str, ValueKind] = {
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "Path": "path",
    "SecretStr": "secret",
}


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """What a form shows about one value."""

    name: str
    kind: ValueKind
    about: str
    choices: tuple[str, ...]
    default: Any  # None: it has none, or it depends on other values
    example: Any
    is_required: bool
    is_secret: bool
    minimum: float | None
    maximum: float | None


def describe(name: str, field: FieldInfo) -> FieldDescription:
    """The description of one field of a table."""
    key = keys.ConfigKey((name,), field)
    return FieldDescription(
        name=name,
        kind=kind(field),
        about=field.description or "",
        choices=choices(field),
        default=_default(field),
        example=keys.plain(field.examples[0], reveal=True) if field.examples else None,
        is_required=field.is_required(),
        is_secret=key.is_secret,
        minimum=_bound(field, "ge"),
        maximum=_bound(field, "le"),
    )


def describe_tables(field: FieldInfo) -> list[FieldDescription]:
    """The fields of each table in a list of tables; empty for other fields."""
    model = keys.element(field.annotation)
    return [describe(name, each) for name, each in model.model_fields.items()] if model else []


def storage_options(type_: str) -> list[FieldDescription]:
    """The options of a type of storages, without those that all types have. Raises `LookupError` if there is
    no such type."""
    model = registry.options_model(type_)
    if model is None:
        raise LookupError(type_)
    common = ("name", "type", "enable")
    return [describe(name, field) for name, field in model.model_fields.items() if name not in common]


def kind(field: FieldInfo) -> ValueKind:
    """The kind of values that a field has."""
    annotation = _without_none(field.annotation)
    if get_origin(annotation) is Literal:
        return "choice"
    if get_origin(annotation) is tuple:
        return "tables" if _is_table(annotation) else "list"
    return _KINDS.get(getattr(annotation, "__name__", ""), "text")


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The values that a field may have, or the elements of its list; empty if there are many."""
    for annotation in _parts(_without_none(field.annotation)):
        if get_origin(annotation) is Literal:
            return tuple(map(str, get_args(annotation)))
    return ()


def _parts(annotation: object) -> Iterator[object]:
    yield annotation
    yield from get_args(annotation) if get_origin(annotation) is tuple else ()


def _is_table(annotation: object) -> bool:
    model = keys.element(annotation)
    return model is not None and issubclass(model, BaseModel)


def _without_none(annotation: object) -> object:
    others = [each for each in get_args(annotation) if each is not type(None)]
    return others[0] if type(None) in get_args(annotation) and len(others) == 1 else annotation


def _default(field: FieldInfo) -> Any:
    return None if field.default is PydanticUndefined else keys.plain(field.default, reveal=True)


def _bound(field: FieldInfo, name: str) -> float | None:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)
