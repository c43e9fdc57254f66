"""Links to files, folders and Telegram messages."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, LargeBinary, Text

revision = "0002"
down_revision = "0001"

_Number = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Create the table and its indexes."""
    op.create_table(
        "links",
        Column("number", _Number, primary_key=True),
        Column("id", Text, nullable=False, unique=True),
        Column("user_id", BigInteger, nullable=False),
        Column("file_id", Text, ForeignKey("files.id", ondelete="CASCADE")),
        Column("folder_id", _Number, ForeignKey("folders.id", ondelete="CASCADE")),
        Column("media", LargeBinary),
        Column("name", Text, nullable=False),
        Column("inline", Boolean, nullable=False),
        Column("made_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger),
        Column("revoked_at", BigInteger),
        Column("max_downloads", BigInteger),
        Column("password", Text, nullable=False),
        Column("downloads", BigInteger, nullable=False),
        Column("bytes_sent", BigInteger, nullable=False),
        Column("used_at", BigInteger),
    )
    op.create_index("links_made", "links", ["made_at", "id"])
    op.create_index("links_user_id", "links", ["user_id", "made_at", "id"])
    op.create_index("links_file_id", "links", ["file_id"])
    op.create_index("links_folder_id", "links", ["folder_id"])
