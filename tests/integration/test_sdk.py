"""The official SDK of the Messages format as client, against every kind of upstream: it parses every answer."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from penstock.testing import (
    PATIENCE,
    MakeGateway,
    Reply,
    ScriptedUpstream,
    Thought,
    ToolCall,
    chat,
    json_reply,
    messages,
)
from tests.integration.talk import CHAT, RELAY, SIMULATOR

CALLS = (ToolCall("Read", {"file": "é.py"}, "call_a"), ToolCall("Write", {"file": "b", "n": 1.5}, "call_b"))
TOOLS: Any = [
    {
        "name": name,
        "description": f"{name} a file",
        "input_schema": {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"]},
    }
    for name in ("Read", "Write")
]
HELLO: Any = {"max_tokens": 2000, "messages": [{"role": "user", "content": "hello there"}]}


@pytest.fixture(params=["messages", "chat"])
async def provider(
    request: pytest.FixtureRequest, gateway: MakeGateway, upstream: ScriptedUpstream
) -> AsyncIterator["Provider"]:
    """A scripted upstream of each format, a gateway before it, and the SDK pointed at that."""
    gate = await gateway(RELAY if request.param == "messages" else CHAT, url=upstream.url)
    async with sdk(gate.url) as client:
        yield Provider(client, upstream, request.param)


class Provider:
    """Answers in its own format, streamed and whole."""

    def __init__(self, client: AsyncAnthropic, upstream: ScriptedUpstream, format: str) -> None:
        self.client = client
        self.upstream = upstream
        self.format = format

    def stream(self, *parts: Any) -> None:
        self.upstream.answers(messages.stream(*parts) if self.format == "messages" else chat.stream(*parts))

    def whole(self, *parts: Any) -> None:
        self.upstream.answers(messages.whole(*parts) if self.format == "messages" else chat.whole(*parts))

    def error(self, status: int, message: str) -> None:
        type_ = "rate_limit_error" if status == 429 else "invalid_request_error"
        reply: Reply = (
            messages.error(status, type_, message) if self.format == "messages" else chat.error(status, message)
        )
        self.upstream.answers(reply)


def sdk(url: str, key: str = "client-key") -> AsyncAnthropic:
    return AsyncAnthropic(base_url=url, api_key=key, max_retries=0, timeout=PATIENCE)


async def streamed(client: AsyncAnthropic, **request: Any) -> Any:
    async with client.messages.stream(**request) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_message()


async def asked(provider: Provider, stream: bool, *parts: Any, **request: Any) -> Any:
    """The final message of these parts, whichever way it came."""
    (provider.stream if stream else provider.whole)(*parts)
    return await finished(provider.client, stream, model="model-a", **request)


async def finished(client: AsyncAnthropic, stream: bool, **request: Any) -> Any:
    if stream:
        return await streamed(client, **HELLO, **request)
    return await client.messages.create(**HELLO, **request)


BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@BOTH
async def test_a_text(provider: Provider, stream: bool) -> None:
    message = await asked(provider, stream, "Hello, 🦊!")
    assert [block.text for block in message.content] == ["Hello, 🦊!"]
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 7)


@BOTH
async def test_parallel_tool_calls(provider: Provider, stream: bool) -> None:
    message = await asked(provider, stream, "I will look.", *CALLS, tools=TOOLS)
    text, *calls = message.content
    assert text.text == "I will look."
    assert [(call.name, call.input) for call in calls] == [(call.name, call.input) for call in CALLS]
    assert len({call.id for call in calls}) == 2
    assert message.stop_reason == "tool_use"


@BOTH
async def test_thinking(provider: Provider, stream: bool) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = await asked(provider, stream, Thought("let me see"), "Done.", thinking=thinking)
    thought, text = message.content
    assert (thought.type, thought.thinking) == ("thinking", "let me see")
    assert text.text == "Done."


@BOTH
async def test_an_empty_answer(provider: Provider, stream: bool) -> None:
    message = await asked(provider, stream)
    assert message.stop_reason == "end_turn"
    assert "".join(block.text for block in message.content) == ""


async def test_raw_events(provider: Provider) -> None:
    provider.stream("hello")
    stream = await provider.client.messages.create(model="model-a", stream=True, **HELLO)
    types = [event.type async for event in stream]
    assert types[0] == "message_start"
    assert types[-2:] == ["message_delta", "message_stop"]


async def test_a_second_turn_with_results(provider: Provider) -> None:
    provider.whole(*CALLS)
    first = await provider.client.messages.create(model="model-a", tools=TOOLS, **HELLO)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "done"} for call in first.content]
    turns: Any = [
        *HELLO["messages"],
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    provider.stream("All done.")
    second = await streamed(provider.client, model="model-a", max_tokens=100, messages=turns, tools=TOOLS)
    assert second.content[0].text == "All done."
    sent = provider.upstream.calls[-1].body.decode()
    assert all(sent.count(call.id) == 2 for call in first.content)


@BOTH
@pytest.mark.parametrize(
    ("status", "error"), [(429, anthropic.RateLimitError), (400, anthropic.BadRequestError)], ids=["429", "400"]
)
async def test_errors(provider: Provider, stream: bool, status: int, error: type[anthropic.APIStatusError]) -> None:
    provider.error(status, "a message for people")
    with pytest.raises(error, match="a message for people") as raised:
        await finished(provider.client, stream, model="model-a")
    assert raised.value.status_code == status
    assert raised.value.request_id


async def test_counting(provider: Provider) -> None:
    provider.upstream.answers(json_reply({"input_tokens": 42}))
    counted = await provider.client.messages.count_tokens(model="model-a", messages=HELLO["messages"], tools=TOOLS)
    assert counted.input_tokens > 0
    if provider.format == "messages":
        assert counted.input_tokens == 42


MODELS = """
path: /
upstreams:
  main:
    protocol: openai-chat
    url: "{url}"
    key: upstream-key
    models: [{id: qwen-coder, name: Qwen Coder, context: 100000}, plain-model]
plugins:
  - models: {routes: {"*": main}}
  - translation
"""


async def test_the_list_of_models(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(MODELS, url=upstream.url)
    async with sdk(gate.url) as client:
        found = [model async for model in client.models.list(limit=1000)]
    assert len(found) == 2
    assert all(model.id.startswith("claude-") for model in found)
    assert any("Qwen Coder" in model.display_name for model in found)
    upstream.answers(chat.whole("hello"))
    async with sdk(gate.url) as client:
        await client.messages.create(model=found[0].id, **HELLO)
    assert upstream.calls[0].json()["model"] == "qwen-coder"


async def test_the_simulator(gateway: MakeGateway) -> None:
    gate = await gateway(SIMULATOR)
    async with sdk(gate.url) as client:
        text = await streamed(client, model="sim/echo", **HELLO)
        assert text.content[0].text.startswith("[simulated]")
        assert "hello there" in text.content[0].text
        assert (await client.messages.create(model="sim/echo", **HELLO)).content[0].text == text.content[0].text
        thought = await streamed(client, model="sim/thinking", **HELLO)
        assert [block.type for block in thought.content] == ["thinking", "text"]
        calls = await streamed(client, model="sim/tools", tools=TOOLS, **HELLO)
        assert [block.type for block in calls.content] == ["text", "tool_use", "tool_use"]
        assert calls.stop_reason == "tool_use"
        slow = await streamed(client, model="sim/slow", **HELLO)
        assert slow.stop_reason == "end_turn"
        counted = await client.messages.count_tokens(model="sim/echo", messages=HELLO["messages"])
        assert counted.input_tokens > 0
        assert {model.id async for model in client.models.list()} >= {"claude-sim-echo", "claude-sim-tools"}


@BOTH
@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("sim/429", anthropic.RateLimitError),
        ("sim/overloaded", anthropic.InternalServerError),
        ("sim/error", anthropic.InternalServerError),
        ("sim/too-long", anthropic.BadRequestError),
        ("sim/none-such", anthropic.NotFoundError),
    ],
)
async def test_errors_of_the_simulator(
    gateway: MakeGateway, model: str, error: type[anthropic.APIStatusError], stream: bool
) -> None:
    gate = await gateway(SIMULATOR)
    async with sdk(gate.url) as client:
        with pytest.raises(error):
            await finished(client, stream, model=model)


async def test_a_simulated_stream_that_breaks_off(gateway: MakeGateway) -> None:
    gate = await gateway(SIMULATOR)
    async with sdk(gate.url) as client:
        with pytest.raises(anthropic.APIError, match="broke off"):
            await streamed(client, model="sim/cut", **HELLO)
