"""Describes pydantic's errors to users, without pydantic's own texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saveany.texts import Text, gettext_noop

#: Error type of pydantic -> what the value must be, a template for the error's `ctx`.
_TEMPLATES: Mapping[str, str] = {
    "missing": gettext_noop("is missing"),
    "bool_parsing": gettext_noop("must be true or false"),
    "bool_type": gettext_noop("must be true or false"),
    "dict_type": gettext_noop("must be a table"),
    "enum": gettext_noop("must be {expected}"),
    "extra_forbidden": gettext_noop("there is no such key"),
    "finite_number": gettext_noop("must be a finite number"),
    "float_parsing": gettext_noop("must be a number"),
    "float_type": gettext_noop("must be a number"),
    "greater_than": gettext_noop("must be more than {gt}"),
    "greater_than_equal": gettext_noop("must be at least {ge}"),
    "int_from_float": gettext_noop("must be a whole number"),
    "int_parsing": gettext_noop("must be a whole number"),
    "int_parsing_size": gettext_noop("must be a smaller whole number"),
    "int_type": gettext_noop("must be a whole number"),
    "ip_any_network": gettext_noop("must be a network, as in 192.168.1.0/24"),
    "less_than": gettext_noop("must be less than {lt}"),
    "less_than_equal": gettext_noop("must be at most {le}"),
    "list_type": gettext_noop('must be a list, as in ["a", "b"]'),
    "literal_error": gettext_noop("must be {expected}"),
    "model_attributes_type": gettext_noop("must be a table"),
    "model_type": gettext_noop("must be a table"),
    "path_type": gettext_noop("must be text in quotes"),
    "string_pattern_mismatch": gettext_noop("has a character that is not allowed (the pattern is {pattern})"),
    "string_type": gettext_noop("must be text in quotes"),
    "string_unicode": gettext_noop("must be text in UTF-8"),
    "tuple_type": gettext_noop('must be a list, as in ["a", "b"]'),
}


#: Error type of pydantic for a length -> the key of the limit in `ctx`, and templates for one and for more.
_LENGTHS: Mapping[str, tuple[str, str, str]] = {
    "string_too_short": (
        "min_length",
        gettext_noop("must not be empty"),
        gettext_noop("must have at least {n} characters"),
    ),
    "string_too_long": (
        "max_length",
        gettext_noop("must have at most 1 character"),
        gettext_noop("must have at most {n} characters"),
    ),
    "too_short": (
        "min_length",
        gettext_noop("must have at least 1 entry"),
        gettext_noop("must have at least {n} entries"),
    ),
    "too_long": (
        "max_length",
        gettext_noop("must have at most 1 entry"),
        gettext_noop("must have at most {n} entries"),
    ),
}


def describe(error: Mapping[str, Any]) -> Text:
    """What is wrong with a value, without its name: "must be at least 1".

    `error` is one of `ValidationError.errors()`. Validators of our own raise `ValueError` or a
    `PydanticCustomError` with the text to show; an error with an attribute `text` has it as a `Text`.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind in _TEMPLATES:
        return Text(_TEMPLATES[kind], {name: _field(value) for name, value in context.items()})
    if kind in _LENGTHS:
        key, one, many = _LENGTHS[kind]
        limit = context[key]
        return Text(one) if limit == 1 else Text(many, {"n": limit})
    match kind, context:
        case "value_error", {"error": ValueError() as raised}:
            text = getattr(raised, "text", None)
            return text if isinstance(text, Text) else Text(str(raised))
        case "value_error", {"text": str(text)}:
            return Text(text)
    return Text("is not valid")


def explain(error: Mapping[str, Any]) -> Text:
    """What is wrong with a value, as `describe` says it, after its name: "urls must not be empty". The texts
    of our own validators are returned as they are."""
    text = describe(error)
    if error["type"] == "value_error":
        return text
    return Text("{name} {reason}", {"name": ".".join(map(str, error["loc"])), "reason": text})


def _field(value: object) -> str | int | float:
    return value if isinstance(value, str | int | float) else str(value)
