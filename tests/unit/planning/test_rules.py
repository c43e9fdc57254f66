"""Rules: which one applies, which are refused, and their form as a line of text."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from saveany.errors import InvalidInput
from saveany.models import Rule
from saveany.planning.facts import Facts
from saveany.planning.rules import first_match, format_rule, matches, parse_rule, presets, validate_rule

FILM = Facts(
    name="Film.MKV",
    size=2_000_000_000,
    text="Our #trip",
    chat="Films",
    chat_id=-1001234567890,
    kind="video",
    album="Our trip",
)
LINES = {
    r"name=\.mkv$ size>100MB -> nas:Movies/{{ year }}": Rule(
        name=r"\.mkv$", min_size=100_000_000, storage="nas", folder="Movies/{{ year }}"
    ),
    "type=video,photo album=yes -> :{{ folder }}/{{ album }}": Rule(
        kinds=("video", "photo"), album=True, folder="{{ folder }}/{{ album }}"
    ),
    'text="a ""b"" \\d" size<1.5GB -> nas:': Rule(text=r'a "b" \d', max_size=1_500_000_000, storage="nas"),
    "chat=@films album=no -> :": Rule(chat="@films", album=False),
    "chat=films -> :x": Rule(chat="@films", folder="x"),
    "chat=-1001234567890 size>=5 size<=100MiB -> :x": Rule(
        chat="-1001234567890", min_size=5, max_size=100 << 20, folder="x"
    ),
    '-> "my: nas":a folder': Rule(storage="my: nas", folder="a folder"),
    "NAME=x → nas:x": Rule(name="x", storage="nas", folder="x"),
    "name=“two words” -> :x": Rule(name="two words", folder="x"),
    'name=a"b -> :a -> b': Rule(name='a"b', folder="a -> b"),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_parsed_into_its_rule(line: str) -> None:
    assert parse_rule(line) == LINES[line]
    assert parse_rule(format_rule(LINES[line])) == LINES[line]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "arrow with spaces around it is missing"),
        ("name=x", "arrow with spaces around it is missing"),
        ("name=x->nas:y", "arrow with spaces around it is missing"),
        ("name=x -> nas", "is not a destination"),
        ("name=x ->", "is not a destination"),
        ("nam=x -> nas:", "there is no condition nam=; did you mean name=?"),
        ("size=5 -> nas:", "there is no condition size="),
        ("name>5 -> nas:", "there is no condition name>"),
        ("x -> nas:", "'x' is not a condition"),
        ('name="x -> nas:', "is not a condition"),
        ("name= -> nas:", "name= has no value"),
        ('text="" -> nas:', "text= has no value"),
        ("name=a name=b -> nas:", "is given twice"),
        ("size>big -> nas:", "'big' is not a size"),
        ("size>1XB -> nas:", "'1XB' is not a size"),
        ("album=maybe -> nas:", "yes or no"),
    ],
)
def test_invalid_lines_are_refused(line: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        parse_rule(line)


@pytest.mark.parametrize(
    ("rule", "field", "words"),
    [
        (Rule(name="("), "name", "RE2"),
        (Rule(text="(?=x)"), "text", "look-around"),
        (Rule(name="x" * 501), "name", "longer than 500"),
        (Rule(chat="https://t.me/x"), "chat", "is not a chat"),
        (Rule(kinds=("vidoe",)), "kinds", "did you mean video?"),
        (Rule(min_size=2, max_size=1), "max_size", "larger than the maximum"),
        (Rule(storage="nsa"), "storage", "did you mean nas?"),
        (Rule(folder="../x"), "folder", ".."),
        (Rule(folder="{{ album"), "folder", "line 1"),
        (Rule(folder="{{ folder.x }}"), "folder", "only values"),
    ],
)
def test_contradictory_rules_are_refused(rule: Rule, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_rule(rule, ["local1", "nas"])
    assert words in caught.value.message
    assert caught.value.field == field


def test_folders_are_normalized() -> None:
    assert validate_rule(Rule(folder=" /Films//x/ "), []).folder == "Films/x"
    assert validate_rule(Rule(folder="/"), []).folder == "/"
    assert validate_rule(Rule(), []) == Rule()


@pytest.mark.parametrize(
    "rule",
    [
        Rule(),
        Rule(name=r"\.mkv$"),
        Rule(text="TRIP"),
        Rule(chat="@films"),
        Rule(chat="-1001234567890"),
        Rule(kinds=("photo", "video")),
        Rule(min_size=2_000_000_000, max_size=2_000_000_000),
        Rule(album=True),
    ],
)
def test_matching_files_match(rule: Rule) -> None:
    assert matches(rule, FILM)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(name="mp4$"),
        Rule(text="film"),
        Rule(chat="@film"),
        Rule(chat="1234567890"),
        Rule(kinds=("photo",)),
        Rule(min_size=2_000_000_001),
        Rule(max_size=1_999_999_999),
        Rule(album=False),
        Rule(name="mkv", text="nothing"),
    ],
)
def test_other_files_do_not_match(rule: Rule) -> None:
    assert not matches(rule, FILM)


def test_an_unknown_size_matches_no_size_condition() -> None:
    assert not matches(Rule(min_size=1), Facts())
    assert not matches(Rule(max_size=10**12), Facts())
    assert matches(Rule(), Facts())


@pytest.mark.parametrize(
    ("name", "kind"), [("a.mp4", "video"), ("a.JPG", "photo"), ("a.mp3", "audio"), ("a", "document")]
)
def test_an_unknown_kind_follows_from_the_extension(name: str, kind: str) -> None:
    assert matches(Rule(kinds=(kind,)), Facts(name=name))
    assert not matches(Rule(kinds=("voice",)), Facts(name=name))


def test_the_first_matching_rule_decides() -> None:
    first, second = Rule(name="mkv", folder="a"), Rule(name="film", folder="b")
    assert first_match([Rule(name="x"), first, second], FILM) is first
    assert first_match([second, first], FILM) is second
    assert first_match([Rule(name="x")], FILM) is None


def test_presets_sort_by_extension() -> None:
    made = presets("nas", "Media")
    names = {
        "a.MP4": "Videos",
        "a.jpeg": "Images",
        "a.flac": "Audio",
        "a.pdf": "Documents",
        "a.tgz": "Archives",
    }
    for name, folder in names.items():
        rule = first_match(made, Facts(name=name))
        assert rule is not None
        assert (rule.storage, rule.folder) == ("nas", f"Media/{folder}")
    assert first_match(made, Facts(name="a.exe")) is None
    assert all(validate_rule(rule, ["nas"]) == rule == parse_rule(format_rule(rule)) for rule in made)
    assert presets("")[0].folder == "Videos"


words = st.text(max_size=20)
sizes = st.integers(0, 10**15) | st.sampled_from([1000, 1 << 20, 15 * 10**8, 1 << 40])
some_rules = st.builds(
    Rule,
    name=words,
    text=words,
    chat=st.sampled_from(["", "@films", "-1001234567890", "77"]),
    kinds=st.lists(st.sampled_from(["video", "photo", "voice"]), unique=True).map(tuple),
    min_size=sizes,
    max_size=st.none() | sizes,
    album=st.none() | st.booleans(),
    storage=words,
    folder=words.map(str.strip),
)


@given(some_rules)
def test_every_rule_survives_a_round_trip(rule: Rule) -> None:
    assert parse_rule(format_rule(rule)) == rule


@given(st.text(max_size=60) | st.lists(st.sampled_from([*LINES, "->", '"', "size>", "=", " "])).map("".join))
def test_any_line_is_parsed_or_refused(line: str) -> None:
    with suppress(InvalidInput):
        rule = parse_rule(line)
        assert parse_rule(format_rule(rule)) == rule


@given(some_rules, st.sampled_from([FILM, Facts(), Facts(name="a.jpg", size=1000)]))
def test_removing_a_condition_never_excludes_a_file(rule: Rule, facts: Facts) -> None:
    try:
        validate_rule(replace(rule, storage="", folder=""), [])
    except InvalidInput:
        assume(False)
    for field in rule.__struct_fields__:
        loose: dict[str, Any] = {field: getattr(Rule(), field)}
        assert not matches(rule, facts) or matches(replace(rule, **loose), facts)
