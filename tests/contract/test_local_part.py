"""The part of an upload to a local disk: space, fencing, durability, and disks without safe renames."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saveany.errors import (
    Fenced,
    NameTaken,
    StorageError,
    StorageUnavailable,
)
from storages.base import UploadKey
from storages.local import files as local_files
from storages.local import jail
from storages.local import upload as local_upload
from storages.local.storage import LocalStorage
from storages.parts import PartName
from storages.testing.helpers import MIB, Crash, content, crash, key, load, save
from tests.contract.disk import files, refuse


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
