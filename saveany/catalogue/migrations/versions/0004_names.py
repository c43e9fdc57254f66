"""Names in a folder are found by an index; the index of the trash contains only deleted files."""

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("files_folder_name", "files", ["folder_id", "name"])
    op.drop_index("files_deleted", "files")
    deleted = text("deleted_at IS NOT NULL")
    op.create_index(
        "files_deleted", "files", ["deleted_at", "id"], sqlite_where=deleted, postgresql_where=deleted
    )
