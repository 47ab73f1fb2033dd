"""The way of one exchange: down through the steps, out to the targets, and back to where its answer begins."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from penstock.calling import Calling
from penstock.deadlines import Deadlines
from penstock.delivery import Delivery
from penstock.errors import GatewayError, Internal, NotFound, UpstreamFailed
from penstock.events import BlockStart, BlockStop, Citation, Event, Signature, Text, Thinking, ToolInput
from penstock.exchange import Attempt, Exchange, Response, Target
from penstock.plan import Call, Plan, Upward
from penstock.protocol import Piece
from penstock.safety import Absent
from penstock.sending import mask_of, send
from penstock.sources import Generated, Source, Spawn, UpstreamStream, Whole, open_source, passed_headers
from penstock.tally import Tally
from penstock.upstream import Pool, UpstreamAnswer

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
    tally: Tally


class Journey:
    """One exchange on its way to an answer, which then comes from `source`."""

    def __init__(self, exchange: Exchange, course: Course, spawn: Spawn, clock: Callable[[], float]) -> None:
        """`spawn` starts a task that somebody owns."""
        self._exchange = exchange
        self._course = course
        self._calling = Calling(exchange, course.plan, course.team_plans)
        self._spawn = spawn
        self._clock = clock
        self._reached = -1
        self._answered_at = 1 << 29  # below every step
        self._answer: UpstreamAnswer | None = None
        self._source: Source | None = None
        exchange.on_identify(self._calling.switch)

    async def obtain(self) -> Response:
        """An answer that has begun: from a step, from an upstream, or from a step that mends a failure."""
        return await self._mended(self._resolve())

    async def _resolve(self) -> Response:
        return await self._up(await self._down() or await self._out())

    async def _up(self, response: Response) -> Response:
        """Show an answer to the steps above the place where it was given."""
        for call in self._calling.plan.upward(self._answered_at).on_response:
            made = await self._calling.call(call, self._exchange, response)
            changed = None if made is None else self._response(call, made)
            if changed is not None and changed is not response:
                response = changed
                await self._take_events(response, call)
        self._exchange.response = response
        return response

    async def _down(self) -> Response | None:
        """Ask each step in file order; the plan may change on the way, to a team's or to one without a step."""
        plan, calling = None, self._calling
        while plan is not calling.plan:
            plan = calling.plan
            for call in plan.on_request:
                if call.position <= self._reached:
                    continue
                self._reached = call.position
                made = await calling.call(call, self._exchange)
                if made is not None and (response := self._response(call, made)) is not None:
                    self._answered_at = call.position
                    await self._take_events(response, call)
                    return response
                if plan is not calling.plan:
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
                self.release()
                for call in self._calling.plan.on_failure:
                    await self._calling.call(call, self._exchange, attempt, failure)
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
        for call in self._calling.plan.on_attempt:
            await self._calling.call(call, self._exchange, attempt)
        if attempt.request is None:
            raise Internal("no step built the request for the upstream; the step 'translation' would")
        pool = self._course.pools[attempt.target.upstream]
        self._answer = answer = await send(self._exchange, attempt, attempt.request, pool)
        if self._exchange.operation == "count_tokens":
            body = await answer.read_all(pool.limits.total, pool.limits.idle)
            return Response(tokens=attempt.upstream.protocol.read_token_count(body))
        exchange = self._exchange
        self._source = source = await open_source(exchange, attempt, answer, pool, self._wanted(attempt), self._clock)
        await source.prefetch()
        if attempt.upstream.protocol.name != exchange.protocol.name:
            return Response()
        return Response(headers=passed_headers(answer.headers, mask_of(exchange, pool)))

    def _relays(self, attempt: Attempt, streamed: bool) -> bool:
        """Whether the upstream's bytes are what the client asked for: its format, and a stream or not."""
        same_format = attempt.upstream.protocol.name == self._exchange.protocol.name
        return same_format and streamed == self._exchange.request.stream

    def _wanted(self, attempt: Attempt) -> frozenset[type] | None:
        """The events worth decoding. All of them, unless bytes are relayed and nobody looks into blocks."""
        wanted = self._upward().wanted
        return wanted if self._relays(attempt, streamed=True) and not wanted & _BLOCK_EVENTS else None

    def _upward(self) -> Upward:
        """The way up for the events of the answer."""
        return self._calling.plan.upward(self._answered_at, self._exchange.muted)

    def _response(self, call: Call, made: object) -> Response | None:
        """What a hook has returned, if that is an answer; None if the step takes no part. Raises GatewayError."""
        if isinstance(made, Response):
            return made
        if isinstance(made, Absent):
            self._calling.leave_out(call)
        else:
            self._calling.broke(call, TypeError(f"it returned {made!r:.60}, which is no Response"))
        return None

    async def _take_events(self, response: Response, call: Call) -> None:
        """Make a step's own answer the source, if it has events."""
        blame = partial(self._calling.blame, call)
        events = response.events
        if events is None:
            return
        self.release()
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
            return await self._mend(self._calling.mistake(error))

    async def _mend(self, error: GatewayError) -> Response:
        """Let the steps above the failure make the error clearer, or answer instead. Raises what remains."""
        self.release()
        for call in self._calling.plan.upward(min(self._reached, self._answered_at)).on_error:
            changed = await self._calling.call(call, self._exchange, error)
            if isinstance(changed, GatewayError):
                error = changed
            elif changed is not None and (response := self._response(call, changed)) is not None:
                self._answered_at = call.position
                return await self._mended(self._given(response, call))
        raise error

    async def _given(self, response: Response, call: Call) -> Response:
        """An answer that a step gave in place of an error."""
        await self._take_events(response, call)
        return await self._up(response)

    def delivery(self) -> Delivery:
        """What carries the events of the answer up."""
        attempt = self._exchange.attempt
        streamed = isinstance(self._source, UpstreamStream)
        relay = self._answer is not None and attempt is not None and self._relays(attempt, streamed)
        sees_deltas = not relay or attempt is None or self._wanted(attempt) is None
        return Delivery(
            self._exchange,
            self._upward(),
            relay=relay,
            sees_deltas=sees_deltas,
            clock=self._clock,
            broke=self._listener_broke,
        )

    def _listener_broke(self, call: Call, error: Exception) -> Upward:
        """The way up without a listener that has broken. Raises GatewayError if that must not be."""
        self._calling.broke(call, error)
        return self._upward()

    def source(self) -> Source:
        """Where the pieces of the answer come from. Raises Internal if there are none."""
        if self._source is None:
            raise Internal("a step gave an answer without events")
        return self._source

    def release(self) -> None:
        """Close what the answer comes from."""
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def failed(self, error: Exception) -> GatewayError:
        """Note how the exchange has ended, with an error for the client."""
        failure = error if isinstance(error, GatewayError) else self._calling.mistake(error)
        if (attempt := self._exchange.attempt) is not None:
            failure.conceal(mask_of(self._exchange, self._course.pools[attempt.target.upstream]))
        self._exchange.error = failure
        self._exchange.outcome = "error"
        return failure

    async def complete(self) -> None:
        """Call the `on_complete` of each step that the request has reached."""
        try:
            self.release()  # what cancelled work may have opened meanwhile
            for call in self._calling.completing:
                if call.position <= self._reached:
                    await self._calling.complete(call)
        finally:
            self._exchange.on_identify(None)  # a cycle would keep the bodies until the next garbage collection


def _listed(events: Iterable[Event], blame: Callable[[Exception], GatewayError]) -> list[Event]:
    try:
        return list(events)
    except GatewayError:
        raise
    except Exception as error:
        raise blame(error) from error
