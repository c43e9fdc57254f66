"""The base of all themes: the fixtures that a storage provides, and workers that use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from saveany.errors import Fenced, StorageError
from storages.base import Storage, Upload
from storages.testing.helpers import MIB, Open, required


class SuiteBase:
    """The fixtures of `StorageSuite`.

    A "worker" is one more storage object on the same files. A "crash" is an upload that is abandoned with its
    handles open, which is also what a frozen process looks like to its successor.
    """

    #: Methods of the storage's `Upload` that `commit` calls, in this order: the tests crash at each of them.
    crash_points: tuple[str, ...] = ()

    @pytest.fixture
    def open_storage(self) -> Open:
        """Opens the storage under test. Every class that inherits the suite overrides this."""
        raise NotImplementedError("override open_storage: it returns a function that opens the storage")

    @pytest.fixture
    def everything(self) -> Callable[[], set[str]]:
        """Returns the paths of all files, hidden ones too, without the help of the storage. Every class that
        inherits the suite overrides this."""
        raise NotImplementedError("override everything: it returns a function that lists all files")

    @pytest.fixture
    async def worker(self, open_storage: Open) -> AsyncIterator[Open]:
        """Opens storages for several workers, and closes them after the test."""
        async with AsyncExitStack() as stack:

            def start() -> Storage:
                storage = open_storage()
                stack.push_async_callback(storage.close)
                return storage

            yield start

    @pytest.fixture
    async def storage(self, worker: Open) -> Storage:
        """A storage, for tests with one worker."""
        return worker()

    @pytest.fixture(autouse=True)
    def skip_without_capabilities(self, request: pytest.FixtureRequest, storage: Storage) -> None:
        """Skip tests of what the storage does not declare."""
        for name in required(request.function):
            if getattr(storage.capabilities, name.removeprefix("-")) == name.startswith("-"):
                pytest.skip(f"{'has' if name.startswith('-') else 'lacks'} {name.removeprefix('-')}")

    async def try_late_write(self, upload: Upload) -> None:
        """Write with a fenced upload. It may fail or not, but the bytes must not end up in a file."""
        with suppress(StorageError, Fenced):
            await upload.write(0, b"LATE" * (MIB // 4))

    async def make_fenceable(self, storage: Storage, upload: Upload, size: int) -> None:
        """Bring an upload to the point from which a later epoch can stop it."""
        if not storage.capabilities.fences:
            await upload.seal(size)
