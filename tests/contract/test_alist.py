from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from saveany.errors import NoSpace, StorageError, StorageUnavailable
from storages.alist.storage import AlistStorage
from storages.base import Services
from storages.testing import Open
from storages.testing.helpers import MIB, content, fill, key, load, save
from tests.contract.suite import StorageSuite
from tests.fixtures.alist import PASSWORD, TOKEN, AlistServer, Refused, alist
from tests.fixtures.faultproxy import fault_proxy
from tests.fixtures.servers import free_port
from tests.fixtures.webdav import canned

BASE = "drive/telegram"


#: Where the server sends us to is on this machine, too.
LOOPBACK = Services(allow=[ip_network("127.0.0.0/8")])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AlistServer]:
    with alist(tmp_path) as server:
        yield server


class TestAlist(StorageSuite):
    @pytest.fixture
    def open_storage(self, server: AlistServer) -> Open:
        return lambda: AlistStorage(server.options(BASE), LOOPBACK)

    @pytest.fixture
    def everything(self, server: AlistServer) -> Callable[[], set[str]]:
        return server.everything(BASE)


@pytest.fixture
async def storage(server: AlistServer) -> AsyncIterator[AlistStorage]:
    storage = AlistStorage(server.options(BASE), LOOPBACK)
    yield storage
    await storage.close()


async def test_many_files_are_saved_at_the_same_time(storage: AlistStorage) -> None:
    """Into folders that do not exist yet."""
    assert storage.uploads_at_once == 4
    data = {n: content(10_000 + n) for n in range(8)}
    await asyncio.gather(*(save(storage, f"new/{n % 2}/{n}.bin", data[n], key(item=n)) for n in data))
    for n in data:
        assert await load(storage, f"new/{n % 2}/{n}.bin") == data[n]


async def test_an_upload_is_confirmed(server: AlistServer, storage: AlistStorage) -> None:
    server.looks = 4
    async with await storage.begin(key(), "a.bin", 5) as upload:
        await upload.write(0, b"hello")
        await upload.seal(5)
        assert [task.looks for task in server.tasks.values()] == [0]
        await upload.commit("a.bin", 5, replace=False)
    assert (server.files / BASE / "a.bin").read_bytes() == b"hello"


async def test_files_are_exchanged_with_other_clients(server: AlistServer, storage: AlistStorage) -> None:
    data, folder = content(3 * MIB + 1), server.files / BASE / "d"
    await save(storage, "d/ä b.bin", data)
    assert (folder / "ä b.bin").read_bytes() == data
    (folder / "theirs #1.bin").write_bytes(data[::-1])
    assert await load(storage, "d/theirs #1.bin") == data[::-1]


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        ("upload to https://x.example/?token=s3cret failed", StorageUnavailable, "upload to … failed"),
        ("write /mnt/x: no space left on device", NoSpace, "the drive is full"),
    ],
)
async def test_failed_task_on_the_server_is_reported(
    server: AlistServer, storage: AlistStorage, failure: str, kind: type[StorageError], words: str
) -> None:
    server.failure = failure
    async with await storage.begin(key(), "a.bin", 5) as upload:
        await upload.write(0, b"hello")
        with pytest.raises(kind, match=words) as caught:
            await upload.commit("a.bin", 5, replace=False)
    assert "s3cret" not in str(caught.value)
    assert await storage.stat("a.bin") is None


async def test_a_file_that_a_drive_lists_late_is_waited_for(
    server: AlistServer, storage: AlistStorage
) -> None:
    server.lists_late = True
    await save(storage, "d/a.bin", b"hello")
    assert await load(storage, "d/a.bin") == b"hello"


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ("failed to put: Post https://drive.example/x?k=s3cret: i/o timeout", StorageUnavailable),
        ("failed get storage: storage not found; please add a storage first", StorageError),
    ],
)
async def test_error_of_a_drive_is_reported(
    server: AlistServer, storage: AlistStorage, says: str, kind: type[StorageError]
) -> None:
    server.drive_says = says
    with pytest.raises(StorageError, match="the server replied") as caught:
        await storage.probe()
    assert type(caught.value) is kind
    assert "s3cret" not in str(caught.value)


async def test_failed_replacement_keeps_the_old_file(
    server: AlistServer, storage: AlistStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(storage, "a.bin", b"old")
    really = server.rename

    def rename(asked: dict[str, Any]) -> Any:
        if asked["path"].endswith(".partial"):
            raise Refused(500, "the drive is busy")
        return really(asked)

    async with await storage.begin(key(item=2), "a.bin", 3) as upload:
        await upload.write(0, b"new")
        await upload.seal(3)
        monkeypatch.setattr(server, "rename", rename)
        with pytest.raises(StorageUnavailable, match="busy"):
            await upload.commit("a.bin", 3, replace=True)
        assert await load(storage, "a.bin") == b"old"
        monkeypatch.setattr(server, "rename", really)
        await upload.commit("a.bin", 3, replace=True)
    assert [path.read_bytes() for path in (server.files / BASE).iterdir()] == [b"new"]


async def test_replacement_whose_reply_is_lost_leaves_no_other_file(
    server: AlistServer, storage: AlistStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(storage, "a.bin", b"old")
    really = server.rename

    def rename(asked: dict[str, Any]) -> Any:
        really(asked)
        if asked["path"].endswith(".partial"):
            raise Refused(500, "the drive is busy")

    monkeypatch.setattr(server, "rename", rename)
    async with await storage.begin(key(item=2), "a.bin", 3) as upload:
        await upload.write(0, b"new")
        with pytest.raises(StorageUnavailable, match="busy"):
            await upload.commit("a.bin", 3, replace=True)
    assert await storage.finished(key(2, item=2), "a.bin", "a.bin", 3)
    assert [path.read_bytes() for path in (server.files / BASE).iterdir()] == [b"new"]


async def test_forgotten_task_is_not_a_success(
    server: AlistServer, storage: AlistStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storages.alist.storage._SETTLE", 0.2)
    async with await storage.begin(key(), "a.bin", 5) as upload:
        server.looks = 1 << 30
        await upload.write(0, b"hello")
        sealing = asyncio.create_task(upload.seal(5))
        assert await asyncio.to_thread(server.looked.wait, 30)
        server.tasks.clear()  # as after a restart
        with pytest.raises(StorageUnavailable, match="has lost"):
            await sealing


async def test_aborted_upload_is_canceled_on_the_server(server: AlistServer, storage: AlistStorage) -> None:
    server.looks = 1 << 30
    async with await storage.begin(key(), "a.bin", 5) as upload:
        await upload.write(0, b"hello")
        sealing = asyncio.create_task(upload.seal(5))
        assert await asyncio.to_thread(server.looked.wait, 30)
        await upload.abort()
        await asyncio.wait([sealing])
    (task,) = server.tasks.values()
    assert task.state == 4


async def test_a_session_that_ends_is_renewed(server: AlistServer, storage: AlistStorage) -> None:
    await save(storage, "a.bin", b"1")
    server.sessions.clear()
    assert await load(storage, "a.bin") == b"1"
    server.sessions.clear()
    await save(storage, "b.bin", b"2", key(item=1))
    assert server.logins == 3


async def test_a_session_that_ends_before_the_put_is_renewed(
    server: AlistServer, storage: AlistStorage
) -> None:
    async with await storage.begin(key(), "a.bin", 5) as upload:
        server.sessions.clear()
        await upload.write(0, b"hello")
        await upload.commit("a.bin", 5, replace=False)
    assert await load(storage, "a.bin") == b"hello"


async def test_parallel_requests_share_one_login(server: AlistServer, storage: AlistStorage) -> None:
    await asyncio.gather(*(storage.stat(f"{number}") for number in range(20)))
    assert server.logins == 1


async def test_a_token_needs_no_login(server: AlistServer) -> None:
    storage = AlistStorage(server.options(BASE, token=TOKEN, username="", password=""), LOOPBACK)
    await storage.probe()
    assert server.logins == 0
    await storage.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wr0ng"}, "correct username or password"),
        ({"token": "wr0ng"}, "correct token"),
    ],
)
async def test_wrong_login_is_reported(server: AlistServer, changes: dict[str, str], words: str) -> None:
    storage = AlistStorage(server.options(BASE, **changes))
    with pytest.raises(StorageError, match=words) as caught:
        await storage.probe()
    assert "wr0ng" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    await storage.close()


@pytest.mark.parametrize(
    "changes",
    [{"url": "files.example.com"}, {"url": "http://me:secret@files.example.com"}, {"username": ""}],
)
def test_options_that_cannot_work_are_refused(server: AlistServer, changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        server.options(BASE, **changes)


async def test_body_refused_by_a_gateway_is_reported(server: AlistServer, storage: AlistStorage) -> None:
    server.body_limit = MIB
    async with await storage.begin(key(), "a.bin", 2 * MIB) as upload:
        with pytest.raises(StorageError, match="client_max_body_size"):
            await fill(upload, content(2 * MIB), seal=True)


async def test_a_server_without_ranges_is_supported(server: AlistServer, storage: AlistStorage) -> None:
    server.ranges = False
    await save(storage, "a.bin", content(3 * MIB))
    assert await load(storage, "a.bin", MIB, 2 * MIB) == content(3 * MIB)[MIB : 2 * MIB]


async def test_broken_connection_is_reported(server: AlistServer) -> None:
    async with fault_proxy(server.port) as link:
        storage = AlistStorage(server.options(BASE, url=f"http://127.0.0.1:{link.port}"))
        link.cut_after = 6 * MIB
        async with await storage.begin(key(), "a.bin", 20 * MIB) as upload:
            with pytest.raises(StorageUnavailable):
                await fill(upload, content(20 * MIB), seal=True)
        link.cut_after = None
        assert await storage.list("") == []
        assert server.tasks == {}
        await storage.close()


async def test_server_that_is_down_is_reported(server: AlistServer) -> None:
    storage = AlistStorage(server.options(BASE, url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(StorageUnavailable, match="refused"):
        await storage.probe()
    await storage.close()


async def test_other_service_is_reported(server: AlistServer) -> None:
    async with canned(404, b"Not found") as url:
        storage = AlistStorage(server.options(BASE, url=url))
        with pytest.raises(StorageError, match="replied 404; is url correct"):
            await storage.probe()
        await storage.close()


async def test_other_clients_read_and_write_the_same_files(
    server: AlistServer, storage: AlistStorage
) -> None:
    data = content(3 * MIB + 1)
    await save(storage, "d/ä b#c.bin", data)
    assert (server.files / BASE / "d/ä b#c.bin").read_bytes() == data
    (server.files / BASE / "d/x? 100%41.bin").write_bytes(data)
    assert [entry.name for entry in await storage.list("d")] == ["x? 100%41.bin", "ä b#c.bin"]
    assert await load(storage, "d/x? 100%41.bin") == data


async def test_redirects_of_the_server_are_guarded(
    server: AlistServer, storage: AlistStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(storage, "a.bin", b"hello")
    strict = AlistStorage(server.options(BASE))
    with pytest.raises(StorageError, match="not on the public internet") as caught:
        await load(strict, "a.bin")  # by a redirect
    assert not isinstance(caught.value, StorageUnavailable), "that does not pass"
    get = server.get
    for raw in ("http://169.254.169.254/latest", f"http://127.0.0.1:{free_port()}/", "file:///etc/passwd"):
        monkeypatch.setattr(server, "get", lambda asked, raw=raw: {**get(asked), "raw_url": raw})
        with pytest.raises(StorageError):
            await load(strict, "a.bin")
    await strict.close()


async def test_entries_with_invalid_names_are_not_listed(
    server: AlistServer, storage: AlistStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(storage, "a.bin", b"hello")
    shown = server.shown

    def lies(place: Path) -> list[dict[str, Any]]:
        true = shown(place)
        names = ["..", ".", "", "a/b", "../c", "n\0l", "\ud800", None, "good"]
        odd = [true | {"name": name} for name in names]
        return [*odd, *(true | {"name": "x", "size": size} for size in (-5, 10**30, "many", None)), {}]

    true = shown(server.files / BASE / "a.bin")
    monkeypatch.setattr(server, "list", lambda asked: {"content": lies(server.files / BASE / "a.bin")})
    assert [entry.name for entry in await storage.list("")] == ["good"]
    monkeypatch.setattr(server, "get", lambda asked: true | {"size": -5, "raw_url": ""})
    with pytest.raises(StorageError, match="impossible values"):
        await storage.stat("a.bin")
