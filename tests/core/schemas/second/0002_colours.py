"""Things have a colour."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("penstock_thing", sa.Column("colour", sa.Text, nullable=False, server_default=""))
