"""The tables of the key store. Imported only where a pipeline keeps its keys in the database."""

from pathlib import Path

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

from penstock import Schema

METADATA = MetaData()

KEYS = Table(
    "penstock_keys",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("user", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("scope", Text, nullable=False),  # JSON
    Column("parent", String(40), nullable=False),  # "" for none
    Column("created", Float, nullable=False),  # this and all times: seconds since 1970
    Column("expires", Float),
    Column("revoked", Float),
)

HASHES = Table(
    "penstock_key_hashes",
    METADATA,
    Column("digest", String(64), primary_key=True),  # HMAC-SHA256, hexadecimal
    Column("key", String(40), ForeignKey(KEYS.c.id), nullable=False),
    Column("shown", Text, nullable=False),  # the first characters of the key
    Column("created", Float, nullable=False),
    Column("expires", Float),
)

STATE = Table(
    "penstock_key_state",
    METADATA,
    Column("id", Integer, primary_key=True),  # always 1
    Column("version", Integer, nullable=False),  # grows with every change
    Column("pepper", String(64), nullable=False),  # by which the right one is known
)

AUDIT = Table(
    "penstock_key_audit",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("actor", Text, nullable=False),
    Column("origin", Text, nullable=False),  # an address, or `command line`
    Column("action", Text, nullable=False),
    Column("key", String(40), nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Index("penstock_key_audit_time", "time"),
)

SCHEMA = Schema("keys", METADATA, Path(__file__).parent / "migrations")
