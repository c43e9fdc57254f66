"""An index of the folders in a folder: without it, each folder that was removed was sought in all others."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the index."""
    op.create_index("folders_parent_id", "folders", ["parent_id"])
