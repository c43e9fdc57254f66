"""Receipts of archives."""

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary, Text

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "archive_chats",
        Column("archive_id", Text, primary_key=True),
        Column("chat", BigInteger, primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("total", BigInteger, nullable=False),
    )
    op.create_table(
        "archive_messages",
        Column("archive_id", Text, primary_key=True),
        Column("chat", BigInteger, primary_key=True),
        Column("message", BigInteger, primary_key=True),
        Column("outcome", Text, nullable=False),
        Column("reason", LargeBinary),
        Column("file_id", Text),
        Column("task_id", Text),
        Column("edited_at", BigInteger),
        Column("topic", BigInteger),
        Column("size", BigInteger, nullable=False),
    )
    op.create_index(
        "archive_messages_outcome", "archive_messages", ["archive_id", "outcome", "chat", "message", "size"]
    )
    op.create_index("archive_messages_task", "archive_messages", ["task_id"])
    op.create_table(
        "archive_runs",
        Column("archive_id", Text, primary_key=True),
        Column("chat", BigInteger, primary_key=True),
        Column("first", BigInteger, primary_key=True),
        Column("last", BigInteger, nullable=False),
        Column("messages", BigInteger, nullable=False),
    )
