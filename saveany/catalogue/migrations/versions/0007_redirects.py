"""Links that lead to presigned URLs."""

from alembic import op
from sqlalchemy import Boolean, Column, false

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column."""
    op.add_column("links", Column("redirect", Boolean, nullable=False, server_default=false()))
