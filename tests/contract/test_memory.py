from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from storages.memory import _SPACES, MemoryOptions, MemoryStorage
from tests.contract.suite import Open, StorageSuite


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
