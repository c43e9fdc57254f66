"""Joins consecutive videos of one stream into one MP4, without encoding anything anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from saveany.errors import NoSpace, Retryable
from saveany.net.guard import AddressGuard
from saveany.programs import SELF_CONTAINED_FORMATS, find_program
from saveany.texts import Text
from workers.retries import LONG_WAIT
from workers.sources.process import run

_LIST: Final = "parts.txt"


class NotInstalled(Retryable):
    """ffmpeg is not installed on this machine: what needs it waits, and frees its slot."""

    def __init__(self, program: str) -> None:
        super().__init__(missing(program), after=LONG_WAIT + 1)


def missing(program: str) -> Text:
    """What to do if `program`, which is ffmpeg, is not there."""
    return Text(
        "{program} is not installed on the worker; on Debian and Ubuntu: apt install ffmpeg",
        {"program": program},
    )


async def join(
    program: str, folder: Path, pieces: Sequence[tuple[str, float]], out: str, guard: AddressGuard
) -> None:
    """Join the files with these names in `folder` into the file `out` there, which begins to play before all
    of it is loaded. Each piece has its length in seconds: the next one begins exactly that much later, so
    sound and picture stay together, however many pieces there are. `program` is ffmpeg. Raises as `run` and
    `NotInstalled`, and leaves no unfinished file then."""
    path = find_program(program)
    if path is None:
        raise NotInstalled(program)
    lines = [f"file '{name}'\nduration {seconds:.6f}\n" for name, seconds in pieces]
    try:
        await asyncio.to_thread((folder / _LIST).write_text, "".join(["ffconcat version 1.0\n", *lines]))
        await _run(path, folder, out, guard)
    except OSError as error:
        raise NoSpace("the recording cannot be kept: {reason}", reason=error.strerror or "") from error
    except BaseException:
        (folder / out).unlink(missing_ok=True)  # it may fill the disk
        raise
    finally:
        (folder / _LIST).unlink(missing_ok=True)


async def _run(program: str | Path, folder: Path, out: str, guard: AddressGuard) -> None:
    await run(
        [
            *(program, "-v", "error", "-nostdin", "-y", "-threads", "1"),
            *("-protocol_whitelist", "file", "-format_whitelist", f"concat,{SELF_CONTAINED_FORMATS}"),
            *("-f", "concat", "-i", f"file:{_LIST}", "-map", "0:v?", "-map", "0:a?", "-c", "copy"),
            *("-movflags", "+faststart", "-f", "mp4", f"file:{out}"),
        ],
        folder=folder,
        guard=guard,
        proxy="",
        on_line=lambda _: None,
    )
