"""The table of sources."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from saveany.sources import SOURCES, SOURCES_BY_TYPE, TgFiles


def test_the_names_are_those_of_the_api() -> None:
    known = {"directlinks", "ytdlp", "aria2", "parseditem", "tgfiles", "tphpics", "transfer"}
    assert {source.type for source in SOURCES} == set(SOURCES_BY_TYPE) == known
    assert [source.type for source in SOURCES if source.available] == ["tgfiles"]


@pytest.mark.parametrize(
    "url", ["https://t.me/channel/123", "t.me/c/1/2", "tg://resolve?domain=a&post=1", "t.me/+x"]
)
def test_telegram_links_are_claimed_valid_or_not(url: str) -> None:
    assert [source.type for source in SOURCES if source.claims(url)] == ["tgfiles"]


@pytest.mark.parametrize(
    "url", ["https://example.com/a", "magnet:?xt=urn:btih:1", "https://telegra.ph/x", ""]
)
def test_other_urls_are_nobodys_yet(url: str) -> None:
    assert not [source.type for source in SOURCES if source.claims(url)]


@pytest.mark.parametrize("links", [[], ["t.me/a/1"] * 101, [""], ["x" * 2049], [1], "t.me/a/1", None])
def test_tgfiles_takes_1_to_100_links(links: object) -> None:
    assert TgFiles(message_links=["t.me/a/1"] * 100).message_links
    with pytest.raises(ValidationError):
        TgFiles.model_validate({"message_links": links})


def test_params_know_their_fields_only() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TgFiles.model_validate({"message_links": ["t.me/a/1"], "link": "x"})
