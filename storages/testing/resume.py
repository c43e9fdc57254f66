"""Bytes that an earlier epoch has made durable are kept."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import Fenced, StorageError
from storages.base import Range, Storage, Upload
from storages.testing.base import SuiteBase
from storages.testing.helpers import (
    MIB,
    RELAXED,
    Crash,
    Open,
    content,
    crash,
    fill,
    key,
    load,
    needs,
    parts,
)


class ResumeTests(SuiteBase):
    """Bytes that an earlier epoch has made durable are kept."""

    @needs("resumes", "random_writes")
    async def test_resume_keeps_all_or_nothing(self, worker: Open, storage: Storage) -> None:
        keep = ((0, MIB),)
        async with await worker().begin(key(1), "a.bin", 2 * MIB) as old:
            await old.write(0, content(2 * MIB)[:MIB])
            await old.sync([])
        async with await worker().begin(key(2), "a.bin", 2 * MIB, keep) as upload:
            assert upload.kept == (keep if storage.capabilities.resumes else ())
            await upload.abort()

    @needs("random_writes")
    @needs("resumes")
    @pytest.mark.parametrize("checked_before", [False, True])
    async def test_resume(
        self, worker: Open, checked_before: bool, everything: Callable[[], set[str]]
    ) -> None:
        data, keep = content(5 * MIB), [(0, 2 * MIB), (3 * MIB, 4 * MIB)]
        chunks = parts(data)
        async with await worker().begin(key(1), "d/a.bin", len(data)) as crashed:
            for number in (0, 1, 3):
                await crashed.write(*chunks[number])
            await crashed.sync([])
            await crashed.write(4 * MIB, b"unsafe" * 1000)
        if checked_before:
            assert not await worker().finished(key(2), "d/a.bin", "d/a.bin", len(data))
        async with await worker().begin(key(2), "d/a.bin", len(data), keep) as upload:
            assert upload.kept == tuple(keep)
            for number in (2, 4):
                with pytest.raises(StorageError, match="were written"):
                    await upload.commit("d/a.bin", len(data), replace=False)
                await upload.write(*chunks[number])
            await upload.commit("d/a.bin", len(data), replace=False)
        assert await load(worker(), "d/a.bin") == data
        assert everything() == {"d/a.bin"}

    @needs("late_name")  # S3 keeps whole parts, without an epoch
    @needs("resumes")
    @pytest.mark.parametrize("replace", [False, True])
    async def test_resume_of_a_complete_part(self, worker: Open, replace: bool) -> None:
        data = content(2 * MIB + 1)
        async with await worker().begin(key(1), "a.bin", len(data)) as crashed:
            await fill(crashed, data)
            await crashed.sync([])
        async with await worker().begin(key(2), "a.bin", len(data), [(0, len(data))]) as upload:
            await upload.commit("a.bin", len(data), replace=replace)
        assert await load(worker(), "a.bin") == data

    @needs("resumes")
    @pytest.mark.parametrize("size", [MIB, 2 * MIB + 1, 4 * MIB])
    async def test_resume_beyond_the_end_of_the_part(self, worker: Open, size: int) -> None:
        """As with a checkpoint of another storage, or of a part that is gone."""
        async with await worker().begin(key(1), "a.bin", 4 * MIB) as crashed:
            await crashed.write(0, b"x" * (size - 1))
            await crashed.sync([])
        async with await worker().begin(key(2), "a.bin", 4 * MIB, [(0, size)]) as upload:
            assert upload.kept == ()
            with pytest.raises(StorageError):
                await upload.commit("a.bin", 4 * MIB, replace=False)
            await fill(upload, content(4 * MIB))
            await upload.commit("a.bin", 4 * MIB, replace=False)
        assert await load(worker(), "a.bin") == content(4 * MIB)

    @pytest.mark.parametrize("epoch", [1, 2])
    async def test_resume_without_a_part(self, storage: Storage, epoch: int) -> None:
        async with await storage.begin(key(epoch), "a.bin", 2, [(0, 1)]) as upload:
            assert upload.kept == ()
            await upload.write(0, b"ab")
            await upload.commit("a.bin", 2, replace=False)
        assert await load(storage, "a.bin") == b"ab"

    @needs("late_name")  # S3 keeps whole parts, without an epoch
    @needs("resumes")
    async def test_resume_within_one_claim(
        self, storage: Storage, everything: Callable[[], set[str]]
    ) -> None:
        data = content(4 * MIB)
        for number, (offset, part) in enumerate(parts(data)):
            keep = [(0, offset)] if offset else []
            async with await storage.begin(key(1), "a.bin", len(data), keep) as upload:
                assert upload.kept == tuple(keep), number
                await upload.write(offset, part)
                await upload.sync([])
        async with await storage.begin(key(1), "a.bin", len(data), [(0, len(data))]) as upload:
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(storage, "a.bin") == data
        assert everything() == {"a.bin"}

    @needs("fences")
    @needs("resumes")
    @pytest.mark.parametrize("replace", [False, True])
    async def test_earlier_writer_of_a_resumed_upload_is_fenced(
        self, worker: Open, replace: bool, everything: Callable[[], set[str]]
    ) -> None:
        data = content(2 * MIB)
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(await worker().begin(key(1), "a.bin", len(data)))
            await fill(first, data)
            await first.sync([])
            olds = [first]
            for epoch in (2, 3):
                keep = [(0, MIB)]
                new = await worker().begin(key(epoch), "a.bin", len(data), keep)
                await stack.enter_async_context(new)
                assert new.kept == tuple(keep)
                for old in olds:
                    await old.write(MIB, data[MIB:])  # the same source: the right bytes for this place
                    with pytest.raises(Fenced):
                        await old.commit("a.bin", len(data), replace=replace)
                    await old.abort()
                olds = [new]
            assert await worker().size("a.bin") is None
            await new.write(MIB, data[MIB:])
            await new.commit("a.bin", len(data), replace=replace)
        assert await load(worker(), "a.bin") == data
        assert everything() == {"a.bin"}

    @needs("resumes")
    async def test_crash_at_each_step_of_a_resumed_commit(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        for step, method in enumerate(self.crash_points):
            name, data = f"{step}.bin", content(MIB, step)
            async with await worker().begin(key(1, item=step), name, MIB) as upload:
                await upload.write(0, data)
                await upload.sync([])
            for epoch in (2, 3):
                claim = key(epoch, item=step)
                async with await worker().begin(claim, name, MIB, [(0, MIB)]) as upload:
                    with pytest.MonkeyPatch.context() as patch:
                        patch.setattr(upload, method, crash)
                        with pytest.raises(Crash):
                            await upload.commit(name, MIB, replace=False)
                if await worker().finished(key(epoch + 1, item=step), name, name, MIB):
                    break
            else:
                async with await worker().begin(key(4, item=step), name, MIB, [(0, MIB)]) as upload:
                    assert upload.kept
                    await upload.commit(name, MIB, replace=False)
            assert await load(worker(), name) == data
        assert everything() == {f"{step}.bin" for step in range(len(self.crash_points))}

    @needs("resumes", "random_writes")
    @RELAXED
    @given(lives=st.lists(st.tuples(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7))), max_size=4))
    async def test_resume_after_any_sequence_of_crashes(
        self, storage: Storage, lives: list[tuple[set[int], set[int]]]
    ) -> None:
        """Each worker makes some parts durable, and is writing others when it crashes."""
        data, done, name = content(8 * 4096 - 7), set[int](), secrets.token_hex(8)
        chunks = parts(data, 4096)

        async def begin(epoch: int) -> Upload:
            keep = [(offset, offset + len(part)) for offset, part in (chunks[n] for n in sorted(done))]
            upload = await storage.begin(key(epoch, task=name), name, len(data), keep)
            assert upload.kept == tuple(keep)
            return upload

        for epoch, (durable, lost) in enumerate(lives, 1):
            async with await begin(epoch) as upload:
                for number in durable:
                    await upload.write(*chunks[number])
                await upload.sync([])
                done |= durable
                for number in lost - done:
                    await upload.write(chunks[number][0], b"lost")
        async with await begin(len(lives) + 1) as upload:
            for number in set(range(8)) - done:
                with pytest.raises(StorageError):
                    await upload.commit(name, len(data), replace=False)
                await upload.write(*chunks[number])
            await upload.commit(name, len(data), replace=False)
        assert await load(storage, name) == data

    @needs("resumes", "-random_writes")
    async def test_resume_of_a_prefix(self, worker: Open, everything: Callable[[], set[str]]) -> None:
        data = content(24 * MIB + 5)
        async with await worker().begin(key(1), "d/a.bin", len(data)) as crashed:
            await fill(crashed, data[: 20 * MIB])
            durable: tuple[Range, ...] = ()
            async with asyncio.timeout(30):
                while not durable:
                    durable = tuple(await crashed.sync([(0, 20 * MIB)]))
                    await asyncio.sleep(0.01)
        assert durable[0][0] == 0
        async with await worker().begin(key(2), "d/a.bin", len(data), durable) as upload:
            assert upload.kept == durable
            start = durable[0][1]
            for offset, part in parts(data[start:]):
                await upload.write(start + offset, part)
            await upload.commit("d/a.bin", len(data), replace=False)
        assert await load(worker(), "d/a.bin") == data
        assert everything() == {"d/a.bin"}
