"""The tables of the ledger: exchanges, their attempts, and the sums of each day. Columns are told in record.py."""

from pathlib import Path

import sqlalchemy as sa

from penstock import Schema

METADATA = sa.MetaData()


def _text(name: str, key: str = "", *, primary: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, key=key or name, primary_key=primary, nullable=False)


def _whole(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null, server_default=default)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


USAGE = sa.Table(
    "penstock_usage",
    METADATA,
    _text("id", primary=True),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),
    _text("day"),
    _text("pipeline"),
    _text("operation"),
    _text("user_name", "user"),
    _text("team"),
    _text("key_name", "key"),
    _text("session"),
    _text("agent"),
    _text("agent_version"),
    _text("protocol"),
    _text("model"),
    _text("asked_model"),
    _text("served_model"),
    _text("upstream"),
    _text("preset"),
    _whole("input_tokens"),
    _whole("cache_read_tokens"),
    _whole("cache_write_tokens"),
    _whole("cache_write_1h_tokens"),
    _whole("output_tokens"),
    _whole("reasoning_tokens"),
    _flag("estimated"),
    _whole("cost_nano"),
    _flag("price_known"),
    _whole("cache_saved_nano"),
    _whole("replayed_tokens"),
    _whole("replayed_nano"),
    _whole("first_event_ms", null=True),
    _whole("duration_ms"),
    _text("outcome"),
    _text("answered"),
    sa.Column("status", sa.Integer, nullable=False),
    _text("error"),
    _text("stop_reason"),
    _flag("streamed"),
    _flag("simulated"),
    _whole("attempts"),
    sa.Column("mode", sa.Text, nullable=False, server_default=""),
    _whole("searches", default="0"),
    sa.Index("penstock_usage_by_day", "day"),
    sa.Index("penstock_usage_by_session", "session"),
)

ATTEMPT = sa.Table(
    "penstock_usage_attempt",
    METADATA,
    _text("exchange", primary=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _text("upstream"),
    _text("preset"),
    _text("protocol"),
    _text("model"),
    sa.Column("status", sa.Integer, nullable=False),
    _text("request_id"),
    _text("error"),
    _whole("duration_ms"),
)

DAY = sa.Table(
    "penstock_usage_day",
    METADATA,
    _text("day", primary=True),
    _text("pipeline", primary=True),
    _text("team", primary=True),
    _text("user_name", "user", primary=True),
    _text("key_name", "key", primary=True),
    _text("model", primary=True),
    _text("upstream", primary=True),
    _whole("requests"),
    _whole("errors"),
    _whole("cancelled"),
    _whole("attempts"),
    _whole("estimated"),
    _whole("unpriced"),
    _whole("input_tokens"),
    _whole("cache_read_tokens"),
    _whole("cache_write_tokens"),
    _whole("cache_write_1h_tokens"),
    _whole("output_tokens"),
    _whole("reasoning_tokens"),
    _whole("cost_nano"),
    _whole("cache_saved_nano"),
    _whole("replays"),
    _whole("replayed_tokens"),
    _whole("replayed_nano"),
    _whole("duration_ms"),
    _whole("searches", default="0"),
)
"""Of answers only (`operation` is `generate`). `model` is the one the upstream was asked for."""

SCHEMA = Schema("usage", METADATA, Path(__file__).parent / "migrations")
