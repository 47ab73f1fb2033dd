"""Answers on their way through the gateway to the official client of the Messages format, without a network."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import anthropic
from anthropic._streaming import SSEDecoder
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import strategies as st
from pydantic import TypeAdapter

from penstock import Attempt, Exchange, Internal, Piece, Target, Upstream
from penstock.delivery import Delivery
from penstock.plan import Call, Upward
from penstock.testing import assert_valid_stream
from tests.protocols.golden import exchange_for, prompt_of
from tests.protocols.scripts import TOOLS, Script, scripts
from tests.protocols.wires.wire import Wire, arriving, dumped

Message = dict[str, Any]

_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_MESSAGE = TypeAdapter(anthropic.types.Message)


class Answer(NamedTuple):
    """A script in the bytes of a format: streamed, in the pieces in which it arrives, and whole."""

    wire: Wire
    script: Script
    quirks: Any
    pieces: Sequence[bytes]
    body: bytes
    target: Target
    id: str

    @property
    def exchange(self) -> Exchange:
        """An exchange that this upstream is answering."""
        exchange = exchange_for(self.wire.protocol, prompt_of({"tools": [{"name": name} for name in TOOLS]}))
        upstream = Upstream(name=self.target.upstream, protocol=self.wire.protocol)
        exchange.attempts.append(Attempt(2, self.target, upstream))
        exchange.id = self.id
        return exchange


@st.composite
def answers(draw: st.DrawFn, wire: Wire, target: Target = Target("up", "m"), id: str = "0") -> Answer:  # noqa: B008
    """Any answer of a format, by a target's model; `id` is in the ids of its calls."""
    noise = draw(st.randoms(use_true_random=True))
    script = wire.tidy(draw(scripts(wire.parts, wire.reasons, id)))
    quirks = wire.quirks(noise)
    names = wire_names(wire, quirks)
    stream = wire.stream(script, names, noise)
    body = dumped(wire.body(script, names, noise), noise).encode()
    return Answer(wire, script, quirks, arriving(stream, noise), body, target, f"req_{id}")


def wire_names(wire: Wire, quirks: Any) -> Mapping[str, str]:
    """What the upstream calls the tools, told from a request."""
    exchange = exchange_for(wire.protocol, prompt_of({"tools": [{"name": name} for name in TOOLS]}))
    if wire.protocol.name == exchange.protocol.name:
        return {name: name for name in TOOLS}
    assert exchange.attempt is not None
    body = json.loads(wire.protocol.render(exchange, exchange.attempt.target, quirks).body)
    return dict(zip(TOOLS, wire.tool_names(body), strict=True))


# ---------------------------------------------------------------- through the gateway


def streamed(answer: Answer, *, relay: bool = False) -> tuple[bytes, Exchange]:
    """The client's bytes for a streamed answer, and its exchange afterwards. Raises GatewayError."""
    exchange = answer.exchange
    decoder = answer.wire.protocol.decoder(exchange, None, answer.quirks)
    encoder = exchange.protocol.encoder(exchange)
    delivery = _delivery(exchange, relay)
    out: list[bytes] = []

    def deliver(pieces: Sequence[Piece]) -> None:
        out.append(delivery.encode(pieces, encoder))
        if delivery.failure is not None:
            raise delivery.failure

    for chunk in answer.pieces:
        deliver(decoder.feed(chunk))
    deliver(decoder.end())
    out += map(encoder.encode, delivery.end())
    return b"".join(out), exchange


def folded(answer: Answer) -> tuple[Message, Exchange]:
    """The client's message for a whole answer, and its exchange afterwards. Raises GatewayError."""
    exchange = answer.exchange
    delivery = _delivery(exchange, relay=False)
    events = answer.wire.protocol.read_answer(exchange, answer.body, answer.quirks)
    passed = [*delivery.events([Piece(events, answer.body)]), *delivery.end()]
    return json.loads(exchange.protocol.fold(exchange, passed)), exchange


def _delivery(exchange: Exchange, relay: bool) -> Delivery:
    def broke(call: Call, error: Exception) -> Upward:
        raise Internal(f"{call.step}: {error}")

    upward = Upward((), (), {})
    return Delivery(exchange, upward, relay=relay, sees_deltas=True, clock=time.monotonic, broke=broke)


# ---------------------------------------------------------------- at the client


def check_message(message: Message) -> None:
    """That the official client can read a whole answer."""
    _MESSAGE.validate_python(message)


def accumulated(stream: bytes) -> Message:
    """The message that the official client makes of a stream, every event of which must be in order and valid."""
    assert_valid_stream(stream)
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for record in _records(stream):
        _EVENT.validate_python(record)
        snapshot = accumulate_event(event=cast(Any, record), current_snapshot=snapshot, json_bufs=buffers)
    return cast(Message, snapshot.to_dict())


def _records(stream: bytes) -> Iterable[Any]:
    for event in SSEDecoder().iter_bytes(iter([stream])):
        record = json.loads(event.data)
        assert event.event == record["type"]
        if record["type"] != "ping":
            yield record
