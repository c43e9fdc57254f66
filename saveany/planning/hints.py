"""Suggestions for unknown words in error messages."""

from __future__ import annotations

from collections.abc import Collection

from saveany.config.hints import closest
from saveany.texts import Text


def hint(word: str, known: Collection[str], listed: Collection[str] | None = None) -> Text:
    """The one of `known` that `word` may be a misspelling of; all `listed` (or `known`) if none is close."""
    if near := closest(word, known):
        return Text("did you mean {name}?", {"name": near})
    return Text("there are: {names}", {"names": ", ".join(known if listed is None else listed)})
