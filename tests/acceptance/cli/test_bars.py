"""Progress bars for unusual sequences of events."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from saveany.cli.bars import Bars
from saveany.cli.client import printable
from saveany.client.server_events import ServerEvent


class Screen:
    """A terminal of 100 columns with the bars."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        console = Console(file=self.file, force_terminal=True, width=100, no_color=True, legacy_windows=False)
        self.bars = Bars(console)

    def show(self, kind: str, **data: Any) -> None:
        self.bars.show(ServerEvent(kind, data))

    def below(self) -> str:
        """The text below the lines of ended tasks."""
        console = Console(file=io.StringIO(), width=100)
        console.print(*self.bars.progress.get_renderables())
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()


def progress(done: int) -> dict[str, Any]:
    return {
        "total_bytes": 4_000_000,
        "downloaded_bytes": done,
        "percent": done / 40_000,
        "speed_bps": 1_500_000.4,
        "eta_seconds": 62,
    }


def test_bars_show_a_task_from_its_start_to_its_end() -> None:
    screen = Screen()
    title = "[tgfiles](a->b.bin->local1:/a->b.bin)"
    screen.show("task.queued", task_id="1", status="queued", title=title)
    assert screen.below().strip() == "waiting: 1"
    screen.show("task.running", task_id="1", status="running", stage="resolving", title=title)
    assert "resolving" in screen.below()
    assert "a->b.bin " in screen.below()
    assert "waiting" not in screen.below()
    screen.show(
        "task.progress", task_id="1", status="running", stage="downloading", progress=progress(1_000_000)
    )
    assert "25.0 % 1.0 MB of 4.0 MB 1.5 MB/s 1:02 left" in screen.below()
    screen.show("task.completed", task_id="1", status="completed", title=title)
    assert screen.file.getvalue() == f"completed {title}\n"
    assert screen.below().strip() == ""


def test_a_recording_shows_what_has_come_and_that_it_is_joined() -> None:
    screen = Screen()
    come = progress(1_000_000) | {"total_bytes": 0, "percent": 0.0, "eta_seconds": None}
    screen.show("task.running", task_id="1", status="running", stage="downloading", title="a", progress=come)
    assert "1.0 MB 1.5 MB/s" in screen.below()
    assert "%" not in screen.below()
    screen.show("task.progress", task_id="1", status="running", stage="joining", progress=progress(4_000_000))
    assert "joining" in screen.below()


def test_a_task_returned_by_a_dead_worker_is_shown_as_queued() -> None:
    screen = Screen()
    screen.show("snapshot", task_id="1", status="running", title="[x](one->s:/)", progress=progress(5))
    screen.show("task.queued", task_id="1", status="queued", title="[x](one->s:/)")
    assert screen.below().strip() == "waiting: 1"


def test_a_reset_clears_the_bars() -> None:
    screen = Screen()
    screen.show("snapshot", task_id="1", status="running", title="[x](one->s:/)", progress=progress(5))
    screen.show("snapshot", task_id="2", status="queued", title="[x](two->s:/)")
    screen.show("reset", reason="events were lost")
    assert screen.below().strip() == ""


def test_names_cannot_send_control_sequences() -> None:
    screen = Screen()
    title = "[tgfiles]([red]\x1b[2J\u202efdp.exe->local1:/x)"
    screen.show("snapshot", task_id="1", status="running", title=title, progress=progress(5))
    assert "[red][2Jfdp.exe" in screen.below()
    screen.show("task.failed", task_id="1", status="failed", title=title, error="line\r\nbreak\x07")
    assert screen.file.getvalue() == "failed    [tgfiles]([red][2Jfdp.exe->local1:/x): linebreak\n"


@pytest.mark.parametrize("text", ["Grüße 你好.pdf", "👩\u200d💻", ""])
def test_harmless_characters_are_kept(text: str) -> None:
    assert printable(text) == text
