"""The replies of the API. Descriptions and examples become the reference of the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from saveany.models import KeyScope

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


class Reply(BaseModel):
    """A reply; later versions may add fields."""

    model_config = ConfigDict(frozen=True)


class Problem(Reply):
    """One thing that is wrong with a request."""

    field: str = Field(
        description="The field, parameter or component that is wrong.", examples=["telegram_url"]
    )
    message: str = Field(examples=["is required"])


class ErrorReply(Reply):
    """The body of every error."""

    error: str = Field(description="The kind of error.", examples=["Bad request"])
    code: int = Field(description="The HTTP status.", examples=[400])
    message: str = Field(description="What is wrong and what to do.")
    details: list[Problem] = Field(default=[], exclude_if=_empty, description="The individual problems.")


class Health(Reply):
    """The process is running."""

    status: Literal["ok"] = "ok"


class Ready(Reply):
    """Everything needed to save files is available."""

    status: Literal["ready"] = "ready"


class MessageReply(Reply):
    """A confirmation."""

    message: str = Field(examples=["task canceled"])


class Created(Reply):
    """The task was accepted and stored durably."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    message: str = Field(examples=["task created successfully"])
    type: str = Field(examples=["tgfiles"])
    status: StatusName = Field(examples=["queued"])
    created_at: Time


class ProgressView(Reply):
    """The progress of a task, summed over its files."""

    total_bytes: int = Field(description="0 while the sizes are unknown, and while a stream is recorded.")
    downloaded_bytes: int = Field(description="Also what is on the worker's disk and in no file yet.")
    uploaded_bytes: int
    total_files: int
    done_files: int
    downloaded_files: int = Field(description="Equal to `done_files`; SaveAny-Bot's name for it.")
    percent: float = Field(ge=0, le=100)
    speed_bps: float = Field(description="Bytes per second over the last few seconds.")
    speed_mbps: float = Field(description="`speed_bps` in MiB per second.")
    eta_seconds: int | None = Field(description="Null if it cannot be estimated.")


class TaskSummary(Reply):
    """A task without its files."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    status: StatusName
    title: str = Field(examples=["[tgfiles](file.pdf->local1:/downloads/file.pdf)"])
    created_at: Time
    error: str = Field(description="Why the task failed and what to do; empty if it did not fail.")
    type: str = Field(examples=["tgfiles"])
    stage: Literal["", "resolving", "downloading", "uploading", "verifying", "joining", "paused"] = Field(
        description="What a running task is doing; `joining` if one file is made of what was recorded; "
        "`paused` for a queued task that waits to be resumed."
    )
    waiting: str = Field(
        default="",
        exclude_if=_empty,
        description="Why a queued task does not start or a running task makes no progress, if so.",
    )
    storage: str = Field(examples=["local1"])
    path: str = Field(description="Folder inside the storage; `/` is its root.", examples=["/downloads"])
    user_id: int = Field(examples=[123456789])
    progress: ProgressView
    priority: int = Field(description="Among the tasks of one user, higher ones go first.")
    attempts: int = Field(
        description="How often a worker has started the task, not counting workers that had to stop or wait."
    )
    started_at: Time | None = Field(description="When a worker first started it.")
    updated_at: Time
    finished_at: Time | None


class DuplicateView(Reply):
    """A saved file with the same content."""

    file_id: str = Field(examples=[EXAMPLE_ID])
    name: str = Field(examples=["file.pdf"])
    storage: str = Field(description="Storage of the copy.", examples=["local1"])
    path: str = Field(description="Path of the copy in the storage.", examples=["downloads/file.pdf"])


class ItemView(Reply):
    """A file of a task."""

    name: str = Field(examples=["file.pdf"])
    size: int | None = Field(description="Size in bytes; null while it is unknown.")
    status: Literal["queued", "running", "finishing", "completed", "skipped", "failed"]
    path: str = Field(
        description="Current or future path, relative to the root of the storage.",
        examples=["downloads/file.pdf"],
    )
    storage: str = Field(
        default="",
        exclude_if=_empty,
        description="Storage chosen by a rule, if not that of the task.",
    )
    sha256: str = Field(default="", exclude_if=_empty, description="SHA-256 of the content, in hexadecimal.")
    url: str = Field(default="", exclude_if=_empty, description="Page of the file on the storage's web site.")
    duplicate: DuplicateView | None = Field(
        default=None,
        exclude_if=_empty,
        description="The saved file because of which it was skipped, or whose copy it has (`on_duplicate`).",
    )
    error: str = Field(default="", exclude_if=_empty)
    note: str = Field(
        default="",
        exclude_if=_empty,
        description="What is special about how it was saved, for example that Telegram has refused it as a "
        "photo.",
    )


class WebhookView(Reply):
    """The latest webhook of a task."""

    state: Literal["pending", "delivered", "gave_up"]
    attempts: int
    last_status: int = Field(description="HTTP status of the last response; 0 if there was none.")


class TaskView(TaskSummary):
    """A task with up to 100 of its files."""

    items: list[ItemView]
    items_total: int
    items_cursor: int | None = Field(description="`items_cursor` of the next page; null on the last page.")
    webhook: WebhookView | None = Field(description="Null until a delivery was attempted.")


class QueuedTask(Reply):
    """A queued task."""

    id: str = Field(examples=[EXAMPLE_ID])
    title: str = Field(examples=["[tgfiles](file.pdf->local1:/downloads/file.pdf)"])


class RunningTask(QueuedTask):
    """A running task."""

    progress: ProgressView


class TaskList(Reply):
    """Tasks that have not ended, oldest first."""

    queued: list[QueuedTask]
    running: list[RunningTask]
    tasks: list[TaskSummary] = Field(description="Queued and running tasks together.")
    total: int = Field(description="Number of tasks in this reply.")
    next_cursor: str | None = Field(
        description="Null on the last page. A page for one user may be short and still have a cursor.",
        examples=["1705638600000-" + EXAMPLE_ID],
    )


class HistoryPageView(Reply):
    """Ended tasks, newest first."""

    tasks: list[TaskSummary]
    next_cursor: str | None = Field(
        description="Null on the last page. A page may be short, even empty, and still have a cursor.",
        examples=["1705638600000-" + EXAMPLE_ID],
    )


class OriginView(Reply):
    """Where a saved file comes from: a Telegram message, or a URL."""

    chat_id: int | None = Field(description="Id of the chat of the message.")
    message_id: int | None
    document_id: int | None = Field(description="Telegram's id of the file, the same in all chats.")
    url: str = Field(default="", exclude_if=_empty)


class SavedFileView(Reply):
    """A saved file."""

    file_id: str = Field(examples=[EXAMPLE_ID])
    name: str = Field(examples=["file.pdf"])
    caption: str = Field(description="The text of its message.")
    size: int = Field(description="Bytes.")
    mime_type: str = Field(examples=["application/pdf"])
    type: Literal["video", "audio", "image", "text", "other"]
    sha256: str = Field(default="", exclude_if=_empty, description="SHA-256 of the content, in hexadecimal.")
    user_id: int = Field(examples=[123456789])
    folder_id: int = Field(description="0: in no folder.")
    folder: str = Field(description="Path of the folder; `/` is the top.", examples=["/downloads"])
    storage: str = Field(description="Storage of the copy.", examples=["local1"])
    path: str = Field(description="Path of the copy in the storage.", examples=["downloads/file.pdf"])
    page: str = Field(
        default="", exclude_if=_empty, description="Page of the copy on the storage's web site."
    )
    origin: OriginView
    task_id: str | None = Field(description="The task that saved it.", examples=[EXAMPLE_ID])
    added_at: Time
    downloads: int = Field(description="How often it was downloaded from here.")
    bytes_sent: int
    missing_since: Time | None = Field(
        default=None,
        exclude_if=_empty,
        description="When its copy was found deleted or changed from outside. It is served from its Telegram "
        "message then, if it came from one.",
    )
    deleted_at: Time | None = Field(
        default=None, exclude_if=_empty, description="When it was moved to the trash."
    )


class FilePageView(Reply):
    """Saved files."""

    files: list[SavedFileView]
    next_cursor: str | None = Field(
        description="Null on the last page. A page of a search may be short, even empty, and still have a "
        "cursor.",
        examples=[None],
    )
    total: int | None = Field(
        default=None, description="With `offset`, the number of all files of the list.", examples=[None]
    )


class FolderView(Reply):
    """A folder of a user."""

    folder_id: int = Field(examples=[7])
    name: str = Field(examples=["downloads"])
    path: str = Field(examples=["/downloads"])
    parent_id: int = Field(description="0: in no other folder.", examples=[0])
    user_id: int = Field(examples=[123456789])


class FolderPageView(Reply):
    """Folders, by name."""

    folders: list[FolderView]
    next_cursor: str | None = Field(description="Null on the last page.", examples=[None])


class FileSum(Reply):
    """Number and size of some files."""

    files: int
    bytes: int


class FileStatsView(Reply):
    """Number and size of the saved files."""

    files: int
    bytes: int
    by_type: dict[str, FileSum]
    by_storage: dict[str, FileSum]
    by_user: dict[str, FileSum] = Field(description="By user id.")
    by_day: dict[str, FileSum] = Field(description="By the day (UTC) on which they were saved.")


class LinkView(Reply):
    """A link to a file, a folder or a message."""

    token: str = Field(examples=["Zk3uX9q0bYtP1mR7sVw2aL"])
    url: str = Field(
        description="Downloads the file.", examples=["http://127.0.0.1:8080/dl/Zk3uX9q0bYtP1mR7sVw2aL/a.mkv"]
    )
    stream_url: str = Field(description="Shows or plays it in a browser or player.")
    page_url: str = Field(description="A page with a player, and a button to download the file.")
    name: str = Field(examples=["a.mkv"])
    user_id: int = Field(examples=[123456789])
    state: Literal["active", "expired", "revoked", "used_up", "gone"]
    file_id: str | None = Field(examples=[EXAMPLE_ID])
    folder_id: int | None
    inline: bool
    redirect: bool
    has_password: bool
    created_at: Time
    expires_at: Time | None
    max_downloads: int | None
    downloads: int
    bytes_sent: int


class LinkPageView(Reply):
    """Links, newest first."""

    links: list[LinkView]
    next_cursor: str | None = Field(description="Null on the last page.", examples=[None])


class KeyView(Reply):
    """A key of the API, without its secret."""

    key_id: str = Field(examples=[EXAMPLE_ID])
    name: str = Field(examples=["backup script"])
    user_id: int = Field(description="The user as whom it acts.", examples=[123456789])
    scopes: list[KeyScope] = Field(examples=[["files", "tasks"]])
    state: Literal["active", "revoked"]
    in_configuration: bool = Field(description="It is in the configuration, where it can be changed.")
    readable: bool = Field(description="The secret is kept, for protocols that must sign with it.")
    created_at: Time | None = Field(description="Null for a key of the configuration.")
    used_at: Time | None = Field(description="Last use, to the minute; null if it is unknown.")
    revoked_at: Time | None


class NewKeyView(KeyView):
    """A new key."""

    secret: str = Field(
        description="Send it as `Authorization: Bearer <secret>`. It is not shown again.",
        examples=["sa_mfrggzdfmztwq2lknnwg23tpobyxe43u"],
    )


class KeyList(Reply):
    """Keys of the API."""

    keys: list[KeyView]


class SessionView(Reply):
    """Who sends this request, and what for."""

    user_id: int | None = Field(description="Null for the operator.", examples=[123456789])
    is_operator: bool = Field(description="Whether everything may be done, for all users.")
    scopes: list[KeyScope] = Field(examples=[["files", "links", "tasks"]])
    csrf_token: str | None = Field(
        description="Must be sent as `X-CSRF-Token` in requests of this session that change something; null "
        "without a session.",
        examples=["5f0c1d2e3a4b"],
    )
    expires_at: Time | None = Field(description="When the session ends; null without a session.")


class LoginLinkView(Reply):
    """A link that begins a session of the web UI."""

    url: str = Field(examples=["http://127.0.0.1:8080/#/login/Zk3uX9q0bYtP1mR7sVw2aLc8d4e1f6g0"])
    code: str = Field(description="The part of it that begins the session.", examples=["Zk3uX9q0bYtP1mR7"])
    expires_at: Time


class UserView(Reply):
    """A configured user."""

    user_id: int = Field(examples=[123456789])
    is_admin: bool = Field(description="Whether the user may manage SaveAny in the bot.")
    storages: list[str] = Field(description="Storages that the user may use.", examples=[["local1"]])
    storage: str = Field(description="Where files are saved by default.", examples=["local1"])
    folder: str = Field(description="Default folder in it; `/` is its root.", examples=["/"])
    role: Literal["admin", "user"] | None = Field(description="Null: the first user is an admin.")
    listed_storages: list[str] = Field(description="The storages of the user in the configuration.")
    blacklist: bool = Field(description="Whether these are the ones that the user may not use.")
    accounts: list[str] = Field(description="Accounts that are read for the user; empty: all.")


class UserList(Reply):
    """Configured users."""

    users: list[UserView]


class Removed(Reply):
    """The result of removing tasks from the history, or files from the trash."""

    message: str = Field(examples=["2 tasks removed"])
    removed: int = Field(examples=[2])


class EventView(Reply):
    """The JSON data of a server-sent event. Its type is the `event` of the stream."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    status: StatusName
    stage: str
    title: str = Field(default="", exclude_if=_empty, description="Absent in `task.progress`.")
    error: str = Field(default="", exclude_if=_empty)
    progress: ProgressView | None = Field(
        default=None, exclude_if=_empty, description="Only in `task.progress` and `snapshot`."
    )
    at: Time


class ArchiveEventView(Reply):
    """The JSON data of a server-sent event of an archive."""

    archive_id: str
    title: str
    error: str = Field(default="", exclude_if=_empty, description="Only in `archive_problem`.")
    at: Time


class CapabilitiesView(Reply):
    """The capabilities of a storage."""

    random_writes: bool = Field(description="Accepts the parts of a file in any order.")
    reads_back: bool = Field(description="The written bytes of an unfinished file can be read back.")
    resumes: bool = Field(description="An unfinished file is continued after a restart.")
    needs_size: bool = Field(description="Needs to know the size of a file before its first byte.")
    late_name: bool = Field(description="The name of a file can be chosen when it is complete.")
    exclusive: bool = Field(description="Never lets two uploads create the same name.")
    fences: bool = Field(description="Stops a writer that no longer owns its task.")
    lists: bool = Field(description="Can list files.")
    reads: bool = Field(description="Can read files.")
    folders: bool = Field(description="Can create empty folders.")
    moves: bool = Field(description="Can move files.")
    copies: bool = Field(description="Can copy files without downloading them.")
    usage: bool = Field(description="Reports its used and free space.")
    links: bool = Field(description="Can create public links.")
    this_machine_only: bool = Field(description="Files are on the disk of one machine.")


class StorageView(Reply):
    """A configured storage."""

    name: str = Field(examples=["local1"])
    type: str = Field(examples=["local"])
    ready: bool = Field(description="Whether a running worker can use it.")
    error: str = Field(default="", exclude_if=_empty, description="Why it is not ready.")
    capabilities: CapabilitiesView | None = Field(description="Null until a worker has reported them.")


class FileEntry(Reply):
    """A file or folder in a storage."""

    name: str = Field(examples=["a.mkv"])
    path: str = Field(description="Path inside the storage.", examples=["films/a.mkv"])
    size: int = Field(description="Bytes; 0 for a folder.", examples=[734003200])
    is_dir: bool
    modified_at: Time | None = Field(description="Null if the storage does not report it.")


class FileList(Reply):
    """The entries of a folder of a storage."""

    path: str = Field(examples=["films"])
    entries: list[FileEntry]
    next: str | None = Field(description="`after` of the next page; null on the last page.", examples=[None])


class StorageTest(Reply):
    """A small file was written, read back and removed."""

    ok: bool = True
    seconds: float = Field(description="Duration of the test.", examples=[0.02])


class StorageList(Reply):
    """All configured storages."""

    storages: list[StorageView]


class QueueView(Reply):
    """The state of the queue."""

    paused: bool = Field(description="Whether the queue is paused, so that no task starts.")
    queued_tasks: int = Field(description="Without paused tasks.")
    paused_tasks: int
    running_tasks: int


class LimitsView(Reply):
    """The limits in force, over all workers; 0 means no limit."""

    tasks_per_user: int
    bytes_per_second: int
    bytes_per_second_per_user: int
    archives_per_user: int


class DeliveryView(Reply):
    """A webhook delivery."""

    id: str = Field(description="The `webhook-id` header.", examples=[EXAMPLE_DELIVERY])
    task_id: str = Field(examples=[EXAMPLE_ID])
    event: str = Field(examples=["task.completed"])
    url: str = Field(
        description="Without user name, password, path and query, which may be secret. Of a notification "
        "`notify:`, the service of Apprise, and a digest of the URL.",
        examples=["https://example.com/********"],
    )
    state: Literal["pending", "delivered", "gave_up"]
    attempts: int
    last_status: int = Field(description="HTTP status of the last response; 0 if there was none.")
    last_error: str = Field(description="Why the last attempt failed; empty if it succeeded.")
    created_at: Time


class DeliveryPageView(Reply):
    """Webhook deliveries, newest first."""

    deliveries: list[DeliveryView]
    next_cursor: str | None = Field(description="Null on the last page.", examples=[EXAMPLE_DELIVERY])


class ResolvedFileView(Reply):
    """A file that a task would save."""

    name: str = Field(examples=["file.pdf"])
    storage: str = Field(examples=["local1"])
    path: str = Field(description="Path inside the storage.", examples=["downloads/file.pdf"])
    size: int | None = Field(description="Bytes; null if it is not known before the download.")
    mime_type: str = Field(examples=["application/pdf"])
    type: Literal["video", "audio", "image", "text", "other"]
    duplicate: DuplicateView | None = Field(
        description="The file with the same content that the user has saved before, as far as Telegram's "
        "id tells."
    )
    error: str = Field(default="", exclude_if=_empty, description="Why this file could not be saved.")


class TaskType(Reply):
    """A type of task."""

    type: str = Field(examples=["tgfiles"])
    title: str = Field(examples=["Files of Telegram messages"])
    available: bool = Field(description="Whether a running worker can use it.")
    error: str = Field(default="", exclude_if=_empty, description="Why it is not available.")
    params: dict[str, Any] = Field(description="JSON schema of its `params`.", examples=[{"type": "object"}])


class TaskTypes(Reply):
    """The types of tasks."""

    types: list[str] = Field(description="Available types.", examples=[["tgfiles"]])
    details: list[TaskType] = Field(description="All types.")


class InboxView(Reply):
    """A watched folder."""

    folder: str = Field(examples=["/srv/inbox"])
    problem: str = Field(description="Why its files are not saved; empty if nothing is wrong.")


class WorkerView(Reply):
    """A running worker process."""

    id: str
    host: str
    pid: int
    started_at: Time
    tasks: list[str] = Field(description="Ids of its running tasks.")
    inboxes: list[InboxView] = Field(
        description="The folders that it watches. Of the workers of a machine, one watches all folders."
    )


class WorkerList(Reply):
    """All running workers."""

    workers: list[WorkerView]
