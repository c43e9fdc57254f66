"""The data model: tasks, items, webhook deliveries, and the permitted changes of status. No I/O.

Everything here is immutable; a change is a new value, written only through `saveany.store`. Times are
integers: milliseconds since the epoch by the clock of Redis. Sizes are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, get_args

import msgspec

from saveany.texts import StoredText, Text


class Status(StrEnum):
    """The status of a task, as in the API."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether the task has ended; only a retry continues it."""
        return self in ENDED


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})

#: What a key of the API may be used for; `read`: reading tasks, files and links; `compat`: the protocols of
#: other hosts.
KeyScope = Literal["tasks", "files", "links", "read", "compat"]
KEY_SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)

#: The permitted changes of status. running -> queued: the task was released, or its worker died.
#: failed/canceled -> queued: a retry. The Lua scripts enforce the same table, which a test verifies.
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset({Status.QUEUED}),
    Status.CANCELED: frozenset({Status.QUEUED}),
}


class Stage(StrEnum):
    """The current step of a running task, or `paused` for a paused one; otherwise empty."""

    NONE = ""
    RESOLVING = "resolving"
    DOWNLOADING = "downloading"
    UPLOADING = "uploading"
    VERIFYING = "verifying"
    JOINING = "joining"  # the pieces of a recording become one file
    PAUSED = "paused"


class ItemStatus(StrEnum):
    """The status of an item. `finishing`: the final path is recorded, and the file may be visible there."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHING = "finishing"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"

    @property
    def done(self) -> bool:
        """Whether the item is finished, even after a retry of the task."""
        return self in (ItemStatus.COMPLETED, ItemStatus.SKIPPED)


class OnConflict(StrEnum):
    """What to do if a file with the final name exists."""

    RENAME = "rename"
    OVERWRITE = "overwrite"
    SKIP = "skip"


class OnDuplicate(StrEnum):
    """What to do with a file whose content the user has saved before."""

    SAVE = "save"
    SKIP = "skip"
    LINK = "link"  # list it as a file of its own that has the same copy


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """A saved file with the same content, whose copy is there."""

    file_id: str
    name: str
    storage: str  # of the copy
    path: str
    size: int
    sha256: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A destination for files that match all given conditions."""

    name: str = ""  # pattern (`saveany.filters`) in the name of the file
    text: str = ""  # pattern in the text of its message or album
    chat: str = ""  # the chat it was posted in: @name or marked id
    kinds: tuple[str, ...] = ()  # any of these `saveany.filters.Kind`
    min_size: int = 0  # minimum size in bytes
    max_size: int | None = None  # maximum size in bytes
    album: bool | None = None  # whether the file is part of an album
    storage: str = ""  # "": the storage of the task
    #: template (`saveany.planning.templates`) from the root of the storage; "": the folder of the task
    folder: str = ""


#: Files of a message beside the one that was posted (`telegram.media.Extra`).
ExtraFile = Literal["preview", "cover", "live_video", "instant_view"]
#: How the files of Telegram messages get into a chat of Telegram.
CopyMode = Literal["auto", "reference", "bytes"]


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The request of the user. After the task is accepted only the priority may change."""

    id: str
    type: str  # a source in `saveany.sources`, for example "tgfiles"
    links: tuple[str, ...]
    user_id: int
    storage: str
    path: str = ""  # folder inside the storage, without leading or trailing slash; "" is its root
    filename: str = ""
    on_conflict: OnConflict = OnConflict.RENAME
    on_duplicate: OnDuplicate = OnDuplicate.SAVE
    priority: int = 0  # -100 … 100, higher first
    webhook_url: str = ""  # from the request; the operator's URL is in the configuration
    params: dict[str, Any] = msgspec.field(default_factory=dict)  # parameters of the source; may hold secrets
    source_storage: str = ""  # for the sources "transfer" and "upload": the storage to read from
    machine: str = ""  # for the source "inbox": the machine (`saveany.uploads.folder`) that has the file
    template: str = ""  # template of the user for file names; "" keeps the original names
    rules: tuple[Rule, ...] = ()  # rules of the user at that time; the first matching rule applies
    folder_id: int = (
        0  # folder of the catalogue that contains the files, whatever `path` is; 0: that of `path`
    )
    archive_id: str = ""  # of the archive that it is part of
    account: str = ""  # the user account whose private chat the links lead into

    @property
    def lane(self) -> str:
        """The source and storages that a worker needs to run this task. Ready tasks are queued by lane."""
        place = self.source_storage or self.machine
        source = f"{self.type}@{place}" if place else self.type
        return f"{source}/{self.storage}"

    @property
    def reader(self) -> str:
        """The first part of the lane: what a worker needs to find out which files the task has."""
        return self.lane.removesuffix(f"/{self.storage}")

    @property
    def slot_lane(self) -> str:
        """The lane of this task once it is known that it needs a slot of the worker."""
        return slot_lane(self.lane)


def slot_lane(lane: str) -> str:
    """The lane of those tasks of `lane` that need a slot of a worker, because their files are large."""
    return f"slot:{lane}"


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a task."""

    index: int
    name: str
    path: str  # planned path inside the storage, including the name
    size: int | None = None  # None: unknown until the file was read
    status: ItemStatus = ItemStatus.QUEUED
    final: str = ""  # the path being finished, later the actual path; may differ from `path` by a suffix
    sha256: str = ""
    url: str = ""
    reference: dict[str, Any] = msgspec.field(default_factory=dict)  # as in `Receipt`
    error: str = ""
    error_text: Text | None = None  # `error` as a translatable text; None in records of older versions
    note: Text | None = None  # what a user should know about how it was saved
    failures: int = 0  # failures so far, not counting crashes and restarts of workers
    source: dict[str, Any] = msgspec.field(default_factory=dict)  # where the source finds the file again
    storage: str = ""  # chosen by a rule; "": the storage of the task
    found: str = ""  # original folder and name, if rules or a template chose others
    album: str = ""  # common id of the files of an album; "": not part of an album
    caption: str = ""  # for a file of an album: the text of its own message
    text: str = ""  # the text of its message, or of its album
    duplicate: Duplicate | None = None  # the saved file whose copy it has, or because of which it was skipped
    undone: int = 0  # number of times it was saved and then removed, because the task was canceled or failed

    @property
    def copy_path(self) -> str:
        """The path of its copy, also of one that belongs to another file, or the planned path."""
        return self.duplicate.path if self.duplicate else self.final or self.path

    @property
    def copy_storage(self) -> str:
        """The storage of its copy; "" for that of the task."""
        return self.duplicate.storage if self.duplicate else self.storage

    #: token of the link to the saved file that a `file_uploaded` webhook has named; "" if none has
    link: str = ""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of an item that are durable in its storage, and the file that they belong to."""

    source: dict[str, Any]  # `Item.source`; bytes of different files must never be mixed
    size: int
    durable: tuple[tuple[int, int], ...]  # half-open ranges, ascending and disjoint


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The progress of a task. All counts are sums over its items."""

    total_bytes: int = 0
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    total_files: int = 0
    done_files: int = 0
    speed_bps: float = 0.0  # bytes per second over the last few seconds
    stalled: str = ""  # why nothing is transferred, for a user
    stalled_text: Text | None = None  # the same, ready to be translated
    grows: bool = False  # nobody knows how much there will be; `total_bytes` is 0 then

    @property
    def percent(self) -> float:
        """0 to 100, by bytes, or by files while no size is known; 0 while nobody knows how much comes."""
        if self.grows:
            return 0.0
        if self.total_bytes:
            return round(min(100.0, 100.0 * self.downloaded_bytes / self.total_bytes), 1)
        return round(100.0 * self.done_files / self.total_files, 1) if self.total_files else 0.0

    @property
    def eta_seconds(self) -> int | None:
        """Remaining seconds at the current speed; None if unknown."""
        left = self.total_bytes - self.downloaded_bytes
        if not self.total_bytes or self.speed_bps <= 0:
            return None
        return max(0, round(left / self.speed_bps))


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task in the store."""

    spec: TaskSpec
    status: Status
    title: str
    created_at: int
    updated_at: int
    subject: Text = Text("")  # the part of the title that names the file, the link or the number of files
    stage: Stage = Stage.NONE
    error: str = ""
    error_text: Text | None = None  # `error` as a translatable text; None in records of older versions
    started_at: int | None = None
    finished_at: int | None = None
    epoch: int = 0  # increases with each claim; every write of a claim compares it first
    attempts: int = 0  # number of claims, without those that were released
    run: int = 1  # 1, plus one for each retry by the user
    worker: str = ""
    cancel_requested: bool = False
    stop_requested: bool = False  # it ends with the files that are saved
    wake: int = 0  # a queued task is not started before this time
    reason: str = ""  # why it waits until `wake`, for a user
    reason_text: Text | None = None  # the same, ready to be translated
    yields: int = 0  # number of times it was stopped to make room for another user's task
    #: stays in the queue until it is resumed; if it is running, its worker will stop
    paused: bool = False
    items_total: int = 0
    progress: Progress = Progress()
    #: why its specification cannot be read; such a task can only be canceled or fail
    unreadable: str = ""
    #: state, attempts and last_status of the latest webhook delivery; empty if there is none
    webhook: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id: URL-safe, and sortable by creation time."""
        return self.spec.id


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A webhook delivery, written in one step with the change that it reports."""

    id: str  # the `webhook-id` header: the same on every attempt
    task_id: str  # "": it is about a link
    event: str  # task.completed | task.failed | task.canceled | task.running | file_uploaded
    url: str
    body: str  # JSON, fixed at the time of the event
    trusted: bool = False  # the operator's own URL: gets the bearer token, and bypasses the address guard
    created_at: int = 0
    attempts: int = 0
    state: str = "pending"  # pending | delivered | gave_up
    last_status: int = 0  # HTTP status of the last response, 0 if there was none
    last_error: str = ""


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The heartbeat of a worker."""

    id: str
    host: str
    pid: int
    started_at: int
    machine: str = ""  # as `TaskSpec.machine`; "" if data_dir cannot be written to
    tasks: list[str] = msgspec.field(default_factory=list)
    #: number of tasks with large files it can run at a time; 0 in heartbeats of older versions
    slots: int = 0
    #: number of slots in use; None in heartbeats of older versions, where each task has one
    slots_in_use: int | None = None
    #: number of live streams it can record at a time; 0 in heartbeats of older versions
    live_slots: int = 0
    live_slots_in_use: int = 0
    #: storage name -> "" if the worker can use it, otherwise what is wrong
    storages: Mapping[str, StoredText] = msgspec.field(default_factory=dict)
    #: storage name -> capabilities, by the names in `storages.base.Capabilities`
    capabilities: dict[str, dict[str, bool]] = msgspec.field(default_factory=dict)
    #: source type -> "" if the worker can use it, otherwise what is wrong
    sources: Mapping[str, StoredText] = msgspec.field(default_factory=dict)
    #: Telegram account -> "" if it is logged in, otherwise what is wrong
    accounts: Mapping[str, StoredText] = msgspec.field(default_factory=dict)
    #: folder that it watches -> "" if nothing is wrong with it, otherwise what is
    inboxes: Mapping[str, StoredText] = msgspec.field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        """Whether all of its slots are in use."""
        used = len(self.tasks) if self.slots_in_use is None else self.slots_in_use
        return 0 < self.slots <= used

    @property
    def records_no_more(self) -> bool:
        """Whether all of its slots for recordings are in use."""
        return 0 < self.live_slots <= self.live_slots_in_use


#: A file name, before or after the name of the storage, may contain an arrow.
_SUBJECT = re.compile(r"\[[^\]]*\]\((.+?)->(?:(?!->)[^:])+:/", re.DOTALL)


def title(type_: str, subject: str, storage: str, path: str) -> str:
    """The title of a task in one line (seed 002): `[tgfiles](file.pdf->local1:/downloads/file.pdf)`."""
    return f"[{type_}]({subject}->{storage}:/{path})"


def subject_of(title: str) -> str:
    """The subject in a `title`; the whole title if it has another form."""
    found = _SUBJECT.match(title)
    return found[1] if found else title
