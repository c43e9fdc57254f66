"""The clock of one worker jumps by an hour, both ways, while it downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saveany.sandbox.content import MIB
from tests.chaos.arena import Arena, Plan
from tests.chaos.tally import Tally

_SIZE = 16 * MIB
#: Telethon drops replies that seem an hour old or young without a word: what was asked before a jump must
#: time out first, first in the download, then on the control connection, 60 s each and longer for some parts.
_PATIENCE = 240
_JUMPS = ("+3600", "+0", "-3600", "+0")


async def run(plan: Plan) -> Tally:
    """The worker is alone, so nobody else can do its work."""
    tally = Tally("clock")
    library = _libfaketime()
    if not plan.long or library is None:
        tally.skipped = (
            "libfaketime is not installed (apt install faketime)" if plan.long else "long form only"
        )
        return tally
    async with Arena(plan) as arena:
        clock = plan.folder / "clock"
        clock.write_text("+0")
        await arena.open(0)
        arena.env = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as it is when somebody sets a clock
        }
        await arena.add_worker()
        await arena.up(1)
        arena.sandbox.faults.add("total_rate=8000000,method=upload.getFile")
        for jump in _JUMPS:
            target = await arena.send(arena.target(_SIZE))
            await arena.wait(target.task, _a_quarter_is_there, _PATIENCE)
            clock.write_text(jump)
            await arena.ended(target.task, _PATIENCE)
        tally.notes.append(f"{len(_JUMPS)} jumps")
        await arena.nothing_spent(tally)
        return await arena.audit(tally)


def _a_quarter_is_there(task: dict[str, Any]) -> bool:
    return bool(task["progress"]["downloaded_bytes"] >= _SIZE // 4)


def _libfaketime() -> Path | None:
    return next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)
