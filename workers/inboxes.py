"""Watched folders: a task for each file that is complete.

One worker of a machine watches its folders. It remembers in Redis which version of each file was taken; a
file and its task are recorded in one step, so that a crash neither forgets a file nor takes it twice.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from saveany.config import Config
from saveany.config.schema import InboxConfig
from saveany.errors import Forbidden, RequestError, Unavailable
from saveany.ids import new_id
from saveany.local_files import LeftOut, LocalFile, Patterns, Version, decoded
from saveany.logs import get_logger
from saveany.loops import Signal, repeat
from saveany.models import OnConflict, title
from saveany.planning.requests import InboxFile, TaskRequest, plan_request
from saveany.sources import INBOX
from saveany.store import Store
from saveany.store.inboxes import Taken, TakenFile
from saveany.texts import StoredText, Text, stored
from workers.sources.inbox import inbox_params
from workers.watched_files import complete_names, is_on_network, settled

#: Seconds between two attempts to become the worker that watches.
_LOCK_SECONDS: Final = 2.0
#: Seconds between two looks at a folder that does not report changes, and at one that does: it may miss some.
_POLL_SECONDS, _CONTROL_SECONDS = 10.0, 300.0
#: Seconds until the system reports changes.
_BEGIN_SECONDS: Final = 2.0
#: Milliseconds in which changes that follow each other are one, and between two looks for new ones.
_DEBOUNCE_MS, _STEP_MS = 400, 200
#: Days for which a file that has vanished is remembered, if files stay: its disk may only be unmounted.
_REMEMBERED_DAYS: Final = 30
#: Days after which it is recorded that a file was seen.
_SEEN_DAYS: Final = 7

log = get_logger("saveany.inboxes")


class InboxWatcher:
    """Watches the folders of the configuration."""

    def __init__(
        self, config: Config, store: Store, machine: str, on_problem: Callable[[], None] = lambda: None
    ) -> None:
        """`on_problem` is called when one of `states` has changed."""
        self._config = config
        self._store = store
        self._machine = machine
        self._on_problem = on_problem
        #: Sent when the configuration has changed.
        self.changed = Signal()
        self._folders: list[WatchedFolder] = []  # that this worker watches

    @property
    def states(self) -> Mapping[str, StoredText]:
        """The folders that this worker watches, and what is wrong with each, "" if nothing is."""
        return {decoded(str(each.path)): stored(each.problem) for each in self._folders}

    async def run(self) -> None:
        """Watch until canceled."""
        await repeat("inboxes", self._round, _LOCK_SECONDS)

    async def _round(self) -> None:
        """Watch the folders of now until the configuration changes, if no other worker of this machine is
        doing that."""
        seen, inboxes = self.changed.count, self._config.inboxes if self._machine else ()
        if not inboxes:
            await self.changed.wait(since=seen)
            return
        lock = await asyncio.to_thread(self._lock)
        if lock is None:
            return
        self._folders = [
            WatchedFolder(self._config, self._store, self._machine, inbox, self._on_problem)
            for inbox in inboxes
        ]
        watching = [asyncio.create_task(folder.run()) for folder in self._folders]
        try:
            while self._config.inboxes == inboxes:
                await self.changed.wait(since=seen)
                seen = self.changed.count
        finally:
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)
            self._folders = []
            os.close(lock)

    def _lock(self) -> int | None:
        """A descriptor with the lock of this machine's folders; None if another worker has it. On a disk
        without locks several workers watch, and Redis accepts each file once."""
        folder = self._config.data_dir / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "inboxes", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                os.close(lock)
                return None
        return lock


@dataclass(slots=True)
class _Waiting:
    """A file that is not settled yet."""

    version: Version
    since: float  # monotonic time at which it had this version first


class WatchedFolder:
    """One watched folder."""

    def __init__(
        self,
        config: Config,
        store: Store,
        machine: str,
        inbox: InboxConfig,
        on_problem: Callable[[], None],
    ) -> None:
        """`on_problem` is called when `problem` has changed."""
        self._config = config
        self._store = store
        self._machine = machine
        self.path = inbox.path
        self.problem: Text | None = None
        self._on_problem = on_problem
        self._inbox = inbox
        self._key = hashlib.sha256(f"{machine}\0{inbox.path}".encode()).hexdigest()[:16]
        self._patterns = Patterns(inbox.patterns, inbox.exclude)
        self._taken: dict[str, Taken] | None = None  # None until it was read
        self._waiting: dict[str, _Waiting] = {}
        self._left_out: set[Path] = set()  # that were logged
        self._noticed = Signal()
        self._folder: os.stat_result | None = None  # that is watched for changes
        self._noticing: asyncio.Task[None] | None = None
        self._interval = inbox.poll_seconds or _POLL_SECONDS

    async def run(self) -> None:
        """Watch until canceled."""
        log.info("inbox_watched", folder=str(self._inbox.path))
        try:
            await repeat("inbox", self._look)
        finally:
            await self._follow(None)

    async def _follow(self, folder: os.stat_result | None) -> None:
        """Notice changes in the folder that is there now; None: there is none."""
        if folder and self._folder and os.path.samestat(folder, self._folder):
            return
        self._folder = folder
        if self._noticing:
            self._noticing.cancel()
            await asyncio.wait([self._noticing])
        self._interval = self._inbox.poll_seconds or _POLL_SECONDS
        self._noticing = asyncio.create_task(self._notice()) if folder else None

    async def _notice(self) -> None:
        """Send a signal when something in the folder changes, as long as the system reports that."""
        from watchfiles import awatch  # only where folders are watched

        inbox = self._inbox
        if inbox.poll_seconds or await asyncio.to_thread(is_on_network, inbox.path):
            return
        self._interval = _CONTROL_SECONDS
        # What has changed before it began is not noticed.
        asyncio.get_running_loop().call_later(_BEGIN_SECONDS, self._noticed.send)
        try:
            async for _ in awatch(
                inbox.path,
                watch_filter=None,
                recursive=inbox.recursive,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                ignore_permission_denied=True,
            ):
                self._noticed.send()
        except* Exception as errors:  # the limit of watches of this machine, or a name that is not UTF-8
            log.info("inbox_polled", folder=str(inbox.path), reason=str(errors.exceptions[0]))
        self._interval = _POLL_SECONDS
        self._noticed.send()

    async def _look(self) -> None:
        """Take all files that are complete, then wait until there may be more."""
        seen = self._noticed.count
        if self._taken is None:
            self._taken = await self._store.inboxes.taken(self._key)
        try:
            await self._follow(await asyncio.to_thread(self._inbox.path.stat))
            found = await asyncio.to_thread(self._list)
        except OSError as error:
            await self._follow(None)
            reason = error.strerror or str(error)
            self._report(
                Text(
                    "the folder cannot be read ({reason}); mount its disk, or check its path and permissions",
                    {"reason": reason},
                )
            )
            self._waiting.clear()
        else:
            files = [each for each in found if isinstance(each, LocalFile)]
            self._log_left_out([each for each in found if isinstance(each, LeftOut)])
            await self._tidy({file.below: file for file in files})
            ready = self._ready(files)
            if all([await self._take(file) for file in ready]):
                self._report(None)
        await self._noticed.wait(self._pause(), since=seen)

    def _list(self) -> list[LocalFile | LeftOut]:
        inbox = self._inbox
        found = complete_names(
            inbox.path, self._patterns, recursive=inbox.recursive, without=inbox.moved_files
        )
        return list(found)

    def _pause(self) -> float:
        """Seconds until the next look: until the first file may be complete."""
        if not self._waiting:
            return self._interval
        since = min(each.since for each in self._waiting.values())
        left: float = since + self._inbox.settle_seconds - time.monotonic()
        return min(self._interval, max(0.05, left))

    def _ready(self, files: list[LocalFile]) -> list[LocalFile]:
        """The files that have not changed for long enough, the oldest first. Remembers the others."""
        now, before = time.monotonic(), self._waiting
        self._waiting, ready = {}, []
        for file in files:
            taken = (self._taken or {}).get(file.below)
            if taken and taken.version == file.version:
                continue
            known = before.get(file.below)
            if known is None or known.version != file.version:
                known = _Waiting(file.version, now)
            self._waiting[file.below] = known
            if now - known.since >= self._inbox.settle_seconds:
                ready.append(file)
        return sorted(ready, key=lambda file: file.version.mtime_ns)

    async def _take(self, file: LocalFile) -> bool:
        """Create the task of a file, unless somebody still writes to it. Returns whether nothing is wrong."""
        try:
            info = await asyncio.to_thread(settled, self._inbox.path, file)
        except FileNotFoundError:
            return True
        except OSError as error:
            self._report(
                Text(
                    "{file} cannot be read: {reason}",
                    {"file": decoded(file.below), "reason": error.strerror or str(error)},
                )
            )
            self._waiting[file.below].since = time.monotonic()
            return False
        if info is None:
            self._waiting[file.below].since = time.monotonic()
            return True
        try:
            await self._create(file, info)
        except Unavailable:
            raise
        except RequestError as error:  # the user may not use the storage any more, for example
            self._report(error.text)
            self._waiting[file.below].since = time.monotonic() + _POLL_SECONDS
            return False
        del self._waiting[file.below]
        assert self._taken is not None  # noqa: S101  # it was read before
        self._taken[file.below] = Taken(file.version)
        return True

    async def _create(self, file: LocalFile, info: os.stat_result) -> None:
        inbox, path = self._inbox, decoded(str(file.path))
        user = self._config.owner(inbox)
        if user is None:
            raise Forbidden("no user is configured; add a [[users]] table to config.toml")
        storage, folder = inbox.target
        params = inbox_params(inbox, file.below, file.version)
        name: str = params["name"]
        request = TaskRequest(
            inbox=InboxFile(machine=self._machine, path=path, params=params),
            user_id=user.id,
            storage=storage,
            folder=folder,
            on_conflict=OnConflict(inbox.on_conflict) if inbox.on_conflict else None,
        )
        preferences = await self._store.preferences.recent(user.id)
        spec = plan_request(self._config, user, request, preferences, task_id=new_id())
        # The same file, which another machine watches on a network disk, too, becomes one task.
        same = f"{inbox.path}\0{file.path!r}\0{file.version}\0{info.st_ino}\0{info.st_ctime_ns}"
        await self._store.tasks.accept(
            spec,
            title(INBOX, name, spec.storage, spec.path),
            subject=Text(name),
            key=f"inbox:{hashlib.sha256(same.encode()).hexdigest()}",
            taken=TakenFile(self._key, file.below, file.version),
        )
        log.info("inbox_file_taken", file=path, task=spec.id)

    async def _tidy(self, there: dict[str, LocalFile]) -> None:
        """Record from time to time which files are there, and forget those that are not any more."""
        if self._taken is None:
            return
        seen, gone = [], []
        for below, taken in self._taken.items():
            if below not in there:
                if self._inbox.after != "keep" or taken.days_ago > _REMEMBERED_DAYS:
                    gone.append(below)
            elif taken.days_ago > _SEEN_DAYS:
                seen.append((below, Taken(taken.version)))
        if seen:
            await self._store.inboxes.put(self._key, seen)
            self._taken.update(seen)
        if gone:
            await self._store.inboxes.forget(self._key, gone)
            for below in gone:
                del self._taken[below]

    def _log_left_out(self, found: list[LeftOut]) -> None:
        for each in found:
            if each.path not in self._left_out:
                log.info("inbox_left_out", file=decoded(str(each.path)), reason=each.reason)
        self._left_out = {each.path for each in found}

    def _report(self, problem: Text | None) -> None:
        """Show what is wrong with this folder, None if nothing is, and log it once."""
        if problem != self.problem:
            self.problem = problem
            self._on_problem()
            if problem:
                log.warning("inbox_problem", folder=str(self.path), reason=str(problem))
