"""Small files go to every remote storage in parallel, as many as it takes, however slowly it replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest

from storages.alist.storage import AlistStorage
from storages.base import Services, Storage
from storages.chunks import Chunk, Chunks
from storages.ftp.storage import FtpStorage
from storages.openload.storage import OpenloadStorage
from storages.rclone.storage import RcloneStorage
from storages.s3.storage import S3Storage
from storages.sftp.storage import SftpStorage
from storages.testing.helpers import content, key, save
from storages.webdav.storage import WebdavStorage
from tests.fixtures import alist, openload, rclone, s3, sftp, slow, webdav
from tests.fixtures.slow import HeldUploads
from tests.fixtures.waiting import until
from workers.transfer_budget import Place, TransferBudget

SIZE = 200_000

#: How many uploads each storage takes at the same time. Telegram: tests/integration/telegram.
AT_ONCE = {
    "s3": 16,
    "webdav": 4,
    "sftp": 4,
    "ftp": 4,
    "ftp, two connections": 1,
    "rclone": 4,
    "alist": 4,
    "openload": 4,
}


@pytest.fixture
def held() -> HeldUploads:
    return HeldUploads()


@pytest.fixture(params=AT_ONCE)
async def storage(
    request: pytest.FixtureRequest, tmp_path: Path, held: HeldUploads
) -> AsyncIterator[Storage]:
    """A storage on a server that holds uploads."""
    async with AsyncExitStack() as stack:
        storage = await OPEN[request.param](stack, tmp_path, held)
        stack.push_async_callback(storage.close)
        yield storage


def services(folder: Path) -> Services:
    return Services(scratch=folder / "scratch", allow=[ip_network("127.0.0.0/8")])


async def open_s3(stack: AsyncExitStack, folder: Path, held: HeldUploads) -> Storage:
    server = stack.enter_context(s3.rclone(folder))
    bucket = server.bucket()
    port = await stack.enter_async_context(slow.holding_proxy(server.port, held))
    return S3Storage(replace(server, port=port).options(bucket), services(folder))


async def open_webdav(stack: AsyncExitStack, folder: Path, held: HeldUploads) -> Storage:
    server = stack.enter_context(webdav.rclone())
    port = await stack.enter_async_context(slow.holding_proxy(server.port, held))
    return WebdavStorage(replace(server, port=port).options("x"), services(folder))


async def open_rclone(stack: AsyncExitStack, folder: Path, held: HeldUploads) -> Storage:
    # Not rclone's server, which lists a folder only when no file in it is being written.
    server = stack.enter_context(webdav.wsgidav())
    port = await stack.enter_async_context(slow.holding_proxy(server.port, held))
    url = replace(server, port=port).url
    keys = {"type": "webdav", "url": url, "user": webdav.USER, "pass": rclone.obscured(webdav.PASSWORD)}
    remotes = stack.enter_context(rclone.remotes(folder, {"dav": keys}))
    return RcloneStorage(remotes.options("dav:", "x"), services(folder))


async def open_alist(stack: AsyncExitStack, folder: Path, held: HeldUploads) -> Storage:
    server = stack.enter_context(alist.alist(folder))
    server.port = await stack.enter_async_context(slow.holding_proxy(server.port, held))
    return AlistStorage(server.options("x"), services(folder))


async def open_openload(stack: AsyncExitStack, folder: Path, held: HeldUploads) -> Storage:
    server = stack.enter_context(openload.openload(pstream=False))
    server.port = await stack.enter_async_context(slow.holding_proxy(server.port, held))
    return OpenloadStorage(server.options("x"), services(folder))


class HeldSftp(SftpStorage):
    """Holds the bytes of its uploads after the first ones: a server handles one request after the other, so
    one that holds a file would hold all."""

    held: HeldUploads

    async def _put(self, path: str, chunks: Chunks, size: int | None, offset: int = 0) -> None:
        async def pieces() -> AsyncGenerator[Chunk, None]:
            async for chunk in chunks:
                yield chunk[: slow.HELD_AFTER]
                await self.held.hold()
                yield chunk[slow.HELD_AFTER :]

        await super()._put(path, pieces(), size, offset)


async def open_sftp(stack: AsyncExitStack, folder: Path, held: HeldUploads) -> Storage:
    storage = HeldSftp(stack.enter_context(sftp.asyncssh(folder)).options("x"), services(folder))
    storage.held = held
    return storage


async def open_ftp(
    stack: AsyncExitStack, folder: Path, held: HeldUploads, connections: int | None = None
) -> Storage:
    options = await stack.enter_async_context(slow.ftp(folder, held, connections))
    return FtpStorage(options, services(folder))


async def open_ftp_with_two_connections(stack: AsyncExitStack, folder: Path, held: HeldUploads) -> Storage:
    return await open_ftp(stack, folder, held, 2)


OPEN: dict[str, Callable[[AsyncExitStack, Path, HeldUploads], Awaitable[Storage]]] = {
    "s3": open_s3,
    "webdav": open_webdav,
    "sftp": open_sftp,
    "ftp": open_ftp,
    "ftp, two connections": open_ftp_with_two_connections,
    "rclone": open_rclone,
    "alist": open_alist,
    "openload": open_openload,
}


class Task:
    """Saves files as a worker does, and counts those that it holds in memory."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.in_memory = self.most_in_memory = self.saved = 0
        self._share = TransferBudget().share(concurrent=True)

    async def save(self, files: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(files):
                place = await self._share.acquire(self.storage, SIZE)
                saving = group.create_task(self._save(number))
                saving.add_done_callback(partial(_release, place))

    async def _save(self, number: int) -> None:
        self.in_memory += 1
        self.most_in_memory = max(self.most_in_memory, self.in_memory)
        await save(self.storage, f"d/{number}.bin", content(SIZE, number), key(item=number))
        self.in_memory -= 1
        self.saved += 1


def _release(place: Place, _: object) -> None:
    place.release()


async def test_small_files_are_uploaded_in_parallel_and_memory_stays_flat(
    storage: Storage, held: HeldUploads, request: pytest.FixtureRequest
) -> None:
    """The server goes on with one file after the other, each when the next one has arrived."""
    expected = AT_ONCE[request.node.callspec.params["storage"]]
    task, count = Task(storage), expected + 8
    saving = asyncio.create_task(task.save(count))
    await until(lambda: held.waiting == storage.uploads_at_once or saving.done())
    assert held.waiting == storage.uploads_at_once == expected
    in_memory = task.most_in_memory
    for begun in range(expected + 1, count + 1):
        held.let_go(1)
        await until(partial(_has_begun, held, begun, saving), within=60)
        assert held.waiting <= expected
    held.let_go(expected)
    await asyncio.wait_for(saving, 60)
    assert task.saved == count
    assert task.most_in_memory == in_memory
    assert {entry.size for entry in await storage.list("d")} == {SIZE}
    assert len(await storage.list("d")) == count


def _has_begun(held: HeldUploads, uploads: int, saving: asyncio.Task[None]) -> bool:
    return held.begun == uploads or saving.done()
