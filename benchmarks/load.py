"""The load generator: `python -m benchmarks.load LOAD`, which is JSON, and prints what it saw as JSON."""

import asyncio
import re
import statistics
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from time import perf_counter
from typing import cast
from uuid import uuid4

import msgspec
import uvloop

from benchmarks.answers import TEXT
from benchmarks.traffic import KEY, request

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n0\r\n\r\n"


class Load(msgspec.Struct, kw_only=True):
    """`count` requests for a model over so many connections at once, which take turns with the keys.

    `distinct`: no request has been sent before, by anybody.
    """

    port: int
    model: str
    concurrency: int
    count: int
    keys: tuple[str, ...] = (KEY,)
    distinct: bool = False


class Seen(msgspec.Struct):
    """What a client sees: seconds to the first event (or to the end of an answer that is no stream), and totals."""

    p50: float
    p99: float
    texts: int  # fewest of one answer
    writes: float  # HTTP chunks per answer


class Connection(asyncio.Protocol):
    """One keep-alive connection, with one request at a time."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._length: int | None = None
        self._first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def exchange(self, message: bytes) -> tuple[float, bytes]:
        """Send a request; the seconds to its answer's beginning, and the answer."""
        self._answer, self._length, self._first = bytearray(), None, 0.0
        self._done = asyncio.get_running_loop().create_future()
        sent = perf_counter()
        self._transport.write(message)
        await self._done
        return self._first - sent, bytes(self._answer)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        answer += data
        if self._length is None:
            self._length = _length(answer)
        complete = answer.endswith(_END) if not self._length else len(answer) == self._length
        if not self._first and (complete or b"data:" in data):
            self._first = perf_counter()
        if complete:
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError(f"the connection was closed after {bytes(self._answer[:500])!r}"))


def _length(answer: bytearray) -> int | None:
    """The bytes of the whole answer, 0 when it is chunked, None when its head is not complete."""
    end = answer.find(b"\r\n\r\n")
    found = _LENGTH.search(answer, 0, end) if end >= 0 else None
    return None if end < 0 else end + 4 + int(found[1]) if found else 0


async def _client(load: Load, key: str, turns: Iterator[int]) -> list[tuple[float, bytes]]:
    transport, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", load.port)
    answers = [await connection.exchange(message) for message in _messages(load, key, turns)]
    transport.close()
    return answers


def _messages(load: Load, key: str, turns: Iterator[int]) -> Iterator[bytes]:
    message = request(load.model, key)
    for _ in turns:
        yield request(load.model, key, question=uuid4().hex) if load.distinct else message


async def main(load: Load) -> Seen:
    """Send the requests. Raises RuntimeError for any answer but 200."""
    turns = iter(range(load.count))
    keys = islice(cycle(load.keys), load.concurrency)
    clients = await asyncio.gather(*(_client(load, key, turns) for key in keys))
    seconds = sorted(seconds for answers in clients for seconds, _ in answers)
    bodies = [answer for answers in clients for _, answer in answers]
    for body in bodies:
        if not body.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(body[:1000].decode(errors="replace"))
    p50, p99 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    chunks = [body.partition(b"\r\n\r\n")[2].count(b"\r\n") // 2 - 1 for body in bodies]  # events hold no \r
    return Seen(p50, p99, min(body.count(TEXT) for body in bodies), statistics.fmean(chunks))


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Load)))).decode())
