"""Every text of the web UI is translated, with the same fields, and no translation is left over."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import saveany.web
from saveany.languages import LANGUAGES

FOLDER = Path(saveany.web.__file__).parent
OTHERS = sorted(tag for tag in LANGUAGES if tag != "en")
TEXT = r'"((?:[^"\\]|\\.)*)"'
CALLS = re.compile(rf"\bt\(\s*{TEXT}|\bplural\(\s*{TEXT},\s*{TEXT}")


def modules() -> list[Path]:
    return [file for file in sorted(FOLDER.rglob("*.js")) if file.parent.name != "vendor"]


def texts() -> set[str]:
    found = (match for file in modules() for match in CALLS.finditer(file.read_text()))
    return {text for match in found for text in match.groups() if text}


def fields(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


def translations(tag: str) -> dict[str, str]:
    known: dict[str, str] = json.loads((FOLDER / "texts" / f"{tag}.json").read_text())
    return known


@pytest.mark.parametrize("tag", OTHERS)
def test_every_text_has_a_translation_with_its_fields(tag: str) -> None:
    known = translations(tag)
    assert len(texts()) > 250
    assert sorted(texts() ^ set(known)) == []
    assert [text for text, translated in known.items() if fields(text) != fields(translated)] == []


def test_the_page_offers_the_languages_of_the_bot() -> None:
    code = (FOLDER / "texts.js").read_text()
    assert [tag for tag, name in LANGUAGES.items() if f'"{name}"' not in code] == []


def test_every_text_is_marked_to_be_translated() -> None:
    """A word between tags in a template is one that nobody can translate."""
    plain = re.compile(r"(?<!=)>\s*([A-Z][a-z]+(?: [a-z]+)*)\s*</")
    found = [f"{file.name}: {text}" for file in modules() for text in plain.findall(file.read_text())]
    assert [each for each in found if not each.endswith(": SaveAny")] == []
