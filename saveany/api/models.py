"""What goes into the API and what comes out of it. Descriptions and examples become the reference page."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

EXAMPLE_ID = "06mbq8tn2k3f1v0s9d4g"
EXAMPLE_DELIVERY = f"msg_{EXAMPLE_ID}_1_completed_own"

Time = Annotated[
    str,
    Field(
        json_schema_extra={"format": "date-time"},
        description="RFC 3339, UTC.",
        examples=["2024-01-19T04:30:00Z"],
    ),
]
StatusName = Literal["queued", "running", "completed", "failed", "canceled"]


def _empty(value: object) -> bool:
    return not value


class Strict(BaseModel):
    """A request: unknown fields and values of a wrong type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Reply(BaseModel):
    """An answer; later versions may add fields."""

    model_config = ConfigDict(frozen=True)


# --- requests


class TaskOptions(Strict):
    """What both bodies of a new task may say."""

    filename: str = Field(
        default="",
        max_length=1024,
        description="Name for the file; characters that some file system refuses are replaced. Of several "
        "files the others get numbers. Empty: the file's own name.",
        examples=["report.pdf"],
    )
    on_conflict: Literal["rename", "overwrite", "skip"] = Field(
        default="rename",
        description="What happens when the name is taken. Left out: as the user has set it in the bot.",
    )
    priority: int = Field(
        default=0, ge=-100, le=100, description="Among your own tasks, higher ones go first."
    )


class NewTask(TaskOptions):
    """A file to save. Give `telegram_url`, or `url` in its place."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["telegram_url"]}, {"required": ["url"]}],
            "examples": [
                {
                    "telegram_url": "https://t.me/channel/123",
                    "user_id": 123456789,
                    "storage_name": "local1",
                    "dir_path": "/downloads",
                }
            ],
        }
    )

    telegram_url: str = Field(
        default="",
        max_length=2048,
        description="Link of a Telegram message. An album is saved whole unless the link says `?single`.",
        examples=["https://t.me/channel/123"],
    )
    url: str = Field(
        default="", max_length=2048, description="In place of `telegram_url`: any link a source takes."
    )
    type: str = Field(
        default="",
        max_length=64,
        description="A name of /api/v1/task-types that takes the link. Left out: the link tells.",
        examples=["directlinks"],
    )
    user_id: int = Field(
        ge=1, lt=2**53, description="Telegram id of a configured user.", examples=[123456789]
    )
    storage_name: str = Field(
        default="",
        max_length=255,
        description="Empty: as the user's rules and default have it, else the user's first storage.",
        examples=["local1"],
    )
    dir_path: str = Field(
        default="/",
        max_length=4096,
        description="Folder inside the storage. A leading slash is the root of the storage. Left out: as the "
        "user's rules and default have it.",
        examples=["/downloads"],
    )
    webhook_url: str = Field(
        default="",
        max_length=2048,
        description="Is told when this task ends, beside the configured one. Private addresses are refused.",
        examples=["https://example.com/hook"],
    )

    @model_validator(mode="after")
    def _one_link(self) -> NewTask:
        if bool(self.telegram_url) == bool(self.url):
            raise PydanticCustomError("one_link", "give either telegram_url or url")
        return self


class TypedTask(TaskOptions):
    """The body of newer SaveAny-Bot releases; `path` is always a folder."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "tgfiles",
                    "storage": "local1",
                    "path": "downloads",
                    "params": {"message_links": ["https://t.me/channel/123", "https://t.me/channel/124"]},
                }
            ]
        }
    )

    type: str = Field(max_length=64, description="A name of /api/v1/task-types.", examples=["tgfiles"])
    params: dict[str, Any] = Field(
        description="What to fetch. For `tgfiles`: `message_links`, 1 to 100 links of Telegram messages, "
        "which become one task.",
        examples=[{"message_links": ["https://t.me/channel/123"]}],
    )
    user_id: int | None = Field(
        default=None, ge=1, lt=2**53, description="Left out: the first configured user.", examples=[123456789]
    )
    storage: str = Field(
        default="",
        max_length=255,
        description="Empty: as the user's rules and default have it, else the user's first storage.",
        examples=["local1"],
    )
    path: str = Field(
        default="",
        max_length=4096,
        description="Folder inside the storage; `/` is its root. Empty: as the user's rules and default "
        "have it.",
        examples=["downloads"],
    )
    webhook: str = Field(default="", max_length=2048, description="As `webhook_url` of the other body.")


def _generation(body: object) -> str:
    """Which body it is: `params` is in the typed one only, a link in the plain one."""
    if isinstance(body, dict):
        linked = "url" in body or "telegram_url" in body
        return "typed" if "params" in body or ("type" in body and not linked) else "plain"
    return "typed" if isinstance(body, TypedTask) else "plain"


NewTaskBody = Annotated[
    Annotated[NewTask, Tag("plain")] | Annotated[TypedTask, Tag("typed")], Discriminator(_generation)
]
BODIES: dict[str, type[Strict]] = {"plain": NewTask, "typed": TypedTask}


class TaskChange(Strict):
    """What can be changed of a task."""

    priority: int = Field(
        ge=-100, le=100, description="Among the tasks of one user, higher ones go first.", examples=[10]
    )


Limit = Annotated[int | None, Field(ge=0, lt=2**53)]


class NewLimits(Strict):
    """Limits in place of the configured ones. What is left out, or null, is as configured; 0 is no limit."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"bytes_per_second": 5_000_000}]})

    tasks_per_user: Limit = Field(
        default=None,
        description="Tasks of one user that run at a time. 0: no fixed limit; slots are shared fairly.",
    )
    bytes_per_second: Limit = Field(default=None, description="Speed of all downloads together.")
    bytes_per_second_per_user: Limit = Field(
        default=None, description="Speed of all downloads of one user together."
    )


# --- answers


class Problem(Reply):
    """One thing that is wrong with a request."""

    field: str = Field(
        description="Where: the name of a field, parameter or part.", examples=["telegram_url"]
    )
    message: str = Field(examples=["is required"])


class ErrorReply(Reply):
    """Every error, of every route."""

    error: str = Field(description="The kind of error in a few words.", examples=["Bad request"])
    code: int = Field(description="The HTTP status.", examples=[400])
    message: str = Field(description="What is wrong and what to do.")
    details: list[Problem] = Field(default=[], exclude_if=_empty, description="Where it is wrong.")


class Health(Reply):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Reply):
    """Everything that is needed to save files is there."""

    status: Literal["ready"] = "ready"


class MessageReply(Reply):
    """What was done."""

    message: str = Field(examples=["task canceled"])


class Created(Reply):
    """The task was accepted, and is kept whatever happens next."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    message: str = Field(examples=["task created successfully"])
    type: str = Field(examples=["tgfiles"])
    status: StatusName = Field(examples=["queued"])
    created_at: Time


class ProgressView(Reply):
    """How far a task is; sums over its files. Bytes are 0 while the sizes are not known."""

    total_bytes: int
    downloaded_bytes: int
    uploaded_bytes: int
    total_files: int
    done_files: int
    downloaded_files: int = Field(description="The same as `done_files`, under SaveAny-Bot's name.")
    percent: float = Field(ge=0, le=100)
    speed_bps: float = Field(description="Bytes per second over the last few seconds.")
    speed_mbps: float = Field(description="The same in MiB per second.")
    eta_seconds: int | None = Field(description="Null when it cannot be told.")


class TaskSummary(Reply):
    """A task, without its files."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    status: StatusName
    title: str = Field(examples=["[tgfiles](file.pdf->local1:/downloads/file.pdf)"])
    created_at: Time
    error: str = Field(description="Why it failed and what to do; empty when there is nothing to say.")
    type: str = Field(examples=["tgfiles"])
    stage: Literal["", "resolving", "downloading", "uploading", "verifying", "paused"] = Field(
        description="What a running task is doing; `paused` for a queued one that waits to be resumed."
    )
    waiting: str = Field(
        default="",
        exclude_if=_empty,
        description="Why a queued task is not begun, or a running one stands still; missing otherwise.",
    )
    storage: str = Field(examples=["local1"])
    path: str = Field(description="Folder inside the storage, from its root `/`.", examples=["/downloads"])
    user_id: int = Field(examples=[123456789])
    progress: ProgressView
    priority: int = Field(description="Among the tasks of one user, higher ones go first.")
    attempts: int = Field(
        description="How often a worker has begun it. One that was told to stop, or to wait, does not count."
    )
    started_at: Time | None = Field(description="When a worker first began it.")
    updated_at: Time
    finished_at: Time | None


class ItemView(Reply):
    """One file of a task."""

    name: str = Field(examples=["file.pdf"])
    size: int | None = Field(description="Bytes; null while it is not known.")
    status: Literal["queued", "running", "finishing", "completed", "skipped", "failed"]
    path: str = Field(
        description="Where it is, or will be, relative to the root of the storage.",
        examples=["downloads/file.pdf"],
    )
    storage: str = Field(
        default="", exclude_if=_empty, description="Where a rule sends it; missing: the storage of the task."
    )
    sha256: str = Field(default="", exclude_if=_empty, description="Hash of the content, in hexadecimal.")
    url: str = Field(default="", exclude_if=_empty, description="Where the storage shows it.")
    error: str = Field(default="", exclude_if=_empty)


class WebhookView(Reply):
    """The newest webhook of a task."""

    state: Literal["pending", "delivered", "gave_up"]
    attempts: int
    last_status: int = Field(description="HTTP status of the last answer; 0 if there was none.")


class TaskView(TaskSummary):
    """A task with its files, at most 100 at a time."""

    items: list[ItemView]
    items_total: int
    items_cursor: int | None = Field(description="The `items_cursor` of the next files; null after the last.")
    webhook: WebhookView | None = Field(description="Null until one was tried.")


class QueuedTask(Reply):
    """A task that waits."""

    id: str = Field(examples=[EXAMPLE_ID])
    title: str = Field(examples=["[tgfiles](file.pdf->local1:/downloads/file.pdf)"])


class RunningTask(QueuedTask):
    """A task that is being worked on."""

    progress: ProgressView


class TaskList(Reply):
    """All tasks that have not ended, oldest first."""

    queued: list[QueuedTask]
    running: list[RunningTask]
    tasks: list[TaskSummary] = Field(description="Both together.")
    total: int = Field(description="How many these are.")
    next_cursor: str | None = Field(
        description="Null if nothing more can follow. A page for one user may be short, and still have one.",
        examples=["1705638600000-" + EXAMPLE_ID],
    )


class HistoryPageView(Reply):
    """Ended tasks, newest first."""

    tasks: list[TaskSummary]
    next_cursor: str | None = Field(
        description="Null if nothing more can follow. A page may be short, even empty, and still have one.",
        examples=["1705638600000-" + EXAMPLE_ID],
    )


class Removed(Reply):
    """What was removed from the history."""

    message: str = Field(examples=["2 tasks removed"])
    removed: int = Field(examples=[2])


class EventView(Reply):
    """The data of one server-sent event, as JSON. The stream carries its type as `event`."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    status: StatusName
    stage: str
    title: str = Field(default="", exclude_if=_empty, description="Left out of `task.progress`.")
    error: str = Field(default="", exclude_if=_empty)
    progress: ProgressView | None = Field(
        default=None, exclude_if=_empty, description="In `task.progress`, `snapshot`."
    )
    at: Time


class Abilities(Reply):
    """What a storage can do."""

    random_writes: bool = Field(description="Takes the parts of a file in any order.")
    reads_back: bool = Field(description="What was written of an unfinished file can be read.")
    resumes: bool = Field(description="Goes on with an unfinished file after a restart.")
    needs_size: bool = Field(description="Must be told the size of a file before its first byte.")
    late_name: bool = Field(description="Decides at the end under which name a file is saved.")
    exclusive: bool = Field(description="Refuses a taken name by itself.")
    fences: bool = Field(description="Stops a writer that has lost its task by itself.")
    lists: bool = Field(description="Lists its files.")
    reads: bool = Field(description="Gives its files back.")
    folders: bool = Field(description="Has empty folders, too.")
    moves: bool = Field(description="Moves files.")
    copies: bool = Field(description="Copies files by itself.")
    usage: bool = Field(description="Tells how full it is.")
    links: bool = Field(description="Makes links that anyone can use.")
    this_machine_only: bool = Field(description="Its files are on one machine's disk.")


class StorageView(Reply):
    """A configured storage."""

    name: str = Field(examples=["local1"])
    type: str = Field(examples=["local"])
    ready: bool = Field(description="Whether a living worker can use it now.")
    error: str = Field(default="", exclude_if=_empty, description="Why it is not ready.")
    capabilities: Abilities | None = Field(description="Null until a worker has told.")


class FileEntry(Reply):
    """A file or folder in a storage."""

    name: str = Field(examples=["a.mkv"])
    path: str = Field(description="Path inside the storage.", examples=["films/a.mkv"])
    size: int = Field(description="Bytes; 0 for a folder.", examples=[734003200])
    is_dir: bool
    modified_at: Time | None = Field(description="Null where the storage does not tell.")


class FileList(Reply):
    """What is in a folder of a storage."""

    path: str = Field(examples=["films"])
    entries: list[FileEntry]
    next: str | None = Field(description="Give it as `after` to read on; null at the end.", examples=[None])


class StorageTest(Reply):
    """The storage took a small file, gave it back and removed it."""

    ok: bool = True
    seconds: float = Field(description="How long that took.", examples=[0.02])


class StorageList(Reply):
    """All configured storages."""

    storages: list[StorageView]


class QueueView(Reply):
    """How many tasks wait and run."""

    paused: bool = Field(description="Whether the queue is paused: no task is begun.")
    queued_tasks: int = Field(description="Without those that are paused.")
    paused_tasks: int
    running_tasks: int


class LimitsView(Reply):
    """The limits in force, over all workers; 0 is no limit."""

    tasks_per_user: int
    bytes_per_second: int
    bytes_per_second_per_user: int


class DeliveryView(Reply):
    """One webhook."""

    id: str = Field(description="The `webhook-id` header.", examples=[EXAMPLE_DELIVERY])
    task_id: str = Field(examples=[EXAMPLE_ID])
    event: str = Field(examples=["task.completed"])
    url: str = Field(description="Without user, password and query.", examples=["https://example.com/hook"])
    state: Literal["pending", "delivered", "gave_up"]
    attempts: int
    last_status: int = Field(description="HTTP status of the last answer; 0 if there was none.")
    last_error: str = Field(description="Why the last attempt failed; empty if it did not.")
    created_at: Time


class DeliveryPageView(Reply):
    """Webhooks, newest first."""

    deliveries: list[DeliveryView]
    next_cursor: str | None = Field(description="Null if nothing follows.", examples=[EXAMPLE_DELIVERY])


class TaskType(Reply):
    """A kind of task."""

    type: str = Field(examples=["tgfiles"])
    title: str = Field(examples=["Files of Telegram messages"])
    available: bool = Field(description="Whether a living worker can do it now.")
    error: str = Field(default="", exclude_if=_empty, description="Why it is not available.")
    params: dict[str, Any] = Field(description="JSON schema of its `params`.", examples=[{"type": "object"}])


class TaskTypes(Reply):
    """What can be asked for."""

    types: list[str] = Field(description="Usable now.", examples=[["tgfiles"]])
    details: list[TaskType] = Field(description="All that are known.")


class WorkerView(Reply):
    """A living worker process."""

    id: str
    host: str
    pid: int
    started_at: Time
    tasks: list[str] = Field(description="Ids of the tasks it works on.")


class WorkerList(Reply):
    """All living workers."""

    workers: list[WorkerView]
