"""Nothing outside of base_path is read or written: symbolic links, races and reserved names."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import (
    NameTaken,
    StorageError,
    UnsafePath,
)
from storages.local import jail
from storages.local.storage import LocalStorage
from storages.testing.helpers import RELAXED, key, load, names, save
from tests.contract.disk import exchange, files


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
