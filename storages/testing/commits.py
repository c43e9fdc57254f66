"""A file becomes visible whole, in one step, and never takes the name of another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from saveany.errors import NameTaken, StorageError
from storages.base import Storage
from storages.testing.base import SuiteBase
from storages.testing.helpers import (
    MIB,
    Open,
    content,
    fill,
    key,
    load,
    names,
    needs,
    parts,
    save,
    ticks,
)


class CommitTests(SuiteBase):
    """A file becomes visible whole, in one step, and never takes the name of another."""

    async def test_invisible_until_commit(self, storage: Storage, worker: Open) -> None:
        async with await storage.begin(key(), "a/b.bin", 2 * MIB) as upload:
            await fill(upload, content(2 * MIB))
            await upload.sync([])
            assert await worker().size("a/b.bin") is None
            assert await names(worker(), "a") == []
            await upload.commit("a/b.bin", 2 * MIB, replace=False)
        assert await names(worker(), "a") == ["b.bin"]

    @pytest.mark.parametrize("claimed", [0, 1, 2 * MIB - 1, 2 * MIB + 1])
    @pytest.mark.parametrize("planned", [2 * MIB])
    async def test_wrong_length_is_refused(
        self, storage: Storage, worker: Open, planned: int | None, claimed: int
    ) -> None:
        async with await storage.begin(key(), "a.bin", planned) as upload:
            await fill(upload, content(2 * MIB))
            with pytest.raises(StorageError, match=str(claimed)):
                await upload.commit("a.bin", claimed, replace=False)
            assert await worker().size("a.bin") is None
            await upload.commit("a.bin", 2 * MIB, replace=False)
        assert await worker().size("a.bin") == 2 * MIB

    @needs("random_writes")
    @pytest.mark.parametrize("planned", [3 * MIB, None])
    @pytest.mark.parametrize("missing", [0, 1, 2])
    async def test_missing_part_is_refused(self, storage: Storage, planned: int | None, missing: int) -> None:
        data = parts(content(3 * MIB))
        async with await storage.begin(key(), "a.bin", planned) as upload:
            for offset, part in data[:missing] + data[missing + 1 :]:
                await upload.write(offset, part)
            with pytest.raises(StorageError):
                await upload.commit("a.bin", 3 * MIB, replace=False)
            await upload.write(*data[missing])
            await upload.commit("a.bin", 3 * MIB, replace=False)
        assert await load(storage, "a.bin") == content(3 * MIB)

    @needs("random_writes")
    async def test_file_may_be_shorter_than_planned(self, storage: Storage) -> None:
        async with await storage.begin(key(), "a.bin", MIB) as upload:
            await upload.write(0, b"short")
            await upload.commit("a.bin", 5, replace=False)
        assert await load(storage, "a.bin") == b"short"

    async def test_seal_then_commit(self, storage: Storage, worker: Open) -> None:
        data = content(2 * MIB + 1)
        async with await storage.begin(key(), "a.bin", len(data)) as upload:
            await fill(upload, data)
            with pytest.raises(StorageError):
                await upload.seal(len(data) - 1)
            for _ in range(2):
                await upload.seal(len(data))
            assert await worker().stat("a.bin") is None
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(storage, "a.bin") == data

    @needs("late_name")
    async def test_second_name_after_a_taken_one(self, storage: Storage) -> None:
        await save(storage, "d/a.bin", b"first")
        async with await storage.begin(key(item=1), "d/a.bin", 6) as upload:
            await upload.write(0, b"second")
            for _ in range(2):
                with pytest.raises(NameTaken):
                    await upload.commit("d/a.bin", 6, replace=False)
            await upload.commit("d/a (1).bin", 6, replace=False)
        assert await load(storage, "d/a.bin") == b"first"
        assert await load(storage, "d/a (1).bin") == b"second"

    async def test_replace(self, storage: Storage, everything: Callable[[], set[str]]) -> None:
        await save(storage, "a.bin", content(2 * MIB))
        async with await storage.begin(key(item=1), "a.bin", 3) as upload:
            await upload.write(0, b"new")
            await upload.commit("a.bin", 3, replace=True)
        assert await load(storage, "a.bin") == b"new"
        assert everything() == {"a.bin"}

    async def test_replace_of_nothing(self, storage: Storage) -> None:
        async with await storage.begin(key(), "a.bin", 3) as upload:
            await upload.write(0, b"new")
            await upload.commit("a.bin", 3, replace=True)
        assert await load(storage, "a.bin") == b"new"

    @needs("exclusive", "reads")
    async def test_one_of_twenty_concurrent_commits_wins(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        workers = [worker(), worker()]

        async def race(item: int) -> bool:
            async with await workers[item % 2].begin(key(item=item), "a.bin", 2) as upload:
                await upload.write(0, b"%02d" % item)
                try:
                    await upload.commit("a.bin", 2, replace=False)
                except NameTaken:
                    await upload.abort()
                    return False
                return True

        won = await asyncio.gather(*(race(item) for item in range(20)))
        assert sum(won) == 1
        assert await load(workers[0], "a.bin") == b"%02d" % won.index(True)
        assert everything() == {"a.bin"}

    @needs("folders")
    async def test_name_of_a_folder_is_taken(self, storage: Storage) -> None:
        await save(storage, "a/b.bin", b"inside")
        async with await storage.begin(key(item=1), "a", 1) as upload:
            await upload.write(0, b"x")
            with pytest.raises(NameTaken):
                await upload.commit("a", 1, replace=False)
            with pytest.raises(StorageError):
                await upload.commit("a", 1, replace=True)
            await upload.abort()
        assert await storage.size("a") is None
        assert await load(storage, "a/b.bin") == b"inside"

    @needs("folders")
    async def test_file_in_place_of_a_folder(self, storage: Storage) -> None:
        await save(storage, "a", b"file")
        with pytest.raises(StorageError, match="a"):
            await storage.begin(key(item=1), "a/b.bin", 1)
        with pytest.raises(StorageError):
            await storage.list("a")
        assert await load(storage, "a") == b"file"

    async def test_canceled_commit_is_whole_or_absent(
        self, storage: Storage, everything: Callable[[], set[str]]
    ) -> None:
        for wait in range(30):
            async with await storage.begin(key(item=wait), "a.bin", MIB) as upload:
                await upload.write(0, content(MIB))
                commit = asyncio.create_task(upload.commit("a.bin", MIB, replace=False))
                await ticks(wait)
                commit.cancel()
                await asyncio.wait([commit])
                await upload.abort()
            if everything():
                assert await load(storage, "a.bin") == content(MIB)
            assert everything() <= {"a.bin"}
            await storage.delete("a.bin")

    async def test_abort_leaves_nothing(self, storage: Storage, everything: Callable[[], set[str]]) -> None:
        async with await storage.begin(key(), "a.bin", MIB) as upload:
            await upload.write(0, content(MIB))
            await upload.abort()
            await upload.abort()
            with pytest.raises(StorageError):
                await upload.write(MIB, b"late")
            with pytest.raises(StorageError):
                await upload.commit("a.bin", MIB, replace=False)
        assert everything() == set()

    async def test_abort_after_commit_is_harmless(self, storage: Storage) -> None:
        async with await storage.begin(key(), "a.bin", 1) as upload:
            await upload.write(0, b"x")
            await upload.commit("a.bin", 1, replace=False)
            await upload.abort()
        assert await load(storage, "a.bin") == b"x"
