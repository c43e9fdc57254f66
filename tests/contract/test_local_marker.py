"""`.saveany-storage`: how a `local` storage recognizes its disk."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from saveany.errors import (
    StorageUnavailable,
    UnsafePath,
)
from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.testing.helpers import key, load, names, save
from tests.contract.disk import files


class TestMarker:
    @pytest.fixture
    def marker(self, base: Path) -> Path:
        return base / ".saveany-storage"

    async def test_reading_makes_nothing(self, storage: LocalStorage, base: Path) -> None:
        assert await storage.identity() is None
        assert not base.exists()
        base.mkdir()
        assert await storage.identity() is None
        assert files(base) == set()

    async def test_it_is_a_plain_file(self, storage: LocalStorage, base: Path, marker: Path) -> None:
        await storage.adopt("disk_1-a")
        assert marker.read_text() == "disk_1-a\n"
        assert marker.stat().st_mode & 0o777 == 0o644
        assert files(base) == {marker.name}
        assert await names(storage) == []

    async def test_it_is_durable_before_and_after_it_has_its_name(
        self, storage: LocalStorage, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base.mkdir()
        seen: list[tuple[str, bool]] = []
        fsync = os.fsync

        def record(fd: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
            seen.append((kind, (base / ".saveany-storage").exists()))
            fsync(fd)

        monkeypatch.setattr(os, "fsync", record)
        await storage.adopt("disk")
        assert seen == [("file", False), ("folder", True)]

    @pytest.mark.parametrize("text", ["", "\n", " ", "two words", "x" * 65, "a\nb", "\0", "\xff"])
    async def test_damaged_marker_is_reported(self, storage: LocalStorage, marker: Path, text: str) -> None:
        marker.parent.mkdir()
        marker.write_bytes(text.encode("latin-1"))
        for call in (storage.identity(), storage.adopt("disk")):
            with pytest.raises(StorageUnavailable, match="is empty or damaged; put back"):
                await call
        assert marker.read_bytes() == text.encode("latin-1")

    @pytest.mark.parametrize("identity", ["", "a b", "x" * 65, "a\n", "../x", "é"])
    async def test_an_identity_is_a_word(self, storage: LocalStorage, base: Path, identity: str) -> None:
        with pytest.raises(ValueError, match="identity"):
            await storage.adopt(identity)
        assert not base.exists()

    async def test_a_link_in_its_place(self, storage: LocalStorage, marker: Path, outside: Path) -> None:
        marker.parent.mkdir()
        marker.symlink_to(outside / "secret")
        for call in (storage.identity(), storage.adopt("disk")):
            with pytest.raises(UnsafePath):
                await call
        assert (outside / "secret").read_bytes() == b"secret"

    @pytest.mark.parametrize("known_by", ["identity", "adopt"])
    @pytest.mark.parametrize("instead", ["empty", "nothing", "another"])
    async def test_nothing_is_done_without_the_disk(
        self, storage: LocalStorage, base: Path, instead: str, known_by: str
    ) -> None:
        """As when a disk is unmounted: its mount point is an ordinary empty folder."""
        if known_by == "identity":
            base.mkdir()
            (base / ".saveany-storage").write_text("disk")
            await storage.identity()
        else:
            await storage.adopt("disk")
        await save(storage, "a.bin", b"x")
        base.rename(base.with_name("unmounted"))
        if instead != "nothing":
            base.mkdir()
        if instead == "another":
            (base / ".saveany-storage").write_text("other")
        before = files(base.parent)
        assert await storage.identity() == ("other" if instead == "another" else None)
        for call in (
            storage.begin(key(2), "a.bin", 1),
            storage.finished(key(2), "a.bin", "a.bin", 1),
            storage.discard(key(2), "a.bin"),
            storage.probe(),
            storage.adopt("disk"),
            storage.size("a.bin"),
            storage.delete("a.bin"),
            storage.list(""),
            load(storage, "a.bin"),
        ):
            with pytest.raises(StorageUnavailable, match="mount the disk, or correct base_path"):
                await call
        assert files(base.parent) == before
        if base.exists():
            base.rename(base.with_name("mount point"))
        base.with_name("unmounted").rename(base)
        assert await load(storage, "a.bin") == b"x"

    async def test_two_at_once(self, tmp_path: Path) -> None:
        for number in range(30):
            options = LocalOptions(name="disk", type="local", base_path=tmp_path / str(number))
            storages = [LocalStorage(options) for _ in range(3)]
            results = await asyncio.gather(
                *(storage.adopt(f"by-{n}") for n, storage in enumerate(storages)), return_exceptions=True
            )
            (winner,) = [n for n, result in enumerate(results) if result is None]
            assert sum(isinstance(result, StorageUnavailable) for result in results) == 2
            for storage in storages:
                assert await storage.identity() == f"by-{winner}"
                await storage.close()
            assert files(options.base_path) == {".saveany-storage"}
