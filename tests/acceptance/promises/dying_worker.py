"""`python -m tests.acceptance.promises.dying_worker BOUNDARY …`: a worker that is killed at a step of
the finish of a task."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from saveany.cli import main
from saveany.models import ItemStatus
from saveany.store import Claim
from saveany.store.claims import Claims
from saveany.store.removals import Removals
from storages.local.upload import LocalUpload
from workers.item_records import ItemRecords


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _finishing(*args: Any) -> bool:
    return args[1].status is ItemStatus.FINISHING


def _always(*_: Any) -> bool:
    return True


def _before(owner: type, name: str, when: Callable[..., bool] = _always) -> None:
    """Kill this process when the method is called."""
    real = getattr(owner, name)

    def patched(*args: Any, **more: Any) -> Any:
        if when(*args):
            die()
        return real(*args, **more)

    setattr(owner, name, patched)


def _after(owner: type, name: str, when: Callable[..., bool] = _always) -> None:
    """Kill this process when the coroutine has returned."""
    real = getattr(owner, name)

    async def patched(*args: Any, **more: Any) -> Any:
        result = await real(*args, **more)
        if when(*args):
            die()
        return result

    setattr(owner, name, patched)


#: The steps of a finish, and the method at whose begin or end each is reached.
BOUNDARIES: dict[str, Callable[[], None]] = {
    "before-finishing-recorded": lambda: _before(ItemRecords, "put", _finishing),
    "after-finishing-recorded": lambda: _after(ItemRecords, "put", _finishing),
    "before-link": lambda: _before(LocalUpload, "_link"),
    "after-link-before-unlink": lambda: _before(LocalUpload, "_drop_part"),
    "after-unlink-before-folder-fsync": lambda: _before(LocalUpload, "_sync_folder"),
    "before-finish-recorded": lambda: _before(Claim, "finish"),
    "after-finish-recorded": lambda: _after(Claim, "finish"),
}


def _from_call(number: int) -> Callable[..., bool]:
    """Whether this is that call or a later one."""
    calls = count(1)
    return lambda *_: next(calls) >= number


def _recording(step: Callable[..., None], number: int) -> None:
    """Kill this process at that recording of items. A slow machine records more of them together, and may
    have fewer recordings: then at the end of the task."""
    step(Claim, "item", _from_call(number))
    _before(Claim, "finish")


def _after_claims() -> None:
    """Kill this process when it has claimed at least one task."""
    real = Claims.claim_several

    async def patched(*args: Any, **more: Any) -> Any:
        if claims := await real(*args, **more):
            die()
        return claims

    Claims.claim_several = patched  # type: ignore[method-assign]


#: Steps of a task with many files in flight: the first, second, … time that items are recorded, and steps of
#: one of its files while others are at any other step.
RECORDINGS: dict[str, Callable[[], None]] = {
    "before-plan-recorded": lambda: _before(Claim, "plan"),
    "after-plan-recorded": lambda: _after(Claim, "plan"),
    **{f"before-recording-{n}": partial(_recording, _before, n) for n in (1, 2, 4, 6)},
    **{f"after-recording-{n}": partial(_recording, _after, n) for n in (1, 2, 4, 6)},
    "before-fifth-write": lambda: _before(LocalUpload, "write", _from_call(5)),
    "before-fifth-link": lambda: _before(LocalUpload, "_link", _from_call(5)),
    "after-fifth-link-before-unlink": lambda: _before(LocalUpload, "_drop_part", _from_call(5)),
    "before-ninth-link": lambda: _before(LocalUpload, "_link", _from_call(9)),
    "before-folder-fsync": lambda: _before(LocalUpload, "_sync_folder"),
    "before-end-recorded": lambda: _before(Claim, "finish"),
    "after-end-recorded": lambda: _after(Claim, "finish"),
}

#: Steps of many small tasks that run at the same time.
SMALL_TASKS: dict[str, Callable[[], None]] = {
    "after-claims": _after_claims,
    **{f"before-plan-{n}": partial(_before, Claim, "plan", _from_call(n)) for n in (1, 5)},
    **{f"after-plan-{n}": partial(_after, Claim, "plan", _from_call(n)) for n in (1, 5)},
    **{f"after-item-{n}": partial(_after, Claim, "item", _from_call(n)) for n in (1, 5)},
    **{f"link-{n}": partial(_before, LocalUpload, "_link", _from_call(n)) for n in (1, 5)},
    **{f"after-finish-{n}": partial(_after, Claim, "finish", _from_call(n)) for n in (1, 5)},
}

#: Steps of the removal of a deleted copy, in a worker or (`API_REMOVALS`) in the API.
REMOVALS: dict[str, Callable[[], None]] = {
    "after-removal-taken": lambda: _after(Removals, "take"),
    "after-copy-removed": lambda: _before(Removals, "end"),
    "after-removal-ended": lambda: _after(Removals, "end"),
}
API_REMOVALS: dict[str, Callable[[], None]] = {
    "before-removal-proposed": lambda: _before(Removals, "propose"),
    "after-removal-proposed": lambda: _after(Removals, "propose"),
    "after-removal-decided": lambda: _after(Removals, "decide"),
    "before-removal-forgotten": lambda: _before(Removals, "forget"),
}

if __name__ == "__main__":
    (BOUNDARIES | RECORDINGS | SMALL_TASKS | REMOVALS | API_REMOVALS)[sys.argv.pop(1)]()
    main()
