"""Files of watched folders, written in many ways, while their workers are killed."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.installation import Plan
from tests.chaos.result import ScenarioResult
from tests.fixtures.stack import STORAGE, Stack
from tests.fixtures.waiting import until

_SETTLE = 0.5
#: Files that are written at the same time.
_WRITERS = 12


async def run(plan: Plan) -> ScenarioResult:
    """Each version of a file that its writer has closed may be saved, and the last one must be: once, and
    whole. Nothing else is ever in the storage."""
    result = ScenarioResult("inbox")
    folders = {after: plan.folder / "inboxes" / after for after in ("keep", "delete")}
    for folder in folders.values():
        (folder / "below").mkdir(parents=True)
    inboxes = [
        {"path": str(path), "to": f"{STORAGE}:{after}", "after": after, "settle_seconds": _SETTLE}
        for after, path in folders.items()
    ]
    async with Stack(plan.folder, workers=2, tables={"inboxes": inboxes}, forked=not plan.long) as stack:
        writing = _Writing(plan.random, list(folders.values()), plan.pick(24, 500))
        killing = asyncio.create_task(_kill(stack, plan, result))
        await writing.all()
        await killing
        await until(lambda: writing.is_saved(stack.storage_dir), within=300)
        await until(lambda: _is_idle(stack), within=120)
        left = [str(path) for path in folders["delete"].rglob("*") if path.is_file()]
        result.check(not left, f"these were saved and not deleted: {left}")
        result.check(len(list(folders["keep"].rglob("*.bin"))) == writing.in_folder(folders["keep"]), "kept")
        writing.audit(stack.storage_dir, result)
    return result


async def _kill(stack: Stack, plan: Plan, result: ScenarioResult) -> None:
    for _ in range(plan.pick(3, 20)):
        await asyncio.sleep(plan.random.uniform(0.3, 1.5))
        await stack.kill(plan.random.choice(stack.workers))
        await stack.start_worker()
        result.injected["worker kills"] += 1


async def _is_idle(stack: Stack) -> bool:
    return not (await stack.client.get("/api/v1/tasks")).json()["tasks"]


class _Writing:
    """The files, and the versions of each that were complete at some time."""

    def __init__(self, random: Random, folders: list[Path], count: int) -> None:
        self._random = random
        self._versions: dict[Path, list[str]] = {}  # SHA-256 of each version
        ways: list[Callable[[Path], Coroutine[Any, Any, None]]]
        ways = [self._slowly, self._renamed, self._appended, self._rewritten]
        self._work = []
        for number in range(count):
            folder = random.choice(folders) / random.choice(["", "below"])
            self._work.append(random.choice(ways)(folder / f"{number}.bin"))

    async def all(self) -> None:
        """Write all files."""
        slots = asyncio.Semaphore(_WRITERS)

        async def one(write: Coroutine[Any, Any, None]) -> None:
            async with slots:
                await write

        await asyncio.gather(*map(one, self._work))

    def in_folder(self, folder: Path) -> int:
        """Number of files in a folder."""
        return sum(path.is_relative_to(folder) for path in self._versions)

    def is_saved(self, storage: Path) -> bool:
        """Whether the last version of each file is in the storage."""
        found = _hashes(storage)
        return all(versions[-1] in found for versions in self._versions.values())

    def audit(self, storage: Path, result: ScenarioResult) -> None:
        """Compare the storage with the versions."""
        found = _hashes(storage)
        known = {sha256 for versions in self._versions.values() for sha256 in versions}
        result.done = sum(versions[-1] in found for versions in self._versions.values())
        result.lost += [str(path) for path, versions in self._versions.items() if versions[-1] not in found]
        result.corrupt += [sha256 for sha256 in found if sha256 not in known]
        result.duplicated += [sha256 for sha256, count in found.items() if count > 1]
        result.leftovers += [str(path) for path in storage.rglob(".*.partial")]
        result.notes.append(f"{found.total() - result.done} earlier versions saved")

    def _data(self) -> bytes:
        return self._random.randbytes(self._random.randrange(1, 400_000))

    async def _pause(self, longest: float = 0.4) -> None:
        await asyncio.sleep(self._random.uniform(0, longest))

    def _closed(self, path: Path, data: bytes) -> None:
        self._versions.setdefault(path, []).append(hashlib.sha256(data).hexdigest())

    async def _slowly(self, path: Path, data: bytes = b"") -> None:
        """In pieces, with pauses that are longer than those of complete files."""
        data = data or self._data()
        with path.open("wb") as file:
            for start in range(0, len(data), 150_000):
                file.write(data[start : start + 150_000])
                file.flush()
                await self._pause(2 * _SETTLE)
            self._closed(path, data)

    async def _renamed(self, path: Path) -> None:
        """Under the name of an unfinished download."""
        data = self._data()
        draft = path.with_name(f"{path.name}.part")
        draft.write_bytes(data[:10])
        await self._pause(2 * _SETTLE)
        draft.write_bytes(data)
        self._closed(path, data)
        draft.rename(path)

    async def _appended(self, path: Path) -> None:
        """By a program that opens the file for each piece."""
        data = b""
        for _ in range(self._random.randrange(2, 5)):
            piece = self._data()
            with path.open("ab") as file:
                if file.tell() != len(data):  # what was there is saved, and has been deleted
                    data = b""
                data += piece
                self._closed(path, data)
                file.write(piece)
            await self._pause()

    async def _rewritten(self, path: Path) -> None:
        """Completely, and later anew from its beginning, which is also the end of the first version."""
        data = self._data()
        with path.open("wb") as file:
            file.write(data)
            self._closed(path, data)
        await self._pause(3 * _SETTLE)
        await self._slowly(path)


def _hashes(storage: Path) -> Counter[str]:
    """SHA-256 of each file in the storage -> the number of files."""
    files = (path for path in storage.rglob("*") if path.is_file() and not path.name.startswith("."))
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
