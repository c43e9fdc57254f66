"""File names are always safe, and the ones users expect."""

from __future__ import annotations

import posixpath
import unicodedata
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.planning import names as names_module
from saveany.planning.names import MAX_BYTES, extension_for, make_distinct, name_for, numbered, safe_name

NAMES = {
    "file.pdf": "file.pdf",
    "report (final) v1.2 [ok].docx": "report (final) v1.2 [ok].docx",
    "Отчёт за 2024.pdf": "Отчёт за 2024.pdf",
    "文件.zip": "文件.zip",
    "🎉 party 👨\u200d👩\u200d👧.jpg": "🎉 party 👨\u200d👩\u200d👧.jpg",
    "e\u0301.txt": "\u00e9.txt",
    "../../x": "_.._x",
    "..\\..\\x": "_.._x",
    "/etc/passwd": "_etc_passwd",
    "C:\\x.txt": "C__x.txt",
    'a/b\\c:d*e?f"g<h>i|j': "a_b_c_d_e_f_g_h_i_j",
    "": "file",
    ".": "file",
    "..": "file",
    "...": "file",
    " . . ": "file",
    "\u200b\u202e": "file",
    "\u200d": "file",
    "\ud800": "file",
    "\u00a0\u3000": "file",
    ".bashrc": "bashrc",
    ".saveany-storage": "saveany-storage",
    " x.pdf ": "x.pdf",
    "x.pdf.": "x.pdf",
    "x\u202efdp.exe": "xfdp.exe",
    "a\u2066b\u200fc\ufeffd": "abcd",
    "a\0b\x1bc\x7fd": "abcd",
    "two\nlines\tand\u2028more": "two lines and more",
    "a\ud800b": "ab",
    "%2e%2e%2fx": "%2e%2e%2fx",
    "~root": "~root",
    "aux": "_aux",
    "NUL.tar.gz": "_NUL.tar.gz",
    "CON .txt": "_CON .txt",
    "conin$": "_conin$",
    "console.log": "console.log",
    "com10": "com10",
}


@pytest.mark.parametrize("raw", NAMES)
def test_unsafe_names_are_made_safe(raw: str) -> None:
    assert safe_name(raw) == NAMES[raw]


def test_a_long_name_keeps_its_extension() -> None:
    assert safe_name("я" * 300 + ".pdf") == "я" * 118 + ".pdf"
    assert safe_name("a" * 300 + ".tar.gz") == "a" * 233 + ".tar.gz"
    assert safe_name("a" * 230 + " " * 30 + ".pdf") == "a" * 230 + ".pdf"
    assert safe_name("a" * 240) == "a" * 240


PIECES = [
    ".",
    "..",
    " ",
    "/",
    "\\",
    "CON",
    "nul",
    "COM1",
    ".tar",
    ".gz",
    "a",
    "é",
    "\u0301",
    "\u202e",
    "\u200d",
]
PIECES += ["\0", "\ud800", "<", "\u0338", "я" * 60, "x" * 230, "🎉", "_1", "\u00a0", "$", "conin"]
hostile = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)
anything = st.text() | hostile


def assert_safe(name: str) -> None:
    assert name
    assert len(name.encode()) <= MAX_BYTES
    assert posixpath.normpath(f"/base/{name}") == f"/base/{name}"
    assert not set(name) & set('/\\:*?"<>|')
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in name)
    assert not set(name) & set(
        "\u200b\u200e\u200f\u061c\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )
    assert name.strip(". \u200c\u200d") == name
    assert unicodedata.is_normalized("NFC", name)
    assert name.split(".")[0].rstrip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9", "CONIN$"}


@given(anything)
def test_any_text_becomes_safe_and_safe_names_stay_unchanged(raw: str) -> None:
    name = safe_name(raw)
    assert_safe(name)
    assert safe_name(name) == name


@given(stem=anything, extension=st.from_regex(r"\.[a-z0-9]{1,16}", fullmatch=True))
def test_the_extension_is_kept(stem: str, extension: str) -> None:
    assert safe_name(f"x{stem}{extension}").endswith(extension)


@given(raw=anything, n=st.integers(0, 10**6), m=st.integers(0, 10**6))
def test_numbered_names_are_safe_and_different(raw: str, n: int, m: int) -> None:
    name = safe_name(raw)
    assert_safe(numbered(name, n))
    assert (numbered(name, n) == numbered(name, m)) == (n == m)


def test_numbers_are_added_before_the_extension() -> None:
    assert numbered("file.pdf", 0) == "file.pdf"
    assert numbered("file.pdf", 1) == "file_1.pdf"
    assert numbered("archive.tar.gz", 12) == "archive_12.tar.gz"
    assert numbered("README", 3) == "README_3"
    assert numbered("x" * 236 + ".pdf", 10) == "x" * 233 + "_10.pdf"


def test_equal_names_get_numbers() -> None:
    assert make_distinct([]) == []
    assert make_distinct(["a.pdf", "b.pdf"]) == ["a.pdf", "b.pdf"]
    assert make_distinct(["a.pdf", "A.PDF", "a.pdf"]) == ["a.pdf", "A_1.PDF", "a_2.pdf"]
    assert make_distinct(["a_1.pdf", "a.pdf", "a.pdf"]) == ["a_1.pdf", "a.pdf", "a_2.pdf"]
    assert make_distinct(["straße", "STRASSE"]) == ["straße", "STRASSE_1"]


@given(st.lists(st.sampled_from(["a", "A", "a_1", "a_1_1", "b.tar.gz", "B.tar.GZ", "x" * 240, "X" * 240])))
def test_distinct_names_never_collide_and_depend_on_earlier_ones_only(names: list[str]) -> None:
    result = make_distinct(names)
    assert len({name.casefold() for name in result}) == len(names)
    assert all(len(name) <= MAX_BYTES for name in result)
    assert make_distinct(names[:-1]) == result[:-1]


@pytest.mark.timeout(20)  # probing each name from 0 would take minutes
def test_many_equal_names_are_numbered_quickly() -> None:
    result = make_distinct(["file.pdf"] * 30_000)
    assert result[-1] == "file_29999.pdf"


DATE_MS = 1_705_638_600_000  # 2024-01-19 04:30:00 UTC


def name(
    original: str | None = None, caption: str = "", mime_type: str = "application/pdf", kind: str = "document"
) -> str:
    return name_for(
        original=original, caption=caption, date_ms=DATE_MS, message_id=42, mime_type=mime_type, kind=kind
    )


def test_the_name_of_the_file_has_priority() -> None:
    assert name("report.pdf", caption="Ignored") == "report.pdf"
    assert name("report") == "report.pdf"
    assert name("report", mime_type="application/octet-stream") == "report"
    assert name("backup.001", mime_type="application/zip") == "backup.001"
    assert name("../../x.pdf") == "_.._x.pdf"
    assert name("a" * 300) == "a" * 236 + ".pdf"


def test_without_a_name_the_caption_gives_one() -> None:
    assert name(caption="\n  Summer 2024: the film\nsecond line") == "Summer 2024_ the film.pdf"
    assert name("..", caption="Title") == "Title.pdf"
    assert name(caption="Title.PDF") == "Title.PDF"
    assert name(caption="x" * 200) == "x" * 64 + ".pdf"
    assert name(caption="Title", mime_type="application/octet-stream") == "Title"


def test_without_name_and_caption_kind_date_and_message_are_used() -> None:
    assert name(mime_type="image/jpeg", kind="photo") == "photo_2024-01-19_04-30-00_42.jpg"
    assert (
        name(caption=" \n\u200b\n...", mime_type="audio/ogg", kind="voice")
        == "voice_2024-01-19_04-30-00_42.ogg"
    )
    assert name("", mime_type="", kind="document") == "document_2024-01-19_04-30-00_42"


@given(
    original=st.none() | anything, caption=anything, mime_type=st.sampled_from(["", "image/jpeg"]) | st.text()
)
def test_names_from_messages_are_safe(original: str | None, caption: str, mime_type: str) -> None:
    result = name(original, caption, mime_type)
    assert_safe(result)
    assert safe_name(result) == result


@pytest.mark.parametrize(
    ("mime_type", "extension"),
    [
        ("image/jpeg", ".jpg"),
        ("IMAGE/JPEG; q=1", ".jpg"),
        ("audio/ogg", ".ogg"),
        ("audio/mpeg", ".mp3"),
        ("video/mp4", ".mp4"),
        ("video/webm", ".webm"),
        ("image/webp", ".webp"),
        ("application/x-tgsticker", ".tgs"),
        ("application/octet-stream", ""),
        ("text/csv", ".csv"),
        ("../../x", ""),
        ("", ""),
    ],
)
def test_extensions_follow_the_mime_type(mime_type: str, extension: str) -> None:
    assert extension_for(mime_type) == extension


def test_many_names_that_differ_only_in_case_are_numbered_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many disks treat them as one name. The work must be linear in their number."""
    tries = 0

    def counted(name: str, n: int) -> str:
        nonlocal tries
        tries += 1
        return numbered(name, n)

    monkeypatch.setattr(names_module, "numbered", counted)
    shapes = ["".join(letters) for letters in product(*((c, c.upper()) for c in "abcdefghij"))]
    found = make_distinct(shapes)
    assert len({each.casefold() for each in found}) == len(shapes) == 1024
    assert tries < 3 * len(shapes)
