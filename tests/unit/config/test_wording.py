"""Errors about the configuration contain no library text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from saveany.config import docs
from saveany.config.keys import KEYS
from saveany.config.loader import parse
from saveany.errors import ConfigError

FILE = Path("/etc/saveany/config.toml")  # never touched

#: Words of pydantic, tomllib and tomlkit.
LIBRARY = re.compile(
    "should |Value error|Input|Extra inputs|Assertion|validation|unable to parse|Field required|"
    "Expected|Invalid"
)
#: What `saveany.validation` says of a mistake that it does not know.
UNKNOWN = "is not valid"
WRONG: list[Any] = [
    "",
    "x",
    "?" * 5000,
    0,
    -1,
    10**30,
    2.5,
    float("inf"),
    True,
    [],
    [-1],
    ["?"],
    {},
    {"a": 1},
]


def configurations() -> Iterator[dict[str, Any]]:
    """Configurations in which all keys of a table have the same wrong value."""
    for value in WRONG:
        tables: dict[str, Any] = {}
        for key in KEYS.values():
            table: dict[str, Any] = tables
            for name in key.path[:-1]:
                table = table.setdefault(str(name), {})
            table[str(key.path[-1])] = value
        yield tables
        for section in docs.sections():
            if section.is_list:
                entry: Any = [dict.fromkeys(section.fields, value) | {"type": "local"} | section.fixed]
                for name in reversed(section.header.strip("[]").split(".")):
                    entry = {name: entry}
                yield entry


def test_no_value_error_contains_library_text() -> None:
    seen = set()
    for data in configurations():
        with pytest.raises(ConfigError) as caught:
            parse(tomli_w.dumps(data), FILE, {})
        for line in caught.value.message.splitlines():
            seen.add(line)
            assert not LIBRARY.search(line), line
            assert not line.endswith(UNKNOWN), line
    assert len(seen) > 3 * len(KEYS)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a",
            "a =",
            "a = b",
            "= 1",
            "a = 1 b = 2",
            "a = '",
            'a = "\\',
            'a = "\\q"',
            "a = [",
            "a = [1",
            "a = {",
        ),
        *(
            "[a",
            "[[a",
            "[a]\n[a]",
            "a = 1\n[a]",
            "a.b = 1\na = 2",
            "a = 1979-13-01",
            "a = '''",
            "a = {b=1, b=2}",
        ),
        *("\x01", "a = 'x\x01'", "a = 0xg", "a = 1__0", "a = '\n'", "]", "[a]]", "a = {b = 1,}", "[]", '"a'),
    ],
)
def test_no_syntax_error_contains_library_text(text: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml:\d: this is not TOML: [a-z]") as caught:
        parse(text, FILE, {})
    assert not LIBRARY.search(caught.value.message)
    assert "(at " not in caught.value.message
