"""The way up: pieces of an answer through the listeners and the validator to the client's bytes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import is_

from msgspec.structs import replace

from penstock.errors import GatewayError
from penstock.events import Event, Failed, Finish, Start, Text, Usage
from penstock.exchange import Exchange
from penstock.plan import EVENTS, Call, Listeners, Upward
from penstock.protocol import Encoder, Piece
from penstock.sources import SILENCE, Source
from penstock.validator import Validator

_NOTED: frozenset[type] = frozenset({Start, Usage, Finish})
_COUNTS = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "searches")
_MOST = 10**9  # tokens: no answer has more


class Delivery:
    """Carries one answer up. Listeners see an event before the validator does; texts that came together are one."""

    def __init__(
        self,
        exchange: Exchange,
        upward: Upward,
        *,
        relay: bool,
        sees_deltas: bool,
        clock: Callable[[], float],
        broke: Callable[[Call, Exception], Upward],
    ) -> None:
        """`relay`: unchanged pieces leave as their bytes. `broke` says who listens without a step that broke."""
        self._exchange = exchange
        self._upward = upward
        self._listeners = upward.listeners
        self._relay = relay
        self._clock = clock
        self._broke = broke
        self._validator = Validator(sees_deltas=sees_deltas, repairs=exchange.repairs)
        self.failure: GatewayError | None = None

    @property
    def complete(self) -> bool:
        """Whether the answer's Finish has come; all that is missing is the end of the stream."""
        return bool(self._exchange.stop_reason)

    async def next_of(self, source: Source, seconds: float) -> Sequence[Piece] | None:
        """The source's next pieces, None at the end. Raises GatewayError.

        A complete answer lacks nothing: if its stream stays open it gets a second, and how it ends does not matter.
        """
        if not self.complete:
            return await source.read(seconds)
        try:
            pieces = await source.read(min(seconds, 1.0))
        except GatewayError:
            return None
        return None if pieces is SILENCE else pieces

    def events(self, pieces: Sequence[Piece]) -> list[Event]:
        """The pieces' events as they leave. Raises GatewayError."""
        self._note_time(pieces)
        events = [event for piece in pieces for event in self._passed(piece.events)]
        if self.failure is not None:
            raise self.failure
        return events

    def encode(self, pieces: Sequence[Piece], encoder: Encoder) -> bytes:
        """The pieces as the client's bytes, in one write; up to the `failure`, if one of them brings it."""
        self._note_time(pieces)
        out: list[bytes] = []
        try:
            for piece in pieces:
                if not piece.events:
                    out.append(piece.raw if self._relay else b"")
                    continue
                relayed = self._relay and piece.raw
                leaving = self._passed(piece.events if relayed else _joined(piece.events))
                if relayed and _same(leaving, piece.events):
                    out.append(piece.raw)
                else:
                    out += map(encoder.encode, leaving)
        except GatewayError as error:
            self.failure = error
        return b"".join(out)

    def unchanged(self, pieces: Sequence[Piece], events: Sequence[Event]) -> bytes | None:
        """The body of a whole answer that may leave as it came, else None."""
        if not self._relay or len(pieces) != 1 or not pieces[0].raw:
            return None
        return pieces[0].raw if _same(events, pieces[0].events) else None

    def end(self) -> list[Event]:
        """What is missing at the end of the answer. Raises UpstreamFailed when it cannot be mended."""
        return self._validator.end()

    def _passed(self, events: Iterable[Event]) -> list[Event]:
        out: list[Event] = []
        check = self._validator.check
        for event in events:
            kind = type(event)
            if kind is Failed:
                self.failure = event.error  # type: ignore[union-attr]
                break
            if kind in _NOTED:
                self._note(event)
            listeners = self._listeners.get(kind)
            if listeners is None:
                out += check(event)
                continue
            for heard in self._heard(event, listeners):
                out += check(heard)
        return out

    def _heard(self, event: Event, listeners: Listeners) -> Sequence[Event]:
        """The event after its listeners; what one of them makes goes on to those above it."""
        exchange, function = self._exchange, None
        try:
            for function in listeners.functions:
                if (result := function(exchange, event)) is not None:
                    break
            else:
                return (event,)
            made = (result,) if type(result) in EVENTS else tuple(result)
        except GatewayError:
            raise
        except Exception as error:
            return self._without(_of(function, listeners), event, error)
        return self._made(_of(function, listeners), event, made)

    def _without(self, call: Call, event: Event, error: Exception) -> Sequence[Event]:
        """The event after the listeners above one that has broken, which hears no more. May raise instead."""
        self._upward = self._broke(call, error)
        self._listeners = self._upward.listeners
        return self._heard(event, self._upward.above(call.position, type(event)))

    def _made(self, call: Call, event: Event, made: Sequence[Event]) -> Sequence[Event]:
        if not all(type(new) in EVENTS for new in made):
            return self._without(call, event, TypeError("on_event made something that is not an event"))
        above = self._upward.above
        return [heard for new in made for heard in self._heard(new, above(call.position, type(new)))]

    def _note_time(self, pieces: Sequence[Piece]) -> None:
        if self._exchange.first_event is None and pieces and pieces is not SILENCE:
            self._exchange.first_event = self._clock()

    def _note(self, event: Event) -> None:
        exchange = self._exchange
        match event:
            case Start(model=model, usage=usage):
                exchange.served_model = model or exchange.served_model
                exchange.usage = _plausible(usage)
            case Usage():
                exchange.usage = _plausible(event)
            case Finish(reason=reason):
                exchange.stop_reason = reason


def _plausible(usage: Usage) -> Usage:
    """The counts as they may be: money and limits hang on them, and an upstream may have written anything."""
    wrong = {name: count for name in _COUNTS if not 0 <= (count := getattr(usage, name)) <= _MOST}
    return replace(usage, **{name: min(max(count, 0), _MOST) for name, count in wrong.items()}) if wrong else usage


def _joined(events: Sequence[Event]) -> Iterator[Event]:
    """Neighbouring texts of a block as one: what came together leaves together, in fewer and shorter frames."""
    waiting: list[str] = []
    index = -1
    for event in events:
        if type(event) is Text and (event.index == index or not waiting):
            index = event.index
            waiting.append(event.text)
            continue
        if waiting:
            yield Text(index, "".join(waiting))
            waiting = []
        if type(event) is Text:
            index = event.index
            waiting.append(event.text)
        else:
            yield event
    if waiting:
        yield Text(index, "".join(waiting))


def _same(leaving: Sequence[Event], came: Sequence[Event]) -> bool:
    return len(leaving) == len(came) and all(map(is_, leaving, came))


def _of(function: object, listeners: Listeners) -> Call:
    return next(call for call in listeners.calls if call.function is function)
