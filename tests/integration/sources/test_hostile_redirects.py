"""Redirects of a public server to a private address are never followed, by any client."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saveany.config import Config
from saveany.errors import Permanent
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site
from tests.fixtures.tcp import tcp_server
from tests.integration.sources.conftest import SourceHarness
from workers.sources.aria2 import Aria2Source
from workers.sources.base import Tools
from workers.sources.directlinks import DirectLinksSource
from workers.sources.gallery import GallerySource
from workers.sources.telegraph import TelegraphSource
from workers.sources.ytdlp import YtDlpSource

HTML = {"Content-Type": "text/html"}
SOURCES: dict[str, tuple[type[Any], str, str]] = {
    "directlinks": (DirectLinksSource, "", "/moved.bin"),
    "telegraph article": (TelegraphSource, "", "/moved.bin"),
    "telegraph picture": (TelegraphSource, "", "/article"),
    "gallery-dl page": (GallerySource, "gallery-dl", "recursive:/moved.bin"),
    "gallery-dl picture": (GallerySource, "gallery-dl", "recursive:/article"),
    "yt-dlp page": (YtDlpSource, "yt-dlp", "/moved.bin"),
    "yt-dlp video": (YtDlpSource, "yt-dlp", "/film"),
    "aria2": (Aria2Source, "aria2c", "/moved.bin"),
}


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "0x7f.2"])
@pytest.mark.parametrize("name", SOURCES)
async def test_no_redirect_leads_to_a_private_address(
    site: Site, tools: Tools, tmp_path: Path, name: str, host: str, status: int
) -> None:
    kind, needs, path = SOURCES[name]
    if needs:
        program(needs)
    async with tcp_server(host="127.0.0.2") as private:  # the guard refuses this address
        away = Page(status=status, headers={"Location": f"http://{host}:{private.port}/x.mp4"})
        site.pages |= {"/moved.bin": away, "/moved.jpg": away}
        moved = site.url("/moved.jpg")
        site.pages["/article"] = Page(f'<a href="{moved}">x</a><img src="/moved.jpg">'.encode(), headers=HTML)
        site.pages["/film"] = Page(f'<video src="{moved}"></video>'.encode(), headers=HTML)
        config = {"data_dir": tmp_path / "data", "aria2": {"enable": True, "dht": False}}
        source = kind(replace(tools, config=Config.model_validate(config)))
        prefix, _, place = path.rpartition(":")
        try:
            with pytest.raises(Permanent, match=r"127\.0\.0\.2"):
                await SourceHarness(source).get(f"{prefix}{':' * bool(prefix)}{site.url(place)}")
        finally:
            await source.forget("t")
            await source.close()
        assert private.connections == 0
