"""The first tables: ended tasks, files and folders."""

from uuid import uuid4

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, Text, UniqueConstraint

from saveany.catalogue.search import index_statements

revision = "0001"
down_revision = None

_Number = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "catalogue",
        Column("number", _Number, primary_key=True),
        Column("id", Text, nullable=False),
        Column("turn", BigInteger, nullable=False),
    )
    _create_tasks()
    op.create_table(
        "folders",
        Column("id", _Number, primary_key=True),
        Column("user_id", BigInteger, nullable=False),
        Column("parent_id", _Number, ForeignKey("folders.id"), nullable=False),
        Column("name", Text, nullable=False),
        UniqueConstraint("user_id", "parent_id", "name", name="folders_name"),
    )
    op.execute(f"INSERT INTO catalogue (id, turn) VALUES ('{uuid4().hex}', 0)")  # noqa: S608  a random id
    op.execute("INSERT INTO folders (id, user_id, parent_id, name) VALUES (0, 0, 0, '')")
    _create_files()
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table in ("tasks", "files"):
        for statement in index_statements(table, is_sqlite=is_sqlite):
            op.execute(statement)


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        Column("number", _Number, primary_key=True),
        Column("id", Text, nullable=False, unique=True),
        Column("user_id", BigInteger, nullable=False),
        Column("type", Text, nullable=False),
        Column("storage", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("title", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("started_at", BigInteger),
        Column("ended_at", BigInteger, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("run", BigInteger, nullable=False),
        Column("search", Text, nullable=False),
    )
    op.create_index("tasks_ended", "tasks", ["ended_at", "id"])
    for name in ("user_id", "type", "storage", "status"):
        op.create_index(f"tasks_{name}", "tasks", [name, "ended_at", "id"])
    op.create_table(
        "task_records",
        Column("task_id", Text, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        Column("record", LargeBinary, nullable=False),
    )
    op.create_table(
        "task_items",
        Column("task_id", Text, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
        Column("item", BigInteger, primary_key=True),
        Column("record", LargeBinary, nullable=False),
    )


def _create_files() -> None:
    op.create_table(
        "files",
        Column("number", _Number, primary_key=True),
        Column("id", Text, nullable=False, unique=True),
        Column("user_id", BigInteger, nullable=False),
        Column("folder_id", _Number, ForeignKey("folders.id"), nullable=False),
        Column("name", Text, nullable=False),
        Column("caption", Text, nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("mime", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("sha1", Text, nullable=False),
        Column("storage", Text, nullable=False),
        Column("path", Text, nullable=False),
        Column("chat", BigInteger),
        Column("message", BigInteger),
        Column("document", BigInteger),
        Column("dc", Integer),
        Column("origin", LargeBinary),
        Column("url", Text, nullable=False),
        Column("page", Text, nullable=False),
        Column("thumbnail", Text, nullable=False),
        Column("task_id", Text),
        Column("item", BigInteger),
        Column("added_at", BigInteger, nullable=False),
        Column("deleted_at", BigInteger),
        Column("downloads", BigInteger, nullable=False),
        Column("bytes_sent", BigInteger, nullable=False),
        Column("search", Text, nullable=False),
        UniqueConstraint("task_id", "item", name="files_item"),
    )
    op.create_index("files_added", "files", ["added_at", "id"])
    for name in ("user_id", "folder_id", "storage", "kind"):
        op.create_index(f"files_{name}", "files", [name, "added_at", "id"])
    op.create_index("files_name", "files", ["name", "id"])
    op.create_index("files_size", "files", ["size", "id"])
    op.create_index("files_path", "files", ["storage", "path"])
    op.create_index("files_content", "files", ["sha256", "size"])
    op.create_index("files_document", "files", ["document"])
