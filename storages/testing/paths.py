"""Nothing outside the base is touched, and every safe name is kept as it is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import StorageError, UnsafePath
from storages.base import Storage
from storages.testing.base import SuiteBase
from storages.testing.helpers import (
    ESCAPES,
    HOSTILE_NAMES,
    RELAXED,
    key,
    load,
    names,
    save,
)


class PathTests(SuiteBase):
    """Nothing outside the base is touched, and every safe name is kept as it is."""

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
    async def test_unusual_names_are_kept(
        self, storage: Storage, name: str, everything: Callable[[], set[str]]
    ) -> None:
        path = f"{name}/{name}"
        await save(storage, path, b"x")
        assert await load(storage, path) == b"x"
        assert await names(storage) == await names(storage, name) == [name]
        assert everything() == {path}

    async def test_names_that_look_alike_stay_distinct(self, storage: Storage) -> None:
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
        path = f"{secrets.token_hex(4)}/{rest}"  # a folder per example, because folders stay
        try:
            await save(storage, path, b"x")
        except UnsafePath:
            assert everything() == set()
        else:
            assert everything() == {path}
            assert await load(storage, path) == b"x"
            await storage.delete(path)
