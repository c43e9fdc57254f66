"""Describes pydantic's errors to users, without pydantic's own texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Error type of pydantic -> what the value must be, a template for the error's `ctx`.
_TEMPLATES: Mapping[str, str] = {
    "missing": "is missing",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "enum": "must be {expected}",
    "extra_forbidden": "there is no such key",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_type": "must be a whole number",
    "ip_any_network": "must be a network, as in 192.168.1.0/24",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": 'must be a list, as in ["a", "b"]',
    "literal_error": "must be {expected}",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "path_type": "must be text in quotes",
    "string_pattern_mismatch": "has a character that is not allowed (the pattern is {pattern})",
    "string_type": "must be text in quotes",
    "string_unicode": "must be text in UTF-8",
    "tuple_type": 'must be a list, as in ["a", "b"]',
}


def describe(error: Mapping[str, Any]) -> str:
    """What is wrong with a value, without its name: "must be at least 1".

    `error` is one of `ValidationError.errors()`. Validators of our own raise `ValueError` or a
    `PydanticCustomError` with the text to show.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind in _TEMPLATES:
        return _TEMPLATES[kind].format(**context)
    match kind, context:
        case "value_error", {"error": ValueError() as raised}:
            return str(raised)
        case "value_error", {"text": str(text)}:
            return text
        case "string_too_short", {"min_length": 1}:
            return "must not be empty"
        case "string_too_short", {"min_length": least}:
            return f"must have at least {_counted(least, 'character')}"
        case "string_too_long", {"max_length": most}:
            return f"must have at most {_counted(most, 'character')}"
        case "too_short", {"min_length": least}:
            return f"must have at least {_counted(least, 'entry', 'entries')}"
        case "too_long", {"max_length": most}:
            return f"must have at most {_counted(most, 'entry', 'entries')}"
    return "is not valid"


def explain(error: Mapping[str, Any]) -> str:
    """What is wrong with a value, as `describe` says it, after its name: "urls must not be empty". The texts
    of our own validators are returned as they are."""
    text = describe(error)
    return text if error["type"] == "value_error" else f"{'.'.join(map(str, error['loc']))} {text}"


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
