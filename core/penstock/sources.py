"""Where the pieces of an answer come from: an upstream's stream, its whole body, or a plugin's own events."""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any

from penstock.errors import GatewayError, TimedOut, UpstreamFailed
from penstock.events import Event, Failed, Ping, Start, Usage
from penstock.exchange import Attempt, Exchange
from penstock.protocol import Decoder, Piece
from penstock.upstream import Pool, UpstreamAnswer

_PASSED = re.compile(r"(x-)?request-id|retry-after|x-should-retry|(\w+-|x-)?ratelimit-[\w-]+")

SILENCE: Sequence[Piece] = (Piece((Ping(),), b""),)
"""What a source gives when nothing came: a sign of life for the client."""

_PRELUDE = (Ping, Start, Usage)  # before these nothing of the answer itself is known

Spawn = Callable[[Coroutine[Any, Any, Any], str], "asyncio.Task[Any]"]


class Source(ABC):
    """Gives the pieces of one answer, in order."""

    def __init__(self) -> None:
        self._held: list[Piece] = []
        self._ended = False

    @abstractmethod
    async def fetch(self, seconds: float) -> Sequence[Piece] | None:
        """The next pieces, SILENCE when none came in `seconds`, None at the end. Raises GatewayError."""

    async def read(self, seconds: float) -> Sequence[Piece] | None:
        """As `fetch`, beginning with what `prefetch` held back."""
        if self._held:
            held, self._held = self._held, []
            return held
        return None if self._ended else await self.fetch(seconds)

    async def prefetch(self) -> None:
        """Wait until the answer itself has begun, so that earlier failures can still be mended. Raises GatewayError."""
        while not self._ended:
            pieces = await self.fetch(3600.0)
            if pieces is None:
                self._ended = True
            elif pieces is not SILENCE:
                self._held += pieces
            if _begun(self._held):
                return

    def close(self) -> None:
        """Let go of whatever the pieces came from, here and now."""


def _begun(pieces: Sequence[Piece]) -> bool:
    """Whether there is something of the answer itself. Raises the failure that came instead."""
    for piece in pieces:
        for event in piece.events:
            if isinstance(event, Failed):
                raise event.error
            if not isinstance(event, _PRELUDE):
                return True
        if not piece.events:
            return True
    return False


class UpstreamStream(Source):
    """An upstream's event stream."""

    def __init__(
        self,
        answer: UpstreamAnswer,
        decoder: Decoder,
        name: str,
        idle: float,
        total: float,
        clock: Callable[[], float],
    ) -> None:
        """`idle` bounds the seconds between bytes, `total` those of the whole stream."""
        super().__init__()
        self._answer = answer
        self._decoder = decoder
        self._name = name
        self._idle = idle
        self._clock = clock
        self._heard = clock()
        self._deadline = self._heard + total

    async def fetch(self, seconds: float) -> Sequence[Piece] | None:
        now = self._clock()
        try:
            chunk = await self._answer.read(min(seconds, self._heard + self._idle - now, self._deadline - now))
        except TimeoutError:
            self._check_limits()
            return SILENCE
        if chunk:
            self._heard = self._clock()
            return self._decoder.feed(chunk)
        self._ended = True
        return self._decoder.end()

    def _check_limits(self) -> None:
        now = self._clock()
        if now >= self._deadline:
            raise TimedOut(f"upstream {self._name!r} did not finish its answer in time")
        if now >= self._heard + self._idle:
            raise TimedOut(f"upstream {self._name!r} was silent for {self._idle:g} s")

    def close(self) -> None:
        self._answer.close()


class Whole(Source):
    """An answer that came at once."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        super().__init__()
        self._held = list(pieces)
        self._ended = True

    async def fetch(self, seconds: float) -> Sequence[Piece] | None:
        return None

    async def prefetch(self) -> None:
        return


class Generated(Source):
    """A plugin's events, as it makes them."""

    def __init__(self, events: AsyncIterable[Event], spawn: Spawn, blame: Callable[[Exception], GatewayError]) -> None:
        """`blame` turns what the plugin raises by mistake into an error."""
        super().__init__()
        self._events: AsyncIterator[Event] = aiter(events)
        self._spawn = spawn
        self._blame = blame
        self._next: asyncio.Task[Event | None] | None = None

    async def fetch(self, seconds: float) -> Sequence[Piece] | None:
        if self._next is None:
            self._next = self._spawn(self._make_next(), "next event")
        done, _ = await asyncio.wait({self._next}, timeout=seconds)
        if not done:
            return SILENCE
        task, self._next = self._next, None
        event: Event | None = task.result()
        return None if event is None else (Piece((event,), b""),)

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._spawn(self._finish(), "close generator")

    async def _make_next(self) -> Event | None:
        try:
            return await anext(self._events, None)
        except GatewayError:
            raise
        except Exception as error:
            raise self._blame(error) from error

    async def _finish(self) -> None:
        if self._next is not None:
            await asyncio.wait({self._next})  # a running generator cannot be closed
        if isinstance(self._events, AsyncGenerator):
            await self._events.aclose()


# ---------------------------------------------------------------- an upstream's answer


async def open_source(
    exchange: Exchange,
    attempt: Attempt,
    answer: UpstreamAnswer,
    pool: Pool,
    wanted: frozenset[type] | None,
    clock: Callable[[], float],
) -> Source:
    """The source of an answer, by what the upstream says it is, and else by what it looks like. Raises GatewayError.

    `wanted` are the events worth decoding of a stream, None for all.
    """
    upstream, limits = attempt.upstream, pool.limits
    quirks = upstream.quirks_of(attempt.target.model or exchange.request.model)
    content_type = answer.headers.get("content-type", "").lower()
    if "event-stream" in content_type:
        decoder = upstream.protocol.decoder(exchange, wanted, quirks)
        return UpstreamStream(answer, decoder, upstream.name, limits.idle, limits.total, clock)
    body = await answer.read_all(limits.total, limits.idle)
    looks = body[:100].lstrip()
    if looks.startswith((b"{", b"[")):
        return Whole([Piece(upstream.protocol.read_answer(exchange, body, quirks), body)])
    if looks.startswith((b"data:", b"event:", b":")):
        decoder = upstream.protocol.decoder(exchange, None, quirks)
        return Whole([*decoder.feed(body), *decoder.end()])
    raise UpstreamFailed(
        f"upstream {upstream.name!r} answered {content_type or 'something'} instead of JSON or an event stream",
        detail=body[:300].decode(errors="replace"),
    )


def passed_headers(headers: Mapping[str, str], mask: Callable[[str], str]) -> dict[str, str]:
    """An upstream's headers that a client of the same protocol may see: its ids, limits and advice."""
    return {name: mask(value) for name, value in headers.items() if _PASSED.fullmatch(name)}
