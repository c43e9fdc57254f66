"""A disk that is full at each tenth of a file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saveany.sandbox.content import MIB
from tests.chaos.arena import Arena, Plan
from tests.chaos.launch import NO_RESERVE
from tests.chaos.tally import Tally

_SIZE = 4 * MIB
_DISK = 6 * MIB
_PIECE = 64 << 10


async def run(plan: Plan) -> Tally:
    """Where room can be reserved it is missed before the first byte; where it cannot, in mid-file.

    Either way the task fails and leaves nothing, and its retry completes when there is room.
    """
    tally = Tally("disk")
    for kind, patches in {"known before": [], "in the middle": [NO_RESERVE]}.items():
        arena = Arena(Plan(plan.long, plan.seed, plan.folder / kind.replace(" ", "-")))
        arena.storage_dir.mkdir(parents=True)
        with mounted(arena.storage_dir) as problem:
            if problem:
                tally.skipped = problem
                return tally
            async with arena:
                await arena.open(1, *patches)
                for tenths in range(10):
                    await _full(arena, tally, tenths)
    return tally


async def _full(arena: Arena, tally: Tally, tenths: int) -> None:
    target, filler = arena.target(_SIZE), arena.storage_dir / "filler"
    arena.storage_dir.joinpath(target.folder).mkdir()
    _fill(filler, leave=_SIZE * tenths // 10)
    await arena.send(target)
    end = await arena.ended(target.task)
    tally.blows["full disks"] += 1
    told = "are free" in end["error"] or "disk is full" in end["error"]
    tally.check(end["status"] == "failed" and told, f"{target.path}: {end['status']} {end['error']!r}")
    left = [name for name in arena.files() if name.startswith(target.folder)]
    tally.check(not left, f"{target.path}: a failed task left {left}")
    filler.unlink()
    reply = await arena.client.post(f"/api/v1/tasks/{target.task}/retry")
    tally.check(reply.is_success, f"{target.path}: its retry was answered with {reply.status_code}")
    await arena.ended(target.task)
    await arena.audit(tally)
    arena.targets.clear()  # there is room for one file
    (arena.storage_dir / target.path).unlink(missing_ok=True)


def _fill(file: Path, leave: int) -> None:
    """Take all room of a disk but so many bytes."""
    there = os.statvfs(file.parent)
    with file.open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, there.f_bavail * there.f_frsize - leave)


@contextmanager
def mounted(folder: Path) -> Iterator[str]:
    """A small disk of its own, or why there can be none here; in CI there must be one."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "saveany-chaos", folder],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        problem = f"a small disk can only be mounted by root ({done.stderr.strip()})"
        if os.environ.get("CI"):
            raise AssertionError(problem)
        yield problem
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
