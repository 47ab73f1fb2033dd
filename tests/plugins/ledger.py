"""What the tests of the ledger share: a pipeline with one, requests to it, and its tables read by hand."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

from penstock.testing import PATIENCE, Reply, json_reply
from penstock_auth.keys import hash_of, new_key

Row = dict[str, Any]
Query = Callable[[str], Awaitable[list[Row]]]

PIPELINE = """
path: /team
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - auth: {keys: keys.yaml}
  - prices: {overrides: {"model-*": {input: 3, output: 15, cache_read: 0.3}}}
  - usage
  - models: {routes: {"*": main}}
  - translation
"""
ALICE, BOB = new_key(), new_key()
KEYS = f"""
keys:
  - {{hash: "{hash_of(ALICE)}", user: alice, team: research, name: alices-laptop}}
  - {{hash: "{hash_of(BOB)}", user: bob, team: design, name: bobs-laptop}}
"""
FILES = {"keys.yaml": KEYS}


def who(key: str, **more: str) -> dict[str, str]:
    """The headers of one who has this key."""
    return {"authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in more.items()}}


def in_sqlite(path: Path) -> Query:
    """Asks a SQLite file; what is not there yet has no rows."""

    async def query(sql: str) -> list[Row]:
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                with connection:
                    return [dict(row) for row in connection.execute(sql)]
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []

    return query


def in_postgres(url: str) -> Query:
    """Asks a PostgreSQL server; what is not there yet has no rows."""

    async def query(sql: str) -> list[Row]:
        connection = await asyncpg.connect(url)
        try:
            return [dict(row) for row in await connection.fetch(sql)]
        except asyncpg.UndefinedTableError:
            return []
        finally:
            await connection.close()

    return query


def answer(**usage: Any) -> Reply:
    """A whole message with this usage."""
    content = [{"type": "text", "text": "hello"}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "model-a", "content": content}
    return json_reply({**message, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})


async def rows(query: Query, count: int = 1, table: str = "penstock_usage", order: str = "time") -> list[Row]:
    """The rows of a table, once there are so many. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while len(found := await query(f"select * from {table} order by {order}")) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found
