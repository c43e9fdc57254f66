"""The headers of a file: whatever its name and its type are, they are safe for browsers (SB13, SB14)."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.delivery.content import Content, Piece, mime_of
from saveany.delivery.headers import disposition, headers_of, shown_name


class Named(Content):
    """A file of which only the headers matter."""

    def __init__(self, name: str, mime: str = "") -> None:
        super().__init__(name, 1, mime or mime_of(name), '"tag"')

    def read(self, start: int, end: int) -> AsyncGenerator[Piece, None]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("film.mp4", 'attachment; filename="film.mp4"'),
        (
            'отчёт "a";\r\nX: y.pdf',
            "attachment; filename=\"_____ _a_;__X: y.pdf\"; filename*=UTF-8''"
            "%D0%BE%D1%82%D1%87%D1%91%D1%82%20%22a%22%3B__X%3A%20y.pdf",
        ),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("../../etc/passwd", 'attachment; filename="_.._etc_passwd"'),
        ("\u202egnp.exe", 'attachment; filename="_gnp.exe"'),
        ("", 'attachment; filename="file"'),
    ],
)
def test_a_name_is_sent_in_both_forms(name: str, expected: str) -> None:
    assert disposition(name, inline=False) == expected


@given(st.text(max_size=400))
def test_any_name_is_one_harmless_header(name: str) -> None:
    value = disposition(name, inline=True)
    assert re.fullmatch(r"inline; filename=\"[ -~]*\"(; filename\*=UTF-8''[!-~]+)?", value)
    message = Message()
    message["content-disposition"] = value
    found = unquote(value.partition("UTF-8''")[2]) or message.get_filename()
    assert found
    assert shown_name(name).startswith(found[: len(found) // 2])
    assert len(found.encode()) <= 255
    assert "/" not in found


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.xhtml", "a.xml", "a.js", "a.htm", "a"])
def test_what_runs_scripts_is_never_shown(name: str) -> None:
    headers = headers_of(Named(name), inline=True)
    assert headers["content-disposition"].startswith("attachment")
    assert headers["content-security-policy"].startswith("sandbox")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mp3", "a.png", "a.txt", "a.pdf", "a.vtt"])
def test_what_is_safe_is_shown(name: str) -> None:
    headers = headers_of(Named(name), inline=True)
    assert headers["content-disposition"].startswith("inline")
    assert ("content-security-policy" in headers) == (name != "a.pdf")


@pytest.mark.parametrize("mime", ["text/html\r\nX: y", "a b/c", "video", "", "\u00e9/x"])
def test_a_type_that_is_none_is_not_sent(mime: str) -> None:
    assert headers_of(Named("x", mime), inline=True)["content-type"] == "application/octet-stream"
