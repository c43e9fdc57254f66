"""The bodies and replies of the routes for archives."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from saveany.api.bodies import Strict
from saveany.api.models import Reply, Time
from saveany.filters import Filter
from saveany.models import CopyMode, ExtraFile

OutcomeName = Literal[
    "pending", "saved", "duplicate", "filtered", "gone", "locked", "expired", "protected", "failed"
]


class NewArchive(Strict):
    """A chat to archive."""

    chat: str = Field(
        min_length=1,
        max_length=2048,
        description="`@name`, a link into the chat, or its id (-100…). With `account` also `me` for Saved "
        "Messages, the id of a person, or that of a basic group (-id).",
        examples=["https://t.me/channel"],
    )
    user_id: int | None = Field(
        default=None, ge=1, description="Telegram user id. Default: the caller's user."
    )
    storage: str = Field(default="", max_length=64, description="Empty: the default storage of the user.")
    dir_path: str = Field(default="", max_length=1024, description="Folder in the storage.")
    start: str = Field(
        default="first",
        max_length=40,
        description="The first message: `first`, `now` (only new ones), the number of a message, or a date.",
        examples=["first", "now", "1200", "2024-01-31"],
    )
    until: str = Field(
        default="", max_length=40, description="A date: messages from then on are not part of the archive."
    )
    follow: bool = Field(default=False, description="Save new messages, too, from then on.")
    on_edit: Literal["ignore", "add"] = Field(
        default="ignore",
        description="What to do when the file of a message is replaced after it was saved: nothing, or save "
        "the new one beside the old one. Only for channels and supergroups.",
    )
    filter: Filter = Field(default=Filter(), description="Save only the files that match this filter.")
    topics: bool = Field(default=True, description="Save each topic of a forum in a folder of its own.")
    comments: bool = Field(
        default=False,
        description="Save the files in the comments on the posts of a channel, too. Each post has a folder, "
        "with a folder `comments`.",
    )
    comments_filter: Filter = Field(default=Filter(), description="As `filter`, for the comments.")
    extras: list[ExtraFile] = Field(
        default=[],
        max_length=4,
        description="Also save these: files in the `preview` of a linked page, the `cover` of a video, the "
        "`live_video` of a photo, the files in the `instant_view` of a linked page.",
    )
    stories: bool = Field(
        default=False, description="Save the current and the pinned stories of a channel, too."
    )
    profile_photos: bool = Field(
        default=False,
        description="Save profile photos, too: the current and earlier ones of a person, and the current "
        "one of a channel or supergroup if no message shows it.",
    )
    takeout: bool = Field(
        default=False,
        description="Read it as an export of the account's data, which Telegram limits less. Telegram tells "
        "all devices of the account, and may want it to be allowed there.",
    )
    text: bool = Field(
        default=False,
        description="Write the texts of all messages to the folder of the archive, as "
        "`messages-000001.jsonl` and so on.",
    )
    account: str = Field(
        default="",
        max_length=64,
        description="The user account that reads the chat. Default: any that can. Private chats and basic "
        "groups need it.",
    )
    on_duplicate: Literal["save", "skip", "link"] = Field(
        default="link",
        description="What to do with a file that the user has saved before: save it again, skip it, or list "
        "it as a second file that has the same copy.",
    )
    copy_mode: CopyMode = Field(
        default="auto",
        alias="copy",
        description="For a storage that is a chat of Telegram: `reference` sends files without downloading "
        "them, and counts those that may not be copied as protected; `auto` downloads and uploads those; "
        "`bytes` does so with all.",
    )
    paused: bool = Field(default=False, description="Read nothing until the archive is resumed.")


class FoundFileBody(Strict):
    """A file that is in the storage already."""

    path: str = Field(min_length=1, max_length=4096, description="Its path in the storage.")
    size: int = Field(ge=0, description="Its size in bytes.")
    message: int = Field(
        default=0,
        ge=-(2**31),
        lt=2**31,
        description="The message that it belongs to; in a group that has become a supergroup, messages "
        "from before have their id less 1,000,000,000. 0: unknown; then contents are compared.",
    )


class FoundFiles(Strict):
    """Files that an archive may adopt."""

    files: list[FoundFileBody] = Field(max_length=1000)


class VerifyArchive(Strict):
    """What to verify."""

    repair: bool = Field(default=False, description="Save files again that are missing or changed.")
    hash: bool = Field(
        default=False, description="Also compare contents (SHA-256). Reads whole files: keep `limit` small."
    )
    telegram: bool = Field(
        default=False, description="Also find messages that were deleted in Telegram since."
    )
    limit: int = Field(default=200, ge=1, le=1000, description="Number of messages to verify.")
    cursor: str = Field(default="", max_length=2000, description="`next_cursor` of the previous reply.")


class ArchiveCounts(Reply):
    """The numbers of messages by what became of them."""

    telegram_total: int = Field(description="Messages of the chat, according to Telegram.")
    without_media: int = Field(description="Messages without files.")
    saved: int
    duplicate: int = Field(description="The same file was saved before.")
    filtered: int = Field(description="The filter excludes their files.")
    gone: int = Field(description="Deleted before they were read.")
    locked: int = Field(description="Paid media that was not bought.")
    expired: int = Field(description="Self-destructing files and expired stories.")
    protected: int = Field(description="May not be copied within Telegram.")
    failed: int
    pending: int


class ArchiveView(Reply):
    """An archive with its receipt."""

    id: str = Field(examples=["4c1f09a2be"])
    chat: str = Field(description="`@name`, or the id if it has none.", examples=["@channel"])
    chat_id: int = Field(description="-100… for a channel or supergroup.", examples=[-1001234567890])
    title: str
    user_id: int = Field(examples=[123456789])
    storage: str = Field(description="Empty: the default storage of the user.")
    dir_path: str
    start: str
    follow: bool
    on_edit: str
    state: Literal["reading", "following", "complete", "paused", "blocked"]
    problem: str = Field(description="Why it is blocked.")
    notice: str = Field(
        description="What cannot be part of the archive, and why; empty if nothing is missing."
    )
    position: int = Field(description="Id of the last message that was handled.")
    counts: ArchiveCounts
    unaccounted: int = Field(
        description="`telegram_total` less all other counts: messages that are not read yet or not part of "
        "the archive; negative if messages were deleted after they were read."
    )
    bytes: int = Field(description="Size of the saved files.")
    eta_seconds: int | None
    created_at: Time
    completed_at: Time | None


class FoundFileView(Reply):
    """A file in the folder."""

    path: str
    size: int
    message: int = Field(description="The message that it belongs to; 0: contents are compared.")


class AdoptionView(Reply):
    """What an archive adopts, or would adopt: the files whose sizes are those of their messages."""

    archive: ArchiveView | None = Field(description="Null if this was a trial.")
    chat_id: int = Field(description="-100… for a channel or supergroup.", examples=[-1001234567890])
    title: str
    storage: str
    dir_path: str
    files: int = Field(description="Number of files in the folder.")
    bytes: int = Field(description="Their size.")
    known: int = Field(description="Number of messages that are known to have one of them.")
    truncated: bool = Field(description="Whether the export ends in the middle: what is before is used.")
    examples: list[FoundFileView] = Field(description="The first 100 files.")


class ArchiveList(Reply):
    """Archives, oldest first."""

    archives: list[ArchiveView]


class ArchivedMessageView(Reply):
    """A message with files."""

    chat: int = Field(examples=[-1001234567890])
    message: int = Field(examples=[1200])
    outcome: OutcomeName
    reason: str
    file_id: str | None = Field(description="The saved file, or the one that was saved before.")
    task_id: str | None
    edited_at: Time | None
    size: int


class ArchiveMessagesView(Reply):
    """Messages with files, in order."""

    messages: list[ArchivedMessageView]
    next_cursor: str | None = Field(description="Null on the last page.")


class RetriedView(Reply):
    """What is saved again."""

    messages: int = Field(description="Number of messages.")


class DiscrepancyView(Reply):
    """A message whose file is not as the receipt says."""

    chat: int
    message: int
    problem: Literal["not_in_catalogue", "missing", "changed", "unverifiable", "deleted"] = Field(
        description="`deleted`: in Telegram, since it was saved."
    )
    storage: str
    path: str
    replaced: bool = Field(
        description="Whether an edit has replaced this file since: then it cannot be saved again."
    )


class VerificationView(Reply):
    """What was found."""

    checked: int = Field(description="Number of messages.")
    discrepancies: list[DiscrepancyView]
    next_cursor: str | None = Field(description="Null if the archive has no further messages.")


class KindEstimateView(Reply):
    """The files of one kind."""

    files: int
    bytes: int = Field(description="Estimated from a sample.")


class ArchiveEstimateView(Reply):
    """What an archive of the whole chat would contain."""

    title: str
    messages: int
    kinds: dict[str, KindEstimateView] = Field(description="By the kinds of `filter`; without stickers.")
    bytes: int = Field(description="Estimated size of all files.")
    first_at: Time | None
    last_at: Time | None
    storage: str
    free_bytes: int | None = Field(description="Free space in the storage; null if it is not known.")
