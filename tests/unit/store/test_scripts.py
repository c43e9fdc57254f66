"""The head of each Lua script names all keys that it uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import saveany.store

FOLDER = Path(saveany.store.__file__).parent / "lua"
LIBRARY = (FOLDER / "_lib.lua").read_text()
FUNCTIONS = dict(re.findall(r"^local function (\w+)(.*?)(?=^local |\Z)", LIBRARY, re.MULTILINE | re.DOTALL))
SCRIPTS = sorted(path for path in FOLDER.glob("*.lua") if path != FOLDER / "_lib.lua")


def keys_of(code: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """The first words of the keys that code names, itself or through functions of the library."""
    found = set(re.findall(r"P \.\. '([a-z]+)", code))
    for name in set(FUNCTIONS) - seen:
        if re.search(rf"\b{name}\(", code):
            found |= keys_of(FUNCTIONS[name], seen | {name})
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_head_names_the_keys(script: Path) -> None:
    lines = script.read_text().splitlines()
    head = " ".join(line for line in lines if line.startswith("--"))
    code = "\n".join(line for line in lines if not line.startswith("--"))
    assert sorted(key for key in keys_of(code) if not re.search(rf"\b{key}\b", head)) == []
