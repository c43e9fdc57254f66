"""Converted copies of files."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column that says which task has made a copy."""
    op.add_column("files", Column("converted_by", Text))
