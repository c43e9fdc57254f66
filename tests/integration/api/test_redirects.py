"""Links that send clients to presigned URLs of an S3 storage."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config
from saveany.models import Item, ItemStatus, Progress, Status
from saveany.store import Store
from storages.s3.storage import S3Storage
from storages.testing import helpers
from tests.fixtures import s3
from tests.fixtures.s3 import S3Server
from tests.fixtures.waiting import until
from tests.integration.api.conftest import TOKEN, USER, check_error, claim, create, over_tcp, serving
from tests.integration.api.links import DATA, link

#: An API whose links may redirect, or may not, and a link to a file in S3 with some options.
Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
async def public() -> AsyncIterator[httpx.AsyncClient]:
    """A client without the token, which follows no redirects."""
    async with httpx.AsyncClient(timeout=60) as client:
        yield client


@pytest.fixture
def opened(store: Store, catalogue: Catalogue, server: S3Server, tmp_path: Path) -> Opened:
    @asynccontextmanager
    async def open_(*, allowed: bool = True, **options: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
        bucket = server.options(server.bucket())
        config = Config.model_validate(
            {
                "api": {"token": TOKEN},
                "data_dir": str(tmp_path / "data"),
                "users": [{"id": USER}],
                "storages": [
                    {"name": "local1", "type": "local", "base_path": str(tmp_path / "files")},
                    {**bucket.model_dump(), "name": "bucket"},
                ],
                "links": {"redirect": allowed},
            }
        )
        storage = S3Storage(bucket)
        receipt = await helpers.save(storage, "d/film.mp4", DATA)
        await storage.close()
        async with serving(create_app(config, store, catalogue)) as running, over_tcp(running) as live:
            await create(live)
            claimed = await claim(store)
            digest = hashlib.sha256(DATA).hexdigest()
            place: dict[str, Any] = {"path": receipt.path, "final": receipt.path, "storage": "bucket"}
            item = Item(index=0, name="film.mp4", size=len(DATA), sha256=digest, **place)
            await claimed.plan("title", [item], Progress(), [])
            saved = msgspec.structs.replace(item, status=ItemStatus.COMPLETED)
            await claimed.finish(Status.COMPLETED, items=[saved])
            [file] = (await live.get("/api/v1/files")).json()["files"]
            yield live, await link(live, file["file_id"], **options)

    return open_


async def test_the_storage_sends_the_file_itself(opened: Opened, public: httpx.AsyncClient) -> None:
    async with opened(redirect=True) as (live, made):
        assert made["redirect"]
        reply = await public.get(made["url"], headers={"Range": "bytes=0-4"})
        assert (reply.status_code, reply.content) == (302, b"")
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["x-ratelimit-limit"] == "15"
        target = httpx.URL(reply.headers["location"])
        assert target.params["X-Amz-Expires"] == "600"
        part = await public.get(target, headers={"Range": "bytes=0-4"})
        assert (part.status_code, part.content) == (206, DATA[:5])
        assert part.headers["content-type"] == "video/mp4"
        assert part.headers["content-disposition"] == 'attachment; filename="film.mp4"'
        shown = await public.get(httpx.URL((await public.get(made["stream_url"])).headers["location"]))
        assert (shown.content, shown.headers["content-disposition"]) == (DATA, 'inline; filename="film.mp4"')
        seen = (await live.get(f"/api/v1/links/{made['token']}")).json()
        assert seen["downloads"] == 1
        head = await public.head(made["url"])
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(DATA)))


@pytest.mark.parametrize(
    ("allowed", "options"),
    [
        (True, {}),
        (False, {"redirect": True}),
    ],
)
async def test_only_if_the_link_and_the_operator_allow_it(
    opened: Opened, public: httpx.AsyncClient, allowed: bool, options: dict[str, Any]
) -> None:
    async with opened(allowed=allowed, **options) as (live, made):
        reply = await public.get(made["url"])
        assert (reply.status_code, reply.content) == (200, DATA)
        changed = await live.patch(f"/api/v1/links/{made['token']}", json={"redirect": True})
        assert changed.json()["redirect"]

        async def follows() -> bool:
            return (await public.get(made["url"])).status_code == (302 if allowed else 200)

        await until(follows)  # links are read again after two seconds


async def test_never_with_a_password(opened: Opened, public: httpx.AsyncClient) -> None:
    async with opened(redirect=True, password="correct horse") as (_, made):
        check_error(await public.get(made["url"]), 401)
        await public.post(made["page_url"], data={"password": "correct horse"})
        reply = await public.get(made["url"])
        assert (reply.status_code, reply.content) == (200, DATA)


async def test_a_used_up_or_revoked_link_redirects_nobody(opened: Opened, public: httpx.AsyncClient) -> None:
    async with opened(redirect=True, max_downloads=1) as (live, made):
        assert (await public.get(made["url"])).status_code == 302
        await live.patch(f"/api/v1/links/{made['token']}", json={"revoked": True})
        check_error(await public.get(made["url"]), 410)
