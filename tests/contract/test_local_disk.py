"""Properties of a local disk: descriptors, mounts, and errors of the operating system."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from saveany.errors import (
    NoSpace,
    StorageError,
    StorageUnavailable,
    UnsafePath,
)
from storages.local import jail
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.testing.helpers import MIB, content, key, load, names, parts, save
from tests.contract.disk import descriptors, files, fill_up, mounted, refuse


class TestDescriptors:
    async def test_none_is_lost(self, storage: LocalStorage, outside: Path, base: Path) -> None:
        await save(storage, "a/taken.bin", b"x")
        (base / "link").symlink_to(outside)
        before = descriptors()
        for item in range(20):
            await save(storage, f"a/{item}.bin", content(10), key(item=item))
            async with await storage.begin(key(item=item), "a/b/c.bin", 5) as upload:
                await upload.sync([])
                await upload.abort()
            for path in ("link/x", "a/taken.bin/x", "a/taken.bin"):
                with pytest.raises(StorageError):
                    await save(storage, path, b"x", key(item=100 + item))
            await load(storage, "a/taken.bin")
            with pytest.raises(StorageError):
                await load(storage, "a")
            await storage.list("a")
            await storage.probe()
            await storage.finished(key(2), "a/x", "a/x", 1)
        assert descriptors() == before

    async def test_none_is_lost_by_a_cancel(self, storage: LocalStorage) -> None:
        await save(storage, "a.bin", content(2 * MIB))
        before = descriptors()
        for wait in range(30):
            for work in (storage.begin(key(item=wait), "b.bin", 10), load(storage, "a.bin")):
                task = asyncio.create_task(asyncio.wait_for(work, 5))
                for _ in range(1 + wait % 6):
                    await asyncio.sleep(0)
                task.cancel()
                (done,), _ = await asyncio.wait([task])
                if not done.cancelled() and not isinstance(upload := done.result(), bytes):
                    await upload.abort()
        assert descriptors() == before

    async def test_an_upload_closes_while_a_thread_writes(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A descriptor that is closed too soon may be another file's by the time the thread writes."""
        started, go = threading.Event(), threading.Event()
        pwrite = os.pwrite

        def slow(fd: int, data: bytes, offset: int) -> int:
            started.set()
            go.wait()
            return pwrite(fd, data, offset)

        upload = await storage.begin(key(), "a.bin", None)
        monkeypatch.setattr(os, "pwrite", slow)
        writing = asyncio.create_task(upload.write(0, b"late"))
        await asyncio.to_thread(started.wait)
        await upload.__aexit__()
        victim = (base.parent / "victim").open("wb")
        go.set()
        await writing
        victim.close()
        assert (base.parent / "victim").read_bytes() == b""

    async def test_canceled_write_releases_its_buffer(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started, go = threading.Event(), threading.Event()
        pwrite = os.pwrite

        def slow(fd: int, data: bytes, offset: int) -> int:
            started.set()
            go.wait()
            return pwrite(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", slow)
        buffer = bytearray(b"right")
        async with await storage.begin(key(), "a.bin", None) as upload:
            writing = asyncio.create_task(upload.write(0, buffer))
            await asyncio.to_thread(started.wait)
            for _ in range(3):
                writing.cancel()
                await asyncio.sleep(0)
            assert not writing.done()
            go.set()
            await asyncio.wait([writing])
            assert writing.cancelled()
            buffer.clear()  # a BufferError if anything still holds it
            assert await upload.read(0, 9) == b"right"
            with pytest.raises(StorageError):
                await upload.commit("a.bin", 5, replace=False)
            await upload.abort()

    async def test_canceled_sync_returns_at_once(
        self, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go = threading.Event()
        started = threading.Event()

        def slow(fd: int) -> None:
            started.set()
            go.wait()
            raise OSError(errno.EIO, "a disk that dies unheard")

        monkeypatch.setattr(os, "fsync", slow)
        monkeypatch.setattr(os, "fdatasync", slow)
        async with await storage.begin(key(), "a.bin", None) as upload:
            await upload.write(0, b"x")
            for work in (upload.sync([]), upload.commit("a.bin", 1, replace=False)):
                task = asyncio.create_task(work)
                await asyncio.to_thread(started.wait)
                started.clear()
                task.cancel()
                await asyncio.wait([task], timeout=5)
                assert task.cancelled()
            await upload.abort()
        go.set()
        assert await storage.size("a.bin") is None


class TestErrors:
    @pytest.fixture
    def mounted(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "mounted"
        with mounted(folder):
            yield folder

    @pytest.fixture
    async def small(self, mounted: Path) -> AsyncIterator[LocalStorage]:
        storage = LocalStorage(LocalOptions(name="small", type="local", base_path=mounted))
        yield storage
        await storage.close()

    async def test_too_large_file_is_refused_in_advance(self, small: LocalStorage, mounted: Path) -> None:
        with pytest.raises(NoSpace, match=r"'small': 'a.bin' needs 3\.0 MiB, 2\.0 MiB are free"):
            await small.begin(key(), "a.bin", 3 * MIB)
        assert files(mounted) == set()

    async def test_reserved_room_is_taken(self, small: LocalStorage, mounted: Path) -> None:
        async with await small.begin(key(), "a.bin", 3 * MIB // 2) as upload:
            with pytest.raises(NoSpace):
                await small.begin(key(item=1), "b.bin", MIB)
            await upload.abort()
        await save(small, "b.bin", content(MIB))
        assert files(mounted) == {"b.bin"}

    @pytest.mark.parametrize("tenth", range(10))
    async def test_the_disk_fills_up_meanwhile(self, small: LocalStorage, mounted: Path, tenth: int) -> None:
        data, filler = content(MIB), mounted / "filler"
        async with await small.begin(key(), "d/a.bin", None) as upload:
            tenths = parts(data, MIB // 10 + 1)
            for offset, part in tenths[:tenth]:
                await upload.write(offset, part)
            fill_up(filler)
            with pytest.raises(NoSpace, match="disk is full"):
                await upload.write(*tenths[tenth])
            await upload.abort()
        assert files(mounted) == {"d", "filler"}
        filler.unlink()
        await save(small, "d/a.bin", data, key(2))
        assert await load(small, "d/a.bin") == data

    async def test_room_was_made_meanwhile(self, small: LocalStorage, mounted: Path) -> None:
        data, filler = content(MIB), mounted / "filler"
        async with await small.begin(key(), "a.bin", None) as upload:
            await upload.write(0, data[: MIB // 2])
            fill_up(filler)
            with pytest.raises(NoSpace):
                await upload.write(MIB // 2, data[MIB // 2 :])
            with pytest.raises(StorageError, match="these were written: 0 to 524288"):
                await upload.commit("a.bin", MIB, replace=False)
            filler.unlink()
            await upload.write(MIB // 2, data[MIB // 2 :])
            await upload.commit("a.bin", MIB, replace=False)
        assert await load(small, "a.bin") == data

    async def test_durable_bytes_survive_a_full_disk(self, small: LocalStorage, mounted: Path) -> None:
        """Where room cannot be reserved, the disk can fill up under an upload of known size."""
        data, filler, half = content(MIB), mounted / "filler", MIB // 2
        with pytest.MonkeyPatch.context() as patch:
            refuse(patch, "fallocate64", errno.EOPNOTSUPP)
            async with await small.begin(key(1), "a.bin", MIB) as upload:
                await upload.write(0, data[:half])
                await upload.sync([])
                fill_up(filler)
                with pytest.raises(NoSpace):
                    await upload.write(half, data[half:])
        with pytest.raises(NoSpace, match=r"needs 0\.5 MiB, 0\.0 MiB are free"):
            await small.begin(key(2), "a.bin", MIB, [(0, half)])
        filler.unlink()
        async with await small.begin(key(3), "a.bin", MIB, [(0, half)]) as upload:
            assert upload.kept == ((0, half),)
            await upload.write(half, data[half:])
            await upload.commit("a.bin", MIB, replace=False)
        assert await load(small, "a.bin") == data

    async def test_probe_of_a_full_disk(self, small: LocalStorage, mounted: Path) -> None:
        fill_up(mounted / "filler")
        with pytest.raises(NoSpace):
            await small.probe()
        assert files(mounted) == {"filler"}

    async def test_read_only(self, small: LocalStorage, mounted: Path) -> None:
        await save(small, "a.bin", b"x")
        subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
        for call in (small.probe(), save(small, "b.bin", b"x"), small.delete("a.bin")):
            with pytest.raises(StorageUnavailable, match="read-only"):
                await call
        assert await load(small, "a.bin") == b"x"

    async def test_base_is_a_file(self, storage: LocalStorage, base: Path) -> None:
        base.write_bytes(b"x")
        with pytest.raises(StorageUnavailable, match=r"base_path .* is not a folder"):
            await storage.probe()

    async def test_base_under_a_file(self, base: Path) -> None:
        base.write_bytes(b"x")
        storage = LocalStorage(LocalOptions(name="disk", type="local", base_path=base / "deeper"))
        with pytest.raises(StorageUnavailable, match="is not a folder"):
            await storage.probe()
        await storage.close()

    async def test_reading_does_not_make_the_base(self, storage: LocalStorage, base: Path) -> None:
        assert await storage.size("a/b.bin") is None
        assert not await storage.finished(key(), "a/b.bin", "a/b.bin", 1)
        assert await storage.list("") == []
        await storage.discard(key(), "a/b.bin")
        await storage.delete("a/b.bin")
        assert not base.exists()

    async def test_probe_makes_the_base(self, storage: LocalStorage, base: Path) -> None:
        await storage.probe()
        assert files(base) == set()

    async def test_a_name_too_long_for_the_disk(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Encrypted folders of a NAS end names at 143 bytes; that must be known before the transfer."""
        really = jail.FolderHandle.stat

        def short_names(folder: jail.FolderHandle, name: str) -> os.stat_result | None:
            if len(name.encode()) > 143:
                raise OSError(errno.ENAMETOOLONG, "too long")
            return really(folder, name)

        monkeypatch.setattr(jail.FolderHandle, "stat", short_names)
        with pytest.raises(UnsafePath, match="too long for this disk"):
            await storage.begin(key(), "x" * 200, 1)
        assert list(base.iterdir()) == []

    @pytest.mark.parametrize(
        ("code", "kind", "text"),
        [
            (errno.ENOSPC, NoSpace, "full"),
            (errno.EDQUOT, NoSpace, "quota"),
            (errno.EACCES, StorageUnavailable, "chown"),
            (errno.EPERM, StorageUnavailable, "PUID"),
            (errno.EIO, StorageUnavailable, "input/output error"),
            (errno.ESTALE, StorageUnavailable, "mount it again"),
            (errno.ENOTCONN, StorageUnavailable, "is it mounted"),
            (errno.EFBIG, StorageError, "FAT32"),
            (errno.EMFILE, StorageError, "Too many open files"),
        ],
    )
    async def test_errors_of_the_operating_system(
        self,
        storage: LocalStorage,
        base: Path,
        monkeypatch: pytest.MonkeyPatch,
        code: int,
        kind: type[StorageError],
        text: str,
    ) -> None:
        def fail(*_: object) -> int:
            raise OSError(code, os.strerror(code), "/a/path/of/the/machine")

        async with await storage.begin(key(), "d/a.bin", None) as upload:
            monkeypatch.setattr(os, "pwrite", fail)
            with pytest.raises(StorageError) as caught:
                await upload.write(0, b"x")
            await upload.abort()
        assert type(caught.value) is kind
        assert caught.value.message.startswith("storage 'disk': 'd/a.bin': ")
        assert text in caught.value.message
        assert "/a/path" not in caught.value.message
        assert files(base) == {"d"}

    async def test_named_pipe_does_not_block(self, storage: LocalStorage, base: Path) -> None:
        base.mkdir()
        os.mkfifo(base / "pipe")
        reading = asyncio.create_task(load(storage, "pipe"))
        await asyncio.wait([reading], timeout=5)
        waited = not reading.done()
        os.close(os.open(base / "pipe", os.O_RDWR))  # frees a thread that waits after all
        with pytest.raises(StorageError, match="not a file"):
            await reading
        assert not waited
        assert await storage.size("pipe") is None
        assert await storage.list("") == []

    async def test_name_that_is_not_text(self, storage: LocalStorage, base: Path) -> None:
        base.mkdir()
        Path(os.fsdecode(os.fsencode(base) + b"/\xff.bin")).write_bytes(b"x")
        assert await names(storage) == ["\ufffd.bin"]
