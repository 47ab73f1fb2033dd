"""How an upstream has processed a request, and the searches that it has made for it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("penstock_usage", sa.Column("mode", sa.Text, nullable=False, server_default=""))
    for table in ("penstock_usage", "penstock_usage_day"):
        op.add_column(table, sa.Column("searches", sa.BigInteger, nullable=False, server_default="0"))
