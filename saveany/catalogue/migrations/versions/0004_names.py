"""Names in a folder are found by an index; in SQLite the index of the trash contains only deleted files."""

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("files_folder_name", "files", ["folder_id", "name"])
    op.drop_index("files_deleted", "files")
    op.create_index(
        "files_deleted", "files", ["deleted_at", "id"], sqlite_where=text("deleted_at IS NOT NULL")
    )
