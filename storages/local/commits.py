"""Commits to one disk: those into the same folder that wait at the same time share an fsync of the folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from storages.local.jail import Disk, FolderHandle

#: Seconds that a commit waits for the batch before it.
_PATIENCE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Commit:
    """The steps of one commit, which run in a thread."""

    path: str
    publish: Callable[[FolderHandle], None]  # gives the file its name
    sync: Callable[[FolderHandle], None]  # makes the entries of the folder durable, for all of a batch
    finish: Callable[[], str]  # ends the upload; returns the version of the file
    done: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Commits:
    """Runs commits in batches. One batch per folder is in flight; what waits meanwhile is the next one, which
    does not wait long for a batch that hangs."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._waiting: dict[str, list[Commit]] = {}  # by folder
        self._workers: dict[str, set[asyncio.Task[None]]] = {}

    async def run(self, commit: Commit) -> str:
        """The version of the file, when it is visible and durable. A cancellation takes effect before it is
        published, or after the commit."""
        folder = commit.path.rpartition("/")[0]
        # Mark an error as retrieved, for asyncio, if nobody waits for it.
        commit.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting.setdefault(folder, []).append(commit)
        if folder not in self._workers:
            self._start(folder)
        patience = asyncio.get_running_loop().call_later(_PATIENCE, self._start, folder)
        commit.done.add_done_callback(lambda _: patience.cancel())
        cancelled: asyncio.CancelledError | None = None
        while not commit.done.done():
            try:
                await asyncio.wait([commit.done])
            except asyncio.CancelledError as error:
                cancelled = error
                if commit in self._waiting.get(folder, ()):
                    self._waiting[folder].remove(commit)
                    commit.done.cancel()
                    raise
        if cancelled:
            raise cancelled
        return self._disk.result(commit.path, commit.done)

    def _start(self, folder: str) -> None:
        """Work on the commits that wait, if there are any."""
        if self._waiting.get(folder):
            workers = self._workers.setdefault(folder, set())
            task = asyncio.create_task(self._work(folder))
            workers.add(task)
            task.add_done_callback(lambda done: self._ended(folder, done))

    def _ended(self, folder: str, task: asyncio.Task[None]) -> None:
        self._workers[folder].discard(task)
        if not self._workers[folder]:
            del self._workers[folder]
            self._start(folder)

    async def _work(self, folder: str) -> None:
        while batch := self._waiting.pop(folder, None):
            try:
                results = await self._run(folder, batch)
            except asyncio.CancelledError:
                for commit in batch:
                    commit.done.cancel()
                raise
            for commit, result in zip(batch, results, strict=True):
                if isinstance(result, BaseException):
                    commit.done.set_exception(result)
                else:
                    commit.done.set_result(result)

    async def _run(self, folder: str, batch: Sequence[Commit]) -> Sequence[str | BaseException]:
        try:
            return await self._disk.run(folder, lambda: _run_batch(self._disk, batch))
        except Exception as error:  # the threads have been shut down
            return [error] * len(batch)


def _run_batch(disk: Disk, batch: Sequence[Commit]) -> list[str | BaseException]:
    """Run all commits of a batch; the version of each file, or why it is not both visible and durable."""
    results: list[str | BaseException] = [""] * len(batch)
    try:
        with disk.parent(batch[0].path) as (folder, _):
            for number, commit in enumerate(batch):
                results[number] = _attempt(lambda commit=commit: commit.publish(folder) or "")  # type: ignore[misc]
            if published := [each for each, result in zip(batch, results, strict=True) if result == ""]:
                published[0].sync(folder)
    except BaseException as error:
        return [result or error for result in results]
    return [result or _attempt(commit.finish) for commit, result in zip(batch, results, strict=True)]


def _attempt(step: Callable[[], str]) -> str | BaseException:
    try:
        return step()
    except BaseException as error:
        return error
