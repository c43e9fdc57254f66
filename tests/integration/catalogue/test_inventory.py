"""Scanning a storage for files that are not in the catalogue, and checking the copies of those that are."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from saveany.catalogue import FileFilter, SavedFile
from saveany.catalogue.catalogue import Catalogue
from saveany.catalogue.inventory import FoundCopy
from saveany.errors import InvalidInput, StorageUnavailable
from saveany.models import Status
from saveany.service import inventory
from saveany.service.inventory import Difference, Scanned
from saveany.store import Store
from storages.base import Capabilities, Storage
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from tests.integration.catalogue.test_recording import item, planned

_NOW = 1_700_000_000_000


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    (tmp_path / "files").mkdir()
    storage = LocalStorage(LocalOptions(name="local1", type="local", base_path=tmp_path / "files"))
    await storage.adopt("a" * 32)
    yield storage
    await storage.close()


def put(folder: Path, path: str, content: bytes = b"content") -> None:
    file = folder / "files" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


async def scan(catalogue: Catalogue, storage: Storage, path: str = "", *, with_hash: bool = False) -> Scanned:
    scanning = inventory.scan(catalogue.inventory, storage, path, 7, with_hash=with_hash, now_ms=_NOW)
    return [each async for each in scanning][-1]


async def listed(catalogue: Catalogue) -> dict[str, SavedFile]:
    page = await catalogue.files.page(FileFilter(), 200)
    found = {file.path: file for file in page.files}
    assert len(found) == len(page.files)
    return found


async def test_files_that_are_there_are_listed_once(
    any_catalogue: Catalogue, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_BATCH", 2)
    for path in ("film.mkv", "a/b/电影.mp4", "a/c.txt", "a/.d.txt.task-0.1.partial", "x.partial"):
        put(tmp_path, path)
    assert await scan(any_catalogue, storage) == Scanned(added=3)
    found = await listed(any_catalogue)
    assert found.keys() == {"film.mkv", "a/b/电影.mp4", "a/c.txt"}
    file = found["a/b/电影.mp4"]
    assert (file.name, file.size, file.mime, file.user_id, file.task_id) == (
        "电影.mp4",
        7,
        "video/mp4",
        7,
        None,
    )
    assert file.added_at == pytest.approx((tmp_path / "files" / file.path).stat().st_mtime * 1000, abs=1)
    assert await any_catalogue.folders.paths([file.folder_id]) == {file.folder_id: "/a/b"}
    assert sorted(path.name for path in (tmp_path / "files" / "a").iterdir()) == [
        ".d.txt.task-0.1.partial",
        "b",
        "c.txt",
    ]
    put(tmp_path, "later.bin")
    assert await scan(any_catalogue, storage) == Scanned(added=1, known=3)
    assert await scan(any_catalogue, storage, "a") == Scanned(known=2)


async def test_an_interrupted_scan_can_be_repeated(
    any_catalogue: Catalogue, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_BATCH", 2)
    for number in range(5):
        put(tmp_path, f"{number}.bin")
    scanning = inventory.scan(any_catalogue.inventory, storage, "", 7, with_hash=False, now_ms=_NOW)
    assert await anext(aiter(scanning)) == Scanned(added=2)
    await scanning.aclose()
    assert await scan(any_catalogue, storage) == Scanned(added=3, known=2)
    assert len(await listed(any_catalogue)) == 5


async def test_files_are_read_only_for_hashes_that_are_wanted_and_unknown(
    any_catalogue: Catalogue, storage: Storage, tmp_path: Path
) -> None:
    put(tmp_path, "one", b"1")
    await scan(any_catalogue, storage)
    assert (await listed(any_catalogue))["one"].sha256 == ""
    put(tmp_path, "two", b"2" * 300_000)
    assert (await scan(any_catalogue, storage, with_hash=True)).hashed == 2
    found = await listed(any_catalogue)
    assert found["one"].sha256 == hashlib.sha256(b"1").hexdigest()
    assert found["two"].sha256 == hashlib.sha256(b"2" * 300_000).hexdigest()
    assert (await scan(any_catalogue, storage, with_hash=True)).hashed == 0


async def test_what_a_task_has_saved_is_known(
    store: Store, any_catalogue: Catalogue, storage: Storage, tmp_path: Path
) -> None:
    put(tmp_path, "a/b/file0.mp4")
    claimed = await planned(store, item(0))
    await claimed.finish(Status.COMPLETED, items=[item(0)])
    assert await scan(any_catalogue, storage) == Scanned(known=1)


async def test_a_scan_may_be_faster_than_the_record_of_a_running_task(
    store: Store, any_catalogue: Catalogue, storage: Storage, tmp_path: Path
) -> None:
    claimed = await planned(store, item(0))
    put(tmp_path, "a/b/file0.mp4")  # the worker has published it, and records that next
    assert (await scan(any_catalogue, storage)).added == 1
    await claimed.finish(Status.COMPLETED, items=[item(0, link="token" * 4)])
    file = (await listed(any_catalogue))["a/b/file0.mp4"]
    assert (file.task_id, file.item) == (claimed.task.id, 0)


async def test_missing_and_changed_copies_are_found(
    store: Store, any_catalogue: Catalogue, storage: Storage, tmp_path: Path
) -> None:
    for path in ("a/kept", "a/gone", "b/changed", "c/folder-gone"):
        put(tmp_path, path)
    await scan(any_catalogue, storage)
    (tmp_path / "files/a/gone").unlink()
    put(tmp_path, "b/changed", b"longer than before")
    (tmp_path / "files/c/folder-gone").unlink()
    (tmp_path / "files/c").rmdir()
    put(tmp_path, "a/new")
    await any_catalogue.inventory.add("other", [FoundCopy("elsewhere", 7, _NOW)], 7)
    found = [each async for each in inventory.check(any_catalogue.inventory, storage)]
    assert [(each.path, each.size, each.found) for each in found] == [
        ("a/gone", 7, None),
        ("b/changed", 7, 18),
        ("c/folder-gone", 7, None),
    ]
    ids = {file.path: file.id for file in (await listed(any_catalogue)).values()}
    assert found[0] == Difference(ids["a/gone"], "a/gone", 7, None)


async def test_many_copies_in_many_folders_are_checked(
    any_catalogue: Catalogue, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saveany.catalogue.inventory._BATCH", 3)
    monkeypatch.setattr(inventory, "_FOLDERS", 2)
    for number in range(10):
        put(tmp_path, f"{number % 4}/{number}")
    await scan(any_catalogue, storage)
    (tmp_path / "files/3/7").unlink()
    found = [each.path async for each in inventory.check(any_catalogue.inventory, storage)]
    assert found == ["3/7"]


async def test_an_unmounted_disk_is_no_missing_copy(
    any_catalogue: Catalogue, storage: Storage, tmp_path: Path
) -> None:
    put(tmp_path, "a/file")
    await scan(any_catalogue, storage)
    (tmp_path / "files").rename(tmp_path / "unmounted")
    (tmp_path / "files").mkdir()
    with pytest.raises(StorageUnavailable):
        _ = [each async for each in inventory.check(any_catalogue.inventory, storage)]
    with pytest.raises(StorageUnavailable):
        await scan(any_catalogue, storage)


async def test_a_storage_without_listings_is_refused(
    any_catalogue: Catalogue, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "capabilities", Capabilities())
    with pytest.raises(InvalidInput, match="cannot list"):
        await scan(any_catalogue, storage)
    with pytest.raises(InvalidInput, match="cannot list"):
        _ = [each async for each in inventory.check(any_catalogue.inventory, storage)]
