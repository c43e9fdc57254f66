from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from saveany.errors import NameTaken, StorageError, StorageUnavailable
from storages.base import Reader, Services, UploadKey
from storages.openload.names import NAMES
from storages.openload.storage import OpenloadStorage
from storages.remote import RemoteReader
from storages.testing import Open
from storages.testing.helpers import MIB, content, fill, key, names, save
from tests.contract.suite import StorageSuite
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.openload import KEY, OpenloadServer, openload
from tests.fixtures.servers import free_port

BASE = "videos/telegram"


def path_on_service(path: str) -> str:
    """The path on the service for a path of the storage."""
    return "/".join([f"/{BASE}", *map(NAMES.encode, path.split("/"))])


class ReadableStorage(OpenloadStorage):
    """Reads files from the fake service: the suite compares what it has saved."""

    server: OpenloadServer

    async def open(self, path: str) -> Reader:
        entry = await self.stat(path)
        if entry is None or entry.is_dir:
            raise StorageError(f"nothing at {path!r}")
        return ServiceReader(self, entry)


class ServiceReader(RemoteReader):
    async def _pieces(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        assert isinstance(self._remote, ReadableStorage)
        data = self._remote.server.content(path_on_service(self.path))
        assert data is not None
        yield data[start:end]


#: Where the server sends us to is on this machine, too.
LOOPBACK = Services(allow=[ip_network("127.0.0.0/8")])


@pytest.fixture(params=[False, True], ids=["streamtape", "pstream"])
def server(request: pytest.FixtureRequest) -> Iterator[OpenloadServer]:
    with openload(pstream=request.param) as server:
        yield server


class TestStreamtape(StorageSuite):
    @pytest.fixture
    def server(self) -> Iterator[OpenloadServer]:
        with openload(pstream=False) as server:
            yield server

    @pytest.fixture
    def open_storage(self, server: OpenloadServer) -> Open:
        def start() -> ReadableStorage:
            storage = ReadableStorage(server.options(BASE))
            storage.server = server
            return storage

        return start

    @pytest.fixture
    def everything(self, server: OpenloadServer) -> Callable[[], set[str]]:
        return server.everything(BASE)


@pytest.fixture
async def storage(server: OpenloadServer) -> AsyncIterator[OpenloadStorage]:
    storage = OpenloadStorage(server.options(BASE), LOOPBACK)
    yield storage
    await storage.close()


async def test_files_are_saved_listed_moved_and_deleted(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    data = content(3 * MIB + 1)
    await save(storage, "d/ä b.mp4", data)
    (entry,) = await storage.list("d")
    assert (entry.name, entry.size, entry.is_dir) == ("ä b.mp4", len(data), False)
    assert entry.modified_at > 1_600_000_000_000
    await storage.move("d/ä b.mp4", "e/c.mp4")
    assert await names(storage, "d") == []
    assert server.content(path_on_service("e/c.mp4")) == data
    await storage.delete("e/c.mp4")
    assert server.files == {}


async def test_a_file_that_the_service_lists_late_is_waited_for(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    server.looks = 4
    async with await storage.begin(key(), "a.bin", 5) as upload:
        await upload.write(0, b"hello")
        await upload.seal(5)
        assert [item.looks for item in server.files.values()] == [-1]
        await upload.commit("a.bin", 5, replace=False)
    assert server.content(path_on_service("a.bin")) == b"hello"


async def test_name_changed_by_the_service_is_corrected(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    server.drops_extensions = True
    await save(storage, "a.mp4", b"hello")
    assert server.content(path_on_service("a.mp4")) == b"hello"


async def test_shorter_file_is_reported(server: OpenloadServer, storage: OpenloadStorage) -> None:
    server.loses_a_byte = True
    with pytest.raises(StorageError, match="must have 5 bytes, but 4 arrived"):
        await save(storage, "a.bin", b"hello")
    assert server.files == {}


async def test_a_replaced_file_is_deleted(server: OpenloadServer, storage: OpenloadStorage) -> None:
    await save(storage, "a.bin", b"old")
    async with await storage.begin(key(item=1), "a.bin", 3) as upload:
        await upload.write(0, b"new")
        await upload.commit("a.bin", 3, replace=True)
    assert [item.data for item in server.files.values()] == [b"new"]


async def test_newest_of_files_with_one_name_is_listed(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    await save(storage, "a.bin", b"old")
    (old,) = server.files.values()
    newer = server.add("a.bin", old.folder, b"newer")
    old.when = newer.when - 5000
    assert [entry.size for entry in await storage.list("")] == [5]
    assert await storage.size("a.bin") == 5
    await storage.delete("a.bin")
    assert server.files == {}


async def test_names_of_other_clients_are_listed_and_found(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    await save(storage, "a.bin", b"x")
    (ours,) = server.files.values()
    for name in ('say "hi".mp4', " 100%20 .mp4", "%22.mp4"):
        server.add(name, ours.folder, b"theirs")
    assert await names(storage) == [" 100%20 .mp4", '".mp4', "a.bin", 'say "hi".mp4']
    for name in await names(storage):
        await storage.delete(name)
    assert server.files == {}


async def test_twenty_uploads_create_a_folder_once(server: OpenloadServer, storage: OpenloadStorage) -> None:
    await asyncio.gather(*(save(storage, f"a/b/{n}", b"x", key(item=n)) for n in range(20)))
    assert sorted(folder.name for folder in server.folders.values()) == ["a", "b", *BASE.split("/")[::-1]]


async def test_folders_removed_by_others_are_created_again(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    await save(storage, "a/b/c.bin", b"x")
    server.file_deletefolder(next(number for number, each in server.folders.items() if each.name == "a"))
    assert await storage.size("a/b/c.bin") is None
    await save(storage, "a/b/c.bin", b"y")
    server.file_deletefolder(
        next(number for number, each in server.folders.items() if each.name == "telegram")
    )
    assert await names(storage) == []
    await save(storage, "a/b/c.bin", b"z")
    assert server.content(path_on_service("a/b/c.bin")) == b"z"


async def test_known_folders_are_not_requested_again(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    await save(storage, "a/b/c.bin", b"x")
    server.calls.clear()
    await storage.stat("a/b/c.bin")
    assert server.calls == ["file/listfolder"]


async def test_a_saved_file_has_the_url_of_its_page(server: OpenloadServer, storage: OpenloadStorage) -> None:
    receipt = await save(storage, "a.mp4", b"x")
    (item,) = server.files.values()
    assert await storage.url("a.mp4", 3600) == receipt.page == server.link(item)
    found = await storage.finished(key(2), "a.mp4", "a.mp4", 1)
    assert found == receipt
    for missing in ("b.mp4", "c/d.mp4"):
        with pytest.raises(StorageError, match="there is no file"):
            await storage.url(missing, 3600)


async def test_file_is_saved_even_if_its_page_is_unknown(
    storage: OpenloadStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(path: str) -> str:
        raise StorageUnavailable("the host does not reply")

    monkeypatch.setattr(storage, "_page", away)
    receipt = await save(storage, "a.mp4", b"x")
    assert (receipt.path, receipt.size, receipt.page) == ("a.mp4", 1, "")


# The service fetches a file by itself.


URL = "https://files.example.com/x?sig=1"


async def pull(storage: OpenloadStorage, url: str, path: str, size: int, *, replace: bool = False) -> None:
    """As a transfer does it."""
    async with await storage.begin(UploadKey("T1", 0, 1), path, size) as upload:
        try:
            await upload.pull(url)
            await upload.seal(size)
            await upload.commit(path, size, replace=replace)
        except StorageError:
            await upload.abort()
            raise


def test_pull_is_off_by_default(server: OpenloadServer) -> None:
    assert not OpenloadStorage(server.options(BASE), LOOPBACK).pulls
    assert OpenloadStorage(server.options(BASE, pull=True)).pulls


async def test_the_service_downloads_a_url(server: OpenloadServer, storage: OpenloadStorage) -> None:
    server.web[URL] = b"pulled"
    await pull(storage, URL, "d/a.mp4", 6)
    assert server.content(path_on_service("d/a.mp4")) == b"pulled"
    with pytest.raises(NameTaken):
        await pull(storage, URL, "d/a.mp4", 6)
    server.web[URL] = b"again"
    await pull(storage, URL, "d/a.mp4", 5, replace=True)
    assert [item.data for item in server.files.values()] == [b"again"]
    assert {folder.name for folder in server.folders.values()} == {*BASE.split("/"), "d"}


async def test_length_of_a_pulled_file_is_checked(server: OpenloadServer, storage: OpenloadStorage) -> None:
    server.web[URL] = b"an error page"
    with pytest.raises(StorageError, match="must have 6 bytes"):
        await pull(storage, URL, "a.mp4", 6)
    assert not server.files


async def test_failed_pull_is_reported(server: OpenloadServer, storage: OpenloadStorage) -> None:
    with pytest.raises(StorageError, match="Invalid URL"):
        await pull(storage, "http://127.0.0.1/", "a.mp4", 1)
    assert {folder.name for folder in server.folders.values()} == set(BASE.split("/"))


async def test_canceled_pull_ends_at_the_service(server: OpenloadServer, storage: OpenloadStorage) -> None:
    server.looks = 1 << 30
    pulling = asyncio.create_task(pull(storage, URL, "a.mp4", 6))
    assert await asyncio.to_thread(server.looked.wait, 30)
    pulling.cancel()
    await asyncio.wait([pulling])
    assert len(server.pulls) == (1 if server.pstream else 0)  # pstream has no call for it
    assert {folder.name for folder in server.folders.values()} == set(BASE.split("/"))


# Errors.


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, StorageError, "400: see … or …"),
        (403, StorageError, "check login and key"),
        (451, StorageError, "legal reasons"),
        (429, StorageUnavailable, "429"),
        (503, StorageUnavailable, "503"),
        (509, StorageUnavailable, "bandwidth"),
    ],
)
async def test_refusals_are_reported(
    server: OpenloadServer, storage: OpenloadStorage, status: int, kind: type[StorageError], words: str
) -> None:
    server.refuses, server.message = status, f"see https://x.example/?key={KEY} or {KEY}"
    with pytest.raises(kind, match=words) as caught:
        await storage.probe()
    assert type(caught.value) is kind
    assert KEY not in str(caught.value)
    server.refuses = 0
    await storage.probe()


@pytest.mark.parametrize("changes", [{"key": "wr0ng"}, {"login": "wr0ng"}])
async def test_wrong_login_is_reported(server: OpenloadServer, changes: dict[str, str]) -> None:
    storage = OpenloadStorage(server.options(BASE, **changes))
    with pytest.raises(StorageError, match="check login and key") as caught:
        await storage.probe()
    assert "wr0ng" not in str(caught.value)
    await storage.close()


async def test_broken_connection_is_reported(server: OpenloadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fault_proxy(server.port) as link:
        storage = OpenloadStorage(server.options(BASE), LOOPBACK)
        await storage.mkdir("")
        monkeypatch.setattr(server, "port", link.port)  # where the service sends uploads to
        link.cut_after = 6 * MIB
        async with await storage.begin(key(), "a.bin", 20 * MIB) as upload:
            with pytest.raises(StorageUnavailable):
                await fill(upload, content(20 * MIB), seal=True)
        assert server.files == {}
        await storage.close()


async def test_upload_aborted_at_its_end_leaves_nothing(
    server: OpenloadServer, storage: OpenloadStorage
) -> None:
    server.thinks = 0.2
    async with await storage.begin(key(), "a.bin", 5) as upload:
        await upload.write(0, b"hello")
        sealing = asyncio.create_task(upload.seal(5))
        assert await asyncio.to_thread(server.received.wait, 30)
        await upload.abort()
        await asyncio.wait([sealing])
    assert await asyncio.to_thread(server.kept.wait, 30)
    assert server.files == {}


async def test_server_that_is_down_is_reported(server: OpenloadServer) -> None:
    storage = OpenloadStorage(server.options(BASE, base_url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(StorageUnavailable, match="refused") as caught:
        await storage.probe()
    assert KEY not in str(caught.value)
    await storage.close()


@pytest.mark.parametrize("below", ["/wrong", "/ul"])
async def test_address_of_another_service_is_reported(server: OpenloadServer, below: str) -> None:
    storage = OpenloadStorage(server.options(BASE, base_url=f"{server.url}{below}"))
    with pytest.raises(StorageError, match="correct base_url"):
        await storage.probe()
    await storage.close()


async def test_removed_folder_is_reported(server: OpenloadServer, storage: OpenloadStorage) -> None:
    async with await storage.begin(key(), "a.bin", 5) as upload:
        server.folders.clear()
        with pytest.raises(StorageUnavailable, match="is gone"):
            await upload.write(0, b"hello")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flavour": "openload", "base_url": ""}, "needs base_url"),
        ({"base_url": "api.example.com"}, "must begin with"),
        ({"base_url": "https://me:secret@api.example.com"}, "no password"),
        ({"base_path": "/"}, "below the root"),
        ({"base_path": "a/../b"}, "below the root"),
    ],
)
def test_options_that_cannot_work_are_refused(
    server: OpenloadServer, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        server.options(BASE, **changes)


def test_each_service_has_its_address(server: OpenloadServer) -> None:
    expected = "https://api.pstream.net/v1" if server.pstream else "https://api.streamtape.com"
    assert server.options(BASE, base_url="").address == expected


@pytest.mark.parametrize("port", [None, 1])
async def test_upload_addresses_are_guarded(
    server: OpenloadServer, monkeypatch: pytest.MonkeyPatch, port: int | None
) -> None:
    """The service itself may be on a private network; where it sends us may not, unless that is allowed."""
    storage = OpenloadStorage(server.options(BASE))
    await storage.mkdir("")
    if port:
        monkeypatch.setattr(server, "port", port)
        with pytest.raises(StorageError, match="not on the public internet"):
            await save(storage, "a.bin", b"hello")
    else:
        await save(storage, "a.bin", b"hello")
    await storage.close()
