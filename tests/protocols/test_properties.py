"""Whatever a model answers, in whatever format and pieces: the client gets it, whole and in order."""

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock import Target
from tests.protocols.answers import Answer, Message, accumulated, answers, check_message, folded, streamed
from tests.protocols.exchanges import PROTOCOL
from tests.protocols.scripts import budget, counts, counts_in, expected, seen
from tests.protocols.wires.all import for_each_wire
from tests.protocols.wires.wire import Wire


def check_ids(message: Message) -> None:
    ids = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", id) for id in ids)


@for_each_wire
@budget(0.4)
@given(data=st.data())
def test_the_official_client_gets_all_of_a_stream(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    stream, exchange = streamed(answer)
    message = accumulated(stream)
    assert exchange.repairs == {}
    assert seen(message["content"]) == expected(answer.script.parts)
    assert message["stop_reason"] == wire_reason(answer)
    assert counts_in(message["usage"]) == counts(answer.script.usage) == counts(exchange.usage)
    assert not exchange.usage.estimated
    check_ids(message)


@for_each_wire
@budget(0.25)
@given(data=st.data())
def test_a_whole_answer_says_the_same(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    message, exchange = folded(answer)
    check_message(message)
    assert exchange.repairs == {}
    assert seen(message["content"]) == expected(wire.whole_parts(answer.script))
    assert message["stop_reason"] == wire_reason(answer)
    assert counts_in(message["usage"]) == counts(answer.script.usage)
    check_ids(message)
    if wire.whole_parts(answer.script) == answer.script.parts:
        assert blocks_of(accumulated(streamed(answer)[0])) == blocks_of(message)


@for_each_wire
@budget(0.1)
@given(data=st.data())
def test_the_pieces_of_a_stream_make_no_difference(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    whole = answer._replace(pieces=[b"".join(answer.pieces)])
    single = answer._replace(pieces=[bytes([byte]) for byte in whole.pieces[0]])
    first, *others = (accumulated(streamed(cut)[0]) for cut in (answer, whole, single))
    for other in others:
        assert blocks_of(other) == blocks_of(first)


@for_each_wire
@budget(0.25)
@given(data=st.data())
def test_what_only_its_maker_may_read_comes_back_to_it_alone(wire: Wire, data: st.DataObject) -> None:
    answer = data.draw(answers(wire))
    message = accumulated(streamed(answer)[0])
    back = next_request(answer, message, Target("up", "m"))
    assert [state for state in wire.returning(answer.script) if state not in back] == []
    assert not wire.ids or [call.id for call in answer.script.calls if json.dumps(call.id) not in back] == []
    assert "penstock1." not in back
    for other in (Target("up", "m2"), Target("other", "m")):
        sent = next_request(answer, message, other)
        assert not wire.seals or [state for state in answer.script.states if state in sent] == []
        assert "penstock1." not in sent


def next_request(answer: Answer, message: Message, target: Target) -> str:
    """What the client's next request is to a target."""
    content = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "done"}
        for block in message["content"]
        if block["type"] == "tool_use"
    ]
    turns = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": content or "go on"},
    ]
    exchange = answer.exchange
    body = json.dumps({"model": "claude-x", "max_tokens": 100, "messages": turns})
    exchange.request = PROTOCOL.read(body.encode(), {})
    sent = json.loads(answer.wire.protocol.render(exchange, target, answer.quirks).body)
    return json.dumps(sent, ensure_ascii=False)


def wire_reason(answer: Answer) -> str:
    reason = answer.script.reason
    return "model_context_window_exceeded" if reason == "context_exceeded" else reason


def blocks_of(message: Message) -> Any:
    return [{name: value for name, value in block.items() if value is not None} for block in message["content"]]
