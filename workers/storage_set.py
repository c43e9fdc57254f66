"""A storage as one worker sees it: whether its disk is the one it was, and whether it works.

A `local` storage is where the disk with its mark is; a mount point is not to be filled in its place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from uuid import uuid4

from saveany.errors import StorageError, StorageUnavailable, StoreUnavailable
from saveany.logs import get_logger
from saveany.store import Store
from storages.base import Storage

#: A storage that works writes its test file this often, in seconds; one with a problem at each look.
_PROBE_SECONDS = 60.0
#: A disk that has not answered for so long hangs, as a network's does whose server is away.
_HANG_SECONDS = 4.0
#: A server that leaves a test file waiting is asked this often whether it is there at all.
_REACH_SECONDS = 2.0
#: Who marks the first disk of a storage has this long before another may try.
_MARKING_MS = 10_000

log = get_logger("saveany.worker")


class StorageHandle:
    """A storage in this process. `problem` says, in words for a user, why it takes no task; "" if it does."""

    def __init__(self, store: Store, storage: Storage) -> None:
        self.storage = storage
        self.problem = f"storage {storage.name!r} has not answered yet; can its disk or server be reached?"
        #: Whether its files were here at the last look, even if nothing could be written.
        self.here = False
        self._store = store
        self._probed_at = 0.0
        self._trying: asyncio.Task[bool] | None = None

    async def look(self) -> None:
        """Find out whether there is a problem."""
        due = bool(self.problem) or time.monotonic() - self._probed_at > _PROBE_SECONDS
        if await self._answered(self.still_here()) and await self._reachable() and due:
            await self._answered(self.works())

    async def _answered(self, question: Coroutine[None, None, bool]) -> bool:
        """The answer, however long it takes; a disk of this machine that hangs meanwhile is a problem."""
        asking = asyncio.create_task(question)
        try:
            if self.storage.capabilities.this_machine_only:
                await asyncio.wait([asking], timeout=_HANG_SECONDS)
                if not asking.done():
                    self._note(
                        f"storage {self.storage.name!r}: its folder does not answer; does the disk hang?"
                    )
            return await asking
        finally:
            asking.cancel()

    async def works(self) -> bool:
        """Try it now: whether files can be saved. Who asks meanwhile gets the same answer."""
        if self._trying is None or self._trying.done():
            self._trying = asyncio.create_task(self._try())
        return await asyncio.shield(self._trying)

    async def _try(self) -> bool:
        if not await self.still_here():
            return False
        probing = asyncio.create_task(self.storage.probe())
        try:
            while not probing.done():
                await asyncio.wait([probing], timeout=_REACH_SECONDS)
                if not probing.done() and not await self._reachable():
                    return False
            await probing
        except StorageError as e:
            self._note(e.message)
            return False
        except Exception as e:  # a bug of this storage, or of its library: the others must go on
            self._broke(e)
            return False
        finally:
            # It may take its time to end, at a server that does not answer: nobody waits for that.
            probing.add_done_callback(lambda done: done.cancelled() or done.exception())
            probing.cancel()
        self._probed_at = time.monotonic()
        self._note("")
        return True

    async def _reachable(self) -> bool:
        """Ask the server whether it is there, which is quick. Else the storage has a problem from now on."""
        try:
            await self.storage.reach()
        except StorageUnavailable as e:
            self._note(e.message)
            return False
        except StorageError:
            pass  # something answers; what is wrong is the next probe's to tell
        return True

    async def still_here(self) -> bool:
        """Look at the mark only, which is quick. Without it the storage has a problem from now on."""
        try:
            await check_identity(self._store, self.storage)
        except StorageError as e:
            self.here = False
            self._note(e.message)
        except StoreUnavailable as e:  # which mark is right is not known now: it is as it was
            log.warning("cannot look at the mark of a storage", storage=self.storage.name, reason=e.message)
        else:
            self.here = True
        return self.here

    def _broke(self, error: Exception) -> None:
        problem = (
            f"storage {self.storage.name!r}: internal error ({type(error).__name__}); the log tells more"
        )
        if problem != self.problem:
            log.exception("a storage failed unexpectedly", storage=self.storage.name)
        self.here = False  # so nothing else is tried there either
        self._note(problem)

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.warning("storage", storage=self.storage.name, problem=problem)
        elif problem != self.problem:
            log.info("storage works", storage=self.storage.name)
        self.problem = problem


async def check_identity(store: Store, storage: Storage) -> None:
    """Compare the mark on the disk with the one Redis knows; the first disk that is seen gets a mark.

    Raises `StorageUnavailable` if this disk is not the storage's, and nothing is written to it then.
    """
    if not storage.capabilities.this_machine_only:
        return
    expected = await store.workers.storage_identity(storage.name) or await _first_mark(store, storage)
    shown = await storage.identity()
    if shown != expected:
        raise StorageUnavailable(
            f"storage {storage.name!r} is not on this machine: its folder "
            + ("has no mark" if shown is None else "has the mark of another storage")
            + f"; is the disk mounted? If the folder is right, write {expected} into its .saveany-storage"
        )
    await storage.adopt(expected)  # the one it goes by from now on, whatever disk it saw before


async def _first_mark(store: Store, storage: Storage) -> str:
    """The mark of a storage that had none: that of this disk, or of another worker's that came first."""
    while not await store.workers.lock(f"storage:{storage.name}", _MARKING_MS):
        if known := await store.workers.storage_identity(storage.name):
            return known
        await asyncio.sleep(0.05)
    mark = await storage.identity() or uuid4().hex
    await storage.adopt(mark)
    return await store.workers.establish_storage(storage.name, mark)
