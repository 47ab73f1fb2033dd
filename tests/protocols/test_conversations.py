"""Whatever a conversation holds, what an upstream gets of it keeps the rules of its format."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.conversations import TARGET, Conversation, conversations
from tests.protocols.rules import RULES
from tests.protocols.scripts import budget
from tests.protocols.typed import TYPED
from tests.protocols.wires.all import WIRES, for_each_wire
from tests.protocols.wires.wire import Wire


def drawn(wire: Wire, data: st.DataObject) -> tuple[Conversation, Any]:
    noise = data.draw(st.randoms(use_true_random=True))
    others = [other for other in WIRES if other is not wire]
    return data.draw(conversations(wire, others)), wire.quirks(noise)


def rendered(wire: Wire, conversation: Conversation, quirks: Any) -> Any:
    exchange = conversation.exchange(wire, quirks)
    return json.loads(wire.protocol.render(exchange, TARGET, quirks).body)


@for_each_wire
@budget(0.2)
@given(data=st.data())
def test_a_request_keeps_the_rules(wire: Wire, data: st.DataObject) -> None:
    conversation, quirks = drawn(wire, data)
    body = rendered(wire, conversation, quirks)
    RULES[wire.title](body)
    TYPED[wire.title](body)


@for_each_wire
@budget(0.2)
@given(data=st.data())
def test_opaque_state_reaches_its_maker_and_nobody_else(wire: Wire, data: st.DataObject) -> None:
    conversation, quirks = drawn(wire, data)
    sent = json.dumps(rendered(wire, conversation, quirks), ensure_ascii=False)
    assert "penstock1." not in sent
    assert [state for state in conversation.own if state not in sent] == []
    assert "bare+" not in sent or not wire.hides(None)
    assert [state for state in conversation.foreign if state in sent and state not in conversation.own] == []


@for_each_wire
@budget(0.15)
@given(data=st.data())
def test_a_longer_conversation_begins_like_the_shorter(wire: Wire, data: st.DataObject) -> None:
    """Prompt caches live on that."""
    conversation, quirks = drawn(wire, data)
    whole = wire.turns(rendered(wire, conversation, quirks))
    turns = conversation.turns
    for end in range(1, len(turns)):
        if turns[end]["role"] == "assistant":
            begun = wire.turns(rendered(wire, conversation.until(end), quirks))
            assert whole[: len(begun)] == begun
