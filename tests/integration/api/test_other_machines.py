"""An API process delivers files that are on the disk of another machine, through an API process there."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from saveany.api.app import create_app
from saveany.api.server import ApiServer, bind
from saveany.catalogue.catalogue import Catalogue
from saveany.models import WorkerInfo
from saveany.store import Store
from saveany.store.api_processes import ApiProcess
from tests.fixtures.tcp import tcp_server
from tests.fixtures.waiting import until
from tests.integration.api.conftest import check_error, over_tcp, url_of
from tests.integration.api.links import DATA, PATH, config_with, link, save

MARK = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def public() -> AsyncIterator[httpx.AsyncClient]:
    """A client without the token."""
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


@asynccontextmanager
async def machine(
    store: Store, catalogue: Catalogue, folder: Path, *, reachable: bool
) -> AsyncIterator[ApiServer]:
    """An API process with its own folders."""
    with bind("127.0.0.1", 0) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}" if reachable else ""
        server = ApiServer(create_app(config_with(folder, {}, internal_url=url), store, catalogue))
        running = asyncio.create_task(server.serve(sockets=[sock]))
        await until(lambda: server.started)
        try:
            yield server
        finally:
            server.handle_exit(signal.SIGTERM, None)
            await running


async def saved_on(store: Store, server: ApiServer, folder: Path) -> str:
    """A file on the disk of a machine; returns its id."""
    (folder / "files").mkdir(parents=True)
    (folder / "files/.saveany-storage").write_text(f"{MARK}\n")
    await store.workers.establish_storage("local1", MARK)
    async with over_tcp(server) as live:
        return await save(live, store, folder / "files", DATA)


async def announced(store: Store) -> None:
    async def is_announced() -> bool:
        return any("local1" in each.storages for each in await store.api_processes.living())

    await until(is_announced, within=20, what="announcement of the disk")


async def test_a_file_on_the_disk_of_another_machine_is_delivered(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        here, there = [
            await stack.enter_async_context(
                machine(store, catalogue, tmp_path / name, reachable=name == "there")
            )
            for name in ("here", "there")
        ]
        file_id = await saved_on(store, there, tmp_path / "there")
        await announced(store)
        live = await stack.enter_async_context(over_tcp(here))
        made = await link(live, file_id)
        direct = url_of(there) + httpx.URL(made["url"]).path
        whole, original = await public.get(made["url"]), await public.get(direct)
        assert (whole.status_code, whole.content) == (200, DATA)
        for name in ("etag", "last-modified", "content-type", "content-length", "content-disposition"):
            assert whole.headers[name] == original.headers[name]
        part = await public.get(made["url"], headers={"Range": "bytes=70000-300000"})
        assert (part.status_code, part.content) == (206, DATA[70000:300001])
        head = await public.head(made["url"])
        assert head.headers["content-length"] == str(len(DATA))
        (tmp_path / "there/files" / PATH).unlink()
        gone = await public.get(made["url"])
        assert gone.status_code == 503


async def test_a_machine_that_cannot_be_reached_is_named(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(machine(store, catalogue, tmp_path / "here", reachable=False))
        there = machine(store, catalogue, tmp_path / "there", reachable=True)
        async with there as server:
            file_id = await saved_on(store, server, tmp_path / "there")
            await announced(store)
        await store.workers.heartbeat(
            WorkerInfo(id="w1", host="nas-box", pid=1, started_at=1, storages={"local1": ""})
        )
        live = await stack.enter_async_context(over_tcp(here))
        url = (await link(live, file_id))["url"]
        reply = await public.get(url)
        assert reply.status_code == 503
        assert "storage 'local1' is on the machine nas-box" in reply.json()["message"]
        for _ in range(20):  # more than an address may open: what cannot be read is no opening
            assert (await public.get(url)).status_code == 503


async def test_what_is_no_api_at_the_address_of_one_is_none(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path
) -> None:
    """For example another program that has got the port."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(machine(store, catalogue, tmp_path / "here", reachable=False))
        file_id = await saved_on(store, here, tmp_path / "elsewhere")
        program = await stack.enter_async_context(tcp_server(reply))
        other = ApiProcess("other", "nas-box", f"http://127.0.0.1:{program.port}", ("local1",))
        await store.api_processes.heartbeat(other)
        live = await stack.enter_async_context(over_tcp(here))
        check_error(await public.get((await link(live, file_id))["url"]), 503)


@pytest.mark.parametrize("path", ["/internal/files/{file}", "/internal/media?source=gaA="])
async def test_only_other_api_processes_may_ask(
    store: Store, catalogue: Catalogue, public: httpx.AsyncClient, tmp_path: Path, path: str
) -> None:
    async with machine(store, catalogue, tmp_path / "there", reachable=True) as there:
        file_id = await saved_on(store, there, tmp_path / "there")
        url = url_of(there) + path.format(file=file_id)
        assert (await public.get(url)).status_code == 401
        forged = {"x-saveany-time": "1", "x-saveany-signature": "0" * 64}
        assert (await public.get(url, headers=forged)).status_code == 401
