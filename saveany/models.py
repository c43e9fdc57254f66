"""The nouns: what a task, an item and a receipt are, and which states may follow which. No I/O.

Everything here is frozen; a change is a new value, written through `saveany.store` and nowhere else.
Times are integers: milliseconds since the epoch by the clock of Redis. Sizes are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from saveany.texts import Text


class Status(StrEnum):
    """Where a task is in its life; exactly the five words of the API."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether the task is over: only `retry` leads out of it."""
        return self in ENDED


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})

#: The only transitions there are. running -> queued is a worker that died or was told to stop;
#: failed/canceled -> queued is a retry. The Lua files check the same table (tests hold them equal).
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CANCELED: frozenset({Status.QUEUED}),
}


class Stage(StrEnum):
    """What a running task is doing, or that a queued one is paused; else empty."""

    NONE = ""
    RESOLVING = "resolving"
    DOWNLOADING = "downloading"
    UPLOADING = "uploading"
    VERIFYING = "verifying"
    PAUSED = "paused"


class ItemStatus(StrEnum):
    """Where one file of a task is. `finishing` means: the final path is recorded, the file may be there."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHING = "finishing"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"

    @property
    def done(self) -> bool:
        """Whether nothing is left to do for it, for good."""
        return self in (ItemStatus.COMPLETED, ItemStatus.SKIPPED)


class OnConflict(StrEnum):
    """What happens when the final name is taken."""

    RENAME = "rename"
    OVERWRITE = "overwrite"
    SKIP = "skip"


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where files go for which all that is given holds; what is left out does not matter."""

    name: str = ""  # pattern (`saveany.filters`) that occurs in the name the file will have
    text: str = ""  # pattern that occurs in the text of its message, or of its album
    chat: str = ""  # where it comes from: @name or a marked id
    kinds: tuple[str, ...] = ()  # one of these `saveany.filters.Kind`
    min_size: int = 0  # at least so many bytes
    max_size: int | None = None  # at most so many
    album: bool | None = None  # whether it is one of several that were posted together
    storage: str = ""  # "": the one that was chosen
    folder: str = (
        ""  # template (`saveany.planning.templates`), from the root of the storage; "": the chosen one
    )


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the user asked for; it never changes after the task is accepted."""

    id: str
    type: str  # a source of `saveany.sources`, e.g. "tgfiles"
    links: tuple[str, ...]
    user_id: int
    storage: str
    path: str = ""  # folder inside the storage, without leading or trailing slash; "" is its root
    filename: str = ""
    on_conflict: OnConflict = OnConflict.RENAME
    priority: int = 0  # -100 … 100, higher first
    webhook_url: str = ""  # from the request; the operator's own comes from the configuration
    params: dict[str, Any] = msgspec.field(default_factory=dict)  # how to fetch; may hold secrets
    source_storage: str = ""  # the storage that files are taken from, if they are
    template: str = ""  # of the user, for names; "" keeps those that the files have
    rules: tuple[Rule, ...] = ()  # of the user, as they were then: the first that matches places a file

    @property
    def lane(self) -> str:
        """What a worker must have to run this task: source and storages. Ready tasks wait by lane."""
        source = f"{self.type}@{self.source_storage}" if self.source_storage else self.type
        return f"{source}/{self.storage}"


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a task."""

    index: int
    name: str
    path: str  # planned path inside the storage, with name
    size: int | None = None  # None: not known before it is read
    status: ItemStatus = ItemStatus.QUEUED
    final: str = ""  # the path being finished, then the path it has; may differ from `path` by a suffix
    sha256: str = ""
    url: str = ""
    error: str = ""
    error_text: Text | None = None  # the same, ready to be translated; None in records of older versions
    failures: int = 0  # classified failures so far; crashes and restarts do not count
    source: dict[str, Any] = msgspec.field(default_factory=dict)  # how the source finds it again
    storage: str = ""  # the one that a rule chose; "": the task's
    found: str = ""  # folder and name as the source has them, where rules or a template decide on others
    album: str = ""  # the same for all files of a task that were posted together; "": it is alone
    caption: str = ""  # of a file of an album: the text of its own message
    undone: int = 0  # how often it was saved, and removed again as the task was canceled or failed


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Which bytes of an item are durable in its storage, and what file they belong to."""

    source: dict[str, Any]  # `Item.source`: bytes of another file are never mixed in
    size: int
    durable: tuple[tuple[int, int], ...]  # half-open ranges, ascending, apart from each other


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a task is. All counts are sums over its items."""

    total_bytes: int = 0
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    total_files: int = 0
    done_files: int = 0
    speed_bps: float = 0.0  # bytes per second over the last few seconds
    stalled: str = ""  # why nothing moves, in words for a user
    stalled_text: Text | None = None  # the same, ready to be translated

    @property
    def percent(self) -> float:
        """0 … 100 by bytes, or by files while no size is known."""
        if self.total_bytes:
            return round(min(100.0, 100.0 * self.downloaded_bytes / self.total_bytes), 1)
        return round(100.0 * self.done_files / self.total_files, 1) if self.total_files else 0.0

    @property
    def eta_seconds(self) -> int | None:
        """Seconds left at the present speed; None when it cannot be told."""
        left = self.total_bytes - self.downloaded_bytes
        if not self.total_bytes or self.speed_bps <= 0:
            return None
        return max(0, round(left / self.speed_bps))


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the store knows it."""

    spec: TaskSpec
    status: Status
    title: str
    created_at: int
    updated_at: int
    subject: Text = Text("")  # the part of the title that names the file, the link or the number of files
    stage: Stage = Stage.NONE
    error: str = ""
    error_text: Text | None = None  # the same, ready to be translated; None in records of older versions
    started_at: int | None = None
    finished_at: int | None = None
    epoch: int = 0  # grows with each claim; every later write is compare-and-set on it
    attempts: int = 0  # how often a worker has begun it, but for those who gave it back
    run: int = 1  # 1, and one more for each retry by the user
    worker: str = ""
    cancel_requested: bool = False
    wake: int = 0  # queued, it is begun not before this
    reason: str = ""  # why it waits for that
    reason_text: Text | None = None  # the same, ready to be translated
    yields: int = 0  # how often it was stopped to make room for a task of another user
    #: it waits in the queue until it is resumed, or will as soon as its worker has stopped
    paused: bool = False
    items_total: int = 0
    progress: Progress = Progress()
    #: why its specification cannot be read; such a task can only be canceled, or fail
    unreadable: str = ""
    #: state, attempts and last_status of its newest webhook delivery; empty if there was none
    webhook: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def id(self) -> str:
        """Opaque, URL-safe, sorting by creation time."""
        return self.spec.id


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One webhook on its way: written together with the state change it tells of."""

    id: str  # the `webhook-id` header: the same on every attempt
    task_id: str
    event: str  # task.completed | task.failed | task.canceled | task.running | file_uploaded
    url: str
    body: str  # the JSON text, fixed when the event happened
    trusted: bool = False  # the operator's own URL: gets the bearer token, skips the address guard
    created_at: int = 0
    attempts: int = 0
    state: str = "pending"  # pending | delivered | gave_up
    last_status: int = 0  # HTTP status of the last answer, 0 if there was none
    last_error: str = ""


#: Names of files, before and behind the storage's, may have an arrow in them.
_SUBJECT = re.compile(r"\[[^\]]*\]\((.+?)->(?:(?!->)[^:])+:/", re.DOTALL)


def title(type_: str, subject: str, storage: str, path: str) -> str:
    """The one-line title of seed 002: `[tgfiles](file.pdf->local1:/downloads/file.pdf)`."""
    return f"[{type_}]({subject}->{storage}:/{path})"


def subject_of(title: str) -> str:
    """What a `title` is about; a title of another form is that itself."""
    found = _SUBJECT.match(title)
    return found[1] if found else title
