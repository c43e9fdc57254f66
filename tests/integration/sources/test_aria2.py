"""The real aria2: files, metalinks, torrents and magnets on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from saveany.errors import Permanent, Retryable
from saveany.models import Item, TaskSpec
from saveany.planning.plan import plan
from tests.fixtures.servers import program
from tests.fixtures.site import Page, Site
from tests.fixtures.torrents import Swarm, info, seeder, swarm
from tests.fixtures.waiting import until
from tests.integration.sources.aria2_tools import (
    DATA,
    frequent_polls,  # noqa: F401  (fixture)
    metalink,
    programs,
    tools_with,
)
from tests.integration.sources.conftest import Gate, SourceHarness
from workers.sources import aria2
from workers.sources.aria2 import Aria2Source
from workers.sources.base import Tools

TREE = [("a.bin", DATA[:100_000]), ("sub/b.bin", DATA[100_000:]), ("sub/deep/a.bin", b"x" * 70_000)]


@pytest.fixture
async def peers() -> AsyncIterator[Swarm]:
    async with swarm() as peers:
        yield peers


@pytest.fixture
async def downloads(tools: Tools, tmp_path: Path) -> AsyncIterator[SourceHarness]:
    program("aria2c")
    before = programs()
    source = Aria2Source(tools_with(tools, tmp_path))
    yield SourceHarness(source)
    await source.forget("t")
    await source.close()
    assert programs() <= before


async def everything(downloads: SourceHarness, items: Sequence[Item]) -> dict[str, bytes]:
    return {item.path: await downloads.fetched(await downloads.prepared(item)) for item in items}


async def test_a_file_is_downloaded(site: Site, downloads: SourceHarness, tmp_path: Path) -> None:
    site.pages["/x/file%20one.bin"] = Page(DATA)
    items = await downloads.items(site.url("/x/file%20one.bin"))
    assert await everything(downloads, items) == {"file one.bin": DATA}
    assert list((tmp_path / "data/aria2/t").iterdir())
    await downloads.source.forget("t")
    assert list((tmp_path / "data/aria2").iterdir()) == []


async def test_each_link_is_a_separate_download(site: Site, downloads: SourceHarness) -> None:
    site.pages |= {"/1/a.bin": Page(b"1"), "/2/a.bin": Page(b"2")}
    items = await downloads.items(site.url("/1/a.bin"), site.url("/2/a.bin"), site.url("/gone"))
    assert await everything(downloads, items[:2]) == {"a.bin": b"1", "a_1.bin": b"2"}
    with pytest.raises(Permanent, match="does not exist"):
        await downloads.prepared(items[2])


async def test_a_speed_limit_slows_a_file(site: Site, tools: Tools, tmp_path: Path) -> None:
    gate = Gate(100_000)
    downloads = SourceHarness(Aria2Source(replace(tools_with(tools, tmp_path), take=gate.take)))
    site.pages["/a.bin"] = Page(DATA)
    getting = asyncio.create_task(downloads.get(site.url("/a.bin")))
    await asyncio.wait_for(gate.shut.wait(), 60)
    assert not getting.done()
    gate.open.set()
    assert (await getting)[1] == DATA
    assert gate.taken >= len(DATA)
    await downloads.source.forget("t")
    await downloads.source.close()


async def test_changes_of_the_speed_limit_apply_to_torrents(
    tools: Tools, peers: Swarm, tmp_path: Path
) -> None:
    """Data of peers does not pass our proxy: aria2 receives the limit and each change of it."""
    rates, shares = [1000.0], []

    def rate(user: int, among: Sequence[int]) -> float:
        shares.append(list(among))
        return rates[-1]

    source = Aria2Source(replace(tools_with(tools, tmp_path), rate=rate))
    downloads, about = SourceHarness(source), info("", [("", DATA)]) | {"name": "a.bin"}
    getting = asyncio.create_task(downloads.get(peers.magnet(about)))

    async def limit() -> str:
        for gid in list(source._limits._downloads):
            with suppress(Permanent, Retryable):
                return str((await source._daemon._call("getOption", gid))["max-download-limit"])
        return ""

    async def is_limited() -> bool:
        return await limit() == str(round(rates[-1]))

    await until(is_limited, within=60)
    async with seeder(tmp_path, peers, "a.bin", [("", DATA)]):
        rates.append(2000.0)
        await until(is_limited, within=60)
        assert not getting.done()
        rates.append(0.0)
        assert (await asyncio.wait_for(getting, 120))[1] == DATA
    assert shares[0] == [1]
    await source.forget("t")
    await source.close()


@pytest.mark.parametrize("kind", ["torrent", "magnet"])
async def test_a_torrent_keeps_its_folders(
    site: Site, downloads: SourceHarness, peers: Swarm, tmp_path: Path, kind: str
) -> None:
    about = info("Films", TREE)
    site.pages["/films.torrent"] = Page(peers.torrent(about))
    link = site.url("/films.torrent") if kind == "torrent" else peers.magnet(about)
    async with seeder(tmp_path, peers, "Films", TREE):
        items = await downloads.items(link)
        assert await everything(downloads, items) == {f"Films/{path}": data for path, data in TREE}


async def test_only_selected_files_are_saved(
    site: Site, downloads: SourceHarness, peers: Swarm, tmp_path: Path
) -> None:
    site.pages["/films.torrent"] = Page(peers.torrent(info("Films", TREE)))
    async with seeder(tmp_path, peers, "Films", TREE):
        items = await downloads.items(site.url("/films.torrent"), options={"select-file": "3"})
        assert await everything(downloads, items) == {"Films/sub/deep/a.bin": TREE[2][1]}


async def test_files_of_a_metalink_are_verified(site: Site, downloads: SourceHarness) -> None:
    site.pages["/a.bin"] = Page(DATA)
    for name, data in (("good", DATA), ("bad", b"other")):
        digest = hashlib.sha256(data).hexdigest()
        site.pages[f"/{name}.meta4"] = metalink((f"{name}.bin", site.url("/a.bin"), digest))
    (good,) = await downloads.items(site.url("/good.meta4"))
    assert (good.name, await downloads.fetched(await downloads.prepared(good))) == ("good.bin", DATA)
    (bad,) = await downloads.items(site.url("/bad.meta4"))
    with pytest.raises(Permanent, match="checksum"):
        await downloads.prepared(bad)


async def test_files_of_a_metalink_fail_separately(site: Site, downloads: SourceHarness) -> None:
    site.pages["/a.bin"] = Page(DATA)
    site.pages["/x.meta4"] = metalink(
        ("gone.bin", site.url("/gone"), ""),
        ("secret.bin", "http://127.0.0.2/secret", ""),
        ("good.bin", site.url("/a.bin"), ""),
    )
    gone, secret, good = await downloads.items(site.url("/x.meta4"))
    for item, words in ((gone, "does not exist"), (secret, r"127\.0\.0\.2")):
        with pytest.raises(Permanent, match=words):
            await downloads.prepared(item)
    assert await everything(downloads, [good]) == {"good.bin": DATA}


async def test_a_torrent_is_recognized_by_its_content_type(
    site: Site, downloads: SourceHarness, peers: Swarm
) -> None:
    torrent = peers.torrent(info("Films", TREE))
    site.pages["/get"] = Page(torrent, headers={"Content-Type": "application/x-bittorrent"})
    items = await downloads.items(site.url("/get"))
    assert [item.path for item in items] == [f"Films/{path}" for path, _ in TREE]


async def test_a_torrent_found_late_is_never_saved_incompletely(
    site: Site, downloads: SourceHarness, peers: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The .torrent itself is not taken for the file either."""
    torrent = peers.torrent(info("Films", TREE))
    site.pages["/films.torrent"] = Page(torrent, hold_after=len(torrent) - 5)
    monkeypatch.setattr(aria2, "_METADATA_SECONDS", 1.0)
    (item,) = await downloads.items(site.url("/films.torrent"))
    with pytest.raises(Retryable, match="no peer has sent"):
        await downloads.prepared(item)
    site.pages["/films.torrent"] = Page(torrent)
    monkeypatch.undo()
    with pytest.raises(Permanent, match="leads to 3 files"):
        await downloads.prepared(item)


async def test_an_invalid_torrent_is_an_error(site: Site, downloads: SourceHarness) -> None:
    site.pages["/x.torrent"] = Page(b"<html>")
    (item,) = await downloads.items(site.url("/x.torrent"))
    with pytest.raises(Permanent, match="cannot read this torrent"):
        await downloads.prepared(item)


async def test_a_torrent_without_peers_is_given_up(
    site: Site, downloads: SourceHarness, peers: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/film.torrent"] = Page(peers.torrent(info("Film.bin", [("", DATA)])))
    (item,) = await downloads.items(site.url("/film.torrent"))
    monkeypatch.setattr(aria2, "_SILENCE_SECONDS", 0.5)
    with pytest.raises(Retryable, match="almost no data has arrived"):
        await downloads.prepared(item)


@pytest.mark.parametrize("scheme", ["ftp", "sftp"])
async def test_other_protocols_are_guarded(downloads: SourceHarness, scheme: str) -> None:
    (item,) = await downloads.items(f"{scheme}://127.0.0.2/a.bin")
    with pytest.raises(Permanent, match=r"127\.0\.0\.2"):
        await downloads.prepared(item)


async def test_refusals_of_another_task_are_not_shown(site: Site, downloads: SourceHarness) -> None:
    (item,) = await downloads.items("http://127.0.0.2/a.bin")
    with pytest.raises(Permanent, match=r"127\.0\.0\.2"):
        await downloads.prepared(item)
    site.pages["/no"] = Page(b"", 403)
    spec = TaskSpec(id="u", type="x", links=(site.url("/no"),), user_id=2, storage="s")
    (other,) = plan(spec, await downloads.source.resolve(spec))
    with pytest.raises(Permanent, match="the server refuses the download"):
        await downloads.source.prepare(other, spec, lambda done, total: None)


async def test_incomplete_files_of_a_killed_aria2_are_not_trusted(
    site: Site, tools: Tools, tmp_path: Path
) -> None:
    """With several connections the file has gaps, which only aria2's control file describes."""
    site.pages["/a.bin"] = Page(DATA)
    first = SourceHarness(Aria2Source(tools_with(tools, tmp_path)))
    (item,) = await first.items(site.url("/a.bin"))
    place = Path((await first.prepared(item)).source["file"])
    await first.source.close()
    place.write_bytes(bytes(len(DATA) // 2))
    second = SourceHarness(Aria2Source(tools_with(tools, tmp_path)))
    ready = await second.source.prepare(item, first.spec, lambda done, total: None)
    assert await second.fetched(ready) == DATA
    await second.source.forget("t")
    await second.source.close()


async def test_a_crashed_aria2_is_restarted(site: Site, downloads: SourceHarness) -> None:
    site.pages["/a.bin"] = Page(DATA)
    before = programs()
    (item,) = await downloads.items(site.url("/a.bin"))
    (started,) = programs() - before
    os.kill(started, signal.SIGKILL)
    with pytest.raises(Retryable, match="aria2"):
        await downloads.prepared(item)
    assert await everything(downloads, [item]) == {"a.bin": DATA}
    assert len(programs() - before) == 1


async def test_downloads_continue_after_a_restart(
    site: Site, tools: Tools, peers: Swarm, tmp_path: Path
) -> None:
    """Another process downloads the rest with another aria2."""
    about = info("Film.bin", [("", DATA)])
    site.pages["/film.torrent"] = Page(peers.torrent(about))
    async with AsyncExitStack() as stack:
        first = SourceHarness(Aria2Source(tools_with(tools, tmp_path)))
        await stack.enter_async_context(seeder(tmp_path, peers, "Film.bin", [("", DATA)], rate="60K"))
        (item,) = await first.items(site.url("/film.torrent"))
        seen = asyncio.Event()
        work = asyncio.create_task(
            first.source.prepare(item, first.spec, lambda done, total: seen.set() if done > 60_000 else None)
        )
        await asyncio.wait_for(seen.wait(), 30)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await first.source.stop("t")
        await first.source.close()
        second = SourceHarness(Aria2Source(tools_with(tools, tmp_path)))
        second.spec = first.spec
        begun: list[int] = []
        ready = await second.source.prepare(item, second.spec, lambda done, total: begun.append(done))
        assert await second.fetched(ready) == DATA
        assert any(0 < done < len(DATA) for done in begun) or begun[0] == len(DATA)
        await second.source.forget("t")
        await second.source.close()


async def test_refused_addresses_are_named(site: Site, downloads: SourceHarness) -> None:
    site.pages["/a.bin"] = Page(b"", 302, {"Location": "http://127.0.0.2/secret"})
    for link in ("http://127.0.0.2/a.bin", site.url("/a.bin")):
        (item,) = await downloads.items(link)
        with pytest.raises(Permanent, match=r"127\.0\.0\.2"):
            await downloads.prepared(item)


async def test_names_cannot_leave_their_folder(
    site: Site, downloads: SourceHarness, peers: Swarm, tmp_path: Path
) -> None:
    hostile = info("..", [("../../x", b"1"), ("/etc/x", b"2")])
    site.pages["/bad.torrent"] = Page(peers.torrent(hostile))
    (item,) = await downloads.items(site.url("/bad.torrent"))
    with pytest.raises(Permanent):
        await downloads.prepared(item)
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize(
    "page",
    [
        Page(DATA, cut_after=1000, ranges=False),
        Page(DATA, ranges=False, headers={"Content-Length": str(len(DATA) + 1)}),
    ],
    ids=["dies", "length"],
)
async def test_an_incomplete_file_is_an_error(site: Site, downloads: SourceHarness, page: Page) -> None:
    site.pages["/a.bin"] = page
    (item,) = await downloads.items(site.url("/a.bin"), options={"split": "1"})
    with pytest.raises((Retryable, Permanent), match="aria2"):
        await downloads.prepared(item)


@pytest.mark.parametrize(("status", "kind"), [(403, Permanent), (429, Retryable), (500, Retryable)])
async def test_a_temporary_refusal_is_retried(
    site: Site, downloads: SourceHarness, status: int, kind: type[Exception]
) -> None:
    site.pages["/a.bin"] = Page(status=status)
    (item,) = await downloads.items(site.url("/a.bin"))
    with pytest.raises(kind, match=str(status)):
        await downloads.prepared(item)


async def test_a_file_continues_where_it_stopped(site: Site, downloads: SourceHarness) -> None:
    site.pages["/a.bin"] = Page(DATA, headers={"ETag": '"1"'}, cut_after=200_000, cuts=1)
    (item,) = await downloads.items(site.url("/a.bin"), options={"split": "1"})
    item = await downloads.prepared(item)
    assert await downloads.fetched(item, [(10, 20)]) == DATA[:10] + DATA[20:]
    assert site.asked[-1][1]["range"].startswith("bytes=200000-")


async def test_without_ranges_the_download_starts_over(site: Site, downloads: SourceHarness) -> None:
    """aria2 itself would request the rest endlessly."""
    site.pages["/a.bin"] = Page(DATA, ranges=False, cut_after=200_000, cuts=2)
    items = await downloads.items(site.url("/a.bin"))
    with pytest.raises(Retryable, match="aria2"):
        await everything(downloads, items)
    assert await everything(downloads, items) == {"a.bin": DATA}


async def test_a_cancel_ends_the_download(site: Site, downloads: SourceHarness, tmp_path: Path) -> None:
    large = bytes(17 << 20)  # so that it cannot be a torrent, and is known before it is whole
    site.pages["/a.bin"] = Page(large, hold_after=1 << 20, ranges=False)
    (item,) = await downloads.items(site.url("/a.bin"))
    seen = asyncio.Event()
    work = asyncio.create_task(
        downloads.source.prepare(item, downloads.spec, lambda done, total: seen.set() if done else None)
    )
    await asyncio.wait_for(seen.wait(), 30)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await downloads.source.forget("t")
    await asyncio.wait_for(site.idle(), 30)
    assert list((tmp_path / "data/aria2").iterdir()) == []
