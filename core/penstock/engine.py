"""Answer a client: whole or as a stream, with signs of life meanwhile, and with an error in its own protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

import msgspec

from penstock.delivery import Delivery
from penstock.errors import GatewayError, TimedOut, UpstreamFailed
from penstock.events import Event
from penstock.exchange import Exchange, Response
from penstock.journey import Course, Journey
from penstock.metering import broken_off
from penstock.protocol import Encoder, Piece
from penstock.sources import Spawn

T = TypeVar("T")

MOST_GATHERED = 256 << 20
"""Bytes, about, of a stream that is kept as a whole; they are enough for a million tokens."""

_OVERHEAD = 100  # bytes of a piece or an event beside what is in it


class Reply(NamedTuple):
    """What goes to the client: a whole body, or one that is produced while it is sent."""

    status: int
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes]


class Run:
    """One exchange under way. Whoever makes it calls `close` at its end, whatever happened."""

    def __init__(
        self,
        exchange: Exchange,
        course: Course,
        spawn: Spawn,
        clock: Callable[[], float],
        done: Callable[[], None],
    ) -> None:
        """`spawn` starts a task that somebody owns; `done` is called after the last `on_complete`."""
        self._exchange = exchange
        self._course = course
        self._journey = Journey(exchange, course, spawn, clock)
        self._spawn = spawn
        self._clock = clock
        self._done = done
        self._work: asyncio.Task[Response] | None = None
        self._closed = False
        self._delivered = 0  # bytes of a stream
        course.tally.enter()

    # ------------------------------------------------------------ to the client

    async def reply(self) -> Reply:
        """The answer, or the refusal in the client's own protocol. Never raises but for cancellation."""
        exchange = self._exchange
        try:
            if exchange.operation == "generate" and exchange.request.stream:
                reply = await self._streamed()
            else:
                reply = await self._whole()
        except Exception as error:
            answer = self._said(error, lambda failure: exchange.protocol.error(failure, exchange.id))
            headers = exchange.error.headers if exchange.error else {}
            reply = Reply(answer.status, {**headers, **answer.headers}, answer.body)
        exchange.status = reply.status
        return reply

    def close(self) -> None:
        """End the exchange: close the upstream here and now, complete the steps in a task of their own."""
        if self._closed:
            return
        self._closed = True
        if self._work is not None:
            self._work.cancel()
        self._journey.release()
        exchange = self._exchange
        exchange.ended = self._clock()
        if exchange.outcome == "open":  # after its end an answer lacks nothing, even if its stream is still open
            exchange.outcome = "ok" if exchange.stop_reason else "cancelled"
        attempt = exchange.attempt
        if exchange.outcome != "ok" and self._delivered and attempt is not None and attempt.error is None:
            exchange.usage = broken_off(exchange, self._delivered)
        self._spawn(self._complete(), f"complete {exchange.id}")

    async def _streamed(self) -> Reply:
        encoder = self._exchange.protocol.encoder(self._exchange)
        self._work = work = self._spawn(self._journey.obtain(), f"obtain {self._exchange.id}")
        with suppress(TimeoutError), self._course.deadlines.within(self._course.timing.commit_after):
            await asyncio.wait({work})
        if work.done():
            response, headers = work.result(), self._headers(work.result(), encoder.content_type)
            self._journey.source()  # if there is none, that is an error with a status of its own
            return Reply(response.status, headers, self._stream(encoder))
        return Reply(200, self._headers(Response(), encoder.content_type), self._late_stream(work, encoder))

    async def _whole(self) -> Reply:
        protocol, exchange = self._exchange.protocol, self._exchange
        response = await self._journey.obtain()
        if response.models is not None:
            body = protocol.models(response.models, exchange.headers)
        elif response.tokens is not None:
            body = protocol.token_count(response.tokens)
        else:
            body = await self._folded()
        exchange.outcome = "ok"
        self._journey.release()
        return Reply(response.status, self._headers(response, "application/json"), body)

    async def events(self, seconds: float) -> list[Event]:
        """For a sub-request: the whole answer, in `seconds`. Raises GatewayError."""
        exchange = self._exchange
        try:
            async with asyncio.timeout(seconds):
                await self._journey.obtain()
                _, _, events = await self._gathered()
        except Exception as error:
            late = isinstance(error, TimeoutError)
            failure = self._journey.failed(TimedOut(f"no whole answer within {seconds:g} s") if late else error)
            exchange.status = failure.status
            raise failure from None
        exchange.outcome, exchange.status = "ok", 200
        self._journey.release()
        return events

    async def _folded(self) -> bytes:
        delivery, pieces, events = await self._gathered()
        return delivery.unchanged(pieces, events) or self._exchange.protocol.fold(self._exchange, events)

    async def _gathered(self) -> tuple[Delivery, list[Piece], list[Event]]:
        """The whole answer: as it came, and as it leaves. Raises GatewayError."""
        source, delivery = self._journey.source(), self._journey.delivery()
        pieces: list[Piece] = []
        events: list[Event] = []
        size = 0
        while (batch := await delivery.next_of(source, 3600.0)) is not None:
            size += sum(map(_weight, batch))
            if size > MOST_GATHERED:
                raise UpstreamFailed("the upstream's answer is too large for a client that does not read a stream")
            pieces += batch
            events += delivery.events(batch)
        events += delivery.end()
        return delivery, pieces, events

    async def _stream(self, encoder: Encoder) -> AsyncIterator[bytes]:
        """The one generator of an answer: each read of the upstream becomes one write to the client."""
        try:
            source, delivery, ping = self._journey.source(), self._journey.delivery(), self._course.timing.ping
            sent = self._clock()
            while (pieces := await delivery.next_of(source, ping)) is not None:
                out = delivery.encode(pieces, encoder)
                if not out and self._clock() >= sent + ping:  # what the upstream says amounts to nothing
                    out = encoder.ping()
                if out:
                    self._delivered += len(out)
                    yield out
                    sent = self._clock()
                if delivery.failure is not None:
                    raise delivery.failure
            if out := b"".join(map(encoder.encode, delivery.end())):
                yield out
            self._exchange.outcome = "ok"
        except Exception as error:
            yield self._said(error, encoder.fail)
        finally:
            self.close()

    async def _late_stream(self, work: asyncio.Task[Response], encoder: Encoder) -> AsyncIterator[bytes]:
        """A stream whose status had to be sent before anything was known of the answer."""
        try:
            while not work.done():
                yield encoder.ping()
                await asyncio.wait({work}, timeout=self._course.timing.ping)
            try:
                work.result()
            except Exception as error:
                yield self._said(error, encoder.fail)
            else:
                async for out in self._stream(encoder):
                    yield out
        finally:
            self.close()

    def _headers(self, response: Response, content_type: str) -> dict[str, str]:
        return {
            "content-type": content_type,
            "request-id": self._exchange.id,
            **({"cache-control": "no-cache"} if content_type == "text/event-stream" else {}),
            **response.headers,
        }

    # ------------------------------------------------------------ bookkeeping

    def _said(self, error: Exception, say: Callable[[GatewayError], T]) -> T:
        """A failure as the protocol words it, which must not fail in its turn."""
        try:
            return say(self._journey.failed(error))
        except Exception as mistake:
            return say(self._journey.failed(mistake))

    async def _complete(self) -> None:
        try:
            if self._work is not None:
                await asyncio.wait({self._work})
            await self._journey.complete()
        finally:
            self._exchange.on_ask(None)
            self._course.tally.leave(self._exchange)
            self._done()


def _weight(piece: Piece) -> int:
    """The bytes that a piece takes, about."""
    return _OVERHEAD + len(piece.raw) + sum(_OVERHEAD + _characters(event) for event in piece.events)


def _characters(event: Event) -> int:
    return sum(len(member) for member in msgspec.structs.astuple(event) if isinstance(member, str))
