"""Whether a disk is present is checked often, and costs no request."""

from __future__ import annotations

from pathlib import Path

import pytest

from saveany.errors import StorageBusy, StorageUnavailable
from saveany.storage_set import StorageHandle
from saveany.store import Store
from storages import registry
from storages.base import Services

_MARKER = ".saveany-storage"


@pytest.fixture
def handle(store: Store, tmp_path: Path) -> StorageHandle:
    model = registry.options_model("local")
    assert model
    options = model.model_validate({"name": "local1", "type": "local", "base_path": tmp_path / "files"})
    return StorageHandle(store, registry.open_storage(options, Services()))


async def requests(store: Store) -> int:
    return int((await store.db.info("stats"))["total_commands_processed"])


async def test_only_a_test_file_reads_the_marker_in_the_store(handle: StorageHandle, store: Store) -> None:
    assert await handle.probe()
    before = await requests(store)
    for _ in range(5):
        assert await handle.check_presence()
    assert await requests(store) == before + 1  # this question itself
    await store.db.do("HSET", "sa:storages", "local1", "other")
    assert await handle.check_presence()
    assert not await handle.probe()
    assert not await handle.check_presence()


async def test_a_disk_that_vanishes_and_returns_is_noticed(handle: StorageHandle, tmp_path: Path) -> None:
    assert await handle.probe()
    (tmp_path / "files" / _MARKER).rename(tmp_path / "gone")
    assert not await handle.check_presence()
    (tmp_path / "files" / _MARKER).write_text("another")
    assert not await handle.check_presence()
    (tmp_path / "gone").rename(tmp_path / "files" / _MARKER)
    assert await handle.check_presence()


async def test_a_busy_storage_works_if_it_did_before(
    handle: StorageHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    error: Exception = StorageBusy("all connections are in use")

    async def probe() -> None:
        raise error

    monkeypatch.setattr(handle.storage, "probe", probe)
    assert not await handle.probe(), "nothing is known of it yet"
    monkeypatch.undo()
    assert await handle.probe()
    monkeypatch.setattr(handle.storage, "probe", probe)
    assert await handle.probe()
    assert handle.problem is None
    error = StorageUnavailable("it is down")
    assert not await handle.probe()
    error = StorageBusy("all connections are in use")
    assert not await handle.probe()
    assert str(handle.problem) == "it is down"
