from collections.abc import Callable
from pathlib import Path

import pytest

from storages.local.options import LocalOptions
from storages.local.storage import LocalStorage
from storages.testing import Open
from tests.contract.suite import StorageSuite


class TestLocal(StorageSuite):
    crash_points = ("_link", "_drop_part", "_sync_folder")

    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> Open:
        options = LocalOptions(name="disk", type="local", base_path=tmp_path / "base")
        return lambda: LocalStorage(options)

    @pytest.fixture
    def everything(self, tmp_path: Path) -> Callable[[], set[str]]:
        base = tmp_path / "base"
        return lambda: {str(path.relative_to(base)) for path in base.rglob("*") if not path.is_dir()}
