"""A `local` storage and folders outside of it, for tests of its disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


@pytest.fixture
async def storage(base: Path) -> AsyncIterator[LocalStorage]:
    storage = LocalStorage(LocalOptions(name="disk", type="local", base_path=base))
    yield storage
    await storage.close()
