"""Shortens foreign texts, such as errors of programs and servers."""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"[.!?](?=\s)|[\u3002\uff01\uff1f]")


def excerpt(text: str, room: int) -> str:
    """`text` as one line of at most `room` characters.

    A longer text is cut after a sentence or, if the first sentence is too long, after a word, with "…".
    """
    line = " ".join(text.split())
    if len(line) <= room:
        return line
    ends = [found.end() for found in _SENTENCE_END.finditer(line) if room // 6 <= found.end() <= room]
    if ends:
        return line[: ends[-1]]
    cut = line[: room - 1]
    space = cut.rfind(" ") if not line[room - 1].isspace() else len(cut)
    return (cut[:space] if space >= room // 2 else cut).rstrip(" ,;:(") + "…"
