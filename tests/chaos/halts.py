"""Steps of finishing a task, of recording it and of reading an archive, at which a process halts until a
scenario has killed something.

A scenario arms a step. The first process that reaches it halts until it is killed or released. The files in
the folder that `FOLDER` names are all that they share.
"""

from __future__ import annotations

import functools
import importlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.fixtures.waiting import until

#: Environment variable with the folder.
FOLDER = "CHAOS_HALTS"

_CLAIM, _RECORDING = ("saveany.store.claims", "Claim"), ("saveany.store.recording", "Recording")
#: Step -> module, class, coroutine function, and whether the process halts after it.
WORKER_STEPS: dict[str, tuple[str, str, str, bool]] = {
    "before-item": (*_CLAIM, "item", False),
    "after-item": (*_CLAIM, "item", True),
    "before-finish": (*_CLAIM, "finish", False),
    "after-finish": (*_CLAIM, "finish", True),
}
RECORDER_STEPS: dict[str, tuple[str, str, str, bool]] = {
    "after-lock": (*_RECORDING, "lock", True),
    "after-read": ("saveany.catalogue.recorder", "Recorder", "_read", True),
    "before-commit": ("saveany.catalogue.recorder", "", "_write", True),
    "after-commit": (*_RECORDING, "done", False),
    "after-removal": (*_RECORDING, "done", True),
    "before-expiry": (*_RECORDING, "expire", False),
}
_RECEIPTS = ("saveany.catalogue.receipts", "Receipts")
_SAVER, _ARCHIVES = ("saveany.archives.saving", "PostSaver"), ("saveany.store.archives", "Archives")
READER_STEPS: dict[str, tuple[str, str, str, bool]] = {
    "before-note": (*_RECEIPTS, "write", False),
    "after-note": (*_RECEIPTS, "write", True),
    "before-archive-task": (*_SAVER, "submit", False),
    "after-archive-task": (*_SAVER, "submit", True),
    "before-advance": (*_ARCHIVES, "advance", False),
    "after-advance": (*_ARCHIVES, "advance", True),
}


def install() -> None:
    """Let this process halt at the steps that are armed."""
    folder = Path(os.environ[FOLDER])
    for step, (module, owner, name, after) in (WORKER_STEPS | RECORDER_STEPS | READER_STEPS).items():
        place: Any = importlib.import_module(module)
        place = getattr(place, owner) if owner else place
        setattr(place, name, _halting(getattr(place, name), folder, step, after))


def _halting(
    call: Callable[..., Awaitable[object]], folder: Path, step: str, after: bool
) -> Callable[..., Awaitable[object]]:
    @functools.wraps(call)
    async def halting(*args: Any, **options: Any) -> object:
        if not after:
            _halt(folder, step)
        result = await call(*args, **options)
        if after:
            _halt(folder, step)
        return result

    return halting


def _halt(folder: Path, step: str) -> None:
    """Stop this whole process, as a debugger does, if the step is armed."""
    halted = folder / f"{step}.halted"
    try:
        (folder / step).rename(halted)
    except FileNotFoundError:
        return
    halted.write_text(str(os.getpid()))
    while halted.exists():
        time.sleep(0.01)  # the event loop stands still, too


class Halts:
    """The side of the scenario."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self.env = {FOLDER: str(folder)}

    def arm(self, step: str) -> None:
        """The next process that reaches the step halts."""
        (self._folder / step).touch()

    async def reached(self, step: str, within: float = 30.0) -> None:
        """Wait until a process has halted at the step, at most `within` seconds."""
        halted = self._folder / f"{step}.halted"
        await until(
            lambda: halted.exists() and halted.read_text(), within=within, what=f"a process at {step}"
        )

    def release(self, step: str) -> None:
        """Let the process continue, if it is alive."""
        (self._folder / f"{step}.halted").unlink()
