"""The finder of line numbers agrees with tomllib and with known examples."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from saveany.config.lines import Loc, key_lines

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.datetimes()
    | st.dates()
    | st.times()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def places(value: Any, at: Loc = ()) -> Iterator[Loc]:
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*at, key))


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans())
def test_finds_the_keys_that_tomllib_finds(data: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(data, multiline_strings=multiline)
    lines = key_lines(text)
    assert set(lines) == set(places(tomllib.loads(text)))
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


#: Values that look like something else.
VALUE_TEXTS = [
    "1",
    "0xff",
    "1979-05-27 07:32:00",
    "inf # = [x]",
    '"a # [b] = \\" \\\\"',
    "'c:\\'",
    '"""\n[x]\ny = 1 # \\"""\n""a"""',
    '""""" two quotes, and at the end too """""',
    "'''\n'' \\ [[z]]\n'''''",
    "[\n  1, # one ]\n  '], [',\n  [2,\n  3],\n]",
    "[]",
    "{}",
    '{ "a b" = 1, c.d = [1, {e = 2}], f = "}" }',
]
BETWEEN = st.lists(st.sampled_from(["", "   ", "# a = 1", "\t# [x] \"'"]), max_size=2)


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["key", "dotted", "table", "array", "inner"]),
            BETWEEN,
            st.sampled_from(VALUE_TEXTS),
        ),
        max_size=12,
    )
)
def test_finds_their_lines(statements: list[tuple[str, list[str], str]]) -> None:
    text = ""
    table: Loc = ()
    expected: dict[Loc, int] = {}
    arrays: list[Loc] = []
    for number, (kind, between, value) in enumerate(statements):
        text += "".join(f"{line}\n" for line in between)
        line = text.count("\n") + 1
        if kind == "array" or (kind == "inner" and not arrays):
            table = ("list", len(arrays))
            arrays.append(table)
            expected.setdefault(("list",), line)
            text += "[[ list ]] # [[x]]\n"
        elif kind == "table":
            table = (f"t{number}",)
            text += f"[t{number}]\n"
        elif kind == "inner":
            table = (*arrays[-1], f"t{number}")
            text += f"[list.'t{number}']\n"
        else:
            parts = ("k", f"{number}") if kind == "dotted" else (f"k{number}",)
            text += " . ".join(parts) + f" = {value}\n"
            for end in range(1, len(parts) + 1):
                expected.setdefault((*table, *parts[:end]), line)
            continue
        expected[table] = line
    tomllib.loads(text)
    lines = key_lines(text)
    assert {loc: lines.get(loc) for loc in expected} == expected


@pytest.mark.parametrize(
    ("text", "loc", "line"),
    [
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
        ("x = [\n 1,\n 2\n]", ("x", 1), 3),
        ('"\\u00e9" = 1', ("é",), 1),
        ("s = [\n {a = 1},\n {b = 2},\n]\n", ("s", 1, "b"), 3),
        ("[[a]]\n[[a.b]]\nc = 1\n[[a.b]]\nc = 2\n[[a]]\n[[a.b]]\nc = 3", ("a", 1, "b", 0, "c"), 8),
        ("[a.b]\n[a]\n", ("a",), 1),
    ],
)
def test_lines_of_known_examples_are_found(text: str, loc: Loc, line: int) -> None:
    assert key_lines(text)[loc] == line
