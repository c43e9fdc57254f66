"""Whether an MP4 starts at once: its index is before its content."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.sources.convert import starts_at_once


def box(kind: bytes, content: bytes = b"", *, wide: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


FTYP, MOOV, MDAT, FREE = box(b"ftyp", b"isom\0\0\0\0"), box(b"moov", b"x" * 40), box(b"mdat"), box(b"free")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (FTYP + MOOV + MDAT, True),
        (FTYP + FREE + box(b"wide") + MOOV, True),
        (FTYP + box(b"free", b"y" * 9, wide=True) + MOOV, True),
        (FTYP + MDAT + MOOV, False),
        (FTYP + box(b"mdat", b"z" * 99, wide=True), False),
        (MOOV + FTYP, False),
        (box(b"ftyp", b"qt  \0\0\0\0") + MOOV, False),
        (FTYP, False),
        (FTYP + struct.pack(">I4s", 3, b"free") + MOOV, False),
        (b"\x1aE\xdf\xa3 a Matroska file", False),
        (b"", False),
    ],
)
def test_the_first_of_index_and_content_decides(head: bytes, expected: bool) -> None:
    assert starts_at_once(head) is expected


@given(st.binary(max_size=200))
def test_any_file_has_a_beginning(head: bytes) -> None:
    assert starts_at_once(head) in (True, False)
