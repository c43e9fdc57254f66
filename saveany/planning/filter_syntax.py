"""Parses filters that users type in the bot."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from saveany.errors import InvalidInput
from saveany.filters import Filter
from saveany.planning.rules import parse_rule
from saveany.validation import describe

_CONDITION = re.compile(r"[A-Za-z]+\s*[=<>]")


def parse_filter(words: str) -> dict[str, Any]:
    """The fields of a `Filter` as plain data.

    `words` are conditions like those of a rule, `type=video size>10MB`; anything else is a pattern for names
    and texts. Raises `InvalidInput`.
    """
    words = words.strip()
    if not words:
        return {}
    given: dict[str, Any] = {"name": words}
    if _CONDITION.match(words):
        rule = parse_rule(f"{words} -> :")
        if rule.chat or rule.album is not None:
            raise InvalidInput("a filter can use name=, text=, type=, size> and size<")
        given = {
            "name": rule.name,
            "text": rule.text,
            "kinds": list(rule.kinds),
            "min_size": rule.min_size,
            "max_size": rule.max_size,
        }
    try:
        return Filter.model_validate(given).model_dump(mode="json", exclude_defaults=True)
    except ValidationError as error:
        raise InvalidInput(describe(error.errors()[0])) from None
