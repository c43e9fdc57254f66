"""The table of sources."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest
from pydantic import ValidationError

from saveany.errors import ConfigError, InvalidInput
from saveany.sources import GROUP, SOURCES, SourceSpec, TgFilesParams, sources

TAPE = SourceSpec("tape", "Tapes", TgFilesParams, "tape:Tape")


def test_the_names_are_the_task_types_of_the_api() -> None:
    known = {"directlinks", "ytdlp", "aria2", "parseditem", "tgfiles", "tphpics", "transfer", "upload"}
    known |= {"convert", "inbox", "live"}
    assert {source.type for source in SOURCES} == set(sources()) == known


@pytest.mark.parametrize(
    "url", ["https://t.me/channel/123", "t.me/c/1/2", "tg://resolve?domain=a&post=1", "t.me/+x"]
)
def test_telegram_links_are_recognized_even_if_invalid(url: str) -> None:
    assert _first(url) == "tgfiles"


@pytest.mark.parametrize(
    ("url", "type_"),
    [
        ("https://example.com/a", "directlinks"),
        ("http://example.com/a.mp4?x=1", "directlinks"),
        ("https://telegra.ph/x-01-31", "tphpics"),
        ("https://m.youtube.com/watch?v=1", "ytdlp"),
        ("https://x.com/a/status/1", "parseditem"),
        ("https://notx.com/a/status/1", "directlinks"),
        ("magnet:?xt=urn:btih:1", "aria2"),
        ("https://example.com/a.torrent", "aria2"),
        ("ftp://example.com/a", "aria2"),
        ("SFTP://example.com/a", "aria2"),
        ("ldap://example.com/a", None),
        ("", None),
    ],
)
def test_each_url_gets_the_expected_source(url: str, type_: str | None) -> None:
    assert _first(url) == type_


@pytest.mark.parametrize("links", [[], ["t.me/a/1"] * 10_001, [""], ["x" * 2049], [1], "t.me/a/1", None])
def test_tgfiles_takes_1_to_10000_links(links: object) -> None:
    assert TgFilesParams(message_links=["t.me/a/1"] * 10_000).message_links
    with pytest.raises(ValidationError):
        TgFilesParams.model_validate({"message_links": links})


def test_unknown_params_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TgFilesParams.model_validate({"message_links": ["t.me/a/1"], "link": "x"})


@pytest.mark.parametrize(
    "url", ["https://me:secret@example.com/a", "https://me@example.com/", "http://", "x", "http://a/\0b"]
)
def test_invalid_urls_are_refused_without_quoting_secrets(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        sources()["directlinks"].canonical(url)
    assert "secret" not in str(caught.value)


def _first(url: str) -> str | None:
    return next((source.type for source in SOURCES if source.claims(url)), None)


@pytest.fixture
def rescanned_packages() -> Iterator[None]:
    """Packages are searched once per process: search again for this test, and after it."""
    sources.cache_clear()
    yield
    sources.cache_clear()


def _install(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    entries = [EntryPoint("tape", value, GROUP) for value in values]
    monkeypatch.setattr("saveany.sources.entry_points", lambda group: entries if group == GROUP else [])


def test_a_source_of_another_package_is_found(
    rescanned_packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch, f"{__name__}:TAPE")
    assert list(sources().values()) == [*SOURCES, TAPE]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["no_such_package:TAPE"], "cannot be loaded: No module named 'no_such_package'"),
        ([f"{__name__}:NOTHING"], "cannot be loaded"),
        ([f"{__name__}:TgFilesParams"], "is not a saveany.sources.SourceSpec"),
        ([f"{__name__}:TAPE", f"{__name__}:TAPE"], "registered twice"),
    ],
)
def test_a_broken_package_is_named(
    rescanned_packages: None, monkeypatch: pytest.MonkeyPatch, values: list[str], words: str
) -> None:
    _install(monkeypatch, *values)
    with pytest.raises(ConfigError, match=words):
        sources()
