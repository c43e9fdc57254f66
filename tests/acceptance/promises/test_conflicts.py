"""Twenty tasks compete for one name, with each conflict policy."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.acceptance.promises.site import ONE_MIB, PDF, Site

RACERS = 20


async def race(site: Site, policy: str) -> list[dict[str, Any]]:
    """Half of the tasks save a PDF and half another file, all with the same name."""
    await site.start(2)
    links = [PDF, ONE_MIB] * (RACERS // 2)
    posted = await asyncio.gather(
        *(site.post(link, "here", filename="same.bin", on_conflict=policy) for link in links)
    )
    ends = [await site.ended(task_id) for task_id in posted]
    assert Counter((end["status"], end["error"]) for end in ends) == {("completed", ""): RACERS}
    for end, link in zip(ends, links, strict=True):
        end["link"] = link
    return ends


async def test_rename_keeps_all_files(site: Site) -> None:
    ends = await race(site, "rename")
    names = [end["items"][0]["path"] for end in ends]
    assert len(set(names)) == RACERS
    assert sorted(names) == site.files()
    assert "here/same.bin" in names
    for end in ends:
        site.check_content(end["items"][0]["path"], end["link"])


async def test_skip_keeps_one_file(site: Site) -> None:
    ends = await race(site, "skip")
    states = Counter(end["items"][0]["status"] for end in ends)
    assert states == {"completed": 1, "skipped": RACERS - 1}
    assert site.files() == ["here/same.bin"]
    (winner,) = [end for end in ends if end["items"][0]["status"] == "completed"]
    site.check_content("here/same.bin", winner["link"])


async def test_overwrite_keeps_the_last_file(site: Site) -> None:
    ends = await race(site, "overwrite")
    assert {item["status"] for end in ends for item in end["items"]} == {"completed"}
    assert site.files() == ["here/same.bin"]
    content = (site.storage_dir / "here/same.bin").stat().st_size
    assert content in {site.sample(link).files[0].size for link in (PDF, ONE_MIB)}
    site.check_content("here/same.bin", PDF if content == site.sample(PDF).files[0].size else ONE_MIB)
