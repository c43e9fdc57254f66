"""What to list, and what comes back. Nothing here needs a database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from saveany.models import Task


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Filters for ended tasks; empty fields match all. Times are ms; `until` is exclusive."""

    status: str = ""
    type: str = ""
    user_id: int | None = None
    storage: str = ""
    q: str = ""  # substring of title or error, ignoring case
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of ended tasks. `cursor` leads to the next page; it is empty on the last one."""

    tasks: list[Task]
    cursor: str


class FileKind(StrEnum):
    """The kind of a file, by its MIME type."""

    VIDEO = "video"
    AUDIO = "audio"
    IMAGE = "image"
    TEXT = "text"
    OTHER = "other"


class FileOrder(StrEnum):
    """The order of a list of files; `-` is descending."""

    OLDEST = "added"
    NEWEST = "-added"
    NAME = "name"
    NAME_DESCENDING = "-name"
    SMALLEST = "size"
    LARGEST = "-size"


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Filters for saved files; empty fields match all."""

    user_id: int | None = None
    folder_id: int | None = None
    kind: FileKind | None = None
    storage: str = ""
    q: str = ""  # substring of name or caption, ignoring case
    order: FileOrder = FileOrder.NEWEST
    start: str = ""  # with an order by name: the text with which the list begins


class SavedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A saved file. Times are ms."""

    id: str
    user_id: int
    folder_id: int
    name: str
    caption: str
    size: int
    mime: str
    kind: str
    sha256: str
    storage: str
    path: str  # of the copy in the storage
    chat: int | None  # the Telegram message that it comes from
    message: int | None
    document: int | None
    dc: int | None
    url: str  # that it comes from, if not from Telegram
    page: str  # that shows the copy; "" if there is none
    task_id: str | None
    item: int | None
    added_at: int
    downloads: int
    bytes_sent: int
    deleted_at: int | None = None  # it is in the trash since then
    old_folder: str | None = None  # path of its folder, if that was deleted
    missing_at: int | None = None  # its copy was found deleted or changed from outside
    sha1: str = ""  # hexadecimal; known only of files that were uploaded for a protocol that needs it


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A saved file, as far as a listing of its folder needs it."""

    id: str
    name: str
    size: int
    mime: str
    sha256: str
    added_at: int  # ms


@dataclass(frozen=True, slots=True)
class FilePage:
    """A page of files. `cursor` leads to the next page; it is empty on the last one."""

    files: list[SavedFile]
    cursor: str
    total: int | None = None  # of the whole list, if it was asked for


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of a user."""

    id: int
    user_id: int
    parent_id: int  # 0: it is in no other folder
    name: str


@dataclass(frozen=True, slots=True)
class FolderPage:
    """A page of folders. `cursor` leads to the next page; it is empty on the last one."""

    folders: list[Folder]
    cursor: str


class FileStats(msgspec.Struct, frozen=True):
    """Number and bytes of some files."""

    files: int
    bytes: int
