"""Any answer of any format over the network: the official client gets from the gateway what the model has said."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest
from anthropic import AsyncAnthropic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.testing import PATIENCE, MakeGateway, Reply, ScriptedUpstream, event_stream
from tests.protocols.answers import Answer, answers
from tests.protocols.scripts import TOOLS, counts, counts_in, expected, seen
from tests.protocols.wires.all import for_each_wire
from tests.protocols.wires.wire import Wire

PIPELINE = """
path: /
upstreams:
  main:
    protocol: {format}
    url: "{url}"
    key: upstream-key
    quirks: {quirks}
plugins:
  - translation
"""
REQUEST: Any = {
    "model": "m",
    "max_tokens": 2000,
    "messages": [{"role": "user", "content": "go on"}],
    "tools": [{"name": name, "input_schema": {"type": "object"}} for name in TOOLS],
}


@pytest.fixture
async def client(wire: Wire, gateway: MakeGateway, upstream: ScriptedUpstream) -> AsyncIterator[AsyncAnthropic]:
    quirks = msgspec.json.encode(wire.quirks(Random(0))).decode()
    gate = await gateway(PIPELINE, url=upstream.url, format=wire.protocol.name, quirks=quirks)
    async with AsyncAnthropic(base_url=gate.url, api_key="k", max_retries=0, timeout=PATIENCE) as made:
        yield made


@for_each_wire
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_the_official_client_gets_any_answer(
    wire: Wire, client: AsyncAnthropic, upstream: ScriptedUpstream, data: st.DataObject
) -> None:
    answer: Answer = data.draw(answers(wire))
    upstream.answers(event_stream(*answer.pieces), Reply(200, {"content-type": "application/json"}, (answer.body,)))
    async with client.messages.stream(**REQUEST) as stream:
        message = (await stream.get_final_message()).to_dict()
    assert seen(_blocks(message)) == expected(answer.script.parts)
    assert counts_in(_usage(message)) == counts(answer.script.usage)
    whole = (await client.messages.create(**REQUEST)).to_dict()
    assert seen(_blocks(whole)) == expected(wire.whole_parts(answer.script))
    assert counts_in(_usage(whole)) == counts(answer.script.usage)


def _blocks(message: Any) -> Any:
    return message["content"]


def _usage(message: Any) -> Any:
    return message["usage"]
