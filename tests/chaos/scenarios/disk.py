"""The disk is full at each tenth of a file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saveany.sandbox.content import MIB
from tests.chaos.installation import ChaosInstallation, Plan
from tests.chaos.launch import NO_RESERVE
from tests.chaos.result import ScenarioResult

_SIZE = 4 * MIB
_DISK = 6 * MIB
_PIECE = 64 << 10


async def run(plan: Plan) -> ScenarioResult:
    """Where space can be reserved, the lack of space is noticed before the first byte, otherwise in the
    middle of the file.

    Either way the task fails and leaves nothing behind, and a retry completes once there is space.
    """
    result = ScenarioResult("disk")
    for kind, patches in {"known before": [], "in the middle": [NO_RESERVE]}.items():
        installation = ChaosInstallation(Plan(plan.long, plan.seed, plan.folder / kind.replace(" ", "-")))
        installation.storage_dir.mkdir(parents=True)
        with mounted(installation.storage_dir) as problem:
            if problem:
                result.skipped = problem
                return result
            async with installation:
                await installation.launch(1, *patches)
                for tenths in range(10):
                    await _full(installation, result, tenths)
    return result


async def _full(installation: ChaosInstallation, result: ScenarioResult, tenths: int) -> None:
    target, filler = installation.target(_SIZE), installation.storage_dir / "filler"
    installation.storage_dir.joinpath(target.folder).mkdir()
    _fill(filler, leave=_SIZE * tenths // 10)
    await installation.send(target)
    end = await installation.ended(target.task)
    result.injected["full disks"] += 1
    reason_is_given = "are free" in end["error"] or "disk is full" in end["error"]
    result.check(
        end["status"] == "failed" and reason_is_given, f"{target.path}: {end['status']} {end['error']!r}"
    )
    left = [name for name in installation.files() if name.startswith(target.folder)]
    result.check(not left, f"{target.path}: a failed task left {left}")
    filler.unlink()
    reply = await installation.client.post(f"/api/v1/tasks/{target.task}/retry")
    result.check(reply.is_success, f"{target.path}: its retry was refused with {reply.status_code}")
    await installation.ended(target.task)
    await installation.audit(result)
    installation.targets.clear()  # there is space for one file only
    (installation.storage_dir / target.path).unlink(missing_ok=True)


def _fill(file: Path, leave: int) -> None:
    """Fill a disk with a file, except for `leave` bytes."""
    disk = os.statvfs(file.parent)
    with file.open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, disk.f_bavail * disk.f_frsize - leave)


@contextmanager
def mounted(folder: Path, size: int = _DISK) -> Iterator[str]:
    """Mount a disk of `size` bytes at `folder`, and yield why it cannot be mounted, or ""; in CI it must be
    mounted."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "saveany-chaos", folder],
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
