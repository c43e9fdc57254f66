"""Rules of SaveAny-Bot sort files here as they did there."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
import re2

from saveany.errors import InvalidInput
from saveany.moving_in.found import Finds, FoundRule, FoundUser, FoundWatch
from saveany.moving_in.recognise import recognise
from saveany.moving_in.rules import filter_of, rule_of, template_of
from saveany.planning import templates
from saveany.planning.facts import Facts
from saveany.planning.paths import join
from saveany.planning.rules import first_match, format_rule, parse_rule, validate_rule
from tests.fixtures.moving_in import PERSON, moving_in

STORAGES = ("nas", "second")
CHOSEN, FOLDER = "nas", "Films"


class File(NamedTuple):
    """A file, and what belongs to it."""

    name: str
    text: str = ""
    album: str = ""  # the name of the first file of its album, without extension


FILES = (
    File("Holiday.mkv"),
    File("holiday.MP4"),
    File("clip.avi", "#keep"),
    File("stream.ts"),
    File("clip.webm"),
    File("song.mp3"),
    File("song.FLAC", "#keep this"),
    File("song.ogg"),
    File("Show.S01E02.mkv"),
    File("show.s01e02.mkv"),
    File("S1E1"),
    File("S01E02.mp3", "#keep", "S01E01"),
    File("notes.txt", "please #keep"),
    File("notes.txt", "#KEEP"),
    File("notes.txt", "# keep"),
    File("photo.jpg", "", "photo"),
    File("photo_2.jpg", "#keep", "photo"),
    File("movie.mp4", "#keep", "movie"),
    File("movie.mp4.part"),
    File("mp4"),
    File("archive.tar.gz"),
    File("文件.zip"),
    File("文件.MKV", "#keep"),
    File("Отчёт S02E11.pdf"),
    File("a b (1) [x].flac"),
    File("track.mp3.mkv"),
    File("2026-11-29_15-57-55_Holiday.mkv"),
    File("2026-11-29_15-57-55_S03E04.avi", "", "2026-11-29_15-57-55_S03E03"),
    File("no extension"),
    File("SE.mkv", "S01E01"),
)


def in_saveany_bot(rules: tuple[FoundRule, ...], file: File) -> tuple[str, str]:
    """Storage and folder in SaveAny-Bot: the loop over the rules never stops, so the last match applies; its
    patterns distinguish upper and lower case."""
    storage, folder = CHOSEN, FOLDER
    for rule in rules:
        if rule.kind == "IS-ALBUM":
            matched = (rule.data == "true") == bool(file.album)
        else:
            text = {"FILENAME-REGEX": file.name, "MESSAGE-REGEX": file.text}[rule.kind]
            matched = re2.search(rule.data, text) is not None
        if matched:
            storage = CHOSEN if rule.storage == "CHOSEN" else rule.storage
            folder = join(FOLDER, file.album) if rule.folder == "NEW-FOR-ALBUM" else rule.folder
    return storage, folder


def here(lines: list[str], file: File) -> tuple[str, str]:
    """Storage and folder with our rules, which are written as a user would write them."""
    rules = [validate_rule(parse_rule(line), STORAGES) for line in lines]
    facts = replace(Facts(name=file.name, text=file.text, album=file.album), folder=FOLDER)
    found = first_match(rules, facts)
    if found is None:
        return CHOSEN, FOLDER
    return found.storage or CHOSEN, templates.folder_path(found.folder, facts) or FOLDER


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> FoundUser:
    """The user of the database that SaveAny-Bot has written."""
    finds = Finds()
    recognise([moving_in(tmp_path_factory.mktemp("rules")) / "saveany-bot/data/saveany.db"], finds)
    return next(each for each in finds.users if each.id == PERSON)


def converted(user: FoundUser) -> list[str]:
    return [format_rule(rule_of(each, STORAGES)) for each in reversed(user.rules)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: " ".join(file))
def test_a_file_goes_where_it_went_before(user: FoundUser, file: File) -> None:
    assert here(converted(user), file) == in_saveany_bot(user.rules, file)


def test_the_files_show_every_rule_and_the_order_of_the_rules(user: FoundUser) -> None:
    places = {in_saveany_bot(user.rules, file) for file in FILES}
    assert {folder for _, folder in places} >= {"Videos", "Music", "Keep", "Series", "Films"}
    lines = converted(user)
    assert any(here(lines[::-1], file) != here(lines, file) for file in FILES)


def test_a_deleted_rule_does_not_come_along(user: FoundUser) -> None:
    assert len(user.rules) == 5
    assert not any("deleted" in each.data for each in user.rules)


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (("FILENAME-REGEX", "(?i)x", "nas", "/a/b/"), "name=x -> nas:a/b"),
        (("FILENAME-REGEX", r"^[0-9]$", "CHOSEN", "/"), r"name=^[0-9]$ -> :/"),
        (("IS-ALBUM", "False", "nas", "Single"), "album=no -> nas:Single"),
    ],
)
def test_rules_in_our_form(rule: tuple[str, str, str, str], line: str) -> None:
    assert format_rule(rule_of(found(*rule), STORAGES)) == line


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (("FILENAME-REGEX", "(", "nas", "a"), "RE2"),
        (("FILENAME-REGEX", "", "nas", "a"), "empty"),
        (("FILENAME-REGEX", "x", "gone", "a"), "no storage"),
        (("FILENAME-REGEX", "x", "nas", "../a"), "cannot lead out"),
        (("FILENAME-REGEX", "x", "nas", "{{ name }}"), "brace"),
        (("FILENAME-REGEX", "x" * 600, "nas", "a"), "longer"),
        (("IS-ALBUM", "maybe", "nas", "a"), "no such rule"),
        (("SIZE", "1", "nas", "a"), "no such rule"),
    ],
)
def test_rules_that_cannot_be_taken_over(rule: tuple[str, str, str, str], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        rule_of(found(*rule), STORAGES)


def test_patterns_of_watched_chats_distinguish_upper_and_lower_case() -> None:
    assert filter_of(FoundWatch(chat=-1, filter="")) == {}
    assert filter_of(FoundWatch(chat=-1, filter="msgre:Season")) == {"text": "(?-i:Season)"}
    for wrong in ("msgre:(", "kind:x", "msgre:"):
        with pytest.raises(InvalidInput):
            filter_of(FoundWatch(chat=-1, filter=wrong))


def test_ways_of_naming_files(user: FoundUser) -> None:
    template = template_of(user)
    assert templates.preview(template) == "2026-08-01_12-00-00_Holiday.mkv"
    assert template_of(replace(user, naming="default")) == ""
    assert templates.preview(template_of(replace(user, naming="message"))) == "sea_summer_123.mkv"
    for wrong in (replace(user, naming="other"), replace(user, template="{{ range .x }}")):
        with pytest.raises(InvalidInput):
            template_of(wrong)


def found(kind: str, data: str, storage: str, folder: str) -> FoundRule:
    return FoundRule(kind=kind, data=data, storage=storage, folder=folder)


def test_the_table_has_thirty_files() -> None:
    assert len(set(FILES)) == 30
