"""The storages that a process has opened: which of them are present, and which of them work.

A `local` storage is the disk with its marker (`.saveany-storage`). An empty mount point has no marker, so
nothing is written to it while the disk is not mounted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Never
from uuid import uuid4

from saveany.config import Config
from saveany.config.schema import UPLOADS
from saveany.errors import StorageBusy, StorageError, StorageUnavailable, StoreUnavailable
from saveany.logs import get_logger
from saveany.loops import Signal, repeat
from saveany.sources import INBOX
from saveany.store import Store
from saveany.texts import Text, gettext_noop
from saveany.uploads.folder import machine_id, uploads_folder
from storages import registry
from storages.base import Services, Storage, StorageOptions

#: Seconds between two checks of a storage.
_CHECK_SECONDS = 2.0
#: Seconds for which a disk that was present counts as present.
_PRESENT_SECONDS = 0.5
#: Seconds between two test files in a storage that works. One with a problem gets a test file at each check.
_PROBE_SECONDS = 60.0
#: Seconds after which a disk that does not respond is reported, such as a network disk whose server is down.
_HANG_SECONDS = 4.0
#: Seconds between two checks that the server still responds while it processes a test file.
_REACH_SECONDS = 2.0
#: Milliseconds that a worker has to mark the first disk of a storage before another may try.
_MARKING_MS = 10_000

_NO_MARKER = gettext_noop(
    "storage {storage!r} is not on this machine: its folder has no marker; is the disk mounted? If the "
    "folder is right, write {marker} into its .saveany-storage"
)
_OTHER_MARKER = gettext_noop(
    "storage {storage!r} is not on this machine: its folder has the marker of another storage; is the disk "
    "mounted? If the folder is right, write {marker} into its .saveany-storage"
)

log = get_logger("saveany.storages")


class StorageHandle:
    """A storage opened in this process, with its state.

    `problem` is the reason why the storage takes no tasks, for a user; None if it works.
    """

    def __init__(self, store: Store, storage: Storage, changed: Signal | None = None) -> None:
        """`changed` is sent when `problem` changes."""
        self.storage = storage
        self._changed = changed or Signal()
        self.problem: Text | None = Text(
            "storage {storage!r} has not responded yet; can its disk or server be reached?",
            {"storage": storage.name},
        )
        #: Whether the disk or server was present at the last check, even if it could not be written to.
        self.is_present = False
        self._store = store
        self._marker = ""  # of the disk, which the store has confirmed since the last test file
        self._seen_at = 0.0  # when the disk was last found present, monotonic
        self._probed_at = -math.inf
        self._probing: asyncio.Task[bool] | None = None

    async def check(self) -> None:
        """Check presence and server, and when it is due write a test file; update `problem`."""
        if not await self._report_hang(self.check_presence()) or not await self._check_server():
            return
        if self.problem or time.monotonic() - self._probed_at > _PROBE_SECONDS:
            await self._report_hang(self.probe())

    async def was_just_present(self) -> bool:
        """The result of `check_presence`, which is at most `_PRESENT_SECONDS` old if the disk was present."""
        if self.is_present and time.monotonic() - self._seen_at < _PRESENT_SECONDS:
            return True
        return await self.check_presence()

    async def check_presence(self) -> bool:
        """Whether the disk has the marker of this storage; sets `problem` if not. Quick, writes nothing."""
        try:
            if not self._marker or await self.storage.identity() != self._marker:
                await check_identity(self._store, self.storage)
                if self.storage.capabilities.this_machine_only:
                    self._marker = await self.storage.identity() or ""
        except StorageError as e:
            self.is_present = False
            self._set_problem(e.text)
        except StoreUnavailable as e:  # the expected marker is unknown for now, so the last result stands
            log.warning("storage_marker_unknown", storage=self.storage.name, reason=e.message)
        else:
            self.is_present, self._seen_at = True, time.monotonic()
        return self.is_present

    async def is_here(self) -> bool:
        """Whether the disk of the storage is in this machine. Writes nothing, not even to a new disk; False
        for a storage that all machines reach."""
        if not self.storage.capabilities.this_machine_only:
            return False
        try:
            found = await self.storage.identity()
        except StorageError:
            return False
        return found is not None and found == await self._store.workers.storage_identity(self.storage.name)

    async def probe(self) -> bool:
        """Whether a test file can be saved now. Calls that overlap share one test file."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> bool:
        self._marker = ""
        if not await self.check_presence():
            return False
        probing = asyncio.create_task(self.storage.probe())
        try:
            while not probing.done():
                await asyncio.wait([probing], timeout=_REACH_SECONDS)
                if not probing.done() and not await self._check_server():
                    return False
            await probing
        except StorageBusy:  # transfers use all that it takes at once, so it works if it did before
            return self.problem is None
        except StorageError as e:
            self._set_problem(e.text)
            return False
        except Exception as e:  # a bug in this storage or its library must not stop the others
            self._report_bug(e)
            return False
        finally:
            # A server that does not respond may hold up the probe's end: nobody waits for it.
            probing.add_done_callback(lambda done: done.cancelled() or done.exception())
            probing.cancel()
        self._probed_at = time.monotonic()
        self._set_problem(None)
        return True

    async def _check_server(self) -> bool:
        """Whether the server can be reached; sets `problem` if not. Quick: no file is involved."""
        try:
            await self.storage.reach()
        except StorageUnavailable as e:
            self._set_problem(e.text)
            return False
        except StorageError:
            pass  # the server responds; the next probe reports what is wrong
        return True

    async def _report_hang(self, check: Coroutine[None, None, bool]) -> bool:
        """The result of `check`, however long it takes. While a local disk hangs, `problem` says so."""
        checking = asyncio.create_task(check)
        try:
            if self.storage.capabilities.this_machine_only:
                await asyncio.wait([checking], timeout=_HANG_SECONDS)
                if not checking.done():
                    self._set_problem(
                        Text(
                            "storage {storage!r}: its folder does not respond; does the disk hang?",
                            {"storage": self.storage.name},
                        )
                    )
            return await checking
        finally:
            checking.cancel()

    def _report_bug(self, error: Exception) -> None:
        name = self.storage.name
        problem = Text(
            "storage {storage!r}: internal error ({error}); see the worker's log",
            {"storage": name, "error": type(error).__name__},
        )
        if problem != self.problem:
            log.exception("storage_crashed", storage=name)
        self.is_present = False  # so that nothing else is tried there
        self._set_problem(problem)

    def _set_problem(self, problem: Text | None) -> None:
        if problem and problem != self.problem:
            log.warning("storage_failed", storage=self.storage.name, reason=str(problem))
        elif problem != self.problem:
            log.info("storage_ready", storage=self.storage.name)
        changed, self.problem = problem != self.problem, problem
        if changed:
            self._changed.send()


class StorageSet(Mapping[str, StorageHandle]):
    """The storages that this process has opened, by name."""

    def __init__(self, handles: Iterable[StorageHandle] = ()) -> None:
        self._handles = {handle.storage.name: handle for handle in handles}
        self._options: dict[str, StorageOptions] = {}
        self._retired: list[StorageHandle] = []
        self._updated = Signal()

    @classmethod
    def open(
        cls,
        config: Config,
        services: Services,
        store: Store,
        changed: Signal | None = None,
        *,
        more: Iterable[StorageOptions] = (),
    ) -> StorageSet:
        """Every storage of the configuration, the users' private chats with the bot among them, and `more`.
        Nothing is connected yet: `monitor` finds out which of them work. `changed` is sent when that
        changes."""
        found = cls()
        found._open_all(config, services, store, changed, more)
        return found

    def _open_all(
        self,
        config: Config,
        services: Services,
        store: Store,
        changed: Signal | None,
        more: Iterable[StorageOptions],
    ) -> None:
        fixed = [*filter(None, [config.private_chats]), *more]

        def update() -> None:
            wanted = {each.name: each for each in (*config.storages, *fixed)}
            before = self._handles
            kept = {name for name in before if wanted.get(name) == self._options[name]}
            self._handles = {
                name: before[name]
                if name in kept
                else StorageHandle(store, registry.open_storage(each, services), changed)
                for name, each in wanted.items()
            }
            self._retired += (handle for name, handle in before.items() if name not in kept)
            self._options = wanted

        self._update = update
        update()

    def update(self) -> None:
        """Open the storages that were added to the configuration, and let go of those that were changed or
        removed: they stay open until the end, because tasks and readers may still use them."""
        self._update()
        self._updated.send()

    def __getitem__(self, name: str) -> StorageHandle:
        return self._handles[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handles)

    def __len__(self) -> int:
        return len(self._handles)

    @property
    def current(self) -> Mapping[str, StorageHandle]:
        """The storages of now: a mapping that `update` does not change."""
        return self._handles

    @property
    def working(self) -> list[str]:
        """Names of the storages that files can be saved to now."""
        return [name for name, handle in self.items() if not handle.problem]

    @property
    def present(self) -> list[StorageHandle]:
        """The storages whose disk or server is present, even if it cannot be written to."""
        return [handle for handle in self.values() if handle.is_present]

    def working_storage(self, name: str) -> Storage:
        """The storage of that name. Raises `StorageUnavailable` if it is not in the set, or does not work."""
        handle = self.get(name)
        if handle is None:
            raise StorageUnavailable("this worker has no storage {storage!r}", storage=name)
        if handle.problem:
            raise StorageUnavailable(handle.problem)
        return handle.storage

    async def monitor(self) -> Never:
        """Check every storage every two seconds. A disk that hangs does not delay the other checks."""
        checking: dict[StorageHandle, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            await repeat("storages", partial(self._check_each, group, checking))
        raise AssertionError

    async def _check_each(
        self, group: asyncio.TaskGroup, checking: dict[StorageHandle, asyncio.Task[None]]
    ) -> None:
        """Begin to check the storages that are new, end it for those that are not there any more, and wait
        for the next change."""
        seen = self._updated.count
        for handle in checking.keys() - set(self.values()):
            checking.pop(handle).cancel()
        for handle in set(self.values()) - checking.keys():
            checking[handle] = group.create_task(repeat("storage", handle.check, _CHECK_SECONDS))
        await self._updated.wait(since=seen)

    async def close(self) -> None:
        """Close all storages, whatever state they are in."""
        async with AsyncExitStack() as stack:
            for handle in (*self._retired, *self.values()):
                stack.push_async_callback(handle.storage.close)


def uploads_of(data_dir: Path) -> Sequence[StorageOptions]:
    """The storage with the files that were uploaded to this machine. Each machine has one of its own name,
    because only its own workers can read it. Empty if `data_dir` cannot be written to."""
    model = registry.options_model("local")
    try:
        name = UPLOADS + machine_id(data_dir)
    except OSError as error:
        log.warning("uploads_unavailable", folder=str(data_dir), reason=error.strerror)
        return []
    options = {"name": name, "type": "local", "base_path": uploads_folder(data_dir)}
    return [model.model_validate(options)] if model else []


def lanes(kinds: Iterable[str], storages: Iterable[str], machines: Sequence[str] = ()) -> list[str]:
    """Every lane (`TaskSpec.lane`) of these task types and storages. The types `transfer` and `upload` have a
    lane for each pair of storages: the one they read and the one they write. The type `inbox` has one for
    each of `machines` and storage."""
    names = list(storages)
    uploads = [name for name in names if name.startswith(UPLOADS)]
    targets = [name for name in names if not name.startswith(UPLOADS)]
    read = {"transfer": targets, "upload": uploads, INBOX: machines}
    sources: list[str] = []
    for kind in kinds:
        sources += [f"{kind}@{name}" for name in read[kind]] if kind in read else [kind]
    return [f"{source}/{name}" for source in sources for name in targets]


async def check_identity(store: Store, storage: Storage) -> None:
    """Compare the marker on the disk with the one in Redis. The first disk that is seen gets a marker.

    Raises `StorageUnavailable` if this disk is not the storage's; nothing is written to it then.
    """
    if not storage.capabilities.this_machine_only:
        return
    expected = await store.workers.storage_identity(storage.name) or await _mark_first_disk(store, storage)
    found = await storage.identity()
    if found != expected:
        raise StorageUnavailable(
            _NO_MARKER if found is None else _OTHER_MARKER, storage=storage.name, marker=expected
        )
    await storage.adopt(expected)  # replaces the marker of a disk that was seen here before


async def _mark_first_disk(store: Store, storage: Storage) -> str:
    """The marker of a storage that had none: of this disk, or of the disk of a worker that was faster."""
    while not await store.workers.lock(f"storage:{storage.name}", _MARKING_MS):
        if known := await store.workers.storage_identity(storage.name):
            return known
        await asyncio.sleep(0.05)
    marker = await storage.identity() or uuid4().hex
    await storage.adopt(marker)
    return await store.workers.establish_storage(storage.name, marker)
