"""Every byte that is written is read back, in whatever pieces and order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import StorageError
from storages.base import Storage
from storages.testing.base import SuiteBase
from storages.testing.helpers import (
    MIB,
    RELAXED,
    content,
    fill,
    key,
    load,
    needs,
    parts,
    save,
)


class ContentTests(SuiteBase):
    """Every byte that is written is read back, in whatever pieces and order."""

    @pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 1])
    async def test_round_trip(self, storage: Storage, size: int) -> None:
        receipt = await save(storage, "a/b.bin", content(size))
        assert (receipt.path, receipt.size) == ("a/b.bin", size)
        assert await load(storage, "a/b.bin") == content(size)
        assert await storage.size("a/b.bin") == size

    @needs("-needs_size")
    @pytest.mark.parametrize("size", [0, 3 * MIB + 1])
    async def test_size_unknown_before(self, storage: Storage, size: int) -> None:
        async with await storage.begin(key(), "a.bin", None) as upload:
            await fill(upload, content(size))
            await upload.commit("a.bin", size, replace=False)
        assert await load(storage, "a.bin") == content(size)

    @needs("random_writes")
    async def test_concurrent_parts_in_any_order(self, storage: Storage) -> None:
        data = content(9 * MIB + 1)
        shuffled = random.Random(1).sample(parts(data), 10)
        async with await storage.begin(key(), "a.bin", len(data)) as upload:
            await asyncio.gather(*(upload.write(offset, part) for offset, part in shuffled))
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(storage, "a.bin") == data

    @needs("random_writes")
    async def test_part_written_twice(self, storage: Storage) -> None:
        data = content(2 * MIB)
        async with await storage.begin(key(), "a.bin", len(data)) as upload:
            await upload.write(MIB, b"x" * MIB)
            await fill(upload, data)
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(storage, "a.bin") == data

    async def test_empty_part(self, storage: Storage) -> None:
        async with await storage.begin(key(), "a.bin", 0) as upload:
            await upload.write(0, b"")
            await upload.commit("a.bin", 0, replace=False)
        assert await storage.size("a.bin") == 0

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_every_kind_of_buffer(
        self, storage: Storage, kind: Callable[[bytes], bytes | bytearray | memoryview]
    ) -> None:
        async with await storage.begin(key(), "a.bin", 5) as upload:
            await upload.write(0, kind(b"hello"))
            await upload.commit("a.bin", 5, replace=False)
        assert await load(storage, "a.bin") == b"hello"

    async def test_buffer_may_be_reused_after_write(self, storage: Storage) -> None:
        buffer, data = bytearray(MIB), content(4 * MIB)
        async with await storage.begin(key(), "a.bin", len(data)) as upload:
            for offset, part in parts(data):
                buffer[:] = part
                await upload.write(offset, memoryview(buffer))
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(storage, "a.bin") == data

    @needs("reads_back")
    async def test_read_back(self, storage: Storage) -> None:
        data = content(3 * MIB)
        async with await storage.begin(key(), "a.bin", None) as upload:
            await fill(upload, data)
            await upload.sync([])
            assert await upload.read(MIB - 5, MIB) == data[MIB - 5 : 2 * MIB - 5]
            assert await upload.read(3 * MIB - 5, MIB) == data[-5:]
            assert await upload.read(3 * MIB, MIB) == b""
            await upload.abort()

    @needs("-random_writes")
    async def test_out_of_order_is_refused(self, storage: Storage) -> None:
        async with await storage.begin(key(), "a.bin", 2 * MIB) as upload:
            await upload.write(0, content(1000))
            with pytest.raises(StorageError):
                await upload.write(MIB, content(MIB))
            await upload.abort()

    @RELAXED
    @given(offset=st.integers(0, 3 * MIB), size=st.none() | st.integers(0, 3 * MIB))
    async def test_ranges_are_slices(self, storage: Storage, offset: int, size: int | None) -> None:
        data = content(2 * MIB + 7)
        if await storage.size("a.bin") is None:
            await save(storage, "a.bin", data)
        end = None if size is None else offset + size
        assert await load(storage, "a.bin", offset, end) == data[offset:end]

    async def test_reading_may_stop_early(self, storage: Storage) -> None:
        await save(storage, "a.bin", content(3 * MIB))
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(await storage.open("a.bin"))
            pieces = reader.read()
            stack.push_async_callback(pieces.aclose)
            assert content(3 * MIB).startswith(await anext(pieces))

    async def test_reader_describes_the_file(self, storage: Storage) -> None:
        receipt = await save(storage, "a/b.bin", content(MIB + 1))
        entry = await storage.stat("a/b.bin")
        assert entry is not None
        async with await storage.open("a/b.bin") as reader:
            assert (reader.path, reader.size, reader.modified_at) == (
                "a/b.bin",
                MIB + 1,
                entry.modified_at,
            )
            assert not receipt.version or reader.version == receipt.version

    async def test_one_reader_reads_several_ranges(self, storage: Storage) -> None:
        data = content(2 * MIB)
        await save(storage, "a.bin", data)

        async def part(start: int, end: int) -> bytes:
            return b"".join([piece async for piece in reader.read(start, end)])

        async with await storage.open("a.bin") as reader:
            ranges = [(0, 10), (MIB - 5, MIB + 5), (2 * MIB - 1, 3 * MIB), (5, 5)]
            found = await asyncio.gather(*(part(start, end) for start, end in ranges))
        assert found == [data[start:end] for start, end in ranges]

    @pytest.mark.parametrize("size", [MIB, 3 * MIB])
    async def test_bytes_of_two_versions_are_never_mixed(self, storage: Storage, size: int) -> None:
        """A file that is replaced while it is read is read as it was, or reading raises."""
        old, new = content(2 * MIB), content(size, seed=1)
        await save(storage, "a.bin", old)
        async with await storage.open("a.bin") as reader:
            first = b"".join([piece async for piece in reader.read(0, MIB)])
            async with await storage.begin(key(item=1), "a.bin", size) as upload:
                await fill(upload, new)
                await upload.commit("a.bin", size, replace=True)
            with suppress(StorageError):
                assert first + b"".join([piece async for piece in reader.read(MIB)]) == old
        assert await load(storage, "a.bin") == new
