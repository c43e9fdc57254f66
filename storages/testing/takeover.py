"""One worker crashes or freezes, and another takes its upload over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from saveany.errors import Fenced, StorageError
from storages.base import Storage, Upload
from storages.testing.base import SuiteBase
from storages.testing.helpers import (
    MIB,
    Crash,
    Open,
    content,
    crash,
    fill,
    key,
    load,
    names,
    needs,
    save,
    ticks,
)


class TakeoverTests(SuiteBase):
    """One worker crashes or freezes, and another takes its upload over."""

    @needs("late_name")  # no two uploads share a key in S3
    async def test_discard_removes_every_earlier_part(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        first, second = worker(), worker()
        frozen = await first.begin(key(1), "a/b.bin", 5)
        other = await first.begin(key(1, item=1), "a/b.bin", 5)
        await frozen.write(0, b"hello")
        await self.make_fenceable(first, frozen, 5)
        await second.discard(key(2), "a/b.bin")
        with pytest.raises(Fenced):
            await frozen.commit("a/b.bin", 5, replace=False)
        await other.write(0, b"other")
        await other.commit("a/b.bin", 5, replace=False)
        assert everything() == {"a/b.bin"}
        await frozen.abort()

    async def test_another_worker_discards_the_first_upload(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        first, second = worker(), worker()
        frozen = await first.begin(key(1), "a/b.bin", 5)
        await frozen.write(0, b"hello")
        await self.make_fenceable(first, frozen, 5)
        await second.discard(key(1), "a/b.bin")
        with pytest.raises(Fenced):
            await frozen.commit("a/b.bin", 5, replace=False)
        assert everything() == set()
        await frozen.abort()

    async def test_discard_without_an_upload(self, storage: Storage) -> None:
        await storage.discard(key(), "no/such/file.bin")
        await save(storage, "a.bin", b"x")
        await storage.discard(key(), "a.bin")
        assert await load(storage, "a.bin") == b"x"

    async def test_discard_spares_a_later_claim(self, worker: Open) -> None:
        first, second = worker(), worker()
        async with await second.begin(key(2), "a.bin", 1) as upload:
            await upload.write(0, b"x")
            await first.discard(key(1), "a.bin")
            await upload.commit("a.bin", 1, replace=False)
        assert await second.size("a.bin") == 1

    @pytest.mark.parametrize("epoch", [1, 2, 7])
    async def test_begin_again_starts_empty(
        self, worker: Open, epoch: int, everything: Callable[[], set[str]]
    ) -> None:
        first = worker()
        async with await first.begin(key(), "a.bin", 2 * MIB) as crashed:
            await crashed.write(0, content(MIB, seed=1))
        async with await (first if epoch == 1 else worker()).begin(key(epoch), "a.bin", 2 * MIB) as upload:
            with pytest.raises(StorageError):
                await upload.commit("a.bin", 2 * MIB, replace=False)
            await fill(upload, content(2 * MIB))
            await upload.commit("a.bin", 2 * MIB, replace=False)
        assert await load(worker(), "a.bin") == content(2 * MIB)
        assert everything() == {"a.bin"}

    @pytest.mark.parametrize("replace", [False, True])
    @pytest.mark.parametrize("epoch", [1, 2])
    async def test_earlier_writer_is_fenced(
        self, worker: Open, epoch: int, replace: bool, everything: Callable[[], set[str]]
    ) -> None:
        first = worker()
        second = first if epoch == 1 else worker()  # an epoch belongs to one process
        async with AsyncExitStack() as stack:
            old = await stack.enter_async_context(await first.begin(key(1), "a.bin", MIB))
            await old.write(0, b"old!" * (MIB // 4))
            await self.make_fenceable(first, old, MIB)
            new = await stack.enter_async_context(await second.begin(key(epoch), "a.bin", MIB))
            await new.write(0, content(MIB))
            await self.try_late_write(old)
            with pytest.raises(Fenced):
                await old.commit("a.bin", MIB, replace=replace)
            await old.abort()
            assert await worker().size("a.bin") is None
            await new.commit("a.bin", MIB, replace=replace)
        assert await load(worker(), "a.bin") == content(MIB)
        assert everything() == {"a.bin"}

    async def test_earlier_writer_wakes_after_the_later_commit(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        async with await worker().begin(key(1), "a.bin", MIB) as old:
            await old.write(0, b"old!" * (MIB // 4))
            await self.make_fenceable(worker(), old, MIB)
            await save(worker(), "a.bin", content(MIB), key(2))
            await self.try_late_write(old)
            for replace in (False, True):
                with pytest.raises(Fenced):
                    await old.commit("a.bin", MIB, replace=replace)
            await old.abort()
        assert await load(worker(), "a.bin") == content(MIB)
        assert everything() == {"a.bin"}

    @needs("late_name")  # S3 keeps whole parts, without an epoch
    async def test_late_begin_of_an_earlier_claim_is_fenced(self, worker: Open) -> None:
        async with await worker().begin(key(3), "a.bin", 1) as upload:
            await upload.write(0, b"3")
            await self.make_fenceable(worker(), upload, 1)
            with pytest.raises(Fenced):
                await worker().begin(key(2), "a.bin", 1)
            await upload.commit("a.bin", 1, replace=False)

    @needs("late_name")
    async def test_items_and_tasks_do_not_mix(self, worker: Open) -> None:
        owners = [key(1), key(1, item=1), key(1, item=10), key(1, task="A"), key(1, task="01J-task_A-1")]
        async with AsyncExitStack() as stack:
            uploads = [
                await stack.enter_async_context(await worker().begin(owner, "a.bin", 1)) for owner in owners
            ]
            await stack.enter_async_context(await worker().begin(key(2, item=1), "a.bin", 1))
            for number, upload in enumerate(uploads):
                await upload.write(0, b"x")
                if number != 1:
                    await upload.commit(f"{number}.bin", 1, replace=False)
        assert await names(worker()) == ["0.bin", "2.bin", "3.bin", "4.bin"]

    async def test_finished_without_a_commit(self, worker: Open) -> None:
        second = worker()
        assert not await second.finished(key(2), "a/b.bin", "a/b.bin", 1)
        async with await worker().begin(key(1), "a/b.bin", 1) as old:
            await old.write(0, b"x")
            await self.make_fenceable(second, old, 1)
            if await second.finished(key(2), "a/b.bin", "a/b.bin", 1):  # it may finish the commit
                assert await load(second, "a/b.bin") == b"x"
                return
            with pytest.raises(Fenced):
                await old.commit("a/b.bin", 1, replace=False)

    async def test_finished_after_a_commit(self, worker: Open) -> None:
        receipt = await save(worker(), "a/b.bin", b"x", key(1))
        assert await worker().finished(key(2), "a/b.bin", "a/b.bin", 1) == receipt
        assert not await worker().finished(key(2), "a/b.bin", "a/b.bin", 2)
        assert not await worker().finished(key(2), "a/b.bin", "a/c.bin", 1)

    async def test_finished_ignores_a_foreign_file_of_the_same_size(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        await save(worker(), "a.bin", b"foreign", key(item=1))
        async with await worker().begin(key(1), "a.bin", 7) as old:
            await old.write(0, b"our own")
            await self.make_fenceable(worker(), old, 7)
        third = worker()
        for epoch in (2, 3):
            assert not await third.finished(key(epoch), "a.bin", "a.bin", 7)
        async with await third.begin(key(3), "a.bin", 7) as upload:
            await upload.write(0, b"our own")
            await self.make_fenceable(third, upload, 7)
            assert not await worker().finished(key(4), "a.bin", "a.bin", 7)
            await upload.abort()
        await third.discard(key(4), "a.bin")
        assert everything() == {"a.bin"}

    @pytest.mark.parametrize("replace", [False, True])
    async def test_crash_at_each_step_of_commit(
        self, worker: Open, replace: bool, everything: Callable[[], set[str]]
    ) -> None:
        for step, method in enumerate(self.crash_points):
            owner, name, data = key(1, item=step), f"{step}.bin", content(MIB, step)
            async with await worker().begin(owner, name, MIB) as upload:
                await upload.write(0, data)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(upload, method, crash)
                    with pytest.raises(Crash):
                        await upload.commit(name, MIB, replace=replace)
                second, claim = worker(), key(2, item=step)
                went_through = await second.finished(claim, name, name, MIB) is not None
                assert went_through == (step > 0)
                if not went_through:
                    await save(second, name, data, claim)
                await upload.abort()  # the worker was only frozen, and cleans up
            assert await second.finished(key(3, item=step), name, name, MIB)
            assert await load(second, name) == data
        assert everything() == {f"{step}.bin" for step in range(len(self.crash_points))}

    @needs("fences")
    async def test_commit_races_with_the_next_claim(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        first, second, rng = worker(), worker(), random.Random(0)

        async def commit(upload: Upload, name: str) -> bool:
            await ticks(rng.randrange(6))
            try:
                await upload.commit(name, 1, replace=False)
            except Fenced:
                return False
            return True

        async def finish(item: int, name: str) -> bool:
            await ticks(rng.randrange(6))
            return await second.finished(key(2, item=item), name, name, 1) is not None

        for item in range(100):
            async with await first.begin(key(1, item=item), f"{item}", 1) as upload:
                await upload.write(0, b"x")
                committed, finished = await asyncio.gather(commit(upload, f"{item}"), finish(item, f"{item}"))
                assert committed == finished
                if not finished:
                    await second.discard(key(2, item=item), f"{item}")
                assert (f"{item}" in everything()) == committed
        assert all("." not in name for name in everything())
