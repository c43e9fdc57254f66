"""Renders tasks as messages: Telegram's HTML and buttons, within Telegram's limits for any file name.
All functions are pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from saveany.bot.texts import HtmlTranslator, escape
from saveany.config.schema import PRIVATE_CHATS
from saveany.excerpt import excerpt
from saveany.models import Item, ItemStatus, Stage, Status, Task
from saveany.telegram.update_types import Button, Keyboard
from saveany.texts import Field, Text

#: Maximum lengths, in characters, of an error, a wait reason, a file name and a path, and of an error and a
#: file name in a list.
_MAX_REASON, _MAX_WAIT_REASON, _MAX_NAME, _MAX_PATH = 240, 120, 120, 200
_MAX_LISTED_REASON, _MAX_LISTED_NAME = 70, 50
#: Maximum number of files whose notes are shown on a card.
_MAX_NOTES = 3
#: Maximum number of files listed while a task runs, and of failed files listed after its end.
_MAX_ACTIVE, _MAX_FAILED = 5, 10
#: Maximum length of a URL that is shown, in characters.
_MAX_URL = 1000
#: Characters kept at the end of a name that is too long: that is where the extension is.
_TAIL = 12
#: Characters in a progress bar.
_BAR_CELLS = 10

_ICONS = {
    ItemStatus.COMPLETED: "✅",
    ItemStatus.SKIPPED: "⏭",
    ItemStatus.FAILED: "❌",
}


class RenderedMessage(msgspec.Struct, frozen=True):
    """The text and the buttons of a message."""

    text: str
    keyboard: Keyboard = ()

    @property
    def fingerprint(self) -> str:
        """A digest that is equal for equal messages only."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


def task_view(t: HtmlTranslator, task: Task, items: Sequence[Item], name: str = "") -> RenderedMessage:
    """The message that shows the progress or the result of a task.

    `items` are all its items. `name` is shown until they are known, and as the name of several files
    together.
    """
    ended = task.status.ended
    lines = _result_lines(t, task, items, name) if ended else _progress_lines(t, task, items, name)
    return RenderedMessage("\n".join(line for line in lines if line), _keyboard(t, task, items))


def size(count: int) -> str:
    """A number of bytes for people: `999 B`, `1.2 MB`."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB", "GB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float) -> str:
    """A duration for people: `0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def reason(t: HtmlTranslator, text: Text, max_length: int) -> str:
    """A reason in the user's language, on one line of at most `max_length` characters.

    It does not contain the internal name of the storage for private chats.
    """
    chat = t("our chat")
    shown = t.text(_renamed(text, chat)).replace(t.text(_named_storage(chat)), chat)
    # `_renamed` changes only fields, and the name may be part of a text without fields.
    return excerpt(shown.replace(str(_named_storage(PRIVATE_CHATS)), chat), max_length)


def location(storage: str, path: str) -> str:
    """A path in a storage: `nas:/films/a.mkv`."""
    return f"{storage}:/{path}"


def clip(text: str, max_length: int) -> str:
    """The text on one line of at most `max_length` characters; a longer one loses its middle."""
    line = " ".join(text.split())
    return line if len(line) <= max_length else f"{line[: max_length - _TAIL - 1]}…{line[-_TAIL:]}"


def bar(percent: float) -> str:
    """A progress bar of ten characters."""
    full = min(_BAR_CELLS, int(percent * _BAR_CELLS // 100))
    return "▰" * full + "▱" * (_BAR_CELLS - full)


def _named_storage(name: str) -> Text:
    """A storage as most templates name it."""
    return Text("storage {storage!r}", {"storage": name})


def _renamed(text: Text, chat: str) -> Text:
    """The text with `chat` in place of the storage for private chats."""
    fields: dict[str, Field] = {}
    for name, value in text.fields.items():
        fields[name] = _renamed(value, chat) if isinstance(value, Text) else value
        if value == PRIVATE_CHATS:
            fields[name] = chat
    return Text(text.template, fields)


def _heading(icon: str, text: str) -> str:
    return f"{icon} <b>{text}</b>"


def _progress_lines(t: HtmlTranslator, task: Task, items: Sequence[Item], name: str) -> Iterator[str]:
    progress = task.progress
    yield _phase(t, task)
    yield escape(_subject(t, task, items, name))
    if not progress.grows and (progress.total_bytes or len(items) > 1):
        yield f"{bar(progress.percent)} {int(progress.percent)} %"
    yield _amount(t, task)
    if progress.stalled:
        why = progress.stalled_text or Text(progress.stalled)
        yield f"⏳ {escape(reason(t, why, _MAX_WAIT_REASON))}"
    if len(items) > 1:
        yield _counts(t, items)
        yield from _active_files(items, running=task.status is Status.RUNNING and not task.paused)
    yield _destination(t, task, items)


def _phase(t: HtmlTranslator, task: Task) -> str:
    if task.cancel_requested:
        return _heading("⏹", t("Canceling"))
    if task.stop_requested:
        return _heading("⏹", t("Stopping"))
    if task.paused:
        return _heading("⏸", t("Paused"))
    if task.status is Status.QUEUED:
        return _heading("⏳", t("Waiting"))
    if task.progress.grows:
        return _heading("🔴", t("Recording"))
    phases = {
        Stage.RESOLVING: ("🔎", t("Looking up the files")),
        Stage.DOWNLOADING: ("⬇️", t("Downloading")),
        Stage.UPLOADING: ("⬆️", t("Uploading")),
        Stage.VERIFYING: ("🔍", t("Verifying")),
        Stage.JOINING: ("🧩", t("Joining")),
    }
    return _heading(*phases.get(task.stage, ("▶️", t("Starting"))))


def _subject(t: HtmlTranslator, task: Task, items: Sequence[Item], name: str) -> str:
    """What the task saves, as plain text."""
    if len(items) == 1:
        return clip(items[0].name, _MAX_NAME)
    known = name or task.spec.filename
    if known or items:
        return clip(known, _MAX_NAME)
    links = task.spec.links
    public = [link for link in links if not link.startswith("tg:")]
    if len(links) == len(public) == 1:
        return clip(public[0], _MAX_NAME)
    return t.plural("{n} link", "{n} links", len(links))


def _amount(t: HtmlTranslator, task: Task) -> str:
    """The known parts of `1.2 MB of 4.0 MB · 600.0 kB/s · 0:05 left`."""
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
            parts.append(t("{time} left", time=duration(progress.eta_seconds)))
    return " · ".join(parts)


def _counts(t: HtmlTranslator, items: Sequence[Item]) -> str:
    done = sum(item.status.done for item in items)
    failed = sum(item.status is ItemStatus.FAILED for item in items)
    parts = [t("{done} of {n} files done", done=done, n=len(items))]
    if failed:
        parts.append(t("{n} failed", n=failed))
    if waiting := len(items) - done - failed:
        parts.append(t("{n} waiting", n=waiting))
    return " · ".join(parts)


def _active_files(items: Sequence[Item], *, running: bool) -> Iterator[str]:
    """The files in progress and the most recently finished ones, in the order of the task."""
    finished = [item for item in items if item.status in _ICONS]
    unfinished = [item for item in items if item.status not in _ICONS]
    begun = [item for item in unfinished if item.status is not ItemStatus.QUEUED] or unfinished[:1]
    active = begun[:_MAX_ACTIVE] if running else []
    recent = finished[len(finished) - min(len(finished), _MAX_ACTIVE - len(active)) :]
    for item in sorted([*recent, *active], key=lambda item: item.index):
        shown = clip(item.name, _MAX_LISTED_NAME) + (f" ({size(item.size)})" if item.size is not None else "")
        yield f"{_ICONS.get(item.status, '▶️')} {escape(shown)}"


def _destination(t: HtmlTranslator, task: Task, items: Sequence[Item]) -> str:
    """The file, if there is only one, else the folder that the task saves into."""
    if task.spec.storage == PRIVATE_CHATS:
        return "💬 " + t("this chat")
    storage, path = task.spec.storage, task.spec.path
    if len(items) == 1:
        storage, path = items[0].copy_storage or storage, items[0].copy_path
    return f"📁 <code>{escape(clip(location(storage, path), _MAX_PATH))}</code>"


def _result_lines(t: HtmlTranslator, task: Task, items: Sequence[Item], name: str) -> Iterator[str]:
    done = [item for item in items if item.status.done]
    yield _outcome(t, task, items, len(done))
    yield escape(_subject(t, task, items, name))
    if len(items) > 1:
        yield _saved_count(t, items)
    if done:
        yield _size_and_duration(t, task, items)
        yield _destination(t, task, items)
    failed = [item for item in items if item.status is ItemStatus.FAILED] if len(items) > 1 else []
    if task.error and not failed:
        yield escape(reason(t, task.error_text or Text(task.error), _MAX_REASON))
    yield from _failures(t, failed)
    yield from _notes(t, items)
    url = _url(task, items)
    if url and not is_button_url(url):
        yield escape(url)


def _outcome(t: HtmlTranslator, task: Task, items: Sequence[Item], done: int) -> str:
    if task.status is Status.CANCELED:
        return _heading("🚫", t("Canceled"))
    if task.status is Status.FAILED:
        return _heading("⚠️", t("Partly saved")) if done else _heading("❌", t("Failed"))
    if items and all(item.status is ItemStatus.SKIPPED for item in items):
        return _heading("⏭", t("Already there"))
    return _heading("✅", t("Saved"))


def _saved_count(t: HtmlTranslator, items: Sequence[Item]) -> str:
    done = sum(item.status.done for item in items)
    line = t("{done} of {n} files saved", done=done, n=len(items))
    if skipped := sum(item.status is ItemStatus.SKIPPED for item in items):
        line += " · " + t.plural("{n} was already there", "{n} were already there", skipped)
    return line


def _size_and_duration(t: HtmlTranslator, task: Task, items: Sequence[Item]) -> str:
    """The number of saved bytes and the time it took; "" if nothing had to be saved."""
    sizes = [item.size or 0 for item in items if item.status is ItemStatus.COMPLETED]
    if not sizes:
        return ""
    parts = [size(sum(sizes))]
    if task.started_at is not None and task.finished_at is not None:
        parts.append(t("in {time}", time=duration((task.finished_at - task.started_at) / 1000)))
    return " ".join(parts)


def _failures(t: HtmlTranslator, failed: Sequence[Item]) -> Iterator[str]:
    for item in failed[:_MAX_FAILED]:
        why = reason(t, item.error_text or Text(item.error), _MAX_LISTED_REASON)
        yield escape(f"❌ {clip(item.name, _MAX_LISTED_NAME)}: {why}")
    if (more := len(failed) - _MAX_FAILED) > 0:
        yield t("and {n} more", n=more)


def _notes(t: HtmlTranslator, items: Sequence[Item]) -> Iterator[str]:
    """What is special about how some of the files were saved."""
    noted = [(item.name, item.note) for item in items if item.note]
    for name, note in noted[:_MAX_NOTES]:
        yield escape(f"💡 {clip(name, _MAX_LISTED_NAME)}: {reason(t, note, _MAX_REASON)}")
    if (more := len(noted) - _MAX_NOTES) > 0:
        yield t("and {n} more", n=more)


def _keyboard(t: HtmlTranslator, task: Task, items: Sequence[Item]) -> Keyboard:
    if not task.status.ended:
        if task.cancel_requested or task.stop_requested:
            return ()
        buttons = [Button(t("Cancel"), f"cancel:{task.id}")]
        if any(item.status is ItemStatus.COMPLETED for item in items):
            buttons.append(Button(t("Stop and keep"), f"stop:{task.id}"))
        return (tuple(buttons),)
    buttons = []
    if task.status in (Status.FAILED, Status.CANCELED):
        buttons.append(Button(t("Retry"), f"retry:{task.id}"))
    if task.spec.storage != PRIVATE_CHATS and any(item.status is ItemStatus.COMPLETED for item in items):
        buttons.append(Button(t("Link"), f"link:{task.id}"))
    if (url := _url(task, items)) and is_button_url(url):
        buttons.append(Button(t("Open"), url=url))
    return (tuple(buttons),) if buttons else ()


def _url(task: Task, items: Iterable[Item]) -> str:
    """The URL at which the only file of a completed task can be opened; "" if there is none."""
    urls = [item.url for item in items]
    shown = task.status is Status.COMPLETED and len(urls) == 1 and len(urls[0]) <= _MAX_URL
    return urls[0] if shown else ""


def is_button_url(url: str) -> bool:
    """Whether Telegram accepts the URL for a button. It refuses messages with a button to a host without a
    public name."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and "." in (parts.hostname or "")
    except ValueError:
        return False
