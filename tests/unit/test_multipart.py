"""The first file of a form, however the body is cut into pieces."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import InvalidInput
from saveany.uploads.multipart import boundary_of, first_file

BOUNDARY = b"x-boundary"


def form(*parts: tuple[str, bytes], preamble: bytes = b"", end: bytes = b"--\r\n") -> bytes:
    """A form of parts: their headers and their bytes."""
    body = preamble
    for head, content in parts:
        body += b"--" + BOUNDARY + b"\r\n" + head.encode("latin-1") + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--" + BOUNDARY + end


def file_head(name: str = "a.txt", field: str = "file", content_type: str = "text/plain") -> str:
    return (
        f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\nContent-Type: {content_type}'
    )


FIELD = 'Content-Disposition: form-data; name="note"'


async def pieces(body: bytes, cuts: Iterable[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cut * 7 % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        yield body[start:end]


def parsed(body: bytes, cuts: Iterable[int] = ()) -> tuple[str, str, bytes]:
    async def read() -> tuple[str, str, bytes]:
        part = await first_file(pieces(body, cuts), BOUNDARY)
        return part.name, part.content_type, b"".join([piece async for piece in part.content])

    return asyncio.run(read())


near_boundaries = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"\r\n--", b"\r\n--x-bound", b"x", b"\0\xff"]), max_size=12
).map(b"".join)


@given(near_boundaries, st.binary(max_size=12))
def test_the_bytes_of_a_file_do_not_depend_on_the_pieces(content: bytes, cuts: bytes) -> None:
    body = form((FIELD, b"text"), (file_head(), content), (file_head("b.txt"), b"other"))
    assert parsed(body, cuts) == ("a.txt", "text/plain", content)


@given(st.binary(max_size=300), st.binary(max_size=12))
def test_no_body_is_worse_than_refused(body: bytes, cuts: bytes) -> None:
    with pytest.raises(InvalidInput):
        parsed(body, cuts)


@pytest.mark.parametrize("field", ["file", "files", "file1", "x.mp4", ""])
def test_the_name_of_the_field_does_not_matter(field: str) -> None:
    assert parsed(form((file_head(field=field), b"x")))[2] == b"x"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a b.txt", "a b.txt"),
        ("ü.txt".encode().decode("latin-1"), "ü.txt"),
        ('say \\"hi\\".txt', 'say "hi".txt'),
        ("", ""),
    ],
)
def test_the_name_of_the_file(sent: str, name: str) -> None:
    assert parsed(form((file_head(sent), b"x")))[0] == name


def test_text_around_the_form_is_ignored() -> None:
    body = form((file_head(), b"x"), preamble=b"hello\r\n", end=b"--\r\nbye")
    assert parsed(body)[2] == b"x"


@pytest.mark.parametrize(
    "body",
    [
        form((FIELD, b"text")),  # no file
        form((file_head(), b"x"))[:-20],  # cut off in the file
        form((file_head("x" * 20_000), b"x")),  # a name that does not end
        b"x" * 2_000_000,
        form((FIELD, b"x" * 2_000_000), (file_head(), b"x")),
        form(("Nonsense", b"x")),
    ],
)
def test_forms_without_a_whole_file_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        parsed(body, [n * 1000 for n in range(100)])


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b c"', b"a b c"),
    ],
)
def test_the_boundary(header: str, boundary: bytes) -> None:
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "header",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "x",
        f'multipart/form-data; boundary=abc; x="{";" * 1000}"',
    ],
)
def test_a_form_without_a_boundary_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput):
        boundary_of(header)
