"""Listing, looking up, moving, copying and deleting; the health of the storage."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from saveany.errors import NameTaken, StorageError, StorageUnavailable
from storages.base import Storage
from storages.testing.base import SuiteBase
from storages.testing.helpers import (
    MIB,
    Open,
    content,
    key,
    load,
    names,
    needs,
    save,
)


class FolderTests(SuiteBase):
    """Listing, looking up, moving, copying and deleting; the health of the storage."""

    @needs("lists")
    async def test_list(self, storage: Storage) -> None:
        await save(storage, "d/b.bin", b"12")
        await save(storage, "d/a.bin", b"1", key(item=1))
        await save(storage, "d/c/x.bin", b"123", key(item=2))
        async with await storage.begin(key(item=3), "d/part.bin", 1) as upload:
            found = await storage.list("d")
            assert [(entry.name, entry.path, entry.size, entry.is_dir) for entry in found] == [
                ("a.bin", "d/a.bin", 1, False),
                ("b.bin", "d/b.bin", 2, False),
                ("c", "d/c", 0, True),
            ]
            assert all(not entry.modified_at or entry.modified_at > 1_600_000_000_000 for entry in found)
            await upload.abort()
        assert await names(storage) == ["d"]

    @needs("lists")
    async def test_list_of_a_missing_folder(self, storage: Storage) -> None:
        assert await storage.list("") == []
        if storage.capabilities.folders:
            with pytest.raises(StorageError):
                await storage.list("no/such/folder")
        else:
            assert await storage.list("no/such/folder") == []

    async def test_missing_file(self, storage: Storage) -> None:
        assert await storage.size("no/such/file.bin") is None
        await storage.delete("no/such/file.bin")
        with pytest.raises(StorageError):
            await load(storage, "no/such/file.bin")

    async def test_delete(self, storage: Storage, everything: Callable[[], set[str]]) -> None:
        await save(storage, "a/b.bin", b"x")
        await save(storage, "a/c.bin", b"x", key(item=1))
        await storage.delete("a/b.bin")
        assert everything() == {"a/c.bin"}
        with pytest.raises(StorageError):
            await storage.delete("a")

    @needs("folders")
    async def test_folder_is_not_a_file(self, storage: Storage) -> None:
        await save(storage, "a/b.bin", b"x")
        assert await storage.size("a") is None
        with pytest.raises(StorageError):
            await load(storage, "a")

    async def test_stat(self, storage: Storage) -> None:
        await save(storage, "a/b.bin", b"12345")
        entry = await storage.stat("a/b.bin")
        assert entry is not None
        assert (entry.name, entry.path, entry.size, entry.is_dir) == ("b.bin", "a/b.bin", 5, False)
        assert await storage.stat("a/c.bin") is None
        assert await storage.stat("b/c/d.bin") is None

    @needs("lists")
    async def test_list_in_pages(self, storage: Storage) -> None:
        for item, path in enumerate(["b", "a/x", "d", "a-b", "c/x"]):
            await save(storage, f"d/{path}", b"x", key(item=item))
        for limit in (1, 2, 3):
            found = [""]
            while page := await storage.list("d", after=found[-1], limit=limit):
                assert len(page) <= limit
                found += [entry.name for entry in page]
            assert found == ["", "a", "a-b", "b", "c", "d"]

    @needs("lists")
    async def test_walk(self, storage: Storage) -> None:
        paths = ["a/b/c.bin", "a/d.bin", "e.bin", "a/b/f/g.bin"]
        for item, path in enumerate(paths):
            await save(storage, path, b"x", key(item=item))
        assert {entry.path async for entry in storage.walk("")} == set(paths)
        assert {entry.path async for entry in storage.walk("a/b")} == {"a/b/c.bin", "a/b/f/g.bin"}

    @needs("folders")
    async def test_mkdir(self, storage: Storage) -> None:
        for _ in range(2):
            await storage.mkdir("a/b/c")
        assert await storage.list("a/b/c") == []
        entry = await storage.stat("a/b/c")
        assert entry is not None
        assert entry.is_dir
        await save(storage, "f", b"x")
        with pytest.raises(StorageError):
            await storage.mkdir("f/g")

    @needs("moves")
    async def test_move(self, storage: Storage, everything: Callable[[], set[str]]) -> None:
        await save(storage, "a/b.bin", b"first")
        await save(storage, "c.bin", b"second", key(item=1))
        with pytest.raises(NameTaken):
            await storage.move("a/b.bin", "c.bin")
        receipt = await storage.move("a/b.bin", "d/e/f.bin")
        assert (receipt.path, receipt.size) == ("d/e/f.bin", 5)
        assert everything() == {"c.bin", "d/e/f.bin"}
        await storage.move("d/e/f.bin", "c.bin", replace=True)
        assert everything() == {"c.bin"}
        assert await load(storage, "c.bin") == b"first"
        with pytest.raises(StorageError):
            await storage.move("gone", "x")

    @needs("copies")
    @pytest.mark.parametrize("size", [0, 2 * MIB + 1])
    async def test_copy_into_an_upload(
        self, storage: Storage, everything: Callable[[], set[str]], size: int
    ) -> None:
        data, copied = content(size), list[int]()
        await save(storage, "a/b #%.bin", data)
        await save(storage, "c.bin", b"second", key(item=1))
        assert storage.copies_from(storage)
        async with await storage.begin(key(item=2), "c.bin", size) as upload:
            await upload.copy(storage, "a/b #%.bin", copied.append)
            await upload.seal(size)
            assert await load(storage, "c.bin") == b"second"
            with pytest.raises(NameTaken):
                await upload.commit("c.bin", size, replace=False)
            await upload.commit("c.bin", size, replace=True)
        assert sum(copied) == size
        assert await storage.finished(key(epoch=2, item=2), "c.bin", "c.bin", size)
        assert everything() == {"a/b #%.bin", "c.bin"}
        assert await load(storage, "c.bin") == await load(storage, "a/b #%.bin") == data

    @needs("copies")
    async def test_failed_copy_leaves_nothing(
        self, storage: Storage, everything: Callable[[], set[str]]
    ) -> None:
        await save(storage, "a.bin", b"12345")
        async with await storage.begin(key(item=1), "b.bin", 5) as upload:
            with pytest.raises(StorageError):
                await upload.copy(storage, "gone", lambda size: None)
            await upload.abort()
        async with await storage.begin(key(item=1), "b.bin", 6) as upload:
            await upload.copy(storage, "a.bin", lambda size: None)
            with pytest.raises(StorageError):
                await upload.seal(6)
            await upload.abort()
        assert everything() == {"a.bin"}

    @needs("usage")
    async def test_usage(self, storage: Storage) -> None:
        await save(storage, "a.bin", content(MIB))
        usage = await storage.usage()
        assert (usage.used or 0) >= MIB or (usage.free or 0) > 0

    async def test_storage_without_identity(self, storage: Storage) -> None:
        if storage.capabilities.this_machine_only:
            pytest.skip("is bound to a machine")
        await storage.adopt("disk")
        assert await storage.identity() is None

    async def test_identity(self, worker: Open, everything: Callable[[], set[str]]) -> None:
        first, second = worker(), worker()
        if not first.capabilities.this_machine_only:
            pytest.skip("is not bound to a machine")
        assert await first.identity() is None
        assert everything() == set()
        await first.adopt("disk-1")
        assert await second.identity() == await first.identity() == "disk-1"
        await first.adopt("disk-1")
        await second.adopt("disk-1")
        for storage in (second, worker()):
            with pytest.raises(StorageUnavailable, match="disk-1"):
                await storage.adopt("disk-2")
        await save(second, "a.bin", b"x")
        assert await names(first) == ["a.bin"]

    async def test_probe(self, storage: Storage, everything: Callable[[], set[str]]) -> None:
        await storage.probe()
        assert everything() == set()
