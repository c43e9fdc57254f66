"""REDbot, a linter of HTTP, reports no problems about what links deliver (DL12)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from saveany.config import Config
from saveany.store import Store
from tests.fixtures.lint import lint
from tests.integration.api.links import DATA, config_with, link, save

#: REDbot compares contents with types, and takes no content for a video.
UNFOUNDED = "The content doesn't match the declared Content-Type."


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_with(tmp_path, {"openings": 3})


@pytest.fixture
async def made(store: Store, live: httpx.AsyncClient, tmp_path: Path) -> dict[str, str]:
    """A link to a file that was saved."""
    return await link(live, await save(live, store, tmp_path / "files", DATA))


async def check(url: str, status: int, **headers: str) -> None:
    found = await lint(url, {name.replace("_", "-"): value for name, value in headers.items()})
    assert found.status == status
    problems = [text for level, text in found.notes if level in ("bad", "warning") and text != UNFOUNDED]
    assert not problems, found.notes


async def test_a_file(made: dict[str, str]) -> None:
    """REDbot also asks for ranges of it, for changes, and for compressed forms."""
    await check(made["url"], 200)
    await check(made["stream_url"], 200)


async def test_parts_and_conditions(live: httpx.AsyncClient, made: dict[str, str]) -> None:
    tag = (await live.head(made["url"])).headers["etag"]
    await check(made["url"], 206, range="bytes=1-4")
    await check(made["url"], 304, if_none_match=tag)
    await check(made["url"], 412, if_match='"other"')
    await check(made["url"], 416, range="bytes=1000000-")


async def test_links_that_do_not_work(live: httpx.AsyncClient, made: dict[str, str]) -> None:
    await check(made["url"].replace(made["token"], "A" * 22), 404)
    await live.patch(f"/api/v1/links/{made['token']}", json={"revoked": True})
    await check(made["url"], 410)


async def test_too_many_openings(live: httpx.AsyncClient, made: dict[str, str]) -> None:
    for _ in range(3):
        other = await link(live, made["file_id"])
        assert (await live.get(other["url"])).status_code == 200
    await check(made["url"], 429)


async def test_the_page_of_a_link(made: dict[str, str]) -> None:
    await check(made["page_url"], 200)
