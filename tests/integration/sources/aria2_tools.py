"""The tools of a worker with an aria2, and its processes, for the tests of aria2."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saveany.config import Config
from tests.fixtures.site import Page
from workers.sources import aria2, aria2_rpc
from workers.sources.base import Tools

DATA = random.Random(1).randbytes(300_000)


@pytest.fixture(autouse=True)
def frequent_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls often, so that tests wait only for aria2."""
    for module in (aria2, aria2_rpc):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.05)


def tools_with(tools: Tools, tmp_path: Path, **table: Any) -> Tools:
    fields = {"data_dir": tmp_path / "data", "aria2": {"enable": True, "dht": False, **table}}
    return replace(tools, config=Config.model_validate(fields))


def programs() -> set[int]:
    """Ids of the running child processes of this process."""
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
            found.update(map(int, (thread / "children").read_text().split()))
    return found


def metalink(*files: tuple[str, str, str]) -> Page:
    """A metalink of files given by name, URL, and SHA-256 or ""."""
    text = '<?xml version="1.0" encoding="UTF-8"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">'
    for name, url, digest in files:
        known = f'<hash type="sha-256">{digest}</hash>' if digest else ""
        text += f'<file name="{name}">{known}<url>{url}</url></file>'
    return Page(f"{text}</metalink>".encode(), headers={"Content-Type": "application/metalink4+xml"})
