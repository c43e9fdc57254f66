"""Files that archives may adopt."""

from alembic import op
from sqlalchemy import BigInteger, Column, Text

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the table and its index."""
    op.create_table(
        "archive_found",
        Column("archive_id", Text, primary_key=True),
        Column("message", BigInteger, primary_key=True),
        Column("path", Text, primary_key=True),
        Column("size", BigInteger, nullable=False),
    )
    op.create_index("archive_found_size", "archive_found", ["archive_id", "size"])
