"""Sources behind a broken proxy raise `Offline`, with a text about that proxy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saveany.config import Config
from saveany.errors import Offline
from tests.fixtures.proxies import BAD, Http, ScriptedReplies, Socks5, proxy
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site
from tests.integration.sources.conftest import SourceHarness
from tests.integration.sources.test_hostile_redirects import HTML
from workers.sources.aria2 import Aria2Source
from workers.sources.base import Tools
from workers.sources.directlinks import DirectLinksSource
from workers.sources.gallery import GallerySource
from workers.sources.telegraph import TelegraphSource
from workers.sources.ytdlp import YtDlpSource

DATA = b"saved at last" * 999
SOURCES: dict[str, tuple[type[Any], str, str]] = {
    "directlinks": (DirectLinksSource, "", "/a.bin"),
    "telegraph": (TelegraphSource, "", "/page"),
    "gallery-dl page": (GallerySource, "gallery-dl", "recursive:/page"),
    "gallery-dl picture": (GallerySource, "gallery-dl", "/a.jpg"),
    "yt-dlp": (YtDlpSource, "yt-dlp", "/a.mp4"),
    "aria2": (Aria2Source, "aria2c", "/a.bin"),
}


def harness_behind_proxy(url: str, name: str, tools: Tools, folder: Path) -> SourceHarness:
    """A harness of a source that uses that proxy."""
    kind, needs, _ = SOURCES[name]
    if needs:
        program(needs)
    table = {"data_dir": folder / "data", "aria2": {"enable": True, "dht": False}, "proxy": url}
    return SourceHarness(kind(replace(tools, config=Config.model_validate(table))))


def link(site: Site, name: str) -> str:
    prefix, _, place = SOURCES[name][2].rpartition(":")
    return f"{prefix}{':' * bool(prefix)}{site.url(place)}"


def fill(site: Site) -> None:
    picture = site.url("/a.jpg")
    page = f'<a href="{picture}">x</a><img src="/a.jpg">'.encode()
    site.pages |= {path: Page(DATA) for path in ("/a.bin", "/a.jpg", "/a.mp4")}
    site.pages["/page"] = Page(page, headers=HTML)


@pytest.mark.parametrize("bad", ["socks5 reply 2", "socks4 refuses", "http 407", "http garbage"])
@pytest.mark.parametrize("name", SOURCES)
async def test_a_failing_proxy_is_named_and_waited_for(
    site: Site, tools: Tools, tmp_path: Path, name: str, bad: str
) -> None:
    fill(site)
    behavior, said = BAD[bad]
    async with proxy(behavior) as way:
        harness = harness_behind_proxy(way.url(), name, tools, tmp_path)
        try:
            with pytest.raises(Offline, match=said):
                await harness.get(link(site, name))
            assert site.asked == []
            if behavior.scheme != "socks4":
                way.behavior = Socks5() if behavior.scheme == "socks5" else Http()
                assert (await harness.get(link(site, name)))[1] == DATA
        finally:
            await harness.source.forget("t")
            await harness.source.close()


@pytest.mark.parametrize("name", SOURCES)
async def test_a_stalling_proxy_is_named(
    site: Site, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fill(site)
    monkeypatch.setattr("saveany.net.client.CONNECT_SECONDS", 0.3)
    monkeypatch.setattr("saveany.net.proxy.CONNECT_SECONDS", 0.3)
    async with proxy(ScriptedReplies((b"",), stalls=True, scheme="socks5")) as way:
        harness = harness_behind_proxy(way.url(), name, tools, tmp_path)
        try:
            with pytest.raises(Offline, match="the proxy does not reply in time"):
                await harness.get(link(site, name))
        finally:
            await harness.source.forget("t")
            await harness.source.close()


@pytest.mark.parametrize("name", ["yt-dlp", "aria2"])
async def test_several_links_are_not_planned_while_the_proxy_fails(
    site: Site, tools: Tools, tmp_path: Path, name: str
) -> None:
    """Otherwise a playlist or torrent would be planned as one file."""
    async with proxy(BAD["socks5 reply 2"][0]) as way:
        harness = harness_behind_proxy(way.url(), name, tools, tmp_path)
        try:
            with pytest.raises(Offline, match="the proxy refuses"):
                await harness.items(site.url("/a.mp4"), site.url("/b.mp4"))
        finally:
            await harness.source.forget("t")
            await harness.source.close()
