"""What a list is follows from its contents, and nothing in it stops the reading."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saveany.errors import InvalidInput
from saveany.service import list_reader
from saveany.service.list_reader import ListReader

_LINK = "https://t.me/channel/"
_line = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30) | st.sampled_from(
    [
        '"',
        '{"link": ',
        '{"messages": [',
        "a;b",
        "a,link,b",
        "[" * 2000,
        f"{_LINK}1",
        '{"link": "x"}',
        "x" * 70,
    ]
)


def read(text: str, column: str = "") -> tuple[str, list[tuple[int, str]]]:
    """The format, and the places and links that are right."""
    reader = ListReader(io.StringIO(text), column)
    return reader.format, [(each.place, each.link) for each in reader.entries() if not each.problem]


@settings(deadline=None, max_examples=200)
@given(st.lists(_line, max_size=12), st.integers(1, 100))
def test_any_text_is_read_to_its_end_or_refused(lines: list[str], piece: int) -> None:
    """Whatever is in one, the last line of a list with one link per line is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(list_reader, "_PIECE", piece)
        patch.setattr(list_reader, "_MAX_LINE", 64)
        reader_text = "\n".join([f"{_LINK}5", *lines, "", f"{_LINK}7"])
        try:
            format_, found = read(reader_text)
        except InvalidInput:
            return
        if format_ == "links":
            assert found[-1] == (len(reader_text.split("\n")), f"{_LINK}7")


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 50), st.sampled_from(",;\t|"))
def test_the_rows_of_a_table_have_numbers(piece: int, delimiter: str) -> None:
    rows = ["# all", "", f"no{delimiter}LINK", f'"1\n2"{delimiter}{_LINK}1', f"3{delimiter}{_LINK}2", "4"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(list_reader, "_PIECE", max(piece, 30))
        format_, found = read("\n".join(rows))
    assert (format_, found) == ("csv", [(4, f"{_LINK}1"), (6, f"{_LINK}2")])


@pytest.mark.parametrize(
    ("text", "format_", "count"),
    [
        (f"{_LINK}1, the first\n{_LINK}2, the second", "links", 2),
        (f'{{"link": "{_LINK}1", "text": "\\"messages\\": ["}}\n{{"url": "{_LINK}2"}}\n', "jsonl", 2),
        (f'{{"link": "{_LINK}1"}}', "jsonl", 1),
        (json.dumps({"id": 5, "messages": [{"id": 1, "file": "a"}]}), "export", 1),
        (json.dumps({"id": 5, "messages": [{"id": 1, "file": "a"}]}, indent=1), "export", 1),
        (json.dumps({"about": "x" * 99_000, "chats": {"list": [{"id": 5, "messages": []}]}}), "export", 0),
        ("link\n" + f"{_LINK}1\n", "csv", 1),
    ],
)
def test_the_format_is_recognised(text: str, format_: str, count: int) -> None:
    found, links = read(text)
    assert (found, len(links)) == (format_, count)


def test_an_unfinished_quotation_costs_no_more_than_itself() -> None:
    rows = [f'"unfinished,{_LINK}1', *(f"n,{_LINK}{n}" for n in range(2, 9000))]
    _, found = read("\n".join(["name,link", *rows]))
    assert found[-1] == (9000, f"{_LINK}8999")


def test_numbers_of_any_length_are_no_message() -> None:
    assert read('{"id": 5, "messages": [{"id": ' + "9" * 5000 + "}]}")[1] == []
    assert read('{"link": ' + "9" * 5000 + "}")[1] == []


@pytest.mark.parametrize("text", ['"link\nhttps://t.me/a/1\n', '"link\n' + "https://t.me/a/1\n" * 10_000])
def test_names_of_columns_with_an_open_quote_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="quote"):
        read(text)


def test_links_are_texts_that_can_be_sent() -> None:
    _, ((_, link),) = read('{"link": "https://example.com/\\ud800.bin"}\n')
    assert link.encode() == b"https://example.com/?.bin"
