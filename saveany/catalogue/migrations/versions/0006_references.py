"""What finds the messages of files in Telegram storages again."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column."""
    op.add_column("files", Column("reference", Text, nullable=False, server_default=""))
