"""Parameters of old clients: whatever they send, it means something or is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.compat.openload.parameters import Parameters, library_name, number_of, parse
from saveany.errors import InvalidInput, NotFound

NOTHING = ["", "0", "None", "null", "undefined", "{}", " "]


def of(query: str) -> Parameters:
    return parse(query.encode(), b"", "")


@pytest.mark.parametrize("text", NOTHING)
def test_texts_for_nothing_are_no_values(text: str) -> None:
    found = of(urlencode({"folder": text, "file": text}))
    assert found.text("file") == ""
    assert found.folder() == 0
    assert found.is_given("folder")
    with pytest.raises(InvalidInput, match="file is missing"):
        found.required("file")


def test_the_first_value_counts() -> None:
    found = of("id=None&id=&id=7&id=8")
    assert found.text("id") == "7"
    assert found.required("file", "id") == "7"


@pytest.mark.parametrize(
    "query",
    [
        "folder=7amp;name=a%20b.mp4",
        "folder=7&amp;name=a+b.mp4",
        "folder=7&headers=Cookie: xamp;name=a b.mp4",
        "name=&folder=7amp;name=a b.mp4",
    ],
)
def test_copied_entities_are_taken_apart(query: str) -> None:
    found = of(query)
    assert (found.folder(), found.text("name")) == (7, "a b.mp4")
    assert found.lines("headers") in ([], ["Cookie: x"])


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣", "9" * 16, "1 2", "../1"])
def test_what_is_no_number_is_the_id_of_nothing(text: str) -> None:
    with pytest.raises(NotFound):
        number_of(text, "folder")


@pytest.mark.parametrize(
    ("text", "limit"), [("5", 5), ("100", 100), ("101", 100), ("0", 7), ("-1", 7), ("x", 7), ("", 7)]
)
def test_a_limit_is_within_bounds(text: str, limit: int) -> None:
    assert of(urlencode({"limit": text})).limit(7, 100) == limit


def test_headers_are_lines_or_several_parameters() -> None:
    lines = ["Cookie: a=b", "User-Agent: X"]
    assert of(urlencode({"headers": "\r\n".join(lines)})).lines("headers") == lines
    assert of(urlencode([("headers[]", line) for line in lines])).lines("headers") == lines
    assert of("headers={}").lines("headers") == []


def test_a_form_follows_the_query() -> None:
    form = parse(b"a=1", b"a=2&b=3", "application/x-www-form-urlencoded; charset=utf-8")
    assert (form.text("a"), form.text("b")) == ("1", "3")
    part = '--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nräk\r\n--x--\r\n'.encode()
    assert parse(b"", part, "multipart/form-data; boundary=x").text("name") == "räk"
    assert parse(b"a=1", b'{"a": 2}', "application/json").text("a") == "1"


@given(
    query=st.binary(max_size=200),
    body=st.binary(max_size=200),
    content_type=st.sampled_from(
        ["", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data"]
    ),
)
def test_nothing_that_is_sent_is_an_error_of_ours(query: bytes, body: bytes, content_type: str) -> None:
    found = parse(query, body, content_type)
    for name in ("file", "folder", "headers", "limit", "name"):
        found.text(name)
        found.lines(name)
        assert 1 <= found.limit(5, 100) <= 100


@given(pairs=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.text(max_size=20))))
def test_what_was_encoded_is_decoded(pairs: list[tuple[str, str]]) -> None:
    pairs = [(name, text.encode("utf-8", "replace").decode()) for name, text in pairs]
    found = parse(urlencode(pairs).encode(), b"", "")
    expected: dict[str, Any] = {}
    for name, text in pairs:
        if text.strip() not in [*NOTHING, "[]"]:
            expected.setdefault(name, text)
    assert {name: found.text(name) for name in ("a", "b") if found.text(name)} == expected


@given(raw=st.text(max_size=60))
def test_names_are_one_part_of_a_path(raw: str) -> None:
    try:
        name = library_name(raw)
    except InvalidInput:
        return
    assert name.strip(". ")
    assert name == name.strip()
    assert not set(name) & set("/\\\x00\n\r\x7f")
    assert library_name(name) == name
