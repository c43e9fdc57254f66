"""Texts of archived messages."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Text, UniqueConstraint

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "archive_texts",
        Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("archive_id", Text, nullable=False),
        Column("chat", BigInteger, nullable=False),
        Column("message", BigInteger, nullable=False),
        Column("record", LargeBinary, nullable=False),
        Column("part", BigInteger),
        UniqueConstraint("archive_id", "chat", "message", name="archive_texts_message"),
    )
