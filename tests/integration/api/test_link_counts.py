"""What links count and for how long they work, also with several API processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.store import Db, Store
from tests.fixtures.waiting import until
from tests.integration.api.conftest import check_error, over_tcp, serving
from tests.integration.api.links import DATA, config_with, link, save

BIG = bytes(64 << 20)  # more than connections buffer


@pytest.fixture
async def public() -> AsyncIterator[httpx.AsyncClient]:
    """A client without the token."""
    async with httpx.AsyncClient(timeout=60) as client:
        yield client


async def test_an_aborted_download_is_not_served_but_its_bytes_count(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """SB3."""
    config = config_with(tmp_path, {})
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", BIG))
        async with public.stream("GET", made["url"]) as reply:
            await anext(reply.aiter_raw())

        async def counted() -> bool:
            return int((await live.get(f"/api/v1/links/{made['token']}")).json()["bytes_sent"]) > 0

        await until(counted, within=60, what="count of what was sent")
        told = (await live.get("/api/info")).json()
        assert told["files_served"] == 0
        assert not told["total_bandwidth"].startswith("0")


async def test_all_ranges_of_a_player_are_one_opening(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """SB11: they are never refused, and each response says what is left."""
    config = config_with(tmp_path, {"openings": 3})
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", DATA))
        for n in range(200):
            part = await public.get(made["url"], headers={"Range": f"bytes={n}-{n + 9}"})
            assert (part.status_code, part.content) == (206, DATA[n : n + 10])
            limit, remaining, reset = (
                part.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "reset")
            )
            assert (limit, remaining) == ("3", "2")
            assert int(reset) > 0


async def test_api_processes_share_the_limits_and_restarts_keep_them(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """SB20, DL11."""
    config = config_with(tmp_path, {"openings": 2})
    statuses = []
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        file_id = await save(live, store, tmp_path / "files", DATA)
        tokens = [(await link(live, file_id))["token"] for _ in range(3)]
        statuses.append((await public.get(f"{live.base_url}/dl/{tokens[0]}")).status_code)
        async with serving(create_app(config, store, catalogue)) as other, over_tcp(other) as beside:
            statuses.append((await public.get(f"{beside.base_url}/dl/{tokens[1]}")).status_code)
            statuses.append((await public.get(f"{beside.base_url}/dl/{tokens[2]}")).status_code)
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        statuses.append((await public.get(f"{live.base_url}/dl/{tokens[2]}")).status_code)
        assert (await public.get(f"{live.base_url}/dl/{tokens[0]}")).status_code == 200
    assert statuses == [200, 200, 429, 429]


async def test_a_link_that_expires_while_it_is_read_is_read_to_its_end(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """DL9."""
    config = config_with(tmp_path, {})
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", BIG))
        async with public.stream("GET", made["url"]) as reply:
            pieces = reply.aiter_raw()
            size = len(await anext(pieces))
            await live.patch(f"/api/v1/links/{made['token']}", json={"ttl": 1})

            async def expired() -> bool:
                return bool((await public.get(made["url"])).status_code == 410)

            await until(expired, within=20, what="the end of the link")
            async for piece in pieces:
                size += len(piece)
        assert size == len(BIG)


async def test_links_expire_by_the_clock_of_redis(
    store: Store,
    catalogue: Catalogue,
    public: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DL10: the clock of each machine may be wrong."""
    config = config_with(tmp_path, {})
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", DATA), ttl=3600)
        now = await store.db.time_ms()

        async def later(self: Db) -> int:
            return now + 3600_001

        with monkeypatch.context() as patch:
            patch.setattr(Db, "time_ms", later)
            check_error(await public.get(made["url"]), 410)


async def end_by_deleting(live: httpx.AsyncClient, made: dict[str, Any]) -> None:
    await live.delete(f"/api/v1/files/{made['file_id']}")


async def end_by_folder(live: httpx.AsyncClient, made: dict[str, Any]) -> None:
    (folder,) = (await live.get("/api/v1/folders")).json()["folders"]
    await live.delete(f"/api/v1/folders/{folder['folder_id']}", params={"recursive": True})


async def end_by_revoking(live: httpx.AsyncClient, made: dict[str, Any]) -> None:
    await live.patch(f"/api/v1/links/{made['token']}", json={"revoked": True})


async def end_by_removing(live: httpx.AsyncClient, made: dict[str, Any]) -> None:
    await live.delete(f"/api/v1/links/{made['token']}")


@pytest.mark.parametrize("end", [end_by_deleting, end_by_folder, end_by_revoking, end_by_removing])
async def test_a_link_ends_at_once_in_all_processes(
    store: Store,
    catalogue: Catalogue,
    public: httpx.AsyncClient,
    tmp_path: Path,
    end: Callable[[httpx.AsyncClient, dict[str, Any]], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CA4: also in those that have just used the link."""
    monkeypatch.setattr("saveany.delivery.delivery._FRESH", 3600.0)
    config = config_with(tmp_path, {})
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", DATA))
        async with serving(create_app(config, store, catalogue)) as other, over_tcp(other) as beside:
            url = f"{beside.base_url}/dl/{made['token']}"
            assert (await public.get(url)).status_code == 200
            await end(live, made)
            assert (await public.get(url)).status_code in (404, 410)
