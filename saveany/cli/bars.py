"""Shows events: as progress bars on a terminal, as lines of JSON otherwise."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Protocol

import typer
from rich import filesize
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from saveany.cli.client import Json, printable
from saveany.cli.tables import COLORS
from saveany.client.server_events import ServerEvent
from saveany.models import subject_of

_NAME_WIDTH = 36
#: Maximum number of reasons for waiting that are shown, the most frequent first.
_MAX_REASONS = 3


class Display(Protocol):
    """Something that shows events."""

    def show(self, event: ServerEvent) -> None:
        """Show one event."""


@contextmanager
def display(*, as_json: bool, idle: str = "") -> Iterator[Display]:
    """The display that suits stdout. A terminal shows `idle` while no task is queued or running."""
    if as_json or not sys.stdout.isatty():
        yield Lines()
        return
    bars = Bars(Console())
    bars.progress.idle = idle
    with bars.progress:
        yield bars


class Lines:
    """Prints one JSON object per event: `event`, `id` if it has one, and the fields of the API's event."""

    def show(self, event: ServerEvent) -> None:
        """Print one event."""
        head = {"event": event.type} | ({"id": event.id} if event.id else {})
        typer.echo(json.dumps(head | event.data))


class _Screen(Progress):
    """The bars, and below them the number of tasks that wait or are paused, and the reasons."""

    waiting: Mapping[str, str] = {}
    stalled: Mapping[str, str] = {}
    paused: Sized = ()
    idle = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        counts = [
            f"{name}: {len(tasks)}"
            for name, tasks in (("waiting", self.waiting), ("paused", self.paused))
            if tasks
        ]
        if counts:
            yield Text(", ".join(counts))
        elif not self.tasks and self.idle:
            yield Text(self.idle)
        for name, tasks in (("waiting", self.waiting), ("stalled", self.stalled)):
            for reason, count in Counter(filter(None, tasks.values())).most_common(_MAX_REASONS):
                yield Text(f"{name}{f' ({count})' * (count > 1)}: {reason}", style="yellow")


class Bars:
    """A bar for each running task, a line for each task that ended, and the number of tasks that wait or are
    paused."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        self.progress = _Screen(*columns, console=console, transient=True)
        self._bars: dict[str, TaskID] = {}
        self._titles: dict[str, str] = {}
        self._waiting: dict[str, str] = {}  # queued task -> reason, "" if unknown
        self._stalled: dict[str, str] = {}  # running task without progress -> reason
        self._paused: set[str] = set()
        self.progress.waiting, self.progress.paused = self._waiting, self._paused
        self.progress.stalled = self._stalled

    def show(self, event: ServerEvent) -> None:
        """Update the screen."""
        task_id, data = event.task_id, event.data
        if event.type == "reset":
            self._forget(*self._titles)
        if not task_id:
            return
        if event.type == "waiting":
            for tasks, reasons in ((self._waiting, self._waiting), (self._bars, self._stalled)):
                if task_id in tasks:
                    reasons[task_id] = printable(data["waiting"])
            return
        if title := data.get("title"):
            self._titles[task_id] = printable(title)
        if event.ended:
            title = self._titles.get(task_id, task_id)
            self._forget(task_id)
            self._print_end(title, data)
        elif data["status"] == "running":
            self._stop_waiting(task_id)
            self._draw(task_id, data)
        else:
            self._wait(task_id, paused=data.get("stage") == "paused")
            self._drop_bar(task_id)

    def _wait(self, task_id: str, *, paused: bool) -> None:
        reason = self._waiting.get(task_id, "")
        self._stop_waiting(task_id)
        if paused:
            self._paused.add(task_id)
        else:
            self._waiting[task_id] = reason

    def _stop_waiting(self, task_id: str) -> None:
        self._waiting.pop(task_id, None)
        self._paused.discard(task_id)

    def _draw(self, task_id: str, data: Json) -> None:
        if task_id not in self._bars:
            stage = data.get("stage") or ""
            self._bars[task_id] = self.progress.add_task("", total=None, detail=stage)
        bar, progress = self._bars[task_id], data.get("progress") or {}
        self.progress.update(bar, description=_name(self._titles.get(task_id, task_id)))
        if data.get("stage") == "joining":
            self.progress.update(bar, detail="joining")
        elif done := progress.get("downloaded_bytes"):
            total = progress["total_bytes"] or None
            self.progress.update(bar, total=total, completed=done, detail=_detail(progress))

    def _print_end(self, title: str, data: Json) -> None:
        status, error = data["status"], printable(data.get("error") or "")
        line = Text.assemble((f"{status:10}", COLORS[status]), title, f": {error}" if error else "")
        self.progress.console.print(line, soft_wrap=True)

    def _forget(self, *task_ids: str) -> None:
        for task_id in task_ids:
            self._titles.pop(task_id, None)
            self._stop_waiting(task_id)
            self._drop_bar(task_id)

    def _drop_bar(self, task_id: str) -> None:
        self._stalled.pop(task_id, None)
        if (bar := self._bars.pop(task_id, None)) is not None:
            self.progress.remove_task(bar)


def amount(progress: Json) -> str:
    """Bytes downloaded and in total: `1.2 MB of 4.0 MB`; while nobody knows how many come, `1.2 MB`."""
    done, total = progress["downloaded_bytes"], progress["total_bytes"]
    if done and not total:
        return filesize.decimal(done)
    return f"{filesize.decimal(done)} of {filesize.decimal(total)}"


def _detail(progress: Json) -> str:
    speed, eta = round(progress["speed_bps"]), progress["eta_seconds"]
    left = "" if eta is None else f" {eta // 60}:{eta % 60:02} left"
    part = f"{progress['percent']:5.1f} % " if progress["total_bytes"] else ""
    return f"{part}{amount(progress)} {filesize.decimal(speed)}/s{left}"


def _name(title: str) -> str:
    """The subject of a title, shortened to the width of its column."""
    name = subject_of(title)
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
