"""Whatever a model answers, in whatever format: kept and given again, it is the same message, streamed or whole."""

import json
import time
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock import Event, Exchange, Internal, Piece
from penstock.delivery import Delivery
from penstock.plan import EVENTS, Call, Upward
from penstock.timings import Timer
from penstock_cache.entry import Entry, entry_of, replay
from penstock_cache.recording import Recording
from tests.protocols.answers import Answer, Message, accumulated, answers, check_message
from tests.protocols.scripts import budget
from tests.protocols.wires.all import for_each_wire
from tests.protocols.wires.wire import Wire

LARGEST = 10_000_000
COMPLETE = ("end_turn", "tool_use", "stop_sequence")


def delivery(exchange: Exchange, recording: Recording | None = None) -> Delivery:
    """An answer's way to the client, past the recording."""

    def broke(call: Call, error: Exception) -> Upward:
        raise Internal(f"{call.step}: {error!r}")

    calls = (Call(0, "cache", lambda _, event: recording.add(event), Timer()),) if recording else ()
    upward = Upward((), (), dict.fromkeys(EVENTS, calls) if calls else {})
    return Delivery(exchange, upward, relay=False, sees_deltas=True, clock=time.monotonic, broke=broke)


def original(answer: Answer, *, stream: bool) -> tuple[Message, Exchange, Entry]:
    """The message that the first client gets, its exchange, and what is kept of it, as a store gives it back."""
    exchange = answer.exchange
    exchange.attempts = exchange.attempts[-1:]
    recording = Recording(LARGEST, tool_calls=True)
    message = (_streamed if stream else _whole)(answer, exchange, delivery(exchange, recording))
    exchange.outcome = "ok"
    entry = entry_of(exchange, recording, exchange.request.model, {})
    assert entry is not None
    return message, exchange, msgspec.json.decode(msgspec.json.encode(entry), type=Entry)


def _streamed(answer: Answer, exchange: Exchange, way: Delivery) -> Message:
    decoder = answer.wire.protocol.decoder(exchange, None, answer.quirks)
    encoder = exchange.protocol.encoder(exchange)
    out = [way.encode(decoder.feed(chunk), encoder) for chunk in answer.pieces]
    out += [way.encode(decoder.end(), encoder), *map(encoder.encode, way.end())]
    assert way.failure is None
    return accumulated(b"".join(out))


def _whole(answer: Answer, exchange: Exchange, way: Delivery) -> Message:
    events = answer.wire.protocol.read_answer(exchange, answer.body, answer.quirks)
    passed = [*way.events([Piece(events, answer.body)]), *way.end()]
    return _message(exchange, passed)


def _message(exchange: Exchange, events: Iterable[Event]) -> Message:
    message: Message = json.loads(exchange.protocol.fold(exchange, events))
    check_message(message)
    return message


def again(answer: Answer, entry: Entry, *, stream: bool) -> tuple[Message, Exchange]:
    """The message that the next client gets of what was kept, and its exchange."""
    exchange = answer._replace(id="req_another").exchange
    exchange.attempts = []
    events = replay(exchange, entry).events
    assert isinstance(events, list)
    way = delivery(exchange)
    if not stream:
        return _message(exchange, [*way.events([Piece(events, b"")]), *way.end()]), exchange
    encoder = exchange.protocol.encoder(exchange)
    out = [way.encode([Piece(events, b"")], encoder), *map(encoder.encode, way.end())]
    return accumulated(b"".join(out)), exchange


def said(message: Message) -> dict[str, Any]:
    """What a stream and a whole answer both say, however the official client spells what is not there."""
    kept = ("id", "model", "role", "content", "stop_reason", "stop_sequence")
    return {name: message.get(name) for name in kept}


@for_each_wire
@budget(0.3)
@given(data=st.data())
def test_a_replay_is_the_original(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire).filter(lambda drawn: drawn.script.reason in COMPLETE))
    stream = data.draw(st.booleans())
    message, exchange, entry = original(answer, stream=stream)
    same, replayed = again(answer, entry, stream=stream)
    other, _ = again(answer, entry, stream=not stream)
    assert same == message
    assert said(other) == said(message)
    assert replayed.repairs == exchange.repairs == {}
    assert (replayed.usage, replayed.served_model) == (exchange.usage, exchange.served_model)
    assert (replayed.cached, replayed.cost) == (True, None)


@for_each_wire
@budget(0.1)
@given(data=st.data())
def test_what_was_cut_short_is_not_kept(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire).filter(lambda drawn: drawn.script.reason not in COMPLETE))
    exchange = answer.exchange
    recording = Recording(LARGEST, tool_calls=True)
    _streamed(answer, exchange, delivery(exchange, recording))
    exchange.outcome = "ok"
    assert exchange.stop_reason not in COMPLETE
    assert entry_of(exchange, recording, exchange.request.model, {}) is None


@for_each_wire
@budget(0.1)
@given(data=st.data())
def test_an_answer_that_has_not_ended_well_is_not_kept(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    exchange = answer.exchange
    recording = Recording(LARGEST, tool_calls=True)
    decoder = answer.wire.protocol.decoder(exchange, None, answer.quirks)
    encoder = exchange.protocol.encoder(exchange)
    way = delivery(exchange, recording)
    for chunk in answer.pieces[: data.draw(st.integers(0, len(answer.pieces)))]:
        way.encode(decoder.feed(chunk), encoder)
    exchange.outcome = data.draw(st.sampled_from(["open", "error", "cancelled"]))
    assert entry_of(exchange, recording, exchange.request.model, {}) is None
