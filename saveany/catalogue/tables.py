"""The tables. `migrations` creates and changes them; a test compares both.

Times are milliseconds since the epoch, sizes are bytes. `search` is the text that is searched, as
`search.fold` writes it. In SQLite a virtual table `<table>_search` indexes it; triggers keep that up to date.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData()


def clean(text: str) -> str:
    """A text that both databases store: without NUL and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class CleanText(TypeDecorator[str]):
    """A text, cleaned when it is stored, and when it is looked for: PostgreSQL refuses NUL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """The text that the database gets."""
        return None if value is None else clean(value)


#: SQLite numbers rows only in a column of the type INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")

#: One row: the id of this catalogue, and the number of the last turn of a recorder.
catalogue = Table(
    "catalogue",
    metadata,
    Column("number", Number, primary_key=True),
    Column("id", CleanText, nullable=False),
    Column("turn", BigInteger, nullable=False),
)

#: Ended tasks.
tasks = Table(
    "tasks",
    metadata,
    Column("number", Number, primary_key=True),
    Column("id", CleanText, nullable=False, unique=True),
    Column("user_id", BigInteger, nullable=False),
    Column("type", CleanText, nullable=False),
    Column("storage", CleanText, nullable=False),
    Column("status", CleanText, nullable=False),
    Column("title", CleanText, nullable=False),
    Column("error", CleanText, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("search", CleanText, nullable=False),
    Index("tasks_ended", "ended_at", "id"),
    *(Index(f"tasks_{name}", name, "ended_at", "id") for name in ("user_id", "type", "storage", "status")),
)


def _task_id() -> Column[str]:
    return Column("task_id", CleanText, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)


#: The hash of an ended task as it was in Redis, in MessagePack: everything that a retry needs.
task_records = Table("task_records", metadata, _task_id(), Column("record", LargeBinary, nullable=False))

#: The items of ended tasks, as they were in Redis.
task_items = Table(
    "task_items",
    metadata,
    _task_id(),
    Column("item", BigInteger, primary_key=True),
    Column("record", LargeBinary, nullable=False),
)


_DELETED = text("deleted_at IS NOT NULL")

#: Tables with a column `search`.
SEARCHED = ("tasks", "files")

#: Folders exist only here. Row 0 is the root of all users.
folders = Table(
    "folders",
    metadata,
    Column("id", Number, primary_key=True),
    Column("user_id", BigInteger, nullable=False),
    Column("parent_id", Number, ForeignKey("folders.id"), nullable=False),
    Column("name", CleanText, nullable=False),
    UniqueConstraint("user_id", "parent_id", "name", name="folders_name"),
    Index("folders_parent_id", "parent_id"),
)

#: Saved files. `task_id` and `item` say which item of which task saved it; the task may be forgotten.
files = Table(
    "files",
    metadata,
    Column("number", Number, primary_key=True),
    Column("id", CleanText, nullable=False, unique=True),
    Column("user_id", BigInteger, nullable=False),
    Column("folder_id", Number, ForeignKey("folders.id"), nullable=False),
    Column("name", CleanText, nullable=False),
    Column("caption", CleanText, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mime", CleanText, nullable=False),
    Column("kind", CleanText, nullable=False),
    Column("sha256", CleanText, nullable=False),
    Column("sha1", CleanText, nullable=False),
    Column("storage", CleanText, nullable=False),
    Column("path", CleanText, nullable=False),
    Column("reference", CleanText, nullable=False, server_default=""),  # `Receipt.reference` as JSON
    Column("chat", BigInteger),
    Column("message", BigInteger),
    Column("document", BigInteger),
    Column("dc", Integer),
    Column("origin", LargeBinary),  # what finds the file in Telegram again (`Media.source`), in MessagePack
    Column("url", CleanText, nullable=False),
    Column("page", CleanText, nullable=False),
    Column("thumbnail", CleanText, nullable=False),
    Column("task_id", CleanText),
    Column("item", BigInteger),
    Column("added_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),  # it is in the trash since then
    Column("downloads", BigInteger, nullable=False),
    Column("bytes_sent", BigInteger, nullable=False),
    Column("search", CleanText, nullable=False),
    Column("old_folder", CleanText),  # path of the folder, if that was deleted
    Column("purged_at", BigInteger),  # it has left the trash, and its copy is to be removed
    Column("removed_at", BigInteger),  # its copy is gone, or needed by another file
    Column("missing_at", BigInteger),  # its copy was found deleted or changed from outside
    Column("converted_by", Text),  # id of the task that has made its copy from that of its own task
    UniqueConstraint("task_id", "item", name="files_item"),
    Index("files_added", "added_at", "id"),
    *(Index(f"files_{name}", name, "added_at", "id") for name in ("user_id", "folder_id", "storage", "kind")),
    Index("files_name", "name", "id"),
    Index("files_size", "size", "id"),
    Index("files_folder_name", "folder_id", "name"),
    Index("files_path", "storage", "path"),
    Index("files_content", "sha256", "size"),
    Index("files_document", "document"),
    # SQLite would use it for the files that are not deleted, and then sort all of them. An option for
    # PostgreSQL here would load all of SQLAlchemy's drivers for it, 3 MB of memory.
    Index("files_deleted", "deleted_at", "id", sqlite_where=_DELETED),
    Index("files_purged", "removed_at", "purged_at"),
)

#: Links. `id` is the token. Each leads to a file, a folder, or a file in a Telegram message (`media`, in
#: MessagePack).
links = Table(
    "links",
    metadata,
    Column("number", Number, primary_key=True),
    Column("id", CleanText, nullable=False, unique=True),
    Column("user_id", BigInteger, nullable=False),
    Column("file_id", CleanText, ForeignKey("files.id", ondelete="CASCADE")),
    Column("folder_id", Number, ForeignKey("folders.id", ondelete="CASCADE")),
    Column("media", LargeBinary),
    Column("name", CleanText, nullable=False),
    Column("inline", Boolean, nullable=False),
    Column("redirect", Boolean, nullable=False, server_default=false()),
    Column("made_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("max_downloads", BigInteger),
    Column("password", CleanText, nullable=False),
    Column("downloads", BigInteger, nullable=False),
    Column("bytes_sent", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Index("links_made", "made_at", "id"),
    Index("links_user_id", "user_id", "made_at", "id"),
    Index("links_file_id", "file_id"),
    Index("links_folder_id", "folder_id"),
)

#: Keys of the API. `hash` is the SHA-256 of the secret. `secret` is the secret itself if a protocol must sign
#: with it, else empty. `scopes` are separated by spaces.
keys = Table(
    "keys",
    metadata,
    Column("number", Number, primary_key=True),
    Column("id", CleanText, nullable=False, unique=True),
    Column("user_id", BigInteger, nullable=False),
    Column("name", CleanText, nullable=False),
    Column("scopes", CleanText, nullable=False),
    Column("hash", CleanText, nullable=False, unique=True),
    Column("secret", CleanText, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index("keys_user_id", "user_id", "id"),
)

#: The chats of archives, as far as they were read: `position` is the id of the last message, `total` the
#: number of messages that Telegram has stated.
archive_chats = Table(
    "archive_chats",
    metadata,
    Column("archive_id", CleanText, primary_key=True),
    Column("chat", BigInteger, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
)

#: The messages of archives that have, or had, files, each with what became of them.
archive_messages = Table(
    "archive_messages",
    metadata,
    Column("archive_id", CleanText, primary_key=True),
    Column("chat", BigInteger, primary_key=True),
    Column("message", BigInteger, primary_key=True),
    Column("outcome", CleanText, nullable=False),
    Column("reason", LargeBinary),  # a text that can be translated, as JSON
    Column("file_id", CleanText),
    Column("task_id", CleanText),
    Column("edited_at", BigInteger),
    Column("topic", BigInteger),
    Column("size", BigInteger, nullable=False),  # of all files together, in bytes
    Index("archive_messages_outcome", "archive_id", "outcome", "chat", "message", "size"),
    Index("archive_messages_task", "task_id"),
)

#: What was saved of messages of archives before an edit replaced their files; as in `archive_messages`.
archive_versions = Table(
    "archive_versions",
    metadata,
    Column("number", Number, primary_key=True),
    Column("archive_id", CleanText, nullable=False),
    Column("chat", BigInteger, nullable=False),
    Column("message", BigInteger, nullable=False),
    Column("file_id", CleanText),
    Column("task_id", CleanText),
    Index("archive_versions_message", "archive_id", "message"),
)

#: The other messages of archives: runs of successive ones, by the ids of the first and the last.
archive_runs = Table(
    "archive_runs",
    metadata,
    Column("archive_id", CleanText, primary_key=True),
    Column("chat", BigInteger, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
)

#: Files that were in a storage before an archive began, and that it may adopt. `message` is the one that each
#: belongs to, as the other tool has noted it; 0 if that is not known.
archive_found = Table(
    "archive_found",
    metadata,
    Column("archive_id", CleanText, primary_key=True),
    Column("message", BigInteger, primary_key=True),
    Column("path", CleanText, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Index("archive_found_size", "archive_id", "size"),
)

#: Texts of archived messages, as JSON, until they are written to the storage. `part` is the number of the
#: file that they are part of; null while that is not complete.
archive_texts = Table(
    "archive_texts",
    metadata,
    Column("number", Number, primary_key=True),
    Column("archive_id", CleanText, nullable=False),
    Column("chat", BigInteger, nullable=False),
    Column("message", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("part", BigInteger),
    UniqueConstraint("archive_id", "chat", "message", name="archive_texts_message"),
)
