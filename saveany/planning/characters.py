"""Characters that have no business in names and paths."""

from __future__ import annotations

import unicodedata

#: Persian and joined emoji are written with these two; inside a name they are as good as letters.
JOINERS = "\u200c\u200d"

# Controls, invisible format characters (zero width, bidi overrides), lone surrogates, line separators:
# they hide what a name is, or cannot be stored at all.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def is_hidden(character: str) -> bool:
    """Whether `character` shows nothing by itself but changes what is shown, or is no character at all."""
    return unicodedata.category(character) in _HIDDEN and character not in JOINERS
