"""Names in a folder are found by an index, so that renaming is quick in large folders."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the index."""
    op.create_index("files_folder_name", "files", ["folder_id", "name"])
