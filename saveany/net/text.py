"""Decoding names of unknown encoding: file names in HTTP headers and URLs."""

from __future__ import annotations

import re

#: Encodings that servers use for names, the likeliest first, and the lead bytes of common characters in them.
_ENCODINGS = {"gb18030": ("gb2312", "big5"), "big5": ("big5",), "shift_jis": ("shift_jis",)}
_USUAL = {
    "gb2312": re.compile(rb"[\xa1-\xa3\xb0-\xd7]."),
    "big5": re.compile(rb"[\xa1-\xc6]."),
    "shift_jis": re.compile(rb"[\x81-\x83\x88-\x97].", re.DOTALL),
}
#: The share of common characters from which an encoding is considered likely.
_ENOUGH = 0.7
_CYRILLIC = re.compile(r"(?<![A-Za-z])[\u0400-\u045f]{2,}(?![A-Za-z])")


def decoded(raw: bytes) -> str:
    """The most likely text of `raw`: UTF-8 if it is valid, otherwise the encoding among GBK, Big5, Shift JIS
    and Windows-1251 that yields common characters, otherwise Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        scores = {encoding: _score(raw, encoding) for encoding in _ENCODINGS}
        best = max(scores, key=lambda encoding: scores[encoding])  # the first of equals
        if scores[best] >= _ENOUGH:
            return raw.decode(best)
        return _cyrillic(raw) or raw.decode("latin-1")


def _score(raw: bytes, encoding: str) -> float:
    """The share of common characters among the non-ASCII ones; 0 if `raw` is not valid in this encoding."""
    try:
        beyond = [character for character in raw.decode(encoding) if not character.isascii()]
    except UnicodeDecodeError:
        return 0.0
    tables = _ENCODINGS[encoding]
    usual = sum(
        any(_USUAL[table].fullmatch(each.encode(table, "ignore")) for table in tables) for each in beyond
    )
    return usual / len(beyond) if beyond else 0.0


def _cyrillic(raw: bytes) -> str:
    text = raw.decode("cp1251", "replace")
    words = "".join(_CYRILLIC.findall(text))
    beyond = sum(not character.isascii() for character in text)
    return text if len(words) >= _ENOUGH * beyond else ""
