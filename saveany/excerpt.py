"""Long texts of others, such as errors of programs and servers, in a place that has little room."""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"[.!?](?=\s)|[\u3002\uff01\uff1f]")


def excerpt(text: str, room: int) -> str:
    """`text` as one line of at most `room` characters.

    What is too long ends with a whole sentence, or, where the first one is too long itself, with a whole word
    and "…".
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
