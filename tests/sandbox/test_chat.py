"""The chat of the demo on a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from saveany.sandbox.chat import typed_lines


async def test_input_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "script"
    file.write_text("/help\nhttps://t.me/channel/123\n")
    with file.open() as lines:
        monkeypatch.setattr("sys.stdin", lines)
        assert [line.strip() async for line in typed_lines()] == ["/help", "https://t.me/channel/123"]
