"""Helpers for tests of yt-dlp and gallery-dl: a page with a video, stand-ins for the programs, cookies."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from saveany.config import Config
from workers.sources.base import Tools

VIDEO = random.Random(1).randbytes(700_000)


PAGE = b'<html><head><title>My: film/one</title></head><body><video src="a.mp4"></video>%s</body></html>'


def stand_in(folder: Path, says: str) -> str:
    """A program that runs the given shell script."""
    path = folder / "stand-in"
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o700)
    return str(path)


def with_cookies(tools: Tools, folder: Path, text: str) -> Tools:
    """Tools with cookies for user 1."""
    file = folder / "cookies" / "1.txt"
    file.parent.mkdir()
    file.touch(mode=0o600)
    file.write_text(text)
    return replace(tools, config=Config(data_dir=folder))


COOKIES = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tlogin\thush\n"
