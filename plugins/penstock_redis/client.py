"""The connections to the server: deadlines, scripts it may not know yet, and errors in one's own words.

The library's own client is left out: it sends a command again after a failure, which would charge twice, and costs half
as much again.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from penstock import StoreUnavailable

from .address import Address
from .scripts import Script

CONNECTIONS = 32
"""At once, to one server; more verbs than that wait for their turn."""
IDLE = 30.0
"""Seconds after which an unused connection is no longer trusted: firewalls forget in silence."""

Word = str | bytes | float


class Client:
    """Connects when it is first used, and again when connections were lost. Nothing is ever sent twice."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._free: list[tuple[Connection, float]] = []  # since when

    async def check(self) -> None:
        """Raises ValueError if the server will not have us, StoreUnavailable if it is not there."""
        try:
            await self.command("PING")
        except StoreUnavailable as error:
            if isinstance(error.__cause__, (AuthenticationError, ResponseError)):
                raise ValueError(str(error)) from None
            raise

    async def command(self, *words: Word) -> Any:
        """The server's answer. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(self._address.deadline), self._turns:
                return await self._ask(words)
        except TimeoutError:
            raise StoreUnavailable(f"{self._address} did not answer within {self._address.deadline:g} s") from None
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"{self._address}: {self._masked(str(error))}") from error

    async def script(self, script: Script, keys: Sequence[bytes], *words: Word) -> Any:
        """What a script answers. Raises StoreUnavailable."""
        try:
            return await self.command("EVALSHA", script.sha, len(keys), *keys, *words)
        except NoScriptError:
            return await self.command("EVAL", script.text, len(keys), *keys, *words)

    async def close(self) -> None:
        """Let go of the connections that nobody is using."""
        while self._free:
            await self._free.pop()[0].disconnect(nowait=True)

    async def _ask(self, words: Sequence[Word]) -> Any:
        connection: Any = await self._connection()  # the library says little of types
        try:
            await connection.connect()
            await connection.send_command(*words, check_health=False)
            answer = await connection.read_response()
        except ResponseError:
            self._free.append((connection, time.monotonic()))
            raise
        except BaseException as error:  # an answer that comes late must not be taken for that of the next command
            await connection.disconnect(nowait=True)
            if isinstance(error, RedisError):
                await self.close()  # when one was lost, the others were, too
            raise
        self._free.append((connection, time.monotonic()))
        return answer

    async def _connection(self) -> Connection:
        if self._free and time.monotonic() - self._free[-1][1] > IDLE:
            await self.close()
        return self._free.pop()[0] if self._free else _connection_to(self._address)

    def _masked(self, text: str) -> str:
        password = self._address.password.reveal()
        return text.replace(password, "***") if password else text


def _connection_to(address: Address) -> Connection:
    kind = SSLConnection if address.tls else Connection
    return kind(
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.user or None,
        password=address.password.reveal() or None,
        socket_timeout=None,  # both: the deadline of the whole verb is enough
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
