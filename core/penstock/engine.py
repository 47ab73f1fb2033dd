"""Run one exchange along a plan: down through the steps, out to the targets, and the answer up to the client."""

import asyncio
import traceback
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import reduce
from logging import getLogger
from typing import Any, NamedTuple, TypeVar

import msgspec

from penstock.deadlines import Deadlines
from penstock.delivery import Delivery
from penstock.errors import (
    Forbidden,
    GatewayError,
    Internal,
    NotFound,
    RawError,
    Unauthenticated,
    UpstreamFailed,
)
from penstock.events import BlockStart, BlockStop, Citation, Event, Signature, Text, Thinking, ToolInput
from penstock.exchange import Attempt, Exchange, Response, Target
from penstock.plan import Call, Plan
from penstock.protocol import Encoder, Piece
from penstock.sources import Generated, Source, Spawn, UpstreamStream, Whole, open_source, passed_headers
from penstock.upstream import Pool, UpstreamAnswer

T = TypeVar("T")

log = getLogger("penstock")

_BLOCK_EVENTS = frozenset({BlockStart, BlockStop, Text, Thinking, Signature, ToolInput, Citation})


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: between signs of life to a waiting client, and until a silent stream's status is sent anyway."""

    ping: float = 15.0
    commit_after: float = 10.0


class Course(NamedTuple):
    """What an exchange needs of the pipeline it runs in."""

    plan: Plan
    team_plans: Mapping[str, Plan]
    pools: Mapping[str, Pool]
    timing: Timing
    deadlines: Deadlines


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
        self._plan = course.plan
        self._spawn = spawn
        self._clock = clock
        self._done = done
        self._reached = -1
        self._answered_at = 1 << 29  # below every step
        self._answer: UpstreamAnswer | None = None
        self._source: Source | None = None
        self._work: asyncio.Task[Response] | None = None
        self._closed = False
        exchange.on_identify(self._switch_plan)

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
        self._release()
        exchange = self._exchange
        exchange.ended = self._clock()
        if exchange.outcome == "open":  # after its end an answer lacks nothing, even if its stream is still open
            exchange.outcome = "ok" if exchange.stop_reason else "cancelled"
        self._spawn(self._complete(), f"complete {exchange.id}")

    async def _streamed(self) -> Reply:
        encoder = self._exchange.protocol.encoder(self._exchange)
        self._work = work = self._spawn(self._obtain(), f"obtain {self._exchange.id}")
        with suppress(TimeoutError), self._course.deadlines.within(self._course.timing.commit_after):
            await asyncio.wait({work})
        if work.done():
            response, headers = work.result(), self._headers(work.result(), encoder.content_type)
            self._require_source()
            return Reply(response.status, headers, self._stream(encoder))
        return Reply(200, self._headers(Response(), encoder.content_type), self._late_stream(work, encoder))

    async def _whole(self) -> Reply:
        protocol, exchange = self._exchange.protocol, self._exchange
        response = await self._obtain()
        if response.models is not None:
            body = protocol.models(response.models, exchange.headers)
        elif response.tokens is not None:
            body = protocol.token_count(response.tokens)
        else:
            body = await self._folded()
        exchange.outcome = "ok"
        self._release()
        return Reply(response.status, self._headers(response, "application/json"), body)

    async def _folded(self) -> bytes:
        source, delivery = self._require_source(), self._delivery()
        pieces: list[Piece] = []
        events: list[Event] = []
        while (batch := await delivery.next_of(source, 3600.0)) is not None:
            pieces += batch
            events += delivery.events(batch)
        events += delivery.end()
        return delivery.unchanged(pieces, events) or self._exchange.protocol.fold(self._exchange, events)

    async def _stream(self, encoder: Encoder) -> AsyncIterator[bytes]:
        """The one generator of an answer: each read of the upstream becomes one write to the client."""
        try:
            source, delivery, ping = self._require_source(), self._delivery(), self._course.timing.ping
            sent = self._clock()
            while (pieces := await delivery.next_of(source, ping)) is not None:
                out = delivery.encode(pieces, encoder)
                if not out and self._clock() >= sent + ping:  # what the upstream says amounts to nothing
                    out = encoder.ping()
                if out:
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

    # ------------------------------------------------------------ down, out, and back

    async def _obtain(self) -> Response:
        """An answer that has begun: from a step, from an upstream, or from a step that mends a failure."""
        return await self._mended(self._resolve())

    async def _resolve(self) -> Response:
        return await self._up(await self._down() or await self._out())

    async def _up(self, response: Response) -> Response:
        """Show an answer to the steps above the place where it was given."""
        for call in self._plan.upward(self._answered_at).on_response:
            changed = await self._hook(call, self._exchange, response)
            if changed is not None and changed is not response:
                response = changed
                await self._take_events(response, call.step)
        self._exchange.response = response
        return response

    async def _down(self) -> Response | None:
        """Ask each step in file order; `identify` may switch to a team's plan on the way."""
        plan = None
        while plan is not self._plan:
            plan = self._plan
            for call in plan.on_request:
                if call.position <= self._reached:
                    continue
                self._reached = call.position
                response: Response | None = await self._hook(call, self._exchange)
                if response is not None:
                    self._answered_at = call.position
                    await self._take_events(response, call.step)
                    return response
                if plan is not self._plan:
                    break
        self._reached = 1 << 29
        return None

    async def _out(self) -> Response:
        """Try the targets in order until one has begun to answer."""
        error: GatewayError | None = None
        targets = self._targets()
        for number, target in enumerate(targets, 1):
            attempt = Attempt(number, target, self._exchange.upstreams[target.upstream])
            self._exchange.attempts.append(attempt)
            started = self._clock()
            try:
                return await self._try(attempt)
            except GatewayError as failure:
                error = attempt.error = failure
                self._release()
                for call in self._plan.on_failure:
                    await self._hook(call, self._exchange, attempt, failure)
                if not failure.retryable:
                    break
            finally:
                attempt.seconds = self._clock() - started
        assert error is not None  # there is at least one target
        raise error

    def _targets(self) -> list[Target]:
        exchange = self._exchange
        if exchange.operation == "list_models":
            raise NotFound("this pipeline lists no models; the step 'models' would")
        if not exchange.targets and len(exchange.upstreams) == 1:
            return [Target(next(iter(exchange.upstreams)))]
        if not exchange.targets:
            raise NotFound(f"no step of the pipeline says where model {exchange.request.model!r} goes")
        return exchange.targets

    async def _try(self, attempt: Attempt) -> Response:
        if attempt.upstream.missing:
            raise UpstreamFailed(f"upstream {attempt.upstream.name!r} cannot be used: {attempt.upstream.missing}")
        for call in self._plan.on_attempt:
            await self._hook(call, self._exchange, attempt)
        if attempt.request is None:
            raise Internal("no step built the request for the upstream; the step 'translation' would")
        pool = self._course.pools[attempt.target.upstream]
        self._answer = answer = await pool.send(attempt.request, self._own_credential(attempt, pool))
        attempt.status = answer.status
        attempt.request_id = answer.headers.get("request-id") or answer.headers.get("x-request-id", "")
        if not 200 <= answer.status < 300:
            await self._refused(attempt, answer, pool)
        if self._exchange.operation == "count_tokens":
            body = await answer.read_all(pool.limits.total, pool.limits.idle)
            return Response(tokens=attempt.upstream.protocol.read_token_count(body))
        exchange = self._exchange
        self._source = source = await open_source(exchange, attempt, answer, pool, self._wanted(attempt), self._clock)
        await source.prefetch()
        same_format = attempt.upstream.protocol.name == exchange.protocol.name
        return Response(status=200, headers=passed_headers(answer.headers, self._mask(pool)) if same_format else {})

    async def _refused(self, attempt: Attempt, answer: UpstreamAnswer, pool: Pool) -> None:
        text = (await answer.read_all(30.0, pool.limits.idle)).decode(errors="replace")
        body = self._mask(pool)(text).encode()
        error = attempt.upstream.protocol.read_error(answer.status, answer.headers, body)
        if pool.by_client and answer.status in (401, 403):  # it is not the gateway that was refused
            raw = RawError(attempt.upstream.protocol.name, answer.status, answer.headers, body)
            kind = Unauthenticated if answer.status == 401 else Forbidden
            raise kind(error.message, detail=error.detail, should_retry=False, raw=raw)
        raise error

    def _own_credential(self, attempt: Attempt, pool: Pool) -> dict[str, str]:
        """What an upstream gets that is used with the client's own credential. Raises Unauthenticated for none."""
        credential = self._exchange.client_credentials if pool.by_client else {}
        if pool.by_client and not credential:
            header = "in `x-api-key` or `authorization: Bearer ...`, whichever does not hold a key of this gateway"
            wanted = f"upstream {attempt.upstream.name!r} is used with a key of your own: send it {header}"
            raise Unauthenticated(wanted, should_retry=False)
        return credential

    def _mask(self, pool: Pool) -> Callable[[str], str]:
        """Takes out of a text what an upstream may quote: its key, or the client's own."""
        own = self._exchange.client_credentials.values() if pool.by_client else ()
        secrets = [value.split()[-1] for value in own]
        return lambda text: reduce(lambda text, secret: text.replace(secret, "***"), secrets, pool.mask(text))

    def _relays(self, attempt: Attempt, streamed: bool) -> bool:
        """Whether the upstream's bytes are what the client asked for: its format, and a stream or not."""
        same_format = attempt.upstream.protocol.name == self._exchange.protocol.name
        return same_format and streamed == self._exchange.request.stream

    def _wanted(self, attempt: Attempt) -> frozenset[type] | None:
        """The events worth decoding. All of them, unless bytes are relayed and nobody looks into blocks."""
        wanted = self._plan.upward(self._answered_at, self._exchange.muted).wanted
        return wanted if self._relays(attempt, streamed=True) and not wanted & _BLOCK_EVENTS else None

    async def _take_events(self, response: Response, step: str) -> None:
        """Make a step's own answer the source, if it has events."""

        def blame(error: Exception) -> GatewayError:
            return self._blame(step, error)

        events = response.events
        if events is None:
            return
        self._release()
        if isinstance(events, AsyncIterable):
            self._source = Generated(events, self._spawn, blame)
        else:
            self._source = Whole([Piece(_listed(events, blame), b"")])
        await self._source.prefetch()

    async def _mended(self, answering: Awaitable[Response]) -> Response:
        """What comes of an attempt to answer, or what the steps above make of its failure."""
        try:
            return await answering
        except GatewayError as error:
            return await self._mend(error)
        except Exception as error:
            return await self._mend(self._blame("", error))

    async def _mend(self, error: GatewayError) -> Response:
        """Let the steps above the failure make the error clearer, or answer instead. Raises what remains."""
        self._release()
        for call in self._plan.upward(min(self._reached, self._answered_at)).on_error:
            changed = await self._hook(call, self._exchange, error)
            if isinstance(changed, GatewayError):
                error = changed
            elif changed is not None:
                self._answered_at = call.position
                return await self._mended(self._given(changed, call.step))
        raise error

    async def _given(self, response: Response, step: str) -> Response:
        """An answer that a step gave in place of an error."""
        await self._take_events(response, step)
        return await self._up(response)

    # ------------------------------------------------------------ bookkeeping

    def _delivery(self) -> Delivery:
        attempt = self._exchange.attempt
        streamed = isinstance(self._source, UpstreamStream)
        relay = self._answer is not None and attempt is not None and self._relays(attempt, streamed)
        sees_deltas = not relay or attempt is None or self._wanted(attempt) is None
        upward = self._plan.upward(self._answered_at, self._exchange.muted)
        return Delivery(
            self._exchange, upward, relay=relay, sees_deltas=sees_deltas, clock=self._clock, blame=self._blame
        )

    def _require_source(self) -> Source:
        if self._source is None:
            raise Internal("a step gave an answer without events")
        return self._source

    async def _hook(self, call: Call, *arguments: Any) -> Any:
        """Call one implementation, plain or async. Raises GatewayError only."""
        try:
            result = call.function(*arguments)
            return await result if hasattr(result, "__await__") else result
        except GatewayError:
            raise
        except Exception as error:
            raise self._blame(call.step, error) from error

    def _blame(self, step: str, error: Exception) -> GatewayError:
        """A mistake in a step (or, with no step, in the core) as an error; the log has the place."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown place"
        where = f"step {step!r}" if step else "the gateway"
        log.error("%s: mistake in %s at %s", self._exchange.id, where, place, exc_info=error)
        detail = f"{type(error).__name__}: {error} ({place})"
        return Internal(f"internal error in {where}; the log has request {self._exchange.id}", detail=detail)

    def _failed(self, error: Exception) -> GatewayError:
        """Note how the exchange has ended, with an error for the client."""
        failure = error if isinstance(error, GatewayError) else self._blame("", error)
        if (attempt := self._exchange.attempt) is not None:
            failure.conceal(self._mask(self._course.pools[attempt.target.upstream]))
        self._exchange.error = failure
        self._exchange.outcome = "error"
        return failure

    def _said(self, error: Exception, say: Callable[[GatewayError], T]) -> T:
        """A failure as the protocol words it, which must not fail in its turn."""
        try:
            return say(self._failed(error))
        except Exception as mistake:
            return say(self._failed(self._blame("", mistake)))

    def _switch_plan(self, team: str) -> None:
        self._plan = self._course.team_plans.get(team, self._plan)

    def _release(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    async def _complete(self) -> None:
        try:
            if self._work is not None:
                await asyncio.wait({self._work})
                self._release()  # what the cancelled work may have opened meanwhile
            for call in self._plan.on_complete:
                if call.position <= self._reached:
                    await self._complete_step(call)
        finally:
            self._exchange.on_identify(None)  # a cycle would keep the bodies until the next garbage collection
            self._done()

    async def _complete_step(self, call: Call) -> None:
        try:
            await self._hook(call, self._exchange)
        except GatewayError as error:
            log.error("%s: on_complete of step %r: %s", self._exchange.id, call.step, error.message)


def _listed(events: Iterable[Event], blame: Callable[[Exception], GatewayError]) -> list[Event]:
    try:
        return list(events)
    except GatewayError:
        raise
    except Exception as error:
        raise blame(error) from error
