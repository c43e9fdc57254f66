from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from saveany.errors import StorageUnavailable
from storages.memory import _SPACES, MemoryOptions, MemoryStorage
from storages.testing import Open
from storages.testing.helpers import key
from tests.contract.suite import StorageSuite


class TestMemory(StorageSuite):
    @pytest.fixture
    def space(self) -> Iterator[str]:
        space = uuid4().hex
        yield space
        _SPACES.pop(space, None)

    @pytest.fixture
    def open_storage(self, space: str) -> Open:
        return lambda: MemoryStorage(MemoryOptions(name="notes", type="memory", space=space))

    @pytest.fixture
    def everything(self, space: str) -> Callable[[], set[str]]:
        return lambda: set(_SPACES[space].files) if space in _SPACES else set()

    async def test_failed_upload_cannot_continue(
        self, storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def break_off(*_: object) -> None:
            raise StorageUnavailable("gone")

        monkeypatch.setattr(storage, "_put", break_off)
        async with await storage.begin(key(), "a.bin", 3) as upload:
            for offset in range(3):
                with pytest.raises(StorageUnavailable, match="gone"):
                    await upload.write(offset, b"x")
            with pytest.raises(StorageUnavailable, match="gone"):
                await upload.seal(3)
