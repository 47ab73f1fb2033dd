"""The ledger: exchanges, their attempts, and the sums of each day."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TOKENS = (
    *("input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    *("output_tokens", "reasoning_tokens"),
)


def upgrade() -> None:
    op.create_table(
        "penstock_usage",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        *_texts("day", "pipeline", "operation", "user_name", "team", "key_name", "session", "agent", "agent_version"),
        *_texts("protocol", "model", "asked_model", "served_model", "upstream", "preset"),
        *_numbers(*_TOKENS),
        sa.Column("estimated", sa.Boolean, nullable=False),
        *_numbers("cost_nano"),
        sa.Column("price_known", sa.Boolean, nullable=False),
        *_numbers("cache_saved_nano", "replayed_tokens", "replayed_nano"),
        sa.Column("first_event_ms", sa.BigInteger),
        *_numbers("duration_ms"),
        *_texts("outcome", "answered"),
        sa.Column("status", sa.Integer, nullable=False),
        *_texts("error", "stop_reason"),
        sa.Column("streamed", sa.Boolean, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        *_numbers("attempts"),
    )
    op.create_index("penstock_usage_by_day", "penstock_usage", ["day"])
    op.create_index("penstock_usage_by_session", "penstock_usage", ["session"])
    op.create_table(
        "penstock_usage_attempt",
        sa.Column("exchange", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        *_texts("upstream", "preset", "protocol", "model"),
        sa.Column("status", sa.Integer, nullable=False),
        *_texts("request_id", "error"),
        *_numbers("duration_ms"),
    )
    keys = ("day", "pipeline", "team", "user_name", "key_name", "model", "upstream")
    op.create_table(
        "penstock_usage_day",
        *(sa.Column(name, sa.Text, primary_key=True) for name in keys),
        *_numbers("requests", "errors", "cancelled", "attempts", "estimated", "unpriced", *_TOKENS),
        *_numbers("cost_nano", "cache_saved_nano", "replays", "replayed_tokens", "replayed_nano", "duration_ms"),
    )


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
