"""Keys of the API."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text

revision = "0005"
down_revision = "0004"

_Number = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Create the table and its index."""
    op.create_table(
        "keys",
        Column("number", _Number, primary_key=True),
        Column("id", Text, nullable=False, unique=True),
        Column("user_id", BigInteger, nullable=False),
        Column("name", Text, nullable=False),
        Column("scopes", Text, nullable=False),
        Column("hash", Text, nullable=False, unique=True),
        Column("secret", Text, nullable=False),
        Column("made_at", BigInteger, nullable=False),
        Column("used_at", BigInteger),
        Column("revoked_at", BigInteger),
    )
    op.create_index("keys_user_id", "keys", ["user_id", "id"])
