"""Older versions of the files of archived messages."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the table and its index."""
    op.create_table(
        "archive_versions",
        Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("archive_id", Text, nullable=False),
        Column("chat", BigInteger, nullable=False),
        Column("message", BigInteger, nullable=False),
        Column("file_id", Text),
        Column("task_id", Text),
    )
    op.create_index("archive_versions_message", "archive_versions", ["archive_id", "message"])
