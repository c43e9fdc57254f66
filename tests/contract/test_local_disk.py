"""Properties of a local disk: links, modes, mounts, descriptors, and errors of the operating system."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import (
    Fenced,
    NameTaken,
    NoSpace,
    StorageError,
    StorageUnavailable,
    UnsafePath,
)
from storages.base import UploadKey
from storages.local import files as local_files
from storages.local import jail
from storages.local import upload as local_upload
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.parts import PartName
from storages.testing.helpers import MIB, RELAXED, Crash, content, crash, key, load, names, parts, save
from tests.contract.disk import descriptors, exchange, files, fill_up, mounted, refuse


class TestJail:
    @pytest.fixture
    def everywhere(self, storage: LocalStorage) -> Callable[[str], list[Callable[[], object]]]:
        def calls(path: str) -> list[Callable[[], object]]:
            return [
                lambda: storage.begin(key(), path, 1),
                lambda: storage.finished(key(2), path, path, 6),
                lambda: storage.discard(key(2), path),
                lambda: storage.size(path),
                lambda: storage.delete(path),
                lambda: load(storage, path),
                lambda: storage.list(path.rpartition("/")[0]),
            ]

        return calls

    @pytest.mark.parametrize("target", ["../outside", "absolute", ".", "real"])
    @pytest.mark.parametrize("path", ["link/secret", "link/new/secret"])
    async def test_no_folder_link_is_followed(
        self,
        base: Path,
        outside: Path,
        target: str,
        path: str,
        everywhere: Callable[[str], list[Callable[[], object]]],
    ) -> None:
        (base / "real").mkdir(parents=True)
        (base / "link").symlink_to(outside if target == "absolute" else target)
        before = files(base), files(outside)
        for call in everywhere(path):
            with pytest.raises(UnsafePath, match="'link': is a symbolic link"):
                await call()  # type: ignore[misc]  # a coroutine; the calls have different results
        assert (files(base), files(outside)) == before

    async def test_a_file_link_is_not_read_or_written(
        self, storage: LocalStorage, base: Path, outside: Path
    ) -> None:
        base.mkdir()
        (base / "a.bin").symlink_to(outside / "secret")
        assert await storage.size("a.bin") is None
        assert await names(storage) == []
        with pytest.raises(UnsafePath, match="symbolic link"):
            await load(storage, "a.bin")
        with pytest.raises(NameTaken):
            await save(storage, "a.bin", b"x")
        async with await storage.begin(key(), "a.bin", 1) as upload:
            await upload.write(0, b"x")
            await upload.commit("a.bin", 1, replace=True)
        assert await load(storage, "a.bin") == b"x"
        assert (outside / "secret").read_bytes() == b"secret"

    async def test_delete_removes_the_link_alone(
        self, storage: LocalStorage, base: Path, outside: Path
    ) -> None:
        base.mkdir()
        (base / "a.bin").symlink_to(outside / "secret")
        await storage.delete("a.bin")
        assert files(base) == set()
        assert files(outside) == {"secret"}

    async def test_a_link_in_place_of_the_part(
        self, storage: LocalStorage, base: Path, outside: Path
    ) -> None:
        """A program that can write to the folder could guess the name of the part and put a link there."""
        base.mkdir()
        (base / ".a.bin.01J-task_A-0.1.partial").symlink_to(outside / "secret")
        await save(storage, "a.bin", b"x")
        assert (outside / "secret").read_bytes() == b"secret"
        assert files(base) == {"a.bin"}

    async def test_a_link_in_place_of_the_part_at_the_last_moment(
        self, storage: LocalStorage, base: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        really = jail.FolderHandle.stat

        def lay_link(folder: jail.FolderHandle, name: str) -> os.stat_result | None:
            there = really(folder, name)
            if name.endswith(".partial") and there is None:
                (base / name).symlink_to(outside / "new")
            return there

        monkeypatch.setattr(jail.FolderHandle, "stat", lay_link)
        with pytest.raises(StorageError):
            await storage.begin(key(), "a.bin", 1)
        assert files(outside) == {"secret"}

    async def test_a_folder_swapped_for_a_link_before_commit(
        self, storage: LocalStorage, base: Path, outside: Path
    ) -> None:
        async with await storage.begin(key(), "d/a.bin", 1) as upload:
            await upload.write(0, b"x")
            (base / "d").rename(base / "moved")
            (base / "d").symlink_to(outside)
            with pytest.raises(UnsafePath):
                await upload.commit("d/a.bin", 1, replace=False)
            with pytest.raises(UnsafePath):
                await upload.abort()
        assert files(outside) == {"secret"}

    async def test_a_race_of_folder_and_link(self, storage: LocalStorage, base: Path, outside: Path) -> None:
        """A thread swaps the folder for a link and back, each in one step, as fast as it can."""
        (base / "d").mkdir(parents=True)
        (base / "link").symlink_to(outside)
        stop, both, item = threading.Event(), {"saved", "refused"}, 0
        seen: set[str] = set()

        def swap() -> None:
            while not stop.is_set():
                exchange(base / "d", base / "link")

        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            while item < 200 or seen != both:
                item += 1
                try:
                    await save(storage, f"d/x/{item}", b"x", key(item=item))
                    seen.add("saved")
                except StorageError:
                    seen.add("refused")
        finally:
            stop.set()
            swapper.join()
        assert files(outside) == {"secret"}
        assert (outside / "secret").read_bytes() == b"secret"

    async def test_the_base_may_be_a_link(self, tmp_path: Path, storage: LocalStorage, base: Path) -> None:
        (tmp_path / "disk").mkdir()
        base.symlink_to("disk")
        await save(storage, "a.bin", b"x")
        assert files(tmp_path / "disk") == {"a.bin"}

    @RELAXED
    @given(
        st.lists(
            st.text(max_size=8) | st.sampled_from(["..", ".", "", "link", "secret", "/", "\0"]), max_size=5
        ).map("/".join)
    )
    async def test_nothing_outside_is_touched(
        self, tmp_path: Path, storage: LocalStorage, base: Path, outside: Path, path: str
    ) -> None:
        if not base.exists():
            base.mkdir()
            (base / "link").symlink_to(outside)
        above = {child.name for child in tmp_path.iterdir()}
        try:
            await save(storage, path, b"x")
            await storage.delete(path)
        except StorageError:
            await asyncio.sleep(0)
        assert {child.name for child in tmp_path.iterdir()} == above
        assert files(outside) == {"secret"}
        assert (outside / "secret").read_bytes() == b"secret"

    @pytest.mark.parametrize(
        "name", [".saveany-storage", ".SaveAny-probe-1", ".a.task-0.1.partial", "..t-0.12.old.partial"]
    )
    async def test_reserved_names(self, storage: LocalStorage, base: Path, name: str) -> None:
        base.mkdir()
        (base / name).write_bytes(b"ours")
        (base / ".hidden.partial").write_bytes(b"theirs")
        for path in (name, f"{name}/x"):
            with pytest.raises(UnsafePath, match="reserved for SaveAny"):
                await save(storage, path, b"x")
        assert await names(storage) == [".hidden.partial"]

    @pytest.mark.parametrize("task", ["", "a/b", "../a", "a.b", "a b", "ü"])
    async def test_a_task_id_cannot_lead_elsewhere(self, storage: LocalStorage, task: str) -> None:
        with pytest.raises(ValueError, match="task id"):
            await storage.begin(key(task=task), "a.bin", 1)


class TestPart:
    async def test_its_name_fits(self, storage: LocalStorage, base: Path) -> None:
        async with await storage.begin(key(task="t" * 40), "é" * 127, None):
            (part,) = files(base)
        assert part == "." + "é" * 32 + "." + "t" * 40 + "-0.1.partial"
        assert len(part.encode()) < 143

    async def test_a_known_size_is_reserved(self, storage: LocalStorage, base: Path) -> None:
        async with await storage.begin(key(), "a.bin", 8 * MIB) as upload:
            (part,) = base.iterdir()
            assert part.stat().st_blocks * 512 >= 8 * MIB
            assert part.stat().st_size == 0
            await upload.write(0, b"x")
            await upload.commit("a.bin", 1, replace=False)
        assert (base / "a.bin").stat().st_blocks * 512 < MIB

    async def test_a_file_system_that_cannot_reserve(
        self, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse(monkeypatch, "fallocate64", errno.EOPNOTSUPP)
        await save(storage, "a.bin", content(MIB))
        assert await load(storage, "a.bin") == content(MIB)

    async def test_modes_follow_the_umask(self, storage: LocalStorage, base: Path) -> None:
        before = os.umask(0o027)
        try:
            await save(storage, "d/a.bin", b"x")
        finally:
            os.umask(before)
        assert (base / "d/a.bin").stat().st_mode & 0o777 == 0o640
        assert (base / "d").stat().st_mode & 0o777 == 0o750

    async def test_part_changed_by_another_program(self, storage: LocalStorage, base: Path) -> None:
        async with await storage.begin(key(), "a.bin", MIB) as upload:
            await upload.write(0, content(MIB))
            os.truncate(next(base.iterdir()), 5)
            with pytest.raises(StorageError, match="another program"):
                await upload.commit("a.bin", MIB, replace=False)
            await upload.abort()

    async def test_its_folder_is_gone(self, storage: LocalStorage, base: Path) -> None:
        async with await storage.begin(key(), "d/a.bin", 1) as upload:
            await upload.write(0, b"x")
            next((base / "d").iterdir()).unlink()
            (base / "d").rmdir()
            with pytest.raises(StorageError, match="does not exist"):
                await upload.commit("d/a.bin", 1, replace=False)
            await upload.abort()

    async def test_leftovers_of_many_claims(self, storage: LocalStorage, base: Path) -> None:
        base.mkdir()
        for name in (
            ".a.01J-task_A-0.1.partial",
            ".b.01J-task_A-0.1.old.partial",
            ".a.01J-task_A-0.12.partial",
        ):
            (base / name).write_bytes(b"left")
        await save(storage, "a.bin", b"x", key(13))
        assert files(base) == {"a.bin"}

    async def test_there_is_one_at_every_moment(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a foreign file of that name and size would pass for the result after a crash in `begin`."""
        async with await storage.begin(key(1), "a.bin", 1):
            pass
        fence = local_files.fence

        def die_after(folder: jail.FolderHandle, claim: UploadKey) -> list[PartName]:
            monkeypatch.setattr(os, "open", crash)
            return fence(folder, claim)

        monkeypatch.setattr(local_upload, "fence", die_after)
        with pytest.raises(Crash):
            await storage.begin(key(2), "a.bin", 1)
        assert len(files(base)) == 1

    async def test_earlier_of_two_concurrent_claims_is_fenced(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base.mkdir()
        monkeypatch.setattr(
            local_upload, "fence", meanwhile(lambda: (base / ".a.01J-task_A-0.3.partial").touch())
        )
        with pytest.raises(Fenced):
            await storage.begin(key(2), "a", 1)
        assert files(base) == {".a.01J-task_A-0.3.partial"}

    async def test_later_of_two_concurrent_claims_fences_the_earlier(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base.mkdir()
        monkeypatch.setattr(
            local_upload, "fence", meanwhile(lambda: (base / ".a.01J-task_A-0.2.partial").touch())
        )
        async with await storage.begin(key(3), "a", 1):
            assert files(base) == {".a.01J-task_A-0.3.partial"}

    @pytest.mark.parametrize("replace", [False, True])
    async def test_bytes_are_durable_before_the_name_and_the_name_before_the_end(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
    ) -> None:
        done: list[str] = []

        def record(name: str) -> None:
            really = getattr(os, name)

            def call(*args: Any, **options: Any) -> Any:
                is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
                done.append("fsync folder" if is_folder else name)
                return really(*args, **options)

            monkeypatch.setattr(os, name, call)

        async with await storage.begin(key(), "d/a.bin", 1) as upload:
            await upload.write(0, b"x")
            for name in ("fsync", "rename", "unlink"):
                record(name)
            really = jail._call

            def call(function: str, *args: object) -> None:
                done.append(function)
                really(function, *args)

            monkeypatch.setattr(jail, "_call", call)
            await upload.commit("d/a.bin", 1, replace=replace)
        assert done == ["fsync", "rename" if replace else "renameat2", "unlink", "fsync folder"]

    async def test_finished_makes_the_name_durable(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await save(storage, "a.bin", b"x")
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
        assert await storage.finished(key(2), "a.bin", "a.bin", 1)
        assert synced == [base.stat().st_ino]

    async def test_commit_between_two_checks_of_finished(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with await storage.begin(key(1), "a.bin", 1) as old:
            await old.write(0, b"x")
        listdir = os.listdir

        def and_commit(folder: int) -> list[str]:
            (part,) = found = listdir(folder)
            (base / part).rename(base / "a.bin")
            return found

        monkeypatch.setattr(os, "listdir", and_commit)
        assert await storage.finished(key(2), "a.bin", "a.bin", 1)

    async def test_new_folders_are_durable(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[int] = []
        fsync = os.fsync

        def record(fd: int) -> None:
            synced.append(os.fstat(fd).st_ino)
            fsync(fd)

        monkeypatch.setattr(os, "fsync", record)
        async with await storage.begin(key(), "d/e/a.bin", 1):
            assert synced == [base.stat().st_ino, (base / "d").stat().st_ino]

    async def test_short_writes_and_reads_go_on(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pwrite, pread = os.pwrite, os.pread
        monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:7], offset))
        monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 7), offset))
        async with await storage.begin(key(), "a.bin", 100) as upload:
            await upload.write(0, memoryview(content(100)))
            assert await upload.read(3, 50) == content(100)[3:53]
            await upload.commit("a.bin", 100, replace=False)
        assert await load(storage, "a.bin", 1, 99) == content(100)[1:99]

    async def test_a_folder_that_cannot_be_synced(
        self, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fsync = os.fsync

        def files_only(fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "as CIFS says")
            fsync(fd)

        monkeypatch.setattr(os, "fsync", files_only)
        await save(storage, "d/a.bin", b"x")
        assert await load(storage, "d/a.bin") == b"x"


def meanwhile(happens: Callable[[], None]) -> Callable[[jail.FolderHandle, UploadKey], list[PartName]]:
    """`fence`, and right after it something happens."""
    fence = local_files.fence

    def call(folder: jail.FolderHandle, claim: UploadKey) -> list[PartName]:
        found = fence(folder, claim)
        happens()
        return found

    return call


class TestNoSafeRename:
    """File systems where a rename always replaces, such as NFS: `link` takes its place."""

    @pytest.fixture(autouse=True, params=[errno.EINVAL, errno.ENOSYS, errno.EPERM])
    def no_safe_rename(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        refuse(monkeypatch, "renameat2", request.param)

    @pytest.fixture
    def no_links(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def link(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", link)

    async def test_commit(self, storage: LocalStorage, base: Path) -> None:
        await save(storage, "a.bin", b"1")
        with pytest.raises(NameTaken):
            await save(storage, "a.bin", b"2", key(item=1))
        assert await load(storage, "a.bin") == b"1"
        assert await storage.finished(key(2), "a.bin", "a.bin", 1)

    async def test_fence(self, storage: LocalStorage) -> None:
        async with await storage.begin(key(1), "a.bin", 1) as old:
            await old.write(0, b"x")
            await save(storage, "b.bin", b"x", key(2))
            with pytest.raises(Fenced):
                await old.commit("a.bin", 1, replace=False)

    async def test_a_link_made_before_the_fence_is_seen(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with await storage.begin(key(1), "a.bin", 1) as old:
            await old.write(0, b"x")
            monkeypatch.setattr(old, "_drop_part", crash)
            with pytest.raises(Crash):
                await old.commit("a.bin", 1, replace=False)
            assert len(files(base)) == 2
            assert await storage.finished(key(2), "a.bin", "a.bin", 1)
        assert files(base) == {"a.bin"}

    @pytest.mark.usefixtures("no_links")
    async def test_neither(self, storage: LocalStorage, base: Path) -> None:
        async with await storage.begin(key(), "a.bin", 1) as upload:
            await upload.write(0, b"x")
            with pytest.raises(StorageError, match="overwrite"):
                await upload.commit("a.bin", 1, replace=False)
            await upload.commit("a.bin", 1, replace=True)
        assert files(base) == {"a.bin"}

    @pytest.mark.usefixtures("no_links")
    async def test_a_marker_all_the_same(self, storage: LocalStorage, base: Path) -> None:
        await storage.adopt("one")
        with pytest.raises(StorageUnavailable):
            await storage.adopt("two")
        assert (base / ".saveany-storage").read_text() == "one\n"
        assert files(base) == {".saveany-storage"}


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
