"""Templates of users: their results, their errors, and that none leaves its folder or fails."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from saveany.errors import InvalidInput
from saveany.planning import paths
from saveany.planning.facts import Facts
from saveany.planning.names import safe_name
from saveany.planning.templates import MAX_LENGTH, SAMPLE, file_path, folder_path, preview, validate_template

YIELDS = {
    "{{ name }}": "Holiday.mkv",
    "{{ name }}.{{ ext }}": "Holiday.mkv",
    "{{ origname }}": "Holiday.mkv",
    "{{ name }}.MKV": "Holiday.MKV",
    "{{ msgid }}_{{ name }}": "123_Holiday.mkv",
    '{{ date|date("%Y/%m/%d") }}/{{ name }}': "2026/08/01/Holiday.mkv",
    "{{ year }}-{{ month }}-{{ day }}": "2026-08-01.mkv",
    "{{ date }}": "2026-08-01_12-00-00.mkv",
    "{{ chat }}/{{ n|pad(3) }}": "channel/003.mkv",
    "{{ chatid }}": "-1001234567890.mkv",
    "{{ tags }}": "sea_summer.mkv",
    "{{ text|cut(8) }}": "Our trip.mkv",
    "{{ album }}/{{ kind }}": "Our trip/video.mkv",
    "{{ kind|upper ~ '-' ~ size }}": "VIDEO-734003200.mkv",
    "{{ name|replace('day', 'night')|lower }}": "holinight.mkv",
    "{% if size > 1000 %}big{% else %}small{% endif %}/{{ name }}": "big/Holiday.mkv",
    "{{ 'x' if kind == 'photo' else 'y' }}": "y.mkv",
    "{{ ''|default('nothing') }}": "nothing.mkv",
    "{{.msgid}}_{{ .msggen }}_{{- .msgtags -}}": "123_sea_summer_123_sea_summer.mkv",
    "{{.msgdate}}": "2026-08-01_12-00-00.mkv",
    "{{.chatid}}/{{.origname}}": "-1001234567890/Holiday.mkv",
    "/a//b/./{{ name }}": "a/b/Holiday.mkv",
    "a\n  b": "a b.mkv",
    "my: {{ name }}?": "my_ Holiday_.mkv",
    "con": "_con.mkv",
    "{# nothing #}": "Holiday.mkv",
    "": "Holiday.mkv",
    " / ": "Holiday.mkv",
}

REFUSED = {
    "{{ nmae }}": "line 1: there is no value 'nmae'; did you mean name?",
    "a\n{{ name|uper }}": "line 2: there is no filter 'uper'; did you mean upper?",
    "{{ name": "line 1: the syntax is wrong; check that all braces",
    "{{ name.upper() }}": "only values, filters",
    "{{ name[0] }}": "only values, filters",
    "{{ ''.__class__.__mro__ }}": "only values, filters",
    "{{ range(9) }}": "only values, filters",
    "{{ 'x' * 999999999 }}": "only values, filters",
    "{{ 9 ** 9 ** 9 ** 9 }}": "only values, filters",
    "{{ name is defined }}": "only values, filters",
    "{% for x in name %}{{ x }}{% endfor %}": "only values, filters",
    "{% set x = 1 %}": "only values, filters",
    "{% macro x() %}{% endmacro %}": "only values, filters",
    "{% include 'x' %}": "only values, filters",
    "{% import 'x' as y %}": "only values, filters",
    "{% extends 'x' %}": "only values, filters",
    "{% block x %}{% endblock %}": "only values, filters",
    "{% filter upper %}x{% endfilter %}": "only values, filters",
    "{{ self }}": "there is no value 'self'",
    "{{ n|pad(digits=3) }}": "without names",
    "{{ n|pad }}": "cannot be applied",
    "{{ name|date }}": "cannot be applied",
    "{{ size > 'x' }}": "cannot be applied",
    "../{{ name }}": '".." cannot lead out',
    "a\\b": "backslash",
    "a\u202eb": "invisible",
    "x" * 300: "longer than 255",
    "x/" * 300: f"longer than {MAX_LENGTH}",
    "{{" + "(" * 240 + "n" + ")" * 240 + "}}": "nested too deeply",
    "{{" + "n|upper" + "|upper" * 60 + "}}": "nested too deeply",
}


@pytest.mark.parametrize("template", YIELDS)
def test_templates_yield_names(template: str) -> None:
    assert preview(template) == YIELDS[template]


@pytest.mark.parametrize("template", REFUSED)
def test_invalid_templates_are_refused_with_the_reason(template: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_template(template)
    assert REFUSED[template] in caught.value.message
    assert caught.value.field == "template"


def test_slashes_in_values_create_no_folders() -> None:
    facts = Facts(name="a.bin", text="AC/DC ../../etc", album="x/y")
    assert file_path("{{ text }}", facts) == ("", "AC_DC .._.._etc.bin")
    assert folder_path("{{ album }}", facts) == "x_y"


def test_a_folder_with_a_missing_value_is_omitted() -> None:
    facts = Facts(name="a.bin")
    assert file_path("{{ chat }}/{{ album }}/{{ msgid }}/x", facts) == ("", "x.bin")
    assert file_path("{{ text }}", facts) == ("", "a.bin")


def test_a_template_that_yields_nothing_keeps_the_name() -> None:
    template = "{{ name if size < 10 else date|date(n) }}"
    assert file_path(template, Facts(name="a.bin", size=9)) == ("", "a.bin")
    assert file_path(template, Facts(name="a.bin", size=99)) == ("", "a.bin")


def test_a_file_without_extension_gets_none() -> None:
    assert file_path("x.y", Facts(name="README")) == ("", "x.y")


def test_an_empty_folder_is_omitted() -> None:
    assert folder_path("{{ album }}", Facts()) is None
    assert folder_path("", Facts()) is None
    assert folder_path("/", Facts()) == ""
    assert folder_path("{{ folder }}/{{ album }}", SAMPLE) == "downloads/Our trip"


def test_the_longest_template_is_rendered_quickly() -> None:
    grow = "{{ text" + "|replace('a','aaaaaaaa')" * 18 + "}}"
    began = time.process_time()
    file_path(grow, Facts(name="a.bin", text="a" * 4096))
    assert time.process_time() - began < 0.5


facts = st.builds(
    Facts,
    name=st.text(max_size=50).map(safe_name),
    size=st.none() | st.integers(0, 2**40),
    number=st.integers(1, 10_000),
    text=st.text(max_size=100),
    kind=st.sampled_from(["", "video", "photo"]),
    album=st.text(max_size=20).map(safe_name),
    chat=st.text("abc_", max_size=8),
    chat_id=st.integers(-(2**52), 2**52),
    message_id=st.integers(0, 2**31),
    date_ms=st.integers(0, 4_000_000_000_000),
)
pieces = st.sampled_from([*YIELDS, *REFUSED, "/", "..", "\\", "{{ text }}", "{{ n }}", "{%", "}}", "{{", "|"])
templates = st.text(max_size=40) | st.lists(pieces | st.text(max_size=5), max_size=6).map("".join)


@given(templates, facts)
@example("{{ 1e999 }}", SAMPLE)
@example("{{ " + "9" * 480 + " }}", SAMPLE)
def test_any_template_yields_a_safe_path_for_any_file(template: str, facts: Facts) -> None:
    with suppress(InvalidInput):
        validate_template(template)
    folder, name = file_path(template, facts)
    assert safe_name(name) == name
    assert all(part == safe_name(part) for part in folder.split("/") if folder)
    assert paths.folder(folder) == folder
    assert paths.folder(folder_path(template, facts) or "") == (folder_path(template, facts) or "")
