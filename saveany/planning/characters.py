"""Characters that must not occur in names and paths."""

from __future__ import annotations

import unicodedata

#: Persian and joined emoji are written with these two; inside a name they count as letters.
JOINERS = "\u200c\u200d"

# Control characters, invisible format characters (zero width, bidi overrides), lone surrogates and line
# separators: they disguise a name, or cannot be stored.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def is_hidden(character: str) -> bool:
    """Whether `character` is invisible, or cannot be encoded in UTF-8."""
    return unicodedata.category(character) in _HIDDEN and character not in JOINERS
