"""The generated files are up to date, and the example is valid."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import storages.docs
from saveany.config import Config, docs
from saveany.config.keys import plain
from saveany.config.loader import parse
from storages.base import Capabilities

ROOT = Path(__file__).parents[3]
FILE = Path("/etc/saveany/config.toml")  # never touched
SETTING = re.compile(r"#([a-z_]+ = .*|\[\[.*\]\])")


def uncommented(text: str, only: str = "") -> str:
    """The example with its settings active: all of them, or the one line."""
    lines = text.splitlines()
    return "\n".join(line[1:] if SETTING.fullmatch(line) and only in ("", line) else line for line in lines)


def test_the_committed_files_are_up_to_date() -> None:
    hint = "run: python -m saveany.config.docs"
    assert (ROOT / docs.EXAMPLE).read_text() == docs.example(), hint
    assert (ROOT / docs.REFERENCE).read_text() == docs.reference(), hint
    page = (ROOT / storages.docs.REFERENCE).read_text()
    assert page == storages.docs.reference(), "run: make docs"
    # Each ability has a row in the table of types, and one that says what it means.
    assert [each.name for each in fields(Capabilities) if page.count(f"| `{each.name}` |") != 2] == []


def test_the_unchanged_example_equals_the_defaults() -> None:
    config = parse(docs.example(), FILE, {})
    assert config.warnings == ()
    assert plain(config) == plain(parse("", FILE, {}))


def test_the_example_with_all_lines_uncommented_loads() -> None:
    config = parse(uncommented(docs.example()), FILE, {})
    assert config.warnings == ()
    assert (config.users[0].id, config.users[0].storages) == (123456789, ("local1",))
    assert config.storages[0].name == "local1"
    assert config.telegram.accounts[0].name == "me"


TABLES = docs.example().split("#[[")[0]  # the lists of tables have required keys and stand or fall together


@pytest.mark.parametrize("line", [line for line in TABLES.splitlines() if SETTING.fullmatch(line)])
def test_the_example_with_any_line_uncommented_loads(line: str) -> None:
    # a name may be there in two tables (`enable`): then both are uncommented
    assert parse(uncommented(TABLES, only=line), FILE, {}).warnings == ()


def test_every_key_has_a_description_and_is_in_both_files() -> None:
    example, reference = docs.example(), docs.reference()
    for section in docs.sections():
        assert section.about
        for name, field in section.fields.items():
            assert field.description, f"{section.header} {name}"
            assert f"\n#{name} = " in example
            assert f"\n| `{name}` | " in reference
    assert {key for key in Config.model_fields if f"[{key}]" in example} >= {
        "api",
        "users",
        "storages",
    }


def test_write(tmp_path: Path) -> None:
    docs.write(tmp_path)
    assert (tmp_path / "config.example.toml").read_text() == docs.example()
    assert (tmp_path / "docs/reference/config.md").read_text() == docs.reference()
