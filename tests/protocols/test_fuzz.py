"""Whatever bytes an upstream or a client sends: an answer or a GatewayError, soon. Longer with `make fuzz`."""

import gc
import json
import timeit
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random
from time import process_time
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Event, Failed, GatewayError, Piece, Usage
from penstock.validator import Validator
from penstock_translation.gemini.tools import reduced_schema
from penstock_translation.seals import maker_of, seal
from tests.protocols.answers import Answer, answers, folded
from tests.protocols.conversations import TARGET, Conversation, conversations
from tests.protocols.exchanges import PROTOCOL
from tests.protocols.hostile import BODIES, PROMPTS, STREAMS
from tests.protocols.scripts import EXAMPLES, Script, budget, jsons
from tests.protocols.wires.all import for_each_wire
from tests.protocols.wires.wire import Wire, arriving

_TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b"null", b"true", b"-1", b"1e999", b"{}", b"[]", b'""', b":", b",", b"0"),
    *(b"\n\n", b"\r", b"data:", b"data: ", b"event: error\n", b"[DONE]", b"\xff", b"\xc3", b"\\ud800", b"\x00"),
)
_NAMES = ("item", "phase", "extra_content", "reasoning_details", "call", "text", "part", "signature", "id", "type")
_SEALED = st.dictionaries(st.sampled_from(_NAMES), jsons | st.dictionaries(st.sampled_from(_NAMES), jsons), max_size=3)
_NESTED = b'{"a":' * 500


@st.composite
def mutations(draw: st.DrawFn, valid: bytes) -> bytes:
    """Valid bytes with a few parts cut out, doubled, moved or replaced."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(valid)))
        end = min(len(valid), start + draw(st.integers(0, 40)))
        new = draw(st.sampled_from((*_TOKENS, _NESTED, valid[start:end] * 2, b"")) | st.binary(max_size=6))
        valid = valid[:start] + new + valid[end:]
    return valid


def events_of(wire: Wire, answer: Answer, chunks: Iterable[bytes]) -> tuple[list[Event], str]:
    """What comes of a stream, as far as it goes, and how it fails if it does."""
    events: list[Event] = []
    validator = Validator()
    decoder = wire.protocol.decoder(answer.exchange, None, answer.quirks)
    encoder = PROTOCOL.encoder(answer.exchange)

    def take(pieces: list[Piece]) -> None:
        for event in (event for piece in pieces for event in piece.events):
            if isinstance(event, Failed):
                raise event.error
            events.append(event)
            for passed in validator.check(event):
                encoder.encode(passed)

    try:
        for chunk in chunks:
            take(decoder.feed(chunk))
        take(decoder.end())
    except GatewayError as error:
        return events, error.message
    return events, ""


@for_each_wire
@budget(0.25)
@given(data=st.data())
def test_damaged_streams(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    damaged = data.draw(mutations(b"".join(answer.pieces)))
    pieces = arriving(damaged, Random(len(damaged)))
    (events, error), (at_once, same_error) = events_of(wire, answer, pieces), events_of(wire, answer, [damaged])
    assert error == same_error
    if error:  # how much of the answer is out by then is a matter of luck
        events = events[: len(at_once)]
        at_once = at_once[: len(events)]
    assert events == at_once


@for_each_wire
@budget(0.15)
@given(data=st.data())
def test_damaged_answers(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    damaged = data.draw(mutations(answer.body))
    with suppress(GatewayError):
        folded(answer._replace(body=damaged))


@for_each_wire
@budget(0.15)
@given(data=st.data())
def test_any_bytes(wire: Wire, data: st.DataObject) -> None:
    words = st.lists(st.sampled_from(_TOKENS) | st.binary(max_size=8), max_size=20).map(b"".join)
    answer, damaged = blank(wire), data.draw(words)
    events_of(wire, answer, [damaged])
    with suppress(GatewayError):
        wire.protocol.read_answer(answer.exchange, damaged, answer.quirks)
    with suppress(GatewayError):
        assert not wire.protocol.counts_tokens or wire.protocol.read_token_count(damaged) >= 0
    with suppress(GatewayError):
        assert PROTOCOL.read(damaged, {}).prompt is not None
    for status in (400, 401, 429, 500, 529):
        error = wire.protocol.read_error(status, {"retry-after": damaged.decode("latin-1")}, damaged)
        assert error.message


@for_each_wire
@budget(0.15)
@given(data=st.data())
def test_damaged_requests(wire: Wire, data: st.DataObject) -> None:
    conversation: Conversation = data.draw(conversations(wire, ()))
    damaged = data.draw(mutations(json.dumps(conversation.document).encode()))
    quirks = wire.quirks(Random(0))
    exchange = conversation.exchange(wire, quirks)
    with suppress(GatewayError):
        exchange.request = PROTOCOL.read(damaged, {})
        wire.protocol.render(exchange, TARGET, quirks)
        assert exchange.request.prompt is not None


@for_each_wire
@budget(0.3)
@given(data=st.data())
def test_forged_seals(wire: Wire, data: st.DataObject) -> None:
    """A client can write whatever it likes into a seal."""
    exchange = Conversation({"model": "m", "messages": []}).exchange(wire, quirks := wire.quirks(Random(0)))
    texts = data.draw(st.lists(_SEALED.map(lambda value: seal(maker_of(exchange, TARGET), json.dumps(value).encode()))))
    blocks: list[dict[str, object]] = [{"type": "thinking", "thinking": "x", "signature": text} for text in texts]
    blocks += ({"type": "redacted_thinking", "data": text} for text in texts)
    blocks += ({"type": "tool_use", "id": f"t{place}", "name": "Read", "input": {}} for place, _ in enumerate(texts))
    turns = [("user", "x"), ("assistant", data.draw(st.permutations(blocks)) or "x"), ("user", "x")]
    document = {"model": "m", "messages": [{"role": role, "content": content} for role, content in turns]}
    exchange.request = PROTOCOL.read(json.dumps(document).encode(), {})
    with suppress(GatewayError):
        wire.protocol.render(exchange, TARGET, quirks)


# ---------------------------------------------------------------- time

UNIT = max(50, EXAMPLES // 5)
"""Parts of a hostile input; others have 4 and 16 times as many."""

T = TypeVar("T")


def check_growth(make: Callable[[int], T], work: Callable[[T], object]) -> None:
    """That 16 times as much costs some 16 times the CPU: by the square it would be 256 times."""
    costs: list[float] = []
    for _ in range(3):  # whatever else the machine does can only make it look worse
        costs = [_seconds(work, make(UNIT * size)) for size in (1, 4, 16)]
        if costs[2] < max(48 * costs[0], 12 * costs[1], 0.01):
            return
    pytest.fail(f"1, 4 and 16 times as much took {costs} s of CPU")


def _seconds(work: Callable[[T], object], given: T) -> float:
    """The least CPU time of some runs, without that of the garbage collector, who looks at everything there is."""
    gc.disable()
    try:
        return min(timeit.repeat(lambda: work(given), process_time, repeat=2, number=1))
    finally:
        gc.enable()


@pytest.mark.parametrize("name", STREAMS)
@for_each_wire
def test_hostile_streams_cost_no_more_than_their_size(wire: Wire, name: str) -> None:
    answer = blank(wire)
    check_growth(lambda size: list(STREAMS[name](wire, size)), lambda chunks: events_of(wire, answer, chunks))


@pytest.mark.parametrize("name", BODIES)
@for_each_wire
def test_hostile_answers_cost_no_more_than_their_size(wire: Wire, name: str) -> None:
    answer = blank(wire)

    def work(body: bytes) -> None:
        wire.protocol.read_error(400, {}, body)
        with suppress(GatewayError):
            wire.protocol.read_answer(answer.exchange, body, answer.quirks)

    check_growth(lambda size: BODIES[name](wire, size), work)


@pytest.mark.parametrize("name", PROMPTS)
@for_each_wire
def test_hostile_requests_cost_no_more_than_their_size(wire: Wire, name: str) -> None:
    quirks = wire.quirks(Random(0))

    def work(document: bytes) -> None:
        reduced_schema.cache_clear()  # what is remembered costs nothing, whatever its size
        exchange = Conversation({"model": "m", "messages": []}).exchange(wire, quirks)
        exchange.request = PROTOCOL.read(document, {})
        with suppress(GatewayError):
            wire.protocol.render(exchange, TARGET, quirks)

    check_growth(lambda size: json.dumps(PROMPTS[name](size)).encode(), work)


def blank(wire: Wire) -> Answer:
    """An answer without anything."""
    return Answer(wire, Script((), Usage(), "end_turn"), wire.quirks(Random(0)), (), b"", TARGET, "req_0")
