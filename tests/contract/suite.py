"""The storage contract as tests. A backend inherits `StorageSuite` and says how to open it.

A "worker" here is a storage object of its own over the same place; a "crash" is an upload that is left alone,
its handles still open: exactly what a frozen process looks like to the one that takes over.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saveany.errors import Fenced, NameTaken, StorageError, StorageUnavailable, UnsafePath
from storages.base import Range, Storage, Upload, UploadKey

MIB = 1 << 20

#: Makes another worker's view of the same place.
Open = Callable[[], Storage]

RELAXED = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)

ESCAPES = [
    "",
    "/",
    "/etc/passwd",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "a//b",
    "a/",
    "./a",
    "a/./b",
    "a\0b",
    "\0",
    "x" * 256,
    "é" * 128,
    "a/" + "x" * 256,
    "half \ud800 pair",
]

HOSTILE_NAMES = [
    "a b",
    " leading and trailing ",
    "trailing.",
    "...",
    "..a",
    ".hidden",
    "-rf",
    "~",
    "$HOME",
    "%2e%2e%2f",
    "..\\..\\x",
    "C:\\x",
    "CON",
    "new\nline",
    "tab\t",
    "\x1b[31mred",
    "quote'\"`",
    "*?<>|:;&",
    "naïve",
    "файл",
    "文件.pdf",
    "👩‍👩‍👧‍👦.jpg",
    "\u202egnp.exe",
    "x" * 255,
    "é" * 127 + "x",
]


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def key(epoch: int = 1, task: str = "01J-task_A", item: int = 0) -> UploadKey:
    return UploadKey(task, item, epoch)


def parts(data: bytes, size: int = MIB) -> list[tuple[int, bytes]]:
    return [(offset, data[offset : offset + size]) for offset in range(0, len(data), size)]


async def fill(upload: Upload, data: bytes, *, seal: bool = False, start: int = 0) -> None:
    for offset, part in parts(data):
        await upload.write(start + offset, part)
    if seal:
        await upload.seal(start + len(data))


async def save(storage: Storage, path: str, data: bytes, owner: UploadKey | None = None) -> None:
    async with await storage.begin(owner or key(), path, len(data)) as upload:
        await fill(upload, data)
        await upload.commit(path, len(data), replace=False)


async def load(storage: Storage, path: str, offset: int = 0, size: int | None = None) -> bytes:
    return b"".join([piece async for piece in storage.read(path, offset, size)])


async def names(storage: Storage, path: str = "") -> list[str]:
    return [entry.name for entry in await storage.list(path)]


async def ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Crash(BaseException):
    """The process dies here: nothing of the code under test may catch it."""


def crash(*_: object, **__: object) -> None:
    raise Crash


#: What a storage must be able to do for a test, by the names of `Capabilities`; "-name": must not.
needs = pytest.mark.needs


class StorageSuite:
    """Tests every storage must pass; what it cannot do by its capabilities is skipped."""

    #: Methods of its Upload between which a crash of `commit` is tried, in the order they run.
    crash_points: tuple[str, ...] = ()

    @pytest.fixture
    def open_storage(self) -> Open:
        raise NotImplementedError("a backend says here how to open it")

    @pytest.fixture
    def everything(self) -> Callable[[], set[str]]:
        """Paths of all files in the place, hidden ones too, seen without the storage."""
        raise NotImplementedError("a backend says here what is in its place")

    @pytest.fixture
    async def worker(self, open_storage: Open) -> AsyncIterator[Open]:
        async with AsyncExitStack() as stack:

            def start() -> Storage:
                storage = open_storage()
                stack.push_async_callback(storage.close)
                return storage

            yield start

    @pytest.fixture
    async def storage(self, worker: Open) -> Storage:
        return worker()

    @pytest.fixture(autouse=True)
    def able(self, request: pytest.FixtureRequest, storage: Storage) -> None:
        for marker in request.node.iter_markers("needs"):
            for name in marker.args:
                if getattr(storage.capabilities, name.removeprefix("-")) == name.startswith("-"):
                    pytest.skip(f"{'has' if name.startswith('-') else 'lacks'} {name.removeprefix('-')}")

    # Bytes in, bytes out.

    @pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 1])
    async def test_round_trip(self, storage: Storage, size: int) -> None:
        await save(storage, "a/b.bin", content(size))
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
    async def test_parts_in_any_order_at_once(self, storage: Storage) -> None:
        data = content(9 * MIB + 1)
        shuffled = random.Random(1).sample(parts(data), 10)
        async with await storage.begin(key(), "a.bin", len(data)) as upload:
            await asyncio.gather(*(upload.write(offset, part) for offset, part in shuffled))
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(storage, "a.bin") == data

    @needs("random_writes")
    async def test_a_part_written_again(self, storage: Storage) -> None:
        data = content(2 * MIB)
        async with await storage.begin(key(), "a.bin", len(data)) as upload:
            await upload.write(MIB, b"x" * MIB)
            await fill(upload, data)
            await upload.commit("a.bin", len(data), replace=False)
        assert await load(storage, "a.bin") == data

    async def test_an_empty_part(self, storage: Storage) -> None:
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

    async def test_a_buffer_is_free_after_write(self, storage: Storage) -> None:
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

    @RELAXED
    @given(offset=st.integers(0, 3 * MIB), size=st.none() | st.integers(0, 3 * MIB))
    async def test_ranges_are_slices(self, storage: Storage, offset: int, size: int | None) -> None:
        data = content(2 * MIB + 7)
        if await storage.size("a.bin") is None:
            await save(storage, "a.bin", data)
        end = None if size is None else offset + size
        assert await load(storage, "a.bin", offset, size) == data[offset:end]

    async def test_a_reader_may_stop_early(self, storage: Storage) -> None:
        await save(storage, "a.bin", content(3 * MIB))
        async with AsyncExitStack() as stack:
            pieces = storage.read("a.bin")
            stack.push_async_callback(pieces.aclose)
            assert content(3 * MIB).startswith(await anext(pieces))

    # Whole or not at all.

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
    async def test_another_length_is_refused(
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
    async def test_a_missing_part_is_refused(
        self, storage: Storage, planned: int | None, missing: int
    ) -> None:
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
    async def test_less_than_planned_can_be_all(self, storage: Storage) -> None:
        async with await storage.begin(key(), "a.bin", MIB) as upload:
            await upload.write(0, b"short")
            await upload.commit("a.bin", 5, replace=False)
        assert await load(storage, "a.bin") == b"short"

    # Names that are taken.

    @needs("late_name")
    async def test_taken_name_then_another(self, storage: Storage) -> None:
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
    async def test_twenty_commits_one_winner(self, worker: Open, everything: Callable[[], set[str]]) -> None:
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
    async def test_a_folder_has_the_name(self, storage: Storage) -> None:
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
    async def test_a_file_where_a_folder_is_needed(self, storage: Storage) -> None:
        await save(storage, "a", b"file")
        with pytest.raises(StorageError, match="a"):
            await storage.begin(key(item=1), "a/b.bin", 1)
        with pytest.raises(StorageError):
            await storage.list("a")
        assert await load(storage, "a") == b"file"

    # Giving up.

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

    @needs("late_name")  # two uploads never share a key of S3
    async def test_discard_removes_every_earlier_part(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        first, second = worker(), worker()
        frozen = await first.begin(key(1), "a/b.bin", 5)
        other = await first.begin(key(1, item=1), "a/b.bin", 5)
        await frozen.write(0, b"hello")
        await self._ready(first, frozen, 5)
        await second.discard(key(2), "a/b.bin")
        with pytest.raises(Fenced):
            await frozen.commit("a/b.bin", 5, replace=False)
        await other.write(0, b"other")
        await other.commit("a/b.bin", 5, replace=False)
        assert everything() == {"a/b.bin"}
        await frozen.abort()

    async def test_discard_of_nothing(self, storage: Storage) -> None:
        await storage.discard(key(), "no/such/file.bin")
        await save(storage, "a.bin", b"x")
        await storage.discard(key(), "a.bin")
        assert await load(storage, "a.bin") == b"x"

    async def test_discard_leaves_a_later_claim_alone(self, worker: Open) -> None:
        first, second = worker(), worker()
        async with await second.begin(key(2), "a.bin", 1) as upload:
            await upload.write(0, b"x")
            await first.discard(key(1), "a.bin")
            await upload.commit("a.bin", 1, replace=False)
        assert await second.size("a.bin") == 1

    # One worker dies or freezes, another takes over.

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
    async def test_the_earlier_writer_is_fenced(
        self, worker: Open, epoch: int, replace: bool, everything: Callable[[], set[str]]
    ) -> None:
        first = worker()
        second = first if epoch == 1 else worker()  # an epoch belongs to one process
        async with AsyncExitStack() as stack:
            old = await stack.enter_async_context(await first.begin(key(1), "a.bin", MIB))
            await old.write(0, b"old!" * (MIB // 4))
            await self._ready(first, old, MIB)
            new = await stack.enter_async_context(await second.begin(key(epoch), "a.bin", MIB))
            await new.write(0, content(MIB))
            await self._try_late_write(old)
            with pytest.raises(Fenced):
                await old.commit("a.bin", MIB, replace=replace)
            await old.abort()
            assert await worker().size("a.bin") is None
            await new.commit("a.bin", MIB, replace=replace)
        assert await load(worker(), "a.bin") == content(MIB)
        assert everything() == {"a.bin"}

    async def test_the_earlier_writer_wakes_after_the_end(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        async with await worker().begin(key(1), "a.bin", MIB) as old:
            await old.write(0, b"old!" * (MIB // 4))
            await self._ready(worker(), old, MIB)
            await save(worker(), "a.bin", content(MIB), key(2))
            await self._try_late_write(old)
            for replace in (False, True):
                with pytest.raises(Fenced):
                    await old.commit("a.bin", MIB, replace=replace)
            await old.abort()
        assert await load(worker(), "a.bin") == content(MIB)
        assert everything() == {"a.bin"}

    async def _try_late_write(self, old: Upload) -> None:
        """A fenced writer may be told or not; its bytes may go nowhere that counts."""
        with suppress(StorageError, Fenced):
            await old.write(0, b"LATE" * (MIB // 4))

    async def _ready(self, storage: Storage, upload: Upload, size: int) -> None:
        """Bring an upload as far as the next claim can stop it."""
        if not storage.capabilities.fences:
            await upload.seal(size)

    @needs("late_name")  # what S3 has of an upload it keeps in whole parts, without our epoch
    async def test_a_late_begin_of_an_earlier_claim_cannot_take_over(self, worker: Open) -> None:
        async with await worker().begin(key(3), "a.bin", 1) as upload:
            await upload.write(0, b"3")
            await self._ready(worker(), upload, 1)
            with pytest.raises(Fenced):
                await worker().begin(key(2), "a.bin", 1)
            await upload.commit("a.bin", 1, replace=False)

    # What is durable is not fetched twice.

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
    @pytest.mark.parametrize("looked", [False, True])
    async def test_resume(self, worker: Open, looked: bool, everything: Callable[[], set[str]]) -> None:
        data, keep = content(5 * MIB), [(0, 2 * MIB), (3 * MIB, 4 * MIB)]
        chunks = parts(data)
        async with await worker().begin(key(1), "d/a.bin", len(data)) as crashed:
            for number in (0, 1, 3):
                await crashed.write(*chunks[number])
            await crashed.sync([])
            await crashed.write(4 * MIB, b"unsafe" * 1000)
        if looked:
            assert not await worker().finished(key(2), "d/a.bin", "d/a.bin", len(data))
        async with await worker().begin(key(2), "d/a.bin", len(data), keep) as upload:
            assert upload.kept == tuple(keep)
            for number in (2, 4):
                with pytest.raises(StorageError, match="written were"):
                    await upload.commit("d/a.bin", len(data), replace=False)
                await upload.write(*chunks[number])
            await upload.commit("d/a.bin", len(data), replace=False)
        assert await load(worker(), "d/a.bin") == data
        assert everything() == {"d/a.bin"}

    @needs("late_name")  # what S3 has of an upload it keeps in whole parts, without our epoch
    @needs("resumes")
    @pytest.mark.parametrize("replace", [False, True])
    async def test_resume_of_what_is_complete(self, worker: Open, replace: bool) -> None:
        data = content(2 * MIB + 1)
        async with await worker().begin(key(1), "a.bin", len(data)) as crashed:
            await fill(crashed, data)
            await crashed.sync([])
        async with await worker().begin(key(2), "a.bin", len(data), [(0, len(data))]) as upload:
            await upload.commit("a.bin", len(data), replace=replace)
        assert await load(worker(), "a.bin") == data

    @needs("resumes")
    @pytest.mark.parametrize("size", [MIB, 2 * MIB + 1, 4 * MIB])
    async def test_resume_of_more_than_there_is(self, worker: Open, size: int) -> None:
        """A checkpoint of another storage's, or of a part that is gone."""
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
    async def test_resume_of_nothing(self, storage: Storage, epoch: int) -> None:
        async with await storage.begin(key(epoch), "a.bin", 2, [(0, 1)]) as upload:
            assert upload.kept == ()
            await upload.write(0, b"ab")
            await upload.commit("a.bin", 2, replace=False)
        assert await load(storage, "a.bin") == b"ab"

    @needs("late_name")  # what S3 has of an upload it keeps in whole parts, without our epoch
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
    async def test_a_resumed_upload_is_fenced_from_the_earlier_writer(
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
                    await old.write(MIB, data[MIB:])  # of the same source: what belongs there
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
    async def test_a_crash_at_each_step_of_a_resumed_commit(
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
    async def test_resume_after_any_lives(
        self, storage: Storage, lives: list[tuple[set[int], set[int]]]
    ) -> None:
        """Each life makes some parts durable, and has others under way when it dies."""
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
            await self._ready(second, old, 1)
            if await second.finished(key(2), "a/b.bin", "a/b.bin", 1):  # it may do what is missing
                assert await load(second, "a/b.bin") == b"x"
                return
            with pytest.raises(Fenced):
                await old.commit("a/b.bin", 1, replace=False)

    async def test_finished_after_a_commit(self, worker: Open) -> None:
        await save(worker(), "a/b.bin", b"x", key(1))
        assert await worker().finished(key(2), "a/b.bin", "a/b.bin", 1)
        assert not await worker().finished(key(2), "a/b.bin", "a/b.bin", 2)
        assert not await worker().finished(key(2), "a/b.bin", "a/c.bin", 1)

    async def test_finished_is_not_fooled_by_a_foreign_file(
        self, worker: Open, everything: Callable[[], set[str]]
    ) -> None:
        await save(worker(), "a.bin", b"foreign", key(item=1))
        async with await worker().begin(key(1), "a.bin", 7) as old:
            await old.write(0, b"our own")
            await self._ready(worker(), old, 7)
        third = worker()
        for epoch in (2, 3):
            assert not await third.finished(key(epoch), "a.bin", "a.bin", 7)
        async with await third.begin(key(3), "a.bin", 7) as upload:
            await upload.write(0, b"our own")
            await self._ready(third, upload, 7)
            assert not await worker().finished(key(4), "a.bin", "a.bin", 7)
            await upload.abort()
        await third.discard(key(4), "a.bin")
        assert everything() == {"a.bin"}

    @pytest.mark.parametrize("replace", [False, True])
    async def test_a_crash_at_each_step_of_commit(
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
                went_through = await second.finished(claim, name, name, MIB)
                assert went_through == (step > 0)
                if not went_through:
                    await save(second, name, data, claim)
                await upload.abort()  # the dead worker was only frozen, and cleans up after itself
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

        async def look(item: int, name: str) -> bool:
            await ticks(rng.randrange(6))
            return await second.finished(key(2, item=item), name, name, 1)

        for item in range(100):
            async with await first.begin(key(1, item=item), f"{item}", 1) as upload:
                await upload.write(0, b"x")
                committed, finished = await asyncio.gather(commit(upload, f"{item}"), look(item, f"{item}"))
                assert committed == finished
                if not finished:
                    await second.discard(key(2, item=item), f"{item}")
                assert (f"{item}" in everything()) == committed
        assert all("." not in name for name in everything())

    async def test_a_cancelled_commit_is_whole_or_not_there(
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

    # Paths and names.

    @pytest.mark.parametrize("path", ESCAPES, ids=repr)
    async def test_unsafe_paths_are_refused(
        self, storage: Storage, path: str, everything: Callable[[], set[str]]
    ) -> None:
        with pytest.raises(UnsafePath):
            await storage.begin(key(), path, 1)
        for call in (storage.size, storage.delete):
            with pytest.raises(UnsafePath):
                await call(path)
        with pytest.raises(UnsafePath):
            await storage.discard(key(), path)
        with pytest.raises(UnsafePath):
            await storage.finished(key(), path, path, 1)
        with pytest.raises(UnsafePath):
            await load(storage, path)
        if path:
            with pytest.raises(UnsafePath):
                await storage.list(path)
        assert everything() == set()

    @pytest.mark.parametrize("path", ["../a.bin", "/a.bin", "b/../../a.bin", "", "other/a.bin"])
    async def test_commit_stays_in_its_folder(
        self, storage: Storage, path: str, everything: Callable[[], set[str]]
    ) -> None:
        await save(storage, "other/b.bin", b"x")
        async with await storage.begin(key(item=1), "b/a.bin", 1) as upload:
            await upload.write(0, b"x")
            with pytest.raises(StorageError):
                await upload.commit(path, 1, replace=True)
            await upload.abort()
        assert everything() == {"other/b.bin"}

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    async def test_odd_names_are_names(
        self, storage: Storage, name: str, everything: Callable[[], set[str]]
    ) -> None:
        path = f"{name}/{name}"
        await save(storage, path, b"x")
        assert await load(storage, path) == b"x"
        assert await names(storage) == await names(storage, name) == [name]
        assert everything() == {path}

    async def test_names_that_look_alike_are_two(self, storage: Storage) -> None:
        composed, decomposed = "\u00e9", "e\u0301"
        await save(storage, composed, b"1")
        await save(storage, decomposed, b"2", key(item=1))
        assert await load(storage, composed) == b"1"

    async def test_deep_folders(self, storage: Storage) -> None:
        path = "/".join("abcdefghij" * 6) + "/x.bin"
        await save(storage, path, b"x")
        assert await load(storage, path) == b"x"

    async def test_twenty_uploads_make_one_folder(self, storage: Storage) -> None:
        await asyncio.gather(*(save(storage, f"a/b/c/{n:02}", b"x", key(item=n)) for n in range(20)))
        assert await names(storage, "a/b/c") == [f"{n:02}" for n in range(20)]

    @RELAXED
    @given(st.lists(st.text(max_size=12) | st.sampled_from([".", "..", "a"]), max_size=4).map("/".join))
    async def test_any_path_is_kept_or_refused(
        self, storage: Storage, everything: Callable[[], set[str]], rest: str
    ) -> None:
        path = f"{secrets.token_hex(4)}/{rest}"  # each example has its folder: those of others stay
        try:
            await save(storage, path, b"x")
        except UnsafePath:
            assert everything() == set()
        else:
            assert everything() == {path}
            assert await load(storage, path) == b"x"
            await storage.delete(path)

    # Looking around.

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
    async def test_list_of_nothing(self, storage: Storage) -> None:
        assert await storage.list("") == []
        if storage.capabilities.folders:
            with pytest.raises(StorageError):
                await storage.list("no/such/folder")
        else:
            assert await storage.list("no/such/folder") == []

    async def test_what_is_not_there(self, storage: Storage) -> None:
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
    async def test_a_folder_is_no_file(self, storage: Storage) -> None:
        await save(storage, "a/b.bin", b"x")
        assert await storage.size("a") is None
        with pytest.raises(StorageError):
            await load(storage, "a")

    # What else there is.

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
        await storage.move("a/b.bin", "d/e/f.bin")
        assert everything() == {"c.bin", "d/e/f.bin"}
        await storage.move("d/e/f.bin", "c.bin", replace=True)
        assert everything() == {"c.bin"}
        assert await load(storage, "c.bin") == b"first"
        with pytest.raises(StorageError):
            await storage.move("gone", "x")

    @needs("copies")
    async def test_copy(self, storage: Storage, everything: Callable[[], set[str]]) -> None:
        data = content(2 * MIB + 1)
        await save(storage, "a/b.bin", data)
        await save(storage, "c.bin", b"second", key(item=1))
        with pytest.raises(NameTaken):
            await storage.copy("a/b.bin", "c.bin")
        await storage.copy("a/b.bin", "d/e.bin")
        await storage.copy("a/b.bin", "c.bin", replace=True)
        assert everything() == {"a/b.bin", "d/e.bin", "c.bin"}
        assert await load(storage, "d/e.bin") == await load(storage, "c.bin") == data
        with pytest.raises(StorageError):
            await storage.copy("gone", "x")

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
    async def test_a_copy_that_fails_leaves_nothing(
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

    @needs("-random_writes")
    async def test_out_of_order_is_refused(self, storage: Storage) -> None:
        async with await storage.begin(key(), "a.bin", 2 * MIB) as upload:
            await upload.write(0, content(1000))
            with pytest.raises(StorageError):
                await upload.write(MIB, content(MIB))
            await upload.abort()

    @needs("resumes", "-random_writes")
    async def test_a_beginning_is_kept(self, worker: Open, everything: Callable[[], set[str]]) -> None:
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

    # Which disk it is.

    async def test_identity_of_what_has_none(self, storage: Storage) -> None:
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
