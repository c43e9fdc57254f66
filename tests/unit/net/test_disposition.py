"""Names from Content-Disposition headers, common and unusual ones."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.net.disposition import filename
from saveany.planning.names import safe_name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", ""),
        ("attachment", ""),
        ("filename=a.txt", ""),  # the kind comes first
        ("attachment; filename=a.txt", "a.txt"),
        ("attachment;filename=a.txt", "a.txt"),
        ("attachment; FileName = a.txt ;x=y", "a.txt"),
        ("attachment; filename=a b.txt", "a b.txt"),  # not in the standard
        ('attachment; filename="a;b=c.txt"; size=3', "a;b=c.txt"),
        ('attachment; filename="a \\"b\\" \\\\ c.txt"', 'a "b" \\ c.txt'),
        ('attachment; filename="a.txt', "a.txt"),
        ('attachment; filename=""', ""),
        ('attachment; filename="a%20b.txt"', "a b.txt"),
        ('attachment; filename="100% b.txt"', "100% b.txt"),
        ('attachment; filename="naïve.txt"', "naïve.txt"),
        ('attachment; filename="naÃ¯ve.txt"', "naïve.txt"),  # UTF-8 read as Latin-1
        ('attachment; filename="你好.txt"', "你好.txt"),
        ("attachment; filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        ("attachment; filename*=utf-8'en'%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename*=ISO-8859-1''%A3%20rates", "£ rates"),
        ("attachment; filename*=gbk''%C4%E3%BA%C3", "你好"),
        ("attachment; filename*=\"UTF-8''a%20b\"", "a b"),
        ("attachment; filename*=UTF-7''a", "a"),
        ('attachment; filename="=?UTF-8?B?5oql5ZGKLnBkZg==?="', "报告.pdf"),
        ("attachment; filename==?utf-8?Q?na=C3=AFve=2Etxt?=", "naïve.txt"),
        ('attachment; filename="=?GBK?B?sai45g==?= =?GBK?B?LnBkZg==?="', "报告.pdf"),
        ('attachment; filename="=?x-unknown?B?YQ==?="', "a"),
        ('attachment; filename="=?utf-8?B?a?="', "=?utf-8?B?a?="),
        ('attachment; filename="what=?no.txt"', "what=?no.txt"),
        ("attachment; filename=" + "报告.pdf".encode("gbk").decode("latin-1"), "报告.pdf"),
        ('attachment; filename="' + "документ.pdf".encode("cp1251").decode("latin-1") + '"', "документ.pdf"),
        ("attachment; filename=%B1%A8%B8%E6.pdf", "报告.pdf"),
        ("attachment; filename*=Big5''%B4%FA%B8%D5", "測試"),
        ("attachment; filename*=bad; filename=good", "good"),
        ("attachment; filename=plain; filename*=UTF-8''better", "better"),
        ("attachment; filename=first; filename=second", "first"),
        ("attachment; xfilename=no; filename=yes", "yes"),
        ('attachment; x="; filename=no"; filename=yes', "yes"),
    ],
)
def test_names_from_common_servers_are_found(header: str, name: str) -> None:
    assert filename(header) == name


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1))
def test_any_name_survives_the_extended_form(name: str) -> None:
    assert filename(f"attachment; filename=x; filename*=UTF-8''{quote(name, safe='')}") == name


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="%"), min_size=1))
def test_any_ascii_name_survives_quotes(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert filename(f'attachment; filename="{quoted}"; size=1') == name


@given(st.text() | st.text("af*\"';=\\ %ilenmUTF-8éÃ", max_size=60).map("attachment; filename".__add__))
def test_any_header_gives_a_name_that_can_be_made_safe(header: str) -> None:
    assert safe_name(filename(header))
