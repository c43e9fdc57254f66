"""Tasks as messages: Telegram's HTML and buttons. Pure; whatever a file is called, it fits into a message."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from saveany.bot.texts import Translator
from saveany.config.schema import PRIVATE_CHATS
from saveany.excerpt import excerpt
from saveany.models import Item, ItemStatus, Stage, Status, Task
from saveany.telegram.update_types import Button, Keyboard

#: A reason longer than this is cut.
_REASON = 240
_NAME, _PLACE, _LISTED_NAME, _LISTED_REASON = 120, 200, 50, 70
_MOST_ACTIVE, _MOST_FAILED = 5, 10
_LONGEST_URL = 1000
#: A name that is cut keeps its end: that is where the extension is.
_TAIL = 12
_CELLS = 10

_ICONS = {
    ItemStatus.COMPLETED: "✅",
    ItemStatus.SKIPPED: "⏭",
    ItemStatus.FAILED: "❌",
}


class RenderedMessage(msgspec.Struct, frozen=True):
    """What a message shows."""

    text: str
    keyboard: Keyboard = ()

    @property
    def mark(self) -> str:
        """The same for the same view only."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


def task_view(t: Translator, task: Task, items: Sequence[Item], name: str = "") -> RenderedMessage:
    """How far a task is, or how it ended. `items` are all it has; `name` is what to call it until they are
    known, and what to call several together."""
    lines = _end(t, task, items, name) if task.status.ended else _way(t, task, items, name)
    return RenderedMessage("\n".join(line for line in lines if line), _keyboard(t, task, items))


def size(count: int) -> str:
    """Bytes for people: `999 B`, `1.2 MB`."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB", "GB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def span(seconds: float) -> str:
    """A time for people: `0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def reason(text: str, room: int) -> str:
    """Why something has failed, in one line. What people never named is not named to them."""
    return excerpt(text.replace(f"storage {PRIVATE_CHATS!r}", "the talk with me"), room)


def place(storage: str, path: str) -> str:
    """Where something is: `nas:/films/a.mkv`."""
    return f"{storage}:/{path}"


def clip(text: str, room: int) -> str:
    """One line of at most `room` characters; what is too long loses its middle."""
    line = " ".join(text.split())
    return line if len(line) <= room else f"{line[: room - _TAIL - 1]}…{line[-_TAIL:]}"


def bar(percent: float) -> str:
    """Ten cells."""
    full = min(_CELLS, int(percent * _CELLS // 100))
    return "▰" * full + "▱" * (_CELLS - full)


def _plain(text: str) -> str:
    return html.escape(text, quote=False)


def _head(icon: str, text: str) -> str:
    return f"{icon} <b>{text}</b>"


def _way(t: Translator, task: Task, items: Sequence[Item], name: str) -> Iterator[str]:
    progress = task.progress
    yield _phase(t, task)
    yield _plain(_subject(t, task, items, name))
    if progress.total_bytes or len(items) > 1:
        yield f"{bar(progress.percent)} {int(progress.percent)} %"
    yield _amount(t, task)
    if task.progress.stalled:
        yield f"⏳ {_plain(reason(task.progress.stalled, 120))}"
    if len(items) > 1:
        yield _counts(t, items)
        yield from _active(items, running=task.status is Status.RUNNING and not task.paused)
    yield _place(t, task, items)


def _phase(t: Translator, task: Task) -> str:
    if task.cancel_requested:
        return _head("⏹", t("Canceling"))
    if task.paused:
        return _head("⏸", t("Paused"))
    if task.status is Status.QUEUED:
        return _head("⏳", t("Waiting"))
    phases = {
        Stage.RESOLVING: ("🔎", t("Looking up the files")),
        Stage.DOWNLOADING: ("⬇️", t("Downloading")),
        Stage.UPLOADING: ("⬆️", t("Uploading")),
        Stage.VERIFYING: ("🔍", t("Checking")),
    }
    return _head(*phases.get(task.stage, ("▶️", t("Starting"))))


def _subject(t: Translator, task: Task, items: Sequence[Item], name: str) -> str:
    """What the task is about, as plain text."""
    if len(items) == 1:
        return clip(items[0].name, _NAME)
    known = name or task.spec.filename
    if known or items:
        return clip(known, _NAME)
    links = task.spec.links
    shown = [link for link in links if not link.startswith("tg:")]
    if len(links) == len(shown) == 1:
        return clip(shown[0], _NAME)
    return t.n("{n} link", "{n} links", len(links))


def _amount(t: Translator, task: Task) -> str:
    """`1.2 MB of 4.0 MB · 600.0 kB/s · 0:05 left`, as far as it is known."""
    progress, parts = task.progress, []
    if progress.total_bytes:
        parts.append(
            t("{done} of {total}", done=size(progress.downloaded_bytes), total=size(progress.total_bytes))
        )
    elif progress.downloaded_bytes:
        parts.append(size(progress.downloaded_bytes))
    if task.status is Status.RUNNING and not task.paused and progress.speed_bps > 0:
        parts.append(f"{size(round(progress.speed_bps))}/s")
        if progress.eta_seconds is not None:
            parts.append(t("{time} left", time=span(progress.eta_seconds)))
    return " · ".join(parts)


def _counts(t: Translator, items: Sequence[Item]) -> str:
    done = sum(item.status.done for item in items)
    failed = sum(item.status is ItemStatus.FAILED for item in items)
    parts = [t("{done} of {n} files done", done=done, n=len(items))]
    if failed:
        parts.append(t("{n} failed", n=failed))
    if waiting := len(items) - done - failed:
        parts.append(t("{n} waiting", n=waiting))
    return " · ".join(parts)


def _active(items: Sequence[Item], *, running: bool) -> Iterator[str]:
    """The last files that were finished and those in work, in their order. A task takes them one by one."""
    over = [item for item in items if item.status in _ICONS]
    todo = [item for item in items if item.status not in _ICONS]
    begun = [item for item in todo if item.status is not ItemStatus.QUEUED] or todo[:1]
    active = begun[:_MOST_ACTIVE] if running else []
    newest = over[len(over) - min(len(over), _MOST_ACTIVE - len(active)) :]
    for item in sorted([*newest, *active], key=lambda item: item.index):
        shown = clip(item.name, _LISTED_NAME) + (f" ({size(item.size)})" if item.size is not None else "")
        yield f"{_ICONS.get(item.status, '▶️')} {_plain(shown)}"


def _place(t: Translator, task: Task, items: Sequence[Item]) -> str:
    """Where it goes, or is."""
    if task.spec.storage == PRIVATE_CHATS:
        return "💬 " + t("this talk")
    storage, path = task.spec.storage, task.spec.path
    if len(items) == 1:
        storage, path = items[0].storage or storage, items[0].final or items[0].path
    return f"📁 <code>{_plain(clip(place(storage, path), _PLACE))}</code>"


def _end(t: Translator, task: Task, items: Sequence[Item], name: str) -> Iterator[str]:
    done = [item for item in items if item.status.done]
    yield _outcome(t, task, items, len(done))
    yield _plain(_subject(t, task, items, name))
    if len(items) > 1:
        yield _saved(t, items)
    if done:
        yield _effort(t, task, items)
        yield _place(t, task, items)
    failed = [item for item in items if item.status is ItemStatus.FAILED] if len(items) > 1 else []
    if task.error and not failed:
        yield _plain(reason(task.error, _REASON))
    yield from _failures(t, failed)
    url = _url(task, items)
    if url and not _can_be_opened(url):
        yield _plain(url)


def _outcome(t: Translator, task: Task, items: Sequence[Item], done: int) -> str:
    if task.status is Status.CANCELED:
        return _head("🚫", t("Canceled"))
    if task.status is Status.FAILED:
        return _head("⚠️", t("Partly saved")) if done else _head("❌", t("Failed"))
    if items and all(item.status is ItemStatus.SKIPPED for item in items):
        return _head("⏭", t("It was there already"))
    return _head("✅", t("Saved"))


def _saved(t: Translator, items: Sequence[Item]) -> str:
    done = sum(item.status.done for item in items)
    line = t("{done} of {n} files saved", done=done, n=len(items))
    if skipped := sum(item.status is ItemStatus.SKIPPED for item in items):
        line += " · " + t.n("{n} was there already", "{n} were there already", skipped)
    return line


def _effort(t: Translator, task: Task, items: Sequence[Item]) -> str:
    """How much was saved, and how long that took."""
    sizes = [item.size or 0 for item in items if item.status is ItemStatus.COMPLETED]
    if not sizes:
        return ""
    parts = [size(sum(sizes))]
    if task.started_at is not None and task.finished_at is not None:
        parts.append(t("in {time}", time=span((task.finished_at - task.started_at) / 1000)))
    return " ".join(parts)


def _failures(t: Translator, failed: Sequence[Item]) -> Iterator[str]:
    for item in failed[:_MOST_FAILED]:
        line = f"❌ {clip(item.name, _LISTED_NAME)}: {reason(item.error, _LISTED_REASON)}"
        yield _plain(line)
    if (more := len(failed) - _MOST_FAILED) > 0:
        yield t("and {n} more", n=more)


def _keyboard(t: Translator, task: Task, items: Sequence[Item]) -> Keyboard:
    if not task.status.ended:
        return () if task.cancel_requested else ((Button(t("Cancel"), f"cancel:{task.id}"),),)
    if task.status in (Status.FAILED, Status.CANCELED):
        return ((Button(t("Retry"), f"retry:{task.id}"),),)
    url = _url(task, items)
    return ((Button(t("Link"), url=url),),) if url and _can_be_opened(url) else ()


def _url(task: Task, items: Iterable[Item]) -> str:
    """Where the one file of a task can be opened; "" if nowhere, or there are several."""
    urls = [item.url for item in items]
    shown = task.status is Status.COMPLETED and len(urls) == 1 and len(urls[0]) <= _LONGEST_URL
    return urls[0] if shown else ""


def _can_be_opened(url: str) -> bool:
    """Whether Telegram takes it for a button: it wants a public name, and refuses the message otherwise."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and "." in (parts.hostname or "")
    except ValueError:
        return False
