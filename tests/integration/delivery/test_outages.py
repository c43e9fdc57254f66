"""What happens to streams while Redis, the catalogue or the copy is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from saveany.catalogue.catalogue import Catalogue
from saveany.sandbox import Sandbox
from saveany.sandbox.content import ContentStream
from saveany.sandbox.samples import USER
from saveany.sandbox.world import Chat, StoredFile, StoredMessage
from saveany.store import Db, Store
from saveany.telegram.file import PART
from tests.fixtures.catalogue import Postgres
from tests.fixtures.waiting import until
from tests.integration.api.conftest import check_error
from tests.integration.delivery.conftest import link, link_to, save

FILE, SIZE = 2002, 24 * PART
CONTENT = ContentStream(FILE, SIZE)
SAVED = "downloads/film.mkv"


@pytest.fixture
def message(sandbox: Sandbox) -> str:
    """The link of a message with the file."""
    world = sandbox.world
    chat = world.add_chat(Chat(id=1600000000, title="files", username="files", members={USER.id, 7000000001}))
    world.post(
        chat,
        StoredMessage(
            id=5,
            file=world.add_file(StoredFile(id=FILE, content=CONTENT, name="film.mkv", dc=sandbox.dc_id)),
        ),
    )
    return "https://t.me/files/5"


@pytest.fixture
async def saved(store: Store, live: httpx.AsyncClient, tmp_path: Path) -> dict[str, Any]:
    """A link to a file that was saved, and did not come from Telegram."""
    files = {SAVED: CONTENT.read(0, SIZE)}
    ids = await save(live, store, tmp_path / "files", files)
    return await link_to(live, file_id=ids["film.mkv"])


@asynccontextmanager
async def redis_outage(db: Db) -> AsyncIterator[None]:
    """Redis closes all connections and takes no new one."""
    async with db.redis.client() as one:
        await one.config_set("maxclients", 1)
        await one.client_kill_filter(_type="normal", skipme=True)
        try:
            yield
        finally:
            await one.config_set("maxclients", 10000)


@pytest.mark.parametrize("origin", ["message", "saved"])
async def test_streams_continue_while_redis_is_down(
    origin: str,
    live: httpx.AsyncClient,
    public: httpx.AsyncClient,
    db: Db,
    message: str,
    saved: dict[str, Any],
) -> None:
    made = await link(live, message) if origin == "message" else saved
    async with public.stream("GET", made["url"]) as reply:
        pieces = reply.aiter_raw()
        got = await anext(pieces)
        async with redis_outage(db):
            async for piece in pieces:
                got += piece
    assert got == CONTENT.read(0, SIZE)


async def test_a_player_may_jump_while_redis_is_down(
    saved: dict[str, Any], public: httpx.AsyncClient, live: httpx.AsyncClient, db: Db
) -> None:
    """A link that was not open at this address is refused meanwhile."""
    assert (await public.get(saved["url"], headers={"Range": "bytes=0-9"})).status_code == 206
    async with redis_outage(db):
        jumped = await public.get(saved["url"], headers={"Range": "bytes=-9"})
        assert (jumped.status_code, jumped.content) == (206, CONTENT.read(SIZE - 9, 9))
        check_error(await public.get(f"{live.base_url}/dl/{'x' * 22}"), 503)
    again = await public.get(saved["url"], headers={"Range": "bytes=0-9"})
    assert again.status_code == 206


async def test_a_revoked_link_ends_its_streams(
    saved: dict[str, Any], public: httpx.AsyncClient, live: httpx.AsyncClient
) -> None:
    """Within 5 seconds, also if the client reads nothing (DL9)."""
    async with public.stream("GET", saved["url"]) as reply:
        pieces = reply.aiter_raw()
        await anext(pieces)
        await live.patch(f"/api/v1/links/{saved['token']}", json={"revoked": True})
        tasks = _responses()
        assert tasks
        assert await until(lambda: all(task.done() for task in tasks), within=10) < 5
        with pytest.raises(httpx.RemoteProtocolError):
            await drain(pieces)


async def drain(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


def _responses() -> list[asyncio.Task[Any]]:
    """The tasks of this process that send files."""
    return [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__qualname__", "").startswith("ContentResponse._send")
    ]


async def test_a_copy_that_changes_during_a_stream_is_not_mixed(
    saved: dict[str, Any], public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The rest of the old file is sent, or the connection breaks off; then it is a file that has changed."""
    path = tmp_path / "files" / SAVED
    async with public.stream("GET", saved["url"]) as reply:
        etag = reply.headers["etag"]
        pieces = reply.aiter_raw()
        got = await anext(pieces)
        path.rename(path.with_name("old"))
        path.write_bytes(bytes(SIZE))
        async for piece in pieces:
            got += piece
    assert got == CONTENT.read(0, SIZE)
    rest = await public.get(saved["url"], headers={"Range": f"bytes={PART}-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (200, bytes(SIZE))


async def test_a_copy_that_is_truncated_during_a_stream_breaks_it_off(
    saved: dict[str, Any], public: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with public.stream("GET", saved["url"]) as reply:
        pieces = reply.aiter_raw()
        await anext(pieces)
        with (tmp_path / "files" / SAVED).open("r+b") as file:
            file.truncate(SIZE - 1)
        with pytest.raises(httpx.RemoteProtocolError):
            await drain(pieces)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"other")])
async def test_a_copy_that_is_gone_is_served_from_telegram(
    live: httpx.AsyncClient,
    public: httpx.AsyncClient,
    store: Store,
    tmp_path: Path,
    damage: Callable[[Path], object],
) -> None:
    media = await link(live, "https://t.me/channel/126")
    data = (await public.get(media["url"])).content
    source = {
        "chat": -1001500000001,
        "chat_username": "channel",
        "message": 126,
        "document": 1004,
        "kind": "document",
        "mime": "application/octet-stream",
        "dc": 2,
    }
    ids = await save(live, store, tmp_path / "files", {SAVED: data}, source)
    made = await link_to(live, file_id=ids["film.mkv"])
    whole = await public.get(made["url"])
    assert whole.content == data
    damage(tmp_path / "files" / SAVED)
    reply = await public.get(made["url"], headers={"Range": "bytes=1000-"})
    assert (reply.status_code, reply.content) == (206, data[1000:])


@pytest.fixture
async def postgres_catalogue(
    postgres_server: Postgres, patient: None, store: Store, tmp_path: Path
) -> AsyncIterator[Catalogue]:
    """The catalogue in a database that a test stops."""
    catalogue = Catalogue(postgres_server.url("postgres"), tmp_path / "data", store)
    await catalogue.open()
    yield catalogue
    await catalogue.close()


class TestCatalogueDown:
    """The database is killed."""

    @pytest.fixture
    def catalogue(self, postgres_catalogue: Catalogue) -> Catalogue:
        return postgres_catalogue

    async def test_known_links_continue(
        self, live: httpx.AsyncClient, public: httpx.AsyncClient, message: str, postgres_server: Postgres
    ) -> None:
        """A link that was used a moment ago works, also for another address; an unknown one cannot be looked
        up."""
        made, other = await link(live, message), await link(live, message)
        async with public.stream("GET", made["url"]) as reply:
            pieces = reply.aiter_raw()
            got = await anext(pieces)
            postgres_server.stop(9)
            async for piece in pieces:
                got += piece
            assert got == CONTENT.read(0, SIZE)
        jump = await public.get(made["url"], headers={"Range": "bytes=5-9"})
        assert (jump.status_code, jump.content) == (206, CONTENT.read(5, 5))
        check_error(await public.get(other["url"]), 503)
        postgres_server.start()

        async def works() -> bool:
            return (await public.get(other["url"], headers={"Range": "bytes=0-0"})).status_code == 206

        await until(works)


async def test_a_client_that_leaves_a_large_file_leaves_nothing_open(
    saved: dict[str, Any], public: httpx.AsyncClient
) -> None:
    """Neither the file nor the socket, to which the kernel sends it."""
    assert (await public.get(saved["url"], headers={"Range": "bytes=0-0"})).status_code == 206
    before = open_files()
    for _ in range(5):
        async with public.stream("GET", saved["url"]) as reply:
            await anext(reply.aiter_raw())
    await until(lambda: open_files() <= before)
    assert (await public.get(saved["url"])).content == CONTENT.read(0, SIZE)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
