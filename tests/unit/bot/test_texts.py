"""What the bot says is there in every language."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import saveany.bot
from saveany.bot.texts import LANGUAGES, CommandError, closest, translator
from saveany.errors import NotFound

FOLDER = Path(saveany.bot.__file__).parent
OTHERS = sorted(tag for tag in LANGUAGES if tag != "en")
#: `t("…")`, `t.n("one", "many", …)` and `said("…")`.
KEYWORDS = {"t": None, "n": (1, 2), "said": None}


def texts() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Where each text is, and its forms."""
    found = extract_from_dir(str(FOLDER), [("**.py", "python")], keywords=KEYWORDS)
    for file, line, message, *_ in found:
        yield f"{file}:{line}", message if isinstance(message, tuple) else (message,)


def catalog(tag: str) -> Catalog:
    with (FOLDER / "locales" / f"{tag.replace('-', '_')}.po").open("rb") as file:
        return read_po(file, abort_invalid=True)


def slots(text: str) -> set[str]:
    return set(re.findall(r"{(\w*)}", text))


def tags(text: str) -> list[str]:
    return sorted(re.findall(r"</?\w+>", text))


@pytest.mark.parametrize("tag", OTHERS)
def test_every_text_is_translated(tag: str) -> None:
    known = catalog(tag)
    missing, wrong = [], []
    for place, forms in texts():
        message = known.get(forms[0])
        translated = message.string if message else ""
        if not translated or (isinstance(translated, tuple) and not all(translated)):
            missing.append(f"{place}: {forms[0]}")
            continue
        for each in [translated] if isinstance(translated, str) else translated:
            if slots(each) != slots(forms[-1]) or tags(each) != tags(forms[-1]):
                wrong.append(f"{place}: {forms[-1]} -> {each}")
    assert not missing
    assert not wrong


@pytest.mark.parametrize("tag", OTHERS)
def test_nothing_is_translated_that_is_not_said(tag: str) -> None:
    said = {forms[0] for _, forms in texts()}
    ids = (each.id for each in catalog(tag) if each.id)
    assert [each for each in ids if (each[0] if isinstance(each, tuple) else each) not in said] == []


def test_values_are_shown_as_they_are() -> None:
    assert translator("en")("That does not work: {reason}", reason="<b> & {x}") == (
        "That does not work: &lt;b&gt; &amp; {x}"
    )


@pytest.mark.parametrize(
    ("tag", "closest_"),
    [("zh-hans", "zh-Hans"), ("zh", "zh-Hans"), ("en-GB", "en"), ("de", "en"), ("", "en"), ("🙂", "en")],
)
def test_the_closest_language(tag: str, closest_: str) -> None:
    assert closest(tag) == closest_


def test_why_something_cannot_be_is_said_in_the_language_of_the_person() -> None:
    error = CommandError("there is no task {id}", id="<7>")
    assert error.message == "there is no task <7>"
    assert translator("zh-Hans").reason(error) == "没有任务 <7>"
    assert translator("zh-Hans").reason(NotFound("there is no planet")) == "there is no planet"
