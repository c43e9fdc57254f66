"""Links have limits: per address, per link, per month and per user."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.link_models import LinkTarget
from saveany.errors import TooMany
from saveany.service.links import LinkService
from saveany.service.principal import Principal
from saveany.store import Store, keys
from tests.fixtures.waiting import until
from tests.integration.api.conftest import USER, check_error, over_tcp, serving, url_of
from tests.integration.api.links import DATA, config_with, link, save

BIG = bytes(64 << 20)  # more than connections buffer


@pytest.fixture
async def public() -> AsyncIterator[httpx.AsyncClient]:
    """A client without the token."""
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


async def test_addresses_from_unknown_proxies_are_not_believed(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """SB11."""
    config = config_with(tmp_path, {"openings": 1})
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        file_id = await save(live, store, tmp_path / "files", DATA)
        made = [await link(live, file_id) for _ in range(2)]
        answers = [
            await public.get(each["url"], headers={"X-Forwarded-For": f"9.9.9.{n}"})
            for n, each in enumerate(made)
        ]
    assert [reply.status_code for reply in answers] == [200, 429]
    limits = answers[1].headers
    assert (limits["x-ratelimit-limit"], limits["x-ratelimit-remaining"]) == ("1", "0")
    assert time.time() < int(limits["x-ratelimit-reset"]) <= time.time() + 601


async def test_a_configured_proxy_tells_the_address_and_the_scheme(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    config = config_with(tmp_path, {"openings": 1}, trusted_proxies=["127.0.0.0/8"])
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        file_id = await save(live, store, tmp_path / "files", DATA)
        made = [await link(live, file_id) for _ in range(3)]
        addresses = ["9.9.9.1", "9.9.9.2", "6.6.6.6, 9.9.9.2"]  # a client may send the header, too
        answers = [
            await public.get(each["url"], headers={"X-Forwarded-For": address})
            for address, each in zip(addresses, made, strict=True)
        ]
        shown = await live.get(f"/api/v1/links/{made[0]['token']}", headers={"X-Forwarded-Proto": "https"})
    assert [reply.status_code for reply in answers] == [200, 200, 429]
    assert shown.json()["url"].startswith("https://")


async def test_the_addresses_of_one_ipv6_network_are_one_client(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    config = config_with(tmp_path, {}, trusted_proxies=["127.0.0.0/8"])
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", DATA), password="secret")

        async def guess(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            return (await public.post(made["page_url"], data={"password": "x"}, headers=headers)).status_code

        assert [await guess(f"2001:db8:1:2::{n:x}") for n in range(11)] == [401] * 10 + [429]
        assert await guess("2001:db8:1:3::1") == 401


async def test_links_are_shown_at_the_public_address(
    store: Store, catalogue: Catalogue, tmp_path: Path
) -> None:
    config = config_with(tmp_path, {}, public_url="https://files.example.com/x/")
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", DATA))
    assert made["url"] == f"https://files.example.com/x/dl/{made['token']}/film.mp4"


async def test_a_password_opens_a_link_also_behind_a_proxy_with_a_path(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The proxy removes its path from requests; browsers have it in their addresses."""
    config = config_with(tmp_path, {}, public_url="https://files.example.com/x/")
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", DATA), password="secret")
        page = f"/s/{made['token']}"
        reply = await public.post(f"{url_of(server)}{page}", data={"password": "secret"})
    assert reply.status_code == 303
    assert urljoin(f"https://files.example.com/x{page}", reply.headers["location"]) == made["page_url"]
    paths = {
        cookie.partition("Path=")[2].partition(";")[0] for cookie in reply.headers.get_list("set-cookie")
    }
    assert {f"/x/dl/{made['token']}", f"/x{page}", f"/dl/{made['token']}", page} <= paths


async def test_tokens_cannot_be_found_by_trying(live: httpx.AsyncClient, public: httpx.AsyncClient) -> None:
    """SB9."""
    url = str(live.base_url)
    answers = [await public.get(f"{url}/dl/{n:022}") for n in range(21)]
    assert [reply.status_code for reply in answers] == [404] * 20 + [429]
    check_error(answers[-1], 429)
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert (await public.get(f"{url}/s/x")).status_code == 429


async def test_the_traffic_of_a_month_is_limited(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """SB12."""
    config = config_with(tmp_path, {"monthly_gb": 1})
    month = keys.TRAFFIC(time.strftime("%Y-%m", time.gmtime()))
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", DATA))
        await store.db.do("SET", month, 10**9 - 1)
        assert (await public.get(made["url"])).status_code == 200

        async def counted() -> bool:
            return int(await store.db.do("GET", month)) == 10**9 - 1 + len(DATA)

        await until(counted, within=20, what="count of what was sent")
        refused = await public.get(made["url"])
        check_error(refused, 503)
        assert 0 < int(refused.headers["retry-after"]) <= 31 * 24 * 3600
        await store.db.do("DEL", month)  # as with the next month
        assert (await public.get(made["url"])).status_code == 200


@pytest.mark.parametrize("limit", ["connections_per_address", "connections_per_link"])
async def test_connections_are_limited(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path, limit: str
) -> None:
    config = config_with(tmp_path, {limit: 2})
    async with serving(create_app(config, store, catalogue)) as server, over_tcp(server) as live:
        made = await link(live, await save(live, store, tmp_path / "files", BIG))
        async with AsyncExitStack() as stack:
            for _ in range(2):
                reply = await stack.enter_async_context(public.stream("GET", made["url"]))
                assert reply.status_code == 200
            refused = await public.get(made["url"])
            check_error(refused, 429)
            assert refused.headers["retry-after"] == "5"
            assert (await public.head(made["url"])).status_code == 200

        async def is_free() -> bool:
            return (await public.get(made["url"], headers={"Range": "bytes=0-9"})).status_code == 206

        await until(is_free, within=20, what="free connection")


async def test_a_user_makes_a_limited_number_of_links_a_day(
    store: Store, catalogue: Catalogue, live: httpx.AsyncClient, tmp_path: Path
) -> None:
    config = config_with(tmp_path, {"per_day": 2})
    file_id = await save(live, store, tmp_path / "files", DATA)
    links = LinkService(catalogue, store, config)
    user, target = Principal(USER), LinkTarget(file_id, None)
    for _ in range(2):
        await links.make(user, USER, target)
    with pytest.raises(TooMany, match="you have made 2 links today") as refused:
        await links.make(user, USER, target)
    assert 0 < refused.value.after <= 24 * 3600
    await links.make(Principal(is_operator=True), USER, target)
