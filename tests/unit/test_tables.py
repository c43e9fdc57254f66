"""Tables have no formulas, however a spreadsheet reads them, and every text can be read back."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saveany import tables
from saveany.service.list_reader import ListReader

_SPECIAL = "=+-@\t\r\n;,|\"' a\uff1d"
_text = st.text(_SPECIAL, max_size=8) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=8
)


def cells(text: str, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@settings(deadline=None, max_examples=400)
@given(st.lists(_text, max_size=4))
def test_no_cell_is_a_formula_and_each_can_be_read_back(texts: list[str]) -> None:
    rows = [(1, text, text) for text in texts]
    table = "".join(map(tables.row, rows))
    for delimiter in ",;\t":
        for cell in (cell for row in cells(table, delimiter) for cell in row):
            assert not cell.lstrip(" ").startswith(tuple("=+-@\t\r\uff1d")), delimiter
    assert [["1", *map(tables.original, row[1:])] for row in cells(table, ",")] == [
        ["1", text, text] for text in texts
    ]


@pytest.mark.parametrize("text", ["=1", "'=1", "''=1", 'a;"=1\nb', "-", "a\r=1", "\t\t", "' =1", "it's"])
def test_what_looks_marked_stays_what_it_is(text: str) -> None:
    [[cell]] = cells(tables.row([text]), ",")
    assert tables.original(cell) == text


@settings(deadline=None, max_examples=100)
@given(_text.map(lambda text: text.replace("\r", "").strip()).filter(bool))
def test_a_list_has_the_texts_that_were_written(text: str) -> None:
    table = tables.row(["n", "link"]) + tables.row([1, text])
    assert [each.link for each in ListReader(io.StringIO(table)).entries()] == [text]


def test_texts_that_need_no_mark_have_none() -> None:
    assert tables.row([5, "a-b c=d @e.bin", "https://t.me/c/1/2"]) == "5,a-b c=d @e.bin,https://t.me/c/1/2\n"


def test_all_tables_are_written_there() -> None:
    root = Path(tables.__file__).parents[1]
    files = [file for name in ("saveany", "storages", "workers") for file in (root / name).rglob("*.py")]
    writing = [file for file in files if re.search(r"\b(writer|DictWriter)\(|QUOTE_", file.read_text())]
    assert [file.relative_to(root).as_posix() for file in writing] == ["saveany/tables.py"]
