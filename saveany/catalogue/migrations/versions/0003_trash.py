"""The trash, and copies that are missing."""

from alembic import op
from sqlalchemy import BigInteger, Column, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and their indexes."""
    op.add_column("files", Column("old_folder", Text))
    for name in ("purged_at", "removed_at", "missing_at"):
        op.add_column("files", Column(name, BigInteger))
    op.create_index("files_deleted", "files", ["deleted_at", "id"])
    op.create_index("files_purged", "files", ["removed_at", "purged_at"])
