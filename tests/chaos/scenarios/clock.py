"""The clock of one worker jumps by an hour, both ways, while it downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saveany.sandbox.content import MIB
from tests.chaos.installation import ChaosInstallation, Plan
from tests.chaos.result import ScenarioResult

_SIZE = 16 * MIB
#: Seconds within which a task must end. Telethon silently drops replies whose time differs by an hour, so
#: each request from before a jump must time out: on the download connections, then on the control connection,
#: after 60 s or more each.
_TIMEOUT_SECONDS = 240
_JUMPS = ("+3600", "+0", "-3600", "+0")


async def run(plan: Plan) -> ScenarioResult:
    """There is only one worker, so no other can finish its tasks."""
    result = ScenarioResult("clock")
    library = _libfaketime()
    if not plan.long or library is None:
        result.skipped = (
            "libfaketime is not installed (apt install faketime)" if plan.long else "long form only"
        )
        return result
    async with ChaosInstallation(plan) as installation:
        clock = plan.folder / "clock"
        clock.write_text("+0")
        await installation.launch(0)
        installation.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as when the clock is set
        }
        await installation.add_worker()
        await installation.wait_until_ready(1)
        installation.sandbox.faults.add("total_rate=8000000,method=upload.getFile")
        for jump in _JUMPS:
            target = await installation.send(installation.target(_SIZE))
            await installation.wait(target.task, _has_a_quarter, _TIMEOUT_SECONDS)
            clock.write_text(jump)
            await installation.ended(target.task, _TIMEOUT_SECONDS)
        result.notes.append(f"{len(_JUMPS)} jumps")
        await installation.check_no_attempts_used(result)
        return await installation.audit(result)


def _has_a_quarter(task: dict[str, Any]) -> bool:
    return bool(task["progress"]["downloaded_bytes"] >= _SIZE // 4)


def _libfaketime() -> Path | None:
    return next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)
