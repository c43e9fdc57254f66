"""Which parts of an earlier upload a `local` upload may reuse, and which it must not."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from saveany.errors import (
    Fenced,
    NoSpace,
    StorageUnavailable,
)
from storages.local import jail
from storages.local import upload as local_upload
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.testing.helpers import MIB, content, crash, fill, key, load, parts, save
from tests.contract.disk import descriptors, files, mounted, refuse


class TestLostBytes:
    """Linux reports lost bytes once; the next flush succeeds and proves nothing."""

    @pytest.mark.parametrize("method", ["sync", "commit"])
    async def test_are_never_committed(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        def lose(_: int) -> None:
            raise OSError(errno.EIO, "lost")

        async with await storage.begin(key(), "a.bin", 1) as upload:
            await upload.write(0, b"x")
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", lose)
                patch.setattr(os, "fdatasync", lose)
                with pytest.raises(StorageUnavailable, match="system log"):
                    await (upload.sync([]) if method == "sync" else upload.commit("a.bin", 1, replace=False))
            for again in (upload.sync([]), upload.commit("a.bin", 1, replace=False)):
                with pytest.raises(StorageUnavailable, match="system log"):
                    await again
            await upload.abort()
        assert files(base) == set()
        await save(storage, "a.bin", b"x")
        assert files(base) == {"a.bin"}


class TestResume:
    KEEP = ((0, MIB), (2 * MIB, 3 * MIB))

    @pytest.fixture
    async def left(self, storage: LocalStorage, base: Path) -> Path:
        """The part of an upload of 4 MiB by epoch 1: the first and the third MiB."""
        async with await storage.begin(key(1), "a.bin", 4 * MIB) as upload:
            for offset, data in parts(content(4 * MIB))[0:3:2]:
                await upload.write(offset, data)
            await upload.sync([])
        (part,) = base.iterdir()
        return part

    async def resumes(self, storage: LocalStorage, size: int | None = 4 * MIB) -> bool:
        async with await storage.begin(key(2), "a.bin", size, self.KEEP) as upload:
            assert upload.kept in ((), self.KEEP)
            assert len(await upload.read(0, 1)) == len(upload.kept[:1])
            return bool(upload.kept)

    async def test_a_worker_that_was_frozen_meanwhile_writes_nothing(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Although it has the same file open as the worker that continues."""
        monkeypatch.setattr(local_upload, "_MAYBE_FROZEN", 0.0)
        data, keep = content(4 * MIB), ((0, MIB),)
        async with await storage.begin(key(1), "a.bin", len(data)) as frozen:
            await frozen.write(0, data[:MIB])
            await frozen.sync([])
            async with await storage.begin(key(2), "a.bin", len(data), keep) as upload:
                assert upload.kept == keep
                with pytest.raises(Fenced):
                    await frozen.write(MIB, b"other bytes")
                await fill(upload, data[MIB:], start=MIB)
                await upload.commit("a.bin", len(data), replace=False)
            with pytest.raises(Fenced):
                await frozen.write(MIB, b"other bytes")
            await frozen.abort()
        assert await load(storage, "a.bin") == data
        assert files(base) == {"a.bin"}

    async def test_the_same_file_goes_on(self, storage: LocalStorage, base: Path, left: Path) -> None:
        before = left.stat().st_ino
        assert await self.resumes(storage)
        (part,) = base.iterdir()
        assert part.name == ".a.bin.01J-task_A-0.2.partial"
        assert part.stat().st_ino == before

    async def test_not_if_it_is_too_short(self, storage: LocalStorage, left: Path) -> None:
        os.truncate(left, 3 * MIB - 1)
        assert not await self.resumes(storage)

    async def test_not_if_all_of_it_is_beyond_the_end(self, storage: LocalStorage, left: Path) -> None:
        async with await storage.begin(key(2), "a.bin", 4 * MIB, [(3 * MIB, 4 * MIB)]) as upload:
            assert upload.kept == ()

    async def test_not_if_it_is_too_long(self, storage: LocalStorage, left: Path) -> None:
        assert not await self.resumes(storage, 3 * MIB - 1)

    async def test_not_if_the_size_is_unknown(self, storage: LocalStorage, left: Path) -> None:
        assert not await self.resumes(storage, None)

    async def test_not_over_a_hole(self, storage: LocalStorage, left: Path) -> None:
        """A checkpoint is not enough: a power failure can lose bytes and keep the length."""
        fd = os.open(left, os.O_RDWR)
        jail._call("fallocate64", fd, 3, ctypes.c_int64(2 * MIB), ctypes.c_int64(4096))  # punch a hole
        os.close(fd)
        assert left.stat().st_size == 3 * MIB
        assert not await self.resumes(storage)

    async def test_disk_that_does_not_report_holes(
        self, storage: LocalStorage, left: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lseek(*_: object) -> int:
            raise OSError(errno.EOPNOTSUPP, "as CIFS says")

        monkeypatch.setattr(os, "lseek", lseek)
        assert await self.resumes(storage)

    async def test_not_if_it_has_another_name(self, storage: LocalStorage, base: Path, left: Path) -> None:
        (base / "foreign").hardlink_to(left)
        assert not await self.resumes(storage)
        assert (base / "foreign").stat().st_size == 3 * MIB

    async def test_not_through_a_link(
        self, storage: LocalStorage, base: Path, left: Path, outside: Path
    ) -> None:
        left.rename(outside / "big")
        left.symlink_to(outside / "big")
        async with await storage.begin(key(2), "a.bin", 4 * MIB, [(0, 1)]) as upload:
            assert upload.kept == ()
        assert (outside / "big").stat().st_size == 3 * MIB

    async def test_the_newest_of_many(self, storage: LocalStorage, base: Path, left: Path) -> None:
        left.rename(base / ".a.bin.01J-task_A-0.10.partial")
        for epoch in (9, 2):
            (base / f".b.bin.01J-task_A-0.{epoch}.old.partial").write_bytes(bytes(3 * MIB))
        async with await storage.begin(key(11), "a.bin", 4 * MIB, self.KEEP) as upload:
            assert await upload.read(0, MIB) == content(4 * MIB)[:MIB]
        assert files(base) == {".a.bin.01J-task_A-0.11.partial"}

    async def test_a_live_upload_of_the_same_claim_is_not_shared(
        self, storage: LocalStorage, base: Path, left: Path
    ) -> None:
        async with await storage.begin(key(2), "a.bin", 4 * MIB, self.KEEP) as old:
            await fill(old, content(4 * MIB))
            async with await storage.begin(key(2), "a.bin", 4 * MIB, self.KEEP) as new:
                assert new.kept == ()
                with pytest.raises(Fenced):
                    await old.commit("a.bin", 4 * MIB, replace=False)
                await old.abort()
                assert len(files(base)) == 1

    async def test_a_frozen_writer_never_cuts_the_file(
        self, storage: LocalStorage, left: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with await storage.begin(key(2), "a.bin", 4 * MIB, self.KEEP) as old:
            await fill(old, content(4 * MIB))
            async with await storage.begin(key(3), "a.bin", 4 * MIB, self.KEEP) as new:
                with monkeypatch.context() as patch:
                    patch.setattr(os, "ftruncate", crash)
                    with pytest.raises(Fenced):
                        await old.commit("a.bin", 4 * MIB, replace=False)
                await fill(new, content(4 * MIB))
                await new.commit("a.bin", 4 * MIB, replace=False)
        assert await load(storage, "a.bin") == content(4 * MIB)

    async def test_failed_begin_keeps_the_part(
        self, storage: LocalStorage, base: Path, left: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = descriptors()
        with monkeypatch.context() as patch:
            refuse(patch, "fallocate64", errno.ENOSPC)
            for _ in range(2):
                with pytest.raises(NoSpace):
                    await storage.begin(key(2), "a.bin", 4 * MIB, self.KEEP)
        assert descriptors() == before
        assert len(files(base)) == 1
        assert await self.resumes(storage)

    async def test_no_more_room_than_is_missing(self, tmp_path: Path) -> None:
        """Space that the part occupies is not required again."""
        folder = tmp_path / "small"
        with mounted(folder):
            small = LocalStorage(LocalOptions(name="small", type="local", base_path=folder))
            data = content(3 * MIB // 2)
            async with await small.begin(key(1), "a.bin", len(data)) as upload:
                await upload.write(0, data[:MIB])
                await upload.sync([])
            async with await small.begin(key(2), "a.bin", len(data), [(0, MIB)]) as upload:
                assert upload.kept == ((0, MIB),)
                await upload.write(MIB, data[MIB:])
                await upload.commit("a.bin", len(data), replace=False)
            assert await load(small, "a.bin") == data
            await small.close()


async def test_written_bytes_are_scanned_in_order_without_being_kept(storage: LocalStorage) -> None:
    data = content(3 * MIB + 5)
    async with await storage.begin(key(), "a.bin", len(data)) as upload:
        await upload.write(0, data)
        for offset, size in ((0, len(data)), (7, 2 * MIB), (3 * MIB, 100), (len(data), 1), (0, 0)):
            found = bytearray()
            await upload.scan(offset, size, found.extend)
            assert found == data[offset : offset + size]
            assert found == await upload.read(offset, size)
        await upload.abort()
