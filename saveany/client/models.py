"""The bodies and replies of the API. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class AccountList(TypedDict):
    """Telegram accounts."""

    accounts: list[AccountView]


class AccountView(TypedDict):
    """A Telegram account."""

    name: str
    is_bot: bool
    #: It is in the configuration, where it can be removed.
    is_configured: bool
    #: Display name; empty if it is unknown.
    owner: str
    #: Telegram id of the owner; null if it is unknown.
    user_id: int | None
    ready: bool
    #: Why it cannot be used; empty if it can.
    problem: str


class AdoptionView(TypedDict):
    """What an archive adopts, or would adopt: the files whose sizes are those of their messages."""

    #: Null if this was a trial.
    archive: ArchiveView | None
    #: -100… for a channel or supergroup.
    chat_id: int
    title: str
    storage: str
    dir_path: str
    #: Number of files in the folder.
    files: int
    #: Their size.
    bytes: int
    #: Number of messages that are known to have one of them.
    known: int
    #: Whether the export ends in the middle: what is before is used.
    truncated: bool
    #: The first 100 files.
    examples: list[FoundFileView]


class ArchiveCounts(TypedDict):
    """The numbers of messages by what became of them."""

    #: Messages of the chat, according to Telegram.
    telegram_total: int
    #: Messages without files.
    without_media: int
    saved: int
    #: The same file was saved before.
    duplicate: int
    #: The filter excludes their files.
    filtered: int
    #: Deleted before they were read.
    gone: int
    #: Paid media that was not bought.
    locked: int
    #: Self-destructing files and expired stories.
    expired: int
    #: May not be copied within Telegram.
    protected: int
    failed: int
    pending: int


class ArchiveEstimateView(TypedDict):
    """What an archive of the whole chat would contain."""

    title: str
    messages: int
    #: By the kinds of `filter`; without stickers.
    kinds: dict[str, KindEstimateView]
    #: Estimated size of all files.
    bytes: int
    first_at: str | None
    last_at: str | None
    storage: str
    #: Free space in the storage; null if it is not known.
    free_bytes: int | None


class ArchiveList(TypedDict):
    """Archives, oldest first."""

    archives: list[ArchiveView]


class ArchiveMessagesView(TypedDict):
    """Messages with files, in order."""

    messages: list[ArchivedMessageView]
    #: Null on the last page.
    next_cursor: str | None


class ArchiveView(TypedDict):
    """An archive with its receipt."""

    id: str
    #: `@name`, or the id if it has none.
    chat: str
    #: -100… for a channel or supergroup.
    chat_id: int
    title: str
    user_id: int
    #: Empty: the default storage of the user.
    storage: str
    dir_path: str
    start: str
    follow: bool
    on_edit: str
    state: Literal["reading", "following", "complete", "paused", "blocked"]
    #: Why it is blocked.
    problem: str
    #: What cannot be part of the archive, and why; empty if nothing is missing.
    notice: str
    #: Id of the last message that was handled.
    position: int
    counts: ArchiveCounts
    #: `telegram_total` less all other counts: messages that are not read yet or not part of the archive;
    #: negative if messages were deleted after they were read.
    unaccounted: int
    #: Size of the saved files.
    bytes: int
    eta_seconds: int | None
    #: RFC 3339, UTC.
    created_at: str
    completed_at: str | None


class ArchivedMessageView(TypedDict):
    """A message with files."""

    chat: int
    message: int
    outcome: Literal[
        "pending", "saved", "duplicate", "filtered", "gone", "locked", "expired", "protected", "failed"
    ]
    reason: str
    #: The saved file, or the one that was saved before.
    file_id: str | None
    task_id: str | None
    edited_at: str | None
    size: int


class Bandwidth(TypedDict):
    """What links have sent this month."""

    month: str
    used_bytes: int
    used_gb: float
    limit_enabled: bool
    #: 0 if there is no limit.
    limit_gb: int
    #: Null if there is no limit.
    remaining_gb: float | None


class CapabilitiesView(TypedDict):
    """The capabilities of a storage."""

    #: Accepts the parts of a file in any order.
    random_writes: bool
    #: The written bytes of an unfinished file can be read back.
    reads_back: bool
    #: An unfinished file is continued after a restart.
    resumes: bool
    #: Needs to know the size of a file before its first byte.
    needs_size: bool
    #: The name of a file can be chosen when it is complete.
    late_name: bool
    #: Never lets two uploads create the same name.
    exclusive: bool
    #: Stops a writer that no longer owns its task.
    fences: bool
    #: Can list files.
    lists: bool
    #: Can read files.
    reads: bool
    #: Can create empty folders.
    folders: bool
    #: Can move files.
    moves: bool
    #: Can copy files without downloading them.
    copies: bool
    #: Reports its used and free space.
    usage: bool
    #: Can create public links.
    links: bool
    #: Files are on the disk of one machine.
    this_machine_only: bool


class ChatExportRequest(TypedDict):
    """Which files of a chat to export."""

    #: As for an archive.
    chat: str
    #: The user account that reads the chat. Default: any that can.
    account: NotRequired[str]
    #: Whose accounts read it. Default: the caller's user.
    user_id: NotRequired[int | None]
    #: Export only the files that match this filter.
    filter: NotRequired[Filter]
    #: `jsonl`: a JSON object per line; `csv`: a table with the same names, in which an apostrophe
    #: precedes what a spreadsheet would take for a formula.
    format: NotRequired[Literal["jsonl", "csv"]]
    #: Only messages with higher numbers. That of the last line continues an export that has broken off.
    after_message: NotRequired[int]
    #: No messages with higher numbers; 0: up to the newest one.
    last_message: NotRequired[int]


class ChatFileView(TypedDict):
    """A file in a message."""

    message: int
    name: str
    kind: Literal["document", "photo", "video", "voice", "audio", "sticker", "animation", "video_note"]
    size: int
    #: RFC 3339, UTC.
    posted_at: str
    #: Of the message, or of the album.
    text: str
    #: With which a task saves it; null in private chats, which only archives save.
    link: str | None


class ChatFilesRequest(TypedDict):
    """Which files of a chat to list."""

    #: As for an archive.
    chat: str
    #: The user account that reads the chat. Default: any that can.
    account: NotRequired[str]
    #: Whose accounts read it. Default: the caller's user.
    user_id: NotRequired[int | None]
    #: List only the files that match this filter.
    filter: NotRequired[Filter]
    #: `next_before` of the previous page; 0: the newest messages.
    before: NotRequired[int]


class ChatFilesView(TypedDict):
    """Files of a chat, newest first. A page may have no files, and still be followed by others."""

    title: str
    files: list[ChatFileView]
    #: Messages of the page whose files cannot be saved.
    withheld: int
    #: Null on the last page.
    next_before: int | None


class ChatList(TypedDict):
    """Chats of an account, those with the newest messages first."""

    chats: list[ChatView]


class ChatView(TypedDict):
    """A chat of an account."""

    #: `@name`, or the id if it has none.
    chat: str
    title: str
    kind: Literal["channel", "group", "person", "bot", "saved"]
    #: When its newest message was posted.
    last_at: str | None


class CheckStorage(TypedDict):
    """Which saved files to look for."""

    #: Number of files to check.
    limit: NotRequired[int]
    #: `next_cursor` of the previous reply.
    cursor: NotRequired[str]


class ConfigurationChange(TypedDict):
    """New values of settings."""

    #: Dotted name of a key -> its value, as in the file; null restores the default.
    values: dict[str, JsonValue]


class ConfigurationView(TypedDict):
    """The configuration."""

    #: The file; empty without one.
    file: str
    tables: list[SettingTable]
    settings: list[SettingView]
    warnings: list[str]
    #: Keys that have changed, and wait for a restart.
    waiting: list[str]
    #: Whether `POST /api/v1/config/restart` works.
    can_restart: bool


class CopyDifference(TypedDict):
    """A saved file whose copy is missing, or has another size."""

    file_id: str
    path: str
    #: Bytes of the saved file.
    size: int
    #: Bytes of the copy; null: it is missing.
    found: int | None


class Created(TypedDict):
    """The task was accepted and stored durably."""

    task_id: str
    message: str
    type: str
    status: Literal["queued", "running", "completed", "failed", "canceled"]
    #: RFC 3339, UTC.
    created_at: str


class DeliveryPageView(TypedDict):
    """Webhook deliveries, newest first."""

    deliveries: list[DeliveryView]
    #: Null on the last page.
    next_cursor: str | None


class DeliveryView(TypedDict):
    """A webhook delivery."""

    #: The `webhook-id` header.
    id: str
    task_id: str
    event: str
    #: Without user name, password, path and query, which may be secret. Of a notification `notify:`, the
    #: service of Apprise, and a digest of the URL.
    url: str
    state: Literal["pending", "delivered", "gave_up"]
    attempts: int
    #: HTTP status of the last response; 0 if there was none.
    last_status: int
    #: Why the last attempt failed; empty if it succeeded.
    last_error: str
    #: RFC 3339, UTC.
    created_at: str


class DiscrepancyView(TypedDict):
    """A message whose file is not as the receipt says."""

    chat: int
    message: int
    #: `deleted`: in Telegram, since it was saved.
    problem: Literal["not_in_catalogue", "missing", "changed", "unverifiable", "deleted"]
    storage: str
    path: str
    #: Whether an edit has replaced this file since: then it cannot be saved again.
    replaced: bool


class DuplicateView(TypedDict):
    """A saved file with the same content."""

    file_id: str
    name: str
    #: Storage of the copy.
    storage: str
    #: Path of the copy in the storage.
    path: str


class Error(TypedDict):
    """The body of every error."""

    #: The kind of error.
    error: str
    #: The HTTP status.
    code: int
    #: What is wrong and what to do.
    message: str
    #: The individual problems.
    details: NotRequired[list[Problem]]


class Features(TypedDict):
    """What links do here."""

    #: Whether users must join a chat for a link from the bot.
    force_subscribe: bool
    #: The first of these chats.
    force_subscribe_channel_id: str | None
    link_expiry_enabled: bool
    link_expiry_duration_seconds: int
    link_expiry_duration_human: str


class FieldView(TypedDict):
    """What a form shows about one value."""

    #: Name of the key or option.
    name: str
    #: The kind of value.
    kind: Literal["boolean", "integer", "number", "text", "secret", "path", "choice", "list", "tables"]
    #: What it means.
    about: str
    #: The values that it may have; empty if there are many.
    choices: list[str]
    #: Null if it has none, or it depends on other values.
    default: JsonValue
    example: JsonValue
    is_required: bool
    is_secret: bool
    minimum: float | None
    maximum: float | None


class FileChange(TypedDict):
    """What to change of a saved file; what is left out stays. The copy in its storage is not touched."""

    #: New name, without folders.
    name: NotRequired[str | None]
    #: Folder to move it to; 0 is the top.
    folder_id: NotRequired[int | None]
    #: New caption.
    caption: NotRequired[str | None]


class FileEntry(TypedDict):
    """A file or folder in a storage."""

    name: str
    #: Path inside the storage.
    path: str
    #: Bytes; 0 for a folder.
    size: int
    is_dir: bool
    #: Null if the storage does not report it.
    modified_at: str | None


class FileList(TypedDict):
    """The entries of a folder of a storage."""

    path: str
    entries: list[FileEntry]
    #: `after` of the next page; null on the last page.
    next: str | None


class FilePageView(TypedDict):
    """Saved files."""

    files: list[SavedFileView]
    #: Null on the last page. A page of a search may be short, even empty, and still have a cursor.
    next_cursor: str | None
    #: With `offset`, the number of all files of the list.
    total: NotRequired[int | None]


class FileStatsView(TypedDict):
    """Number and size of the saved files."""

    files: int
    bytes: int
    by_type: dict[str, FileSum]
    by_storage: dict[str, FileSum]
    #: By user id.
    by_user: dict[str, FileSum]
    #: By the day (UTC) on which they were saved.
    by_day: dict[str, FileSum]


class FileSum(TypedDict):
    """Number and size of some files."""

    files: int
    bytes: int


class Filter(TypedDict):
    """Files that meet all given conditions; an omitted condition is met by every file."""

    #: Regular expression (RE2, ignoring case) that must occur in the file's name or in the text of the
    #: message.
    name: NotRequired[str]
    #: Regular expression that must occur in the text of the message.
    text: NotRequired[str]
    #: Only these kinds of media.
    kinds: NotRequired[
        list[Literal["document", "photo", "video", "voice", "audio", "sticker", "animation", "video_note"]]
    ]
    #: Minimum size in bytes.
    min_size: NotRequired[int]
    #: Maximum size in bytes.
    max_size: NotRequired[int | None]
    #: Posted at or after this date or time (UTC unless a zone is given).
    after: NotRequired[str | None]
    #: Posted before this date or time.
    before: NotRequired[str | None]


class FolderChange(TypedDict):
    """What to change of a folder; what is left out stays."""

    #: New name, without folders.
    name: NotRequired[str | None]
    #: Folder to move it into; 0 is the top.
    parent_id: NotRequired[int | None]


class FolderPageView(TypedDict):
    """Folders, by name."""

    folders: list[FolderView]
    #: Null on the last page.
    next_cursor: str | None


class FolderView(TypedDict):
    """A folder of a user."""

    folder_id: int
    name: str
    path: str
    #: 0: in no other folder.
    parent_id: int
    user_id: int


class FoundFileBody(TypedDict):
    """A file that is in the storage already."""

    #: Its path in the storage.
    path: str
    #: Its size in bytes.
    size: int
    #: The message that it belongs to; in a group that has become a supergroup, messages from before have
    #: their id less 1,000,000,000. 0: unknown; then contents are compared.
    message: NotRequired[int]


class FoundFileView(TypedDict):
    """A file in the folder."""

    path: str
    size: int
    #: The message that it belongs to; 0: contents are compared.
    message: int


class FoundFiles(TypedDict):
    """Files that an archive may adopt."""

    files: list[FoundFileBody]


class Health(TypedDict):
    """The process is running."""

    status: NotRequired[Literal["ok"]]


class HistoryPageView(TypedDict):
    """Ended tasks, newest first."""

    tasks: list[TaskSummary]
    #: Null on the last page. A page may be short, even empty, and still have a cursor.
    next_cursor: str | None


class InboxView(TypedDict):
    """A watched folder."""

    folder: str
    #: Why its files are not saved; empty if nothing is wrong.
    problem: str


class Info(TypedDict):
    """What this SaveAny has done. The first six are those of StreamBot's documentation, the others those of
    its later versions.
    """

    status: str
    #: Of this process.
    uptime: str
    #: Number of users that are known.
    users_count: int
    #: How often files were downloaded by their links.
    files_served: int
    #: Bytes sent for links.
    total_bandwidth: str
    version: str
    features: Features
    bandwidth_info: Bandwidth
    #: As `users_count`.
    totaluser: int
    #: RFC 3339, UTC.
    server_time_utc: str


class ItemView(TypedDict):
    """A file of a task."""

    name: str
    #: Size in bytes; null while it is unknown.
    size: int | None
    status: Literal["queued", "running", "finishing", "completed", "skipped", "failed"]
    #: Current or future path, relative to the root of the storage.
    path: str
    #: Storage chosen by a rule, if not that of the task.
    storage: NotRequired[str]
    #: SHA-256 of the content, in hexadecimal.
    sha256: NotRequired[str]
    #: Page of the file on the storage's web site.
    url: NotRequired[str]
    #: The saved file because of which it was skipped, or whose copy it has (`on_duplicate`).
    duplicate: NotRequired[DuplicateView | None]
    error: NotRequired[str]
    #: What is special about how it was saved, for example that Telegram has refused it as a photo.
    note: NotRequired[str]


JsonValue = Any


class KeyList(TypedDict):
    """Keys of the API."""

    keys: list[KeyView]


class KeyView(TypedDict):
    """A key of the API, without its secret."""

    key_id: str
    name: str
    #: The user as whom it acts.
    user_id: int
    scopes: list[Literal["tasks", "files", "links", "read", "compat"]]
    state: Literal["active", "revoked"]
    #: It is in the configuration, where it can be changed.
    in_configuration: bool
    #: The secret is kept, for protocols that must sign with it.
    readable: bool
    #: Null for a key of the configuration.
    created_at: str | None
    #: Last use, to the minute; null if it is unknown.
    used_at: str | None
    revoked_at: str | None


class KindEstimateView(TypedDict):
    """The files of one kind."""

    files: int
    #: Estimated from a sample.
    bytes: int


class LimitsView(TypedDict):
    """The limits in force, over all workers; 0 means no limit."""

    tasks_per_user: int
    bytes_per_second: int
    bytes_per_second_per_user: int
    archives_per_user: int


class LinkChange(TypedDict):
    """What to change of a link; what is left out stays."""

    #: Seconds for which it works; 0: for ever.
    ttl: NotRequired[int | None]
    #: How often it may be downloaded; 0: any number.
    max_downloads: NotRequired[int | None]
    #: What must be entered first; empty: nothing.
    password: NotRequired[str | None]
    inline: NotRequired[bool | None]
    #: Whether a storage that can do so sends the file itself, if the configuration allows it
    #: (`links.redirect`); never with a password.
    redirect: NotRequired[bool | None]
    #: True: it stops working; false: it works again.
    revoked: NotRequired[bool | None]


class LinkPageView(TypedDict):
    """Links, newest first."""

    links: list[LinkView]
    #: Null on the last page.
    next_cursor: str | None


class LinkView(TypedDict):
    """A link to a file, a folder or a message."""

    token: str
    #: Downloads the file.
    url: str
    #: Shows or plays it in a browser or player.
    stream_url: str
    #: A page with a player, and a button to download the file.
    page_url: str
    name: str
    user_id: int
    state: Literal["active", "expired", "revoked", "used_up", "gone"]
    file_id: str | None
    folder_id: int | None
    inline: bool
    redirect: bool
    has_password: bool
    #: RFC 3339, UTC.
    created_at: str
    expires_at: str | None
    max_downloads: int | None
    downloads: int
    bytes_sent: int


class ListProblemView(TypedDict):
    """Something in a list that was left out."""

    #: Number of the line; null in an export.
    line: int | None
    #: Number of the message in an export; else null.
    message: int | None
    #: Number of messages that this concerns, from this one on; 1 for a line.
    count: int
    #: As it is in the list.
    link: str
    reason: str


class ListTaskView(TypedDict):
    """A task that was made of a list."""

    task_id: str
    type: str
    #: Number of links.
    links: int


class LiveList(TypedDict):
    """Chats that are recorded when they go live, oldest first."""

    live: list[LiveView]


class LiveView(TypedDict):
    """A chat that is recorded when it goes live."""

    id: str
    #: `@name`, or the id if it has none.
    chat: str
    #: -100… for a channel or supergroup.
    chat_id: int
    title: str
    user_id: int
    #: Empty: the default storage of the user.
    storage: str
    dir_path: str
    #: RFC 3339, UTC.
    created_at: str
    #: Why it cannot be recorded now; empty if it can.
    problem: str
    is_live: bool
    #: When the stream was noticed; null if the chat is not live.
    started_at: str | None
    #: Null if the chat is not live.
    viewers: int | None
    #: The recording; null if the chat is not live.
    task_id: str | None


class LogLinesView(TypedDict):
    """Lines of the log, oldest first."""

    lines: list[str]
    #: Give it as `after` to get the lines that follow.
    position: int


class LoginAnswer(TypedDict):
    """The answer to the question of a login."""

    #: It is neither stored nor logged.
    answer: str


class LoginLinkView(TypedDict):
    """A link that begins a session of the web UI."""

    url: str
    #: The part of it that begins the session.
    code: str
    #: RFC 3339, UTC.
    expires_at: str


class LoginView(TypedDict):
    """A login. While its state is `asks`, it waits for an answer; with `shows_qr`, for a scan."""

    login_id: str
    name: str
    method: Literal["qr", "phone", "session"]
    state: Literal["working", "asks", "shows_qr", "done", "failed"]
    #: What it asks.
    question: Literal["phone", "code", "password"] | None
    #: Whether the last answer was wrong.
    is_wrong: bool
    #: Where Telegram has sent the code.
    sent: str
    #: The content of the QR code.
    qr_link: str
    #: The QR code as a data URL.
    qr_png: str
    #: Until then the QR code works; another one follows.
    qr_expires_at: str | None
    #: The name of the account that is logged in.
    owner: str
    #: Its Telegram id.
    user_id: int | None
    #: Why the login has failed, or is by QR code now.
    problem: str


class MessageReply(TypedDict):
    """A confirmation."""

    message: str


class NewArchive(TypedDict):
    """A chat to archive."""

    #: `@name`, a link into the chat, or its id (-100…). With `account` also `me` for Saved Messages, the
    #: id of a person, or that of a basic group (-id).
    chat: str
    #: Telegram user id. Default: the caller's user.
    user_id: NotRequired[int | None]
    #: Empty: the default storage of the user.
    storage: NotRequired[str]
    #: Folder in the storage.
    dir_path: NotRequired[str]
    #: The first message: `first`, `now` (only new ones), the number of a message, or a date.
    start: NotRequired[str]
    #: A date: messages from then on are not part of the archive.
    until: NotRequired[str]
    #: Save new messages, too, from then on.
    follow: NotRequired[bool]
    #: What to do when the file of a message is replaced after it was saved: nothing, or save the new one
    #: beside the old one. Only for channels and supergroups.
    on_edit: NotRequired[Literal["ignore", "add"]]
    #: Save only the files that match this filter.
    filter: NotRequired[Filter]
    #: Save each topic of a forum in a folder of its own.
    topics: NotRequired[bool]
    #: Save the files in the comments on the posts of a channel, too. Each post has a folder, with a
    #: folder `comments`.
    comments: NotRequired[bool]
    #: As `filter`, for the comments.
    comments_filter: NotRequired[Filter]
    #: Also save these: files in the `preview` of a linked page, the `cover` of a video, the `live_video`
    #: of a photo, the files in the `instant_view` of a linked page.
    extras: NotRequired[list[Literal["preview", "cover", "live_video", "instant_view"]]]
    #: Save the current and the pinned stories of a channel, too.
    stories: NotRequired[bool]
    #: Save profile photos, too: the current and earlier ones of a person, and the current one of a
    #: channel or supergroup if no message shows it.
    profile_photos: NotRequired[bool]
    #: Read it as an export of the account's data, which Telegram limits less. Telegram tells all devices
    #: of the account, and may want it to be allowed there.
    takeout: NotRequired[bool]
    #: Write the texts of all messages to the folder of the archive, as `messages-000001.jsonl` and so
    #: on.
    text: NotRequired[bool]
    #: The user account that reads the chat. Default: any that can. Private chats and basic groups need
    #: it.
    account: NotRequired[str]
    #: What to do with a file that the user has saved before: save it again, skip it, or list it as a
    #: second file that has the same copy.
    on_duplicate: NotRequired[Literal["save", "skip", "link"]]
    #: For a storage that is a chat of Telegram: `reference` sends files without downloading them, and
    #: counts those that may not be copied as protected; `auto` downloads and uploads those; `bytes` does
    #: so with all.
    copy: NotRequired[Literal["auto", "reference", "bytes"]]
    #: Read nothing until the archive is resumed.
    paused: NotRequired[bool]


class NewBackup(TypedDict):
    """What a backup contains."""

    #: Include the logins of the Telegram accounts: whoever has the file can use the accounts.
    logins: NotRequired[bool]


class NewFolder(TypedDict):
    """A new folder."""

    #: Its name.
    name: str
    #: Folder that contains it; 0 is the top.
    parent_id: NotRequired[int]
    #: Whose folder it is. Default: the owner of the parent.
    user_id: NotRequired[int | None]


class NewKey(TypedDict):
    """A new key of the API."""

    #: What it is for.
    name: str
    #: The configured user as whom it acts.
    user_id: int
    #: What it may be used for; `read`: reading tasks, files and links; `compat`: the APIs of other
    #: hosts.
    scopes: list[Literal["tasks", "files", "links", "read", "compat"]]
    #: Keep the secret itself, for protocols that must sign with it, instead of only its hash.
    readable: NotRequired[bool]


class NewKeyView(TypedDict):
    """A new key."""

    key_id: str
    name: str
    #: The user as whom it acts.
    user_id: int
    scopes: list[Literal["tasks", "files", "links", "read", "compat"]]
    state: Literal["active", "revoked"]
    #: It is in the configuration, where it can be changed.
    in_configuration: bool
    #: The secret is kept, for protocols that must sign with it.
    readable: bool
    #: Null for a key of the configuration.
    created_at: str | None
    #: Last use, to the minute; null if it is unknown.
    used_at: str | None
    revoked_at: str | None
    #: Send it as `Authorization: Bearer <secret>`. It is not shown again.
    secret: str


class NewLimits(TypedDict):
    """Limits that replace the configured ones; 0 means no limit, null or omitted means as configured."""

    #: Simultaneous tasks of one user. 0: no fixed limit; slots are shared fairly.
    tasks_per_user: NotRequired[int | None]
    #: Total speed of all downloads.
    bytes_per_second: NotRequired[int | None]
    #: Total speed of all downloads of one user.
    bytes_per_second_per_user: NotRequired[int | None]
    #: Archives and watched chats of one user; archives that are complete do not count.
    archives_per_user: NotRequired[int | None]


class NewLink(TypedDict):
    """A new link to a saved file, a folder, or the file of a message that was not saved."""

    #: Id of the file.
    file_id: NotRequired[str | None]
    #: Id of the folder.
    folder_id: NotRequired[int | None]
    #: Link to a Telegram message. Its file is not saved: downloads read it from Telegram.
    telegram_url: NotRequired[str | None]
    #: Whose link it is.
    user_id: int
    #: Seconds for which it works; 0: for ever.
    ttl: NotRequired[int | None]
    #: How often it may be downloaded; 0: any number.
    max_downloads: NotRequired[int | None]
    #: What must be entered first; empty: nothing.
    password: NotRequired[str | None]
    #: Whether browsers show the file in place.
    inline: NotRequired[bool]
    #: Whether a storage that can do so sends the file itself, if the configuration allows it
    #: (`links.redirect`); never with a password.
    redirect: NotRequired[bool]


class NewLive(TypedDict):
    """A chat to record when it goes live."""

    #: A channel or supergroup: `@name`, a link into it, or its id (-100…).
    chat: str
    #: Telegram user id. Default: the caller's user.
    user_id: NotRequired[int | None]
    #: Empty: the default storage of the user.
    storage: NotRequired[str]
    #: Folder in the storage.
    dir_path: NotRequired[str]


class NewLogin(TypedDict):
    """A login."""

    #: The name of the account in SaveAny. A login of the same name is replaced.
    name: NotRequired[str]
    #: By a QR code, by phone number and code, or a session string.
    method: Literal["qr", "phone", "session"]
    #: The session string of Telethon.
    session: NotRequired[str]


class NewNotificationTest(TypedDict):
    """Where to send a test."""

    #: URL of Apprise. Default: all of `notify.urls`.
    url: NotRequired[str]


class NewRules(TypedDict):
    """All rules of a user, in their order."""

    #: The user whose they are. Default: that of the key, or the first.
    user_id: NotRequired[int | None]
    rules: list[str]
    #: Null leaves it as it is.
    is_on: NotRequired[bool | None]


class NewSession(TypedDict):
    """What a session is begun with. Give one of `token`, `key` and `code`."""

    #: The token of the API.
    token: NotRequired[str]
    #: The secret of a key.
    key: NotRequired[str]
    #: The code of a login link.
    code: NotRequired[str]


class NewStorage(TypedDict):
    """A storage."""

    name: str
    type: str
    #: Options of this type, as in `[[storages]]`; null is the default. Secrets are shown as `********`;
    #: sent back, this keeps the present value.
    options: NotRequired[dict[str, JsonValue]]


class NewTask(TypedDict):
    """A file to save. Give either `telegram_url` or `url`."""

    #: Name for the file; characters that a file system may not accept are replaced. If there are several
    #: files, the others are numbered. Empty: the original name.
    filename: NotRequired[str]
    #: What to do if a file with this name exists. Default: the user's setting in the bot.
    on_conflict: NotRequired[Literal["rename", "overwrite", "skip"]]
    #: What to do with a file that the user has saved before: save it again, skip it, or list it as a
    #: second file that has the same copy. Default: the user's setting in the bot.
    on_duplicate: NotRequired[Literal["save", "skip", "link"]]
    #: Tasks of one user with a higher priority start first.
    priority: NotRequired[int]
    #: Link to a Telegram message. The whole album is saved unless the link has `?single`.
    telegram_url: NotRequired[str]
    #: Any link that a source accepts, instead of `telegram_url`.
    url: NotRequired[str]
    #: A type from /api/v1/task-types that accepts the link. Default: chosen by the link.
    type: NotRequired[str]
    #: Telegram id of a configured user.
    user_id: int
    #: Empty: chosen by the user's rules or default, else the user's first storage.
    storage_name: NotRequired[str]
    #: Folder inside the storage; a leading slash means its root. Default: chosen by the user's rules or
    #: default.
    dir_path: NotRequired[str]
    #: Receives a webhook when this task ends, in addition to the configured URL. Private addresses are
    #: refused.
    webhook_url: NotRequired[str]


class NewUser(TypedDict):
    """A user."""

    #: Storages in the order of preference; empty: all.
    storages: NotRequired[list[str] | None]
    #: All storages but those of the list.
    blacklist: NotRequired[bool | None]
    #: Accounts that may be read for the user; empty: all.
    accounts: NotRequired[list[str] | None]
    #: Null: the first user is an admin, the others are not.
    role: NotRequired[Literal["admin", "user"] | None]
    #: Telegram id of the user.
    user_id: int


class NewWebhookTest(TypedDict):
    """Where to send a test."""

    #: Default: `api.webhook_url`. Only that gets the token.
    url: NotRequired[str]


class NotificationTest(TypedDict):
    """The result of a test."""

    #: For each URL why it failed; empty if it was sent.
    errors: list[str]


class OriginView(TypedDict):
    """Where a saved file comes from: a Telegram message, or a URL."""

    #: Id of the chat of the message.
    chat_id: int | None
    message_id: int | None
    #: Telegram's id of the file, the same in all chats.
    document_id: int | None
    url: NotRequired[str]


class PreferencesChange(TypedDict):
    """Changes of preferences. Fields that are left out are not changed."""

    #: The user whose they are. Default: that of the key, or the first.
    user_id: NotRequired[int | None]
    language: NotRequired[Literal["", "en", "zh-Hans"] | None]
    silent: NotRequired[bool | None]
    storage: NotRequired[str | None]
    folder: NotRequired[str | None]
    on_conflict: NotRequired[Literal["", "rename", "overwrite", "skip", "ask"] | None]
    on_duplicate: NotRequired[Literal["", "save", "skip", "link"] | None]
    template: NotRequired[str | None]
    shortcuts: NotRequired[list[ShortcutBody] | None]


class PreferencesView(TypedDict):
    """The preferences of a user."""

    user_id: int
    #: Language of the bot, as a tag; empty: that of the user's app.
    language: str
    #: The bot saves without asking.
    silent: bool
    #: Default storage; empty: the first that the user may use.
    storage: str
    #: Default folder in it.
    folder: str
    on_conflict: Literal["", "rename", "overwrite", "skip", "ask"]
    on_duplicate: Literal["", "save", "skip", "link"]
    #: Template of file names; empty keeps the original names.
    template: str
    #: How a file is named with it.
    template_example: str
    #: Folders that the bot offers.
    shortcuts: list[ShortcutView]


class Problem(TypedDict):
    """One thing that is wrong with a request."""

    #: The field, parameter or component that is wrong.
    field: str
    message: str


class ProgressView(TypedDict):
    """The progress of a task, summed over its files."""

    #: 0 while the sizes are unknown, and while a stream is recorded.
    total_bytes: int
    #: Also what is on the worker's disk and in no file yet.
    downloaded_bytes: int
    uploaded_bytes: int
    total_files: int
    done_files: int
    #: Equal to `done_files`; SaveAny-Bot's name for it.
    downloaded_files: int
    percent: float
    #: Bytes per second over the last few seconds.
    speed_bps: float
    #: `speed_bps` in MiB per second.
    speed_mbps: float
    #: Null if it cannot be estimated.
    eta_seconds: int | None


class QueueView(TypedDict):
    """The state of the queue."""

    #: Whether the queue is paused, so that no task starts.
    paused: bool
    #: Without paused tasks.
    queued_tasks: int
    paused_tasks: int
    running_tasks: int


class QueuedTask(TypedDict):
    """A queued task."""

    id: str
    title: str


class Ready(TypedDict):
    """Everything needed to save files is available."""

    status: NotRequired[Literal["ready"]]


class RecordingFileView(TypedDict):
    """A file of a recording."""

    file_id: str
    name: str
    size: int
    #: Its length.
    seconds: int


class RecordingList(TypedDict):
    """A page of recordings, oldest first."""

    recordings: list[RecordingView]
    #: Null on the last page.
    next_cursor: str | None


class RecordingView(TypedDict):
    """A recording of a live stream."""

    task_id: str
    #: Of the task; `running` while the stream goes on.
    status: Literal["queued", "running", "completed", "failed", "canceled"]
    chat: str
    chat_id: int
    #: Of the chat.
    title: str
    user_id: int
    #: RFC 3339, UTC.
    started_at: str
    ended_at: str | None
    #: Length of the recording so far.
    seconds: int
    #: One file; several while the recording runs, or if it could not be joined.
    files: list[RecordingFileView]


class Removed(TypedDict):
    """The result of removing tasks from the history, or files from the trash."""

    message: str
    removed: int


class ResolvedFileView(TypedDict):
    """A file that a task would save."""

    name: str
    storage: str
    #: Path inside the storage.
    path: str
    #: Bytes; null if it is not known before the download.
    size: int | None
    mime_type: str
    type: Literal["video", "audio", "image", "text", "other"]
    #: The file with the same content that the user has saved before, as far as Telegram's id tells.
    duplicate: DuplicateView | None
    #: Why this file could not be saved.
    error: NotRequired[str]


class ResolvedView(TypedDict):
    """What a task would save."""

    #: Type of the task.
    type: str
    user_id: int
    storage: str
    #: Folder inside the storage; `/` is its root.
    path: str
    #: At most 1,000.
    files: list[ResolvedFileView]
    #: Number of all files.
    total_files: int
    #: Sum of the sizes in this reply that are known.
    total_bytes: int
    #: For a link to a whole chat (type `archive`, without files): what `POST /api/v1/archives` would
    #: save.
    archive: NotRequired[ArchiveEstimateView | None]


class RetriedView(TypedDict):
    """What is saved again."""

    #: Number of messages.
    messages: int


class RuleChatTrial(TypedDict):
    """A chat on whose files to try rules."""

    #: The user whose they are. Default: that of the key, or the first.
    user_id: NotRequired[int | None]
    #: As for an archive.
    chat: str
    #: The user account that reads the chat. Default: any that can.
    account: NotRequired[str]
    #: Default: the stored ones.
    rules: NotRequired[list[str] | None]


class RuleChatTrialView(TypedDict):
    """Where the files in the newest messages of a chat would be saved, newest first."""

    files: list[TriedFileView]


class RuleLines(TypedDict):
    """Rules that are not stored yet."""

    rules: list[str]


class RulePreset(TypedDict):
    """Where files are sorted by their kind."""

    #: The user whose they are. Default: that of the key, or the first.
    user_id: NotRequired[int | None]
    #: Empty: the chosen storage.
    storage: NotRequired[str]
    folder: NotRequired[str]


class RuleTrial(TypedDict):
    """A file name to try rules on."""

    #: The user whose they are. Default: that of the key, or the first.
    user_id: NotRequired[int | None]
    name: str
    #: Default: the stored ones.
    rules: NotRequired[list[str] | None]


class RuleTrialView(TypedDict):
    """Where a file would go."""

    #: The rule that applies; empty if none does.
    rule: str
    storage: str
    folder: str


class RulesView(TypedDict):
    """The rules of a user. The first one that matches decides where a file goes."""

    user_id: int
    is_on: bool
    #: Each as the bot's /rule writes it.
    rules: list[str]


class RunningTask(TypedDict):
    """A running task."""

    id: str
    title: str
    progress: ProgressView


class SavedFileView(TypedDict):
    """A saved file."""

    file_id: str
    name: str
    #: The text of its message.
    caption: str
    #: Bytes.
    size: int
    mime_type: str
    type: Literal["video", "audio", "image", "text", "other"]
    #: SHA-256 of the content, in hexadecimal.
    sha256: NotRequired[str]
    user_id: int
    #: 0: in no folder.
    folder_id: int
    #: Path of the folder; `/` is the top.
    folder: str
    #: Storage of the copy.
    storage: str
    #: Path of the copy in the storage.
    path: str
    #: Page of the copy on the storage's web site.
    page: NotRequired[str]
    origin: OriginView
    #: The task that saved it.
    task_id: str | None
    #: RFC 3339, UTC.
    added_at: str
    #: How often it was downloaded from here.
    downloads: int
    bytes_sent: int
    #: When its copy was found deleted or changed from outside. It is served from its Telegram message
    #: then, if it came from one.
    missing_since: NotRequired[str | None]
    #: When it was moved to the trash.
    deleted_at: NotRequired[str | None]


class SavedListView(TypedDict):
    """What has become of a list."""

    #: What the list is; an export is that of Telegram Desktop or tdl.
    format: Literal["links", "csv", "jsonl", "export"]
    #: Empty if no link was accepted.
    tasks: list[ListTaskView]
    #: Number of links that are saved.
    links: int
    #: Links that occurred before.
    duplicates: int
    #: Lines or messages that were left out.
    refused: int
    #: Messages of an export without a file.
    without_file: int
    #: Whether an export ends in the middle; what is before it is saved.
    truncated: bool
    #: Why they were left out; at most 1,000, the first ones.
    problems: list[ListProblemView]


class ScanStorage(TypedDict):
    """Which files to add."""

    #: A folder; empty means the root.
    path: NotRequired[str]
    #: User of the files. Default: the first user.
    user_id: NotRequired[int | None]
    #: `next` of the previous reply.
    after: NotRequired[str]
    #: Number of files after which it replies.
    limit: NotRequired[int]


class SessionView(TypedDict):
    """Who sends this request, and what for."""

    #: Null for the operator.
    user_id: int | None
    #: Whether everything may be done, for all users.
    is_operator: bool
    scopes: list[Literal["tasks", "files", "links", "read", "compat"]]
    #: Must be sent as `X-CSRF-Token` in requests of this session that change something; null without a
    #: session.
    csrf_token: str | None
    #: When the session ends; null without a session.
    expires_at: str | None


class SettingTable(TypedDict):
    """One table of the configuration."""

    name: str
    about: str


class SettingView(TypedDict):
    """One key of the configuration."""

    #: Name of the key or option.
    name: str
    #: The kind of value.
    kind: Literal["boolean", "integer", "number", "text", "secret", "path", "choice", "list", "tables"]
    #: What it means.
    about: str
    #: The values that it may have; empty if there are many.
    choices: list[str]
    #: Null if it has none, or it depends on other values.
    default: JsonValue
    example: JsonValue
    is_required: bool
    is_secret: bool
    minimum: float | None
    maximum: float | None
    #: Its dotted name.
    key: str
    #: The table that it is in; empty for the top level.
    table: str
    #: The value that the file and the environment give it. Secrets are shown as `********`; sent back,
    #: this keeps the present value.
    value: JsonValue
    #: Where the value comes from; one of the environment stays.
    source: Literal["default", "file", "environment"]
    #: Its variable of the environment.
    variable: str
    #: Whether a change takes effect with a restart only.
    needs_restart: bool
    #: With the kind `tables`, the fields of each. The value is then a list of objects, which are told
    #: apart by their `name`.
    fields: list[FieldView]


class ShortcutBody(TypedDict):
    """A folder that the bot offers."""

    storage: str
    folder: str


class ShortcutView(TypedDict):
    """A folder that the bot offers."""

    storage: str
    folder: str


class StorageChange(TypedDict):
    """Changes of a storage."""

    #: Options of this type, as in `[[storages]]`; null is the default. Secrets are shown as `********`;
    #: sent back, this keeps the present value.
    options: NotRequired[dict[str, JsonValue]]
    #: Whether it is used.
    enable: NotRequired[bool | None]
    #: Confirm that a folder is the storage's from now on although it is not the one that has its files.
    moved: NotRequired[bool]


class StorageCheck(TypedDict):
    """What the check has found so far."""

    #: Number of files that this request has checked.
    checked: int
    differences: list[CopyDifference]
    #: `cursor` of the next request; null at the end.
    next_cursor: str | None


class StorageConfigList(TypedDict):
    """Storages of the configuration."""

    storages: list[StorageConfigView]


class StorageConfigView(TypedDict):
    """The configuration of a storage."""

    name: str
    type: str
    enable: bool
    #: Secrets are shown as `********`; sent back, this keeps the present value.
    options: dict[str, JsonValue]


class StorageList(TypedDict):
    """All configured storages."""

    storages: list[StorageView]


class StorageScan(TypedDict):
    """What this request has done."""

    #: Files that are new in the list of saved files.
    added: int
    #: Files that it had before.
    known: int
    #: `after` of the next request; null at the end.
    next: str | None


class StorageTest(TypedDict):
    """A small file was written, read back and removed."""

    ok: NotRequired[bool]
    #: Duration of the test.
    seconds: float


class StorageTypeList(TypedDict):
    """All types of storages."""

    types: list[StorageTypeView]


class StorageTypeView(TypedDict):
    """A type of storages."""

    type: str
    about: str
    options: list[FieldView]


class StorageUsage(TypedDict):
    """The space of a storage in bytes; null if it does not know it."""

    used: int | None
    free: int | None
    total: int | None


class StorageView(TypedDict):
    """A configured storage."""

    name: str
    type: str
    #: Whether a running worker can use it.
    ready: bool
    #: Why it is not ready.
    error: NotRequired[str]
    #: Null until a worker has reported them.
    capabilities: CapabilitiesView | None


class TaskChange(TypedDict):
    """The changeable properties of a task."""

    #: Tasks of one user with a higher priority start first.
    priority: int


class TaskList(TypedDict):
    """Tasks that have not ended, oldest first."""

    queued: list[QueuedTask]
    running: list[RunningTask]
    #: Queued and running tasks together.
    tasks: list[TaskSummary]
    #: Number of tasks in this reply.
    total: int
    #: Null on the last page. A page for one user may be short and still have a cursor.
    next_cursor: str | None


class TaskSummary(TypedDict):
    """A task without its files."""

    task_id: str
    status: Literal["queued", "running", "completed", "failed", "canceled"]
    title: str
    #: RFC 3339, UTC.
    created_at: str
    #: Why the task failed and what to do; empty if it did not fail.
    error: str
    type: str
    #: What a running task is doing; `joining` if one file is made of what was recorded; `paused` for a
    #: queued task that waits to be resumed.
    stage: Literal["", "resolving", "downloading", "uploading", "verifying", "joining", "paused"]
    #: Why a queued task does not start or a running task makes no progress, if so.
    waiting: NotRequired[str]
    storage: str
    #: Folder inside the storage; `/` is its root.
    path: str
    user_id: int
    progress: ProgressView
    #: Among the tasks of one user, higher ones go first.
    priority: int
    #: How often a worker has started the task, not counting workers that had to stop or wait.
    attempts: int
    #: When a worker first started it.
    started_at: str | None
    #: RFC 3339, UTC.
    updated_at: str
    finished_at: str | None


class TaskType(TypedDict):
    """A type of task."""

    type: str
    title: str
    #: Whether a running worker can use it.
    available: bool
    #: Why it is not available.
    error: NotRequired[str]
    #: JSON schema of its `params`.
    params: dict[str, Any]


class TaskTypes(TypedDict):
    """The types of tasks."""

    #: Available types.
    types: list[str]
    #: All types.
    details: list[TaskType]


class TaskView(TypedDict):
    """A task with up to 100 of its files."""

    task_id: str
    status: Literal["queued", "running", "completed", "failed", "canceled"]
    title: str
    #: RFC 3339, UTC.
    created_at: str
    #: Why the task failed and what to do; empty if it did not fail.
    error: str
    type: str
    #: What a running task is doing; `joining` if one file is made of what was recorded; `paused` for a
    #: queued task that waits to be resumed.
    stage: Literal["", "resolving", "downloading", "uploading", "verifying", "joining", "paused"]
    #: Why a queued task does not start or a running task makes no progress, if so.
    waiting: NotRequired[str]
    storage: str
    #: Folder inside the storage; `/` is its root.
    path: str
    user_id: int
    progress: ProgressView
    #: Among the tasks of one user, higher ones go first.
    priority: int
    #: How often a worker has started the task, not counting workers that had to stop or wait.
    attempts: int
    #: When a worker first started it.
    started_at: str | None
    #: RFC 3339, UTC.
    updated_at: str
    finished_at: str | None
    items: list[ItemView]
    items_total: int
    #: `items_cursor` of the next page; null on the last page.
    items_cursor: int | None
    #: Null until a delivery was attempted.
    webhook: WebhookView | None


class Tried(TypedDict):
    """A change that is valid."""

    #: Keys that were tried out, such as by connecting to a server.
    tried: list[str]


class TriedFileView(TypedDict):
    """Where a file of a message would be saved."""

    message: int
    #: With the user's template for names.
    name: str
    size: int
    #: The rule that applies; empty if none does.
    rule: str
    storage: str
    path: str


class TypedTask(TypedDict):
    """The body of newer SaveAny-Bot releases; `path` is always a folder."""

    #: Name for the file; characters that a file system may not accept are replaced. If there are several
    #: files, the others are numbered. Empty: the original name.
    filename: NotRequired[str]
    #: What to do if a file with this name exists. Default: the user's setting in the bot.
    on_conflict: NotRequired[Literal["rename", "overwrite", "skip"]]
    #: What to do with a file that the user has saved before: save it again, skip it, or list it as a
    #: second file that has the same copy. Default: the user's setting in the bot.
    on_duplicate: NotRequired[Literal["save", "skip", "link"]]
    #: Tasks of one user with a higher priority start first.
    priority: NotRequired[int]
    #: A type from /api/v1/task-types.
    type: str
    #: What to download. For `tgfiles`: `message_links`, 1 to 10,000 links to Telegram messages, which
    #: become one task.
    params: dict[str, Any]
    #: Default: the first configured user.
    user_id: NotRequired[int | None]
    #: Empty: chosen by the user's rules or default, else the user's first storage.
    storage: NotRequired[str]
    #: Folder inside the storage; `/` is its root. Empty: chosen by the user's rules or default.
    path: NotRequired[str]
    #: Like `webhook_url` of the other body.
    webhook: NotRequired[str]


class UserFields(TypedDict):
    """What a user may use. Fields that are left out are not changed; null restores a default."""

    #: Storages in the order of preference; empty: all.
    storages: NotRequired[list[str] | None]
    #: All storages but those of the list.
    blacklist: NotRequired[bool | None]
    #: Accounts that may be read for the user; empty: all.
    accounts: NotRequired[list[str] | None]
    #: Null: the first user is an admin, the others are not.
    role: NotRequired[Literal["admin", "user"] | None]


class UserList(TypedDict):
    """Configured users."""

    users: list[UserView]


class UserView(TypedDict):
    """A configured user."""

    user_id: int
    #: Whether the user may manage SaveAny in the bot.
    is_admin: bool
    #: Storages that the user may use.
    storages: list[str]
    #: Where files are saved by default.
    storage: str
    #: Default folder in it; `/` is its root.
    folder: str
    #: Null: the first user is an admin.
    role: Literal["admin", "user"] | None
    #: The storages of the user in the configuration.
    listed_storages: list[str]
    #: Whether these are the ones that the user may not use.
    blacklist: bool
    #: Accounts that are read for the user; empty: all.
    accounts: list[str]


class VerificationView(TypedDict):
    """What was found."""

    #: Number of messages.
    checked: int
    discrepancies: list[DiscrepancyView]
    #: Null if the archive has no further messages.
    next_cursor: str | None


class VerifyArchive(TypedDict):
    """What to verify."""

    #: Save files again that are missing or changed.
    repair: NotRequired[bool]
    #: Also compare contents (SHA-256). Reads whole files: keep `limit` small.
    hash: NotRequired[bool]
    #: Also find messages that were deleted in Telegram since.
    telegram: NotRequired[bool]
    #: Number of messages to verify.
    limit: NotRequired[int]
    #: `next_cursor` of the previous reply.
    cursor: NotRequired[str]


class WebhookTest(TypedDict):
    """The result of a test."""

    #: Without user name, password, path and query, which may be secret.
    url: str
    delivered: bool
    #: HTTP status of the response; 0 if there was none.
    status: int
    #: Why it failed; empty if it was delivered.
    error: str
    seconds: float


class WebhookView(TypedDict):
    """The latest webhook of a task."""

    state: Literal["pending", "delivered", "gave_up"]
    attempts: int
    #: HTTP status of the last response; 0 if there was none.
    last_status: int


class WorkerList(TypedDict):
    """All running workers."""

    workers: list[WorkerView]


class WorkerView(TypedDict):
    """A running worker process."""

    id: str
    host: str
    pid: int
    #: RFC 3339, UTC.
    started_at: str
    #: Ids of its running tasks.
    tasks: list[str]
    #: The folders that it watches. Of the workers of a machine, one watches all folders.
    inboxes: list[InboxView]
