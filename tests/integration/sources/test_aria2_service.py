"""An aria2 that already runs, one that is missing, and the options that users may set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from saveany.errors import InvalidInput, Permanent, Retryable
from saveany.sources import Aria2Params, sources
from tests.fixtures.servers import answers, free_port, program, running
from tests.fixtures.site import Page, Site
from tests.integration.sources.aria2_tools import (
    DATA,
    frequent_polls,  # noqa: F401  (fixture)
    metalink,
    tools_with,
)
from tests.integration.sources.conftest import SourceHarness
from workers.sources.aria2 import Aria2Source
from workers.sources.base import Tools


async def test_a_running_aria2_can_be_used(site: Site, tools: Tools, tmp_path: Path) -> None:
    port = free_port()
    site.pages["/a.bin"] = Page(DATA)
    options = [
        "--no-conf",
        "--enable-rpc",
        f"--rpc-listen-port={port}",
        "--rpc-secret=abc",
        "--enable-dht=false",
    ]
    with running([program("aria2c"), *options], lambda: answers(port), log=tmp_path / "log"):
        url = f"http://127.0.0.1:{port}/jsonrpc"
        source = Aria2Source(tools_with(tools, tmp_path, url=url, secret="abc", keep_file=True))
        harness = SourceHarness(source)
        _, data = await harness.get(site.url("/a.bin"))
        assert data == DATA
        await source.forget("t")
        assert len(list((tmp_path / "data").rglob("a.bin"))) == 1
        await source.close()
        stranger = SourceHarness(Aria2Source(tools_with(tools, tmp_path, url=url, secret="wrong")))
        with pytest.raises(Permanent, match="rpc-secret"):
            await stranger.items(site.url("/a.bin"))
        await stranger.source.close()


async def test_downloads_of_a_dead_worker_are_removed(site: Site, tools: Tools, tmp_path: Path) -> None:
    """The next worker of the task removes them: an aria2 of the user continues without our worker."""
    port = free_port()
    site.pages |= {"/a.bin": Page(DATA, hold_after=1000), "/x.meta4": metalink(("a", site.url("/a.bin"), ""))}
    command = [program("aria2c"), "--no-conf", "--enable-rpc", f"--rpc-listen-port={port}"]
    url = f"http://127.0.0.1:{port}/jsonrpc"

    async def known() -> list[Any]:
        async with httpx.AsyncClient(trust_env=False) as http:
            found = []
            for method, params in (("tellActive", []), ("tellWaiting", [0, 9]), ("tellStopped", [0, 9])):
                body = {"jsonrpc": "2.0", "id": "1", "method": f"aria2.{method}", "params": params}
                found += (await http.post(url, json=body)).json()["result"]
            return found

    with running([*command, "--enable-dht=false"], lambda: answers(port), log=tmp_path / "log"):
        first = SourceHarness(Aria2Source(tools_with(tools, tmp_path, url=url)))
        await first.items(site.url("/x.meta4"))
        await first.source.close()
        assert await known()
        second = Aria2Source(tools_with(tools, tmp_path, url=url))
        await second.forget("t")
        await second.close()
        assert not await known()


async def test_an_unreachable_aria2_is_tried_again_later(tools: Tools, tmp_path: Path) -> None:
    source = Aria2Source(tools_with(tools, tmp_path, url=f"http://127.0.0.1:{free_port()}/jsonrpc"))
    with pytest.raises(Retryable, match="aria2 does not respond") as caught:
        await SourceHarness(source).items("http://127.0.0.1/a")
    assert caught.value.after > 30, "so long that the task gives its slot away"
    await source.close()


@pytest.mark.parametrize("said", [b"[]", b"null", b"hello", b'{"error": "no"}', b'{"error": []}'])
async def test_another_service_at_the_address_of_aria2_is_reported(
    site: Site, tools: Tools, tmp_path: Path, said: bytes
) -> None:
    site.pages["/jsonrpc"] = Page(said)
    source = Aria2Source(tools_with(tools, tmp_path, url=site.url("/jsonrpc")))
    with pytest.raises(Retryable, match="aria2 does not respond"):
        await SourceHarness(source).items("http://127.0.0.1/a")
    await source.close()


def test_a_missing_program_is_reported(tools: Tools, tmp_path: Path) -> None:
    assert "not installed" in str(Aria2Source(tools_with(tools, tmp_path, program="no-such")).problem)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dir": "/etc"}, "cannot be set here"),
        ({"on-download-complete": "/bin/sh"}, "cannot be set here"),
        ({"out": "../x"}, "cannot be set here"),
        ({"all-proxy": ""}, "cannot be set here"),
        ({"header": "a\nb"}, "a single line"),
    ],
)
def test_dangerous_options_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Aria2Params(urls=["magnet:?x"], options=options)


@pytest.mark.parametrize(
    "link", ["ftp://me:word@example.com/a", "http://me:word@example.com/a", "http://[x/a"]
)
def test_unsupported_links_are_refused(link: str) -> None:
    with pytest.raises(InvalidInput):
        sources()["aria2"].canonical(link)
