"""Bytes of a name that does not say how it is encoded: file names in HTTP headers and URLs."""

from __future__ import annotations

import re

#: Encodings in which servers send names, the likeliest first; and the tables in which usual characters come
#: early: those that begin with such bytes.
_ENCODINGS = {"gb18030": ("gb2312", "big5"), "big5": ("big5",), "shift_jis": ("shift_jis",)}
_USUAL = {
    "gb2312": re.compile(rb"[\xa1-\xa3\xb0-\xd7]."),
    "big5": re.compile(rb"[\xa1-\xc6]."),
    "shift_jis": re.compile(rb"[\x81-\x83\x88-\x97].", re.DOTALL),
}
#: The share of usual characters that makes an encoding likely.
_ENOUGH = 0.7
_CYRILLIC = re.compile(r"(?<![A-Za-z])[\u0400-\u045f]{2,}(?![A-Za-z])")


def decoded(raw: bytes) -> str:
    """The text that `raw` most likely is: UTF-8 if it can be, else whatever of GBK, Big5, Shift JIS and
    Windows-1251 makes usual characters of it, else Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        scores = {encoding: _score(raw, encoding) for encoding in _ENCODINGS}
        best = max(scores, key=lambda encoding: scores[encoding])  # of equals the first
        if scores[best] >= _ENOUGH:
            return raw.decode(best)
        return _cyrillic(raw) or raw.decode("latin-1")


def _score(raw: bytes, encoding: str) -> float:
    """The share of usual characters among those beyond ASCII; 0 if it is not in this encoding."""
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
