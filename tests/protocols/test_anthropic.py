"""The Anthropic protocol: requests in and on, whole answers, lists; and the official client reads what we write."""

import json
from collections.abc import Sequence
from typing import Any

import anthropic
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import (
    BlockStart,
    BlockStop,
    Citation,
    Event,
    Failed,
    Finish,
    GatewayError,
    Internal,
    InvalidRequest,
    ModelInfo,
    Opaque,
    Overloaded,
    Ping,
    Signature,
    Start,
    Target,
    Text,
    Thinking,
    ToolInput,
    UpstreamFailed,
    UpstreamRequest,
    Usage,
)
from penstock.testing import ScriptedUpstream, event_stream, json_reply
from penstock_translation.anthropic import Quirks
from penstock_translation.openai_chat import OpenAIChat
from tests.protocols.exchanges import PROTOCOL, exchange

ODD = b'{ "stream" : true,\n "model":"claude-x", "n":1.0, "big":12345678901234567890123 , "messages":[], "e":1E2 }\n'
HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    "anthropic-beta": "effort-2025-11-24,novelty-2027-01-01",
    "anthropic-dangerous-direct-browser-access": "true",
    "anthropic-version": "2024-01-01",
    "anthropic-novelty": "1",
    "authorization": "Bearer secret",
    "connection": "keep-alive",
    "content-length": "3",
    "content-type": "application/json; charset=utf-8",
    "cookie": "secret",
    "host": "localhost",
    "user-agent": "claude-cli/2.1.329",
    "x-api-key": "secret",
    "x-app": "cli",
    "x-claude-code-session-id": "s1",
    "x-stainless-retry-count": "0",
}


def render(model: str = "", body: bytes = ODD, **of_exchange: Any) -> UpstreamRequest:
    return PROTOCOL.render(exchange(body, **of_exchange), Target("up", model), Quirks())


def fold(events: Sequence[Event], **of_exchange: Any) -> Any:
    return json.loads(PROTOCOL.fold(exchange(**{"upstream": PROTOCOL} | of_exchange), events))


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("headers", "metadata", "session"),
    [
        ({"x-claude-code-session-id": "a", "x-session-id": "c"}, {"user_id": '{"session_id":"b"}'}, "a"),
        ({"x-session-id": "c"}, {"user_id": '{"device_id":"d","session_id":"b"}'}, "b"),
        ({"x-session-id": "c"}, {"user_id": "user_1"}, "c"),
        ({"x-session-id": "c"}, {"user_id": '{"session_id":7}'}, "c"),
        ({"x-session-id": "c"}, None, "c"),
        ({}, "odd", ""),
        ({}, {}, ""),
    ],
)
def test_the_session_of_a_request(headers: dict[str, str], metadata: Any, session: str) -> None:
    body = json.dumps({"model": "m", "metadata": metadata}).encode()
    assert PROTOCOL.read(body, headers).session == session
    assert PROTOCOL.read(b'{"model":"m"}', {"x-session-id": "c"}).session == "c"


def test_the_members_every_request_has() -> None:
    request = PROTOCOL.read(b'{"model":"claude-x","stream":true,"max_tokens":9,"messages":[]}', {})
    assert (request.model, request.stream, request.max_tokens) == ("claude-x", True, 9)
    with pytest.raises(InvalidRequest, match="model"):
        PROTOCOL.read(b"{}", {})


@pytest.mark.parametrize("model", ["", "claude-x"])
def test_an_upstream_of_this_format_gets_the_very_bytes(model: str) -> None:
    assert render(model).body is ODD


def test_another_model_changes_nothing_else() -> None:
    assert render("claude-y").body == ODD.replace(b'"claude-x"', b'"claude-y"')


def test_a_model_set_by_a_step_is_what_counts() -> None:
    sent = exchange(ODD)
    sent.request.model = "claude-y"
    assert PROTOCOL.render(sent, Target("up"), Quirks()).body == ODD.replace(b'"claude-x"', b'"claude-y"')
    assert PROTOCOL.render(sent, Target("up", "claude-x"), Quirks()).body == ODD


def test_headers_pass_by_kind_and_credentials_never() -> None:
    passed = {
        *("accept", "anthropic-beta", "anthropic-dangerous-direct-browser-access", "anthropic-version"),
        *("anthropic-novelty", "user-agent", "x-app", "x-stainless-retry-count"),
    }
    expected = {name: value for name, value in HEADERS.items() if name in passed}
    assert render(headers=HEADERS).headers == expected | {"content-type": "application/json"}
    assert render().headers == {"anthropic-version": "2023-06-01", "content-type": "application/json"}


@pytest.mark.parametrize("name", ["authorization", "auth-token", "api-key", "session-token", "client-secret", "x-auth"])
def test_a_header_of_the_format_that_may_hold_a_credential_stays_here(name: str) -> None:
    assert f"anthropic-{name}" not in render(headers={f"anthropic-{name}": "hidden"}).headers


def test_paths_and_queries() -> None:
    assert render().path == "/v1/messages"
    assert render(query="beta=true").path == "/v1/messages?beta=true"
    assert render(operation="count_tokens", query="beta=true").path == "/v1/messages/count_tokens?beta=true"


def test_a_client_of_another_format_is_refused() -> None:
    class Other(type(PROTOCOL)):  # type: ignore[misc]
        name = "other"

    sent = exchange()
    sent.protocol = Other()
    with pytest.raises(Internal, match="'other' cannot go to an Anthropic upstream"):
        PROTOCOL.render(sent, Target("up"), Quirks())


def test_quirks_are_checked() -> None:
    assert msgspec.convert({"count_tokens": False}, Quirks) == Quirks(count_tokens=False)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"counts": 1}, Quirks)


# ---------------------------------------------------------------- lists and counts


def test_the_routes() -> None:
    assert {(route.method, route.path, route.operation) for route in PROTOCOL.routes} == {
        ("POST", "/v1/messages", "generate"),
        ("POST", "/v1/messages/count_tokens", "count_tokens"),
        ("GET", "/v1/models", "list_models"),
        ("HEAD", "/", "probe"),
        ("GET", "/", "probe"),
        ("HEAD", "/api/hello", "probe"),
        ("GET", "/api/hello", "probe"),
    }


def test_the_models() -> None:
    full = ModelInfo(
        id="claude-qwen", name="Qwen", description="served by x", upstream="x", context=131072, output=8192
    )
    listed = json.loads(PROTOCOL.models([full, ModelInfo(id="claude-y")], {}))
    date = {"created_at": "1970-01-01T00:00:00Z", "created": 0, "type": "model", "object": "model"}
    assert listed == {
        "object": "list",
        "data": [
            {
                **date,
                "id": "claude-qwen",
                "display_name": "Qwen",
                "description": "served by x",
                "owned_by": "x",
                "context_window": 131072,
                "max_input_tokens": 131072,
                "max_tokens": 8192,
            },
            {**date, "id": "claude-y", "display_name": "claude-y"},
        ],
        "has_more": False,
        "first_id": "claude-qwen",
        "last_id": "claude-y",
    }
    assert json.loads(PROTOCOL.models([], {}))["first_id"] is None


def test_token_counts() -> None:
    assert PROTOCOL.token_count(17) == b'{"input_tokens":17}'
    assert PROTOCOL.read_token_count(b'{"input_tokens": 17, "context_management": {}}') == 17
    for nonsense in (b"", b"{}", b'{"input_tokens":"17"}', b'{"input_tokens":-1}', b"<html>"):
        with pytest.raises(UpstreamFailed, match="broken token count"):
            PROTOCOL.read_token_count(nonsense)


def test_how_to_connect_with_a_key() -> None:
    assert "export ANTHROPIC_AUTH_TOKEN='<your key>'" in PROTOCOL.how_to_connect(
        "http://127.0.0.1:4000", "'<your key>'"
    )


def test_how_to_connect() -> None:
    assert PROTOCOL.how_to_connect("http://127.0.0.1:4000/team") == [
        "export ANTHROPIC_BASE_URL=http://127.0.0.1:4000/team",
        "export ANTHROPIC_AUTH_TOKEN=local",
        "export CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1",
        "claude",
    ]


# ---------------------------------------------------------------- whole answers

ANSWER: list[Event] = [
    Start("claude-x", "msg_1", Usage(input=3, cache_read=20, cache_write=5, cache_write_1h=2, output=1)),
    BlockStart(0, "thinking"),
    Thinking(0, "H"),
    Thinking(0, "m."),
    Signature(0, "c2ln"),
    BlockStop(0),
    BlockStart(1, "redacted_thinking", data="xyz"),
    BlockStop(1),
    BlockStart(2),
    Text(2, "Grüße "),
    Text(2, "🌍\u2028"),
    BlockStop(2),
    BlockStart(3, "tool_use", "Bash", "toolu_1"),
    ToolInput(3, '{"n": 1.0,'),
    ToolInput(3, ' "a":[]}'),
    BlockStop(3),
    BlockStart(4, "tool_use", "Pwd", "toolu_2"),
    BlockStop(4),
    Usage(input=3, cache_read=20, cache_write=5, cache_write_1h=2, output=42, reasoning=9),
    Finish("tool_use"),
]
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Grüße 🌍\u2028"},
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"n": 1.0, "a": []}},
        {"type": "tool_use", "id": "toolu_2", "name": "Pwd", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2},
        "output_tokens": 42,
        "output_tokens_details": {"thinking_tokens": 9},
    },
}


def test_events_fold_into_one_message() -> None:
    assert fold([*ANSWER[:1], Ping(), Opaque(b"x"), *ANSWER[1:]]) == MESSAGE


def test_a_number_in_a_tool_call_keeps_its_spelling() -> None:
    assert b'"n":1.0' in PROTOCOL.fold(exchange(), ANSWER).replace(b" ", b"")


def test_citations_and_foreign_blocks_fold_too() -> None:
    events: list[Event] = [
        Start(id="msg_1"),
        *(BlockStart(0), Text(0, "a"), Citation(0, '{"url":"https://x"}'), BlockStop(0)),
        *(BlockStart(1, "server_tool_use", "web_search", "s"), ToolInput(1, '{"query":"q"}'), BlockStop(1)),
        *(BlockStart(2, "other", data='{"type":"novelty","n":[1]}'), BlockStop(2)),
        *(BlockStart(3, "other", data='{"type":"mcp_tool_use","input":{}}'), ToolInput(3, '{"a":1}'), BlockStop(3)),
        *(BlockStart(4, "other"), Text(4, "b"), BlockStop(4)),
        Finish("refusal", extra={"stop_details": '{"category":"x"}'}),
    ]
    message = fold(events)
    assert message["content"] == [
        {"type": "text", "text": "a", "citations": [{"url": "https://x"}]},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "novelty", "n": [1]},
        {"type": "mcp_tool_use", "input": {"a": 1}},
        {"type": "text", "text": "b"},
    ]
    assert message["stop_details"] == {"category": "x"}


def test_half_a_tool_call_is_not_handed_out() -> None:
    events: list[Event] = [
        Start(),
        BlockStart(0, "tool_use", "n"),
        ToolInput(0, '{"a":'),
        BlockStop(0),
        Finish("max_tokens"),
    ]
    message = fold(events)
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")


def test_a_failed_answer_folds_into_its_error() -> None:
    with pytest.raises(Overloaded):
        fold([Start(), Failed(Overloaded("busy"))])


def test_safety_checks_that_nobody_made_are_unsupported() -> None:
    asked = {"model": "m", "messages": [], "safeguards": [{"type": "dangerous_tool_use"}]}
    unsupported = [{"type": "dangerous_tool_use", "status": {"type": "unsupported"}}]
    assert fold(ANSWER, body=asked, upstream=OpenAIChat())["safeguard_results"] == unsupported
    assert "safeguard_results" not in fold(ANSWER, body=asked, upstream=PROTOCOL)


def test_a_message_is_its_events() -> None:
    body = json.dumps(MESSAGE | {"container": None, "context_management": {"applied_edits": []}}).encode()
    events = PROTOCOL.read_answer(exchange(), body, Quirks())
    finish = Finish("tool_use", extra={"context_management": '{"applied_edits": []}'})
    usage = ANSWER[-2]
    assert isinstance(usage, Usage)
    assert events == [
        Start("claude-x", "msg_1", usage),
        *(BlockStart(0, "thinking"), Thinking(0, "Hm."), Signature(0, "c2ln"), BlockStop(0)),
        *(BlockStart(1, "redacted_thinking", data="xyz"), BlockStop(1)),
        *(BlockStart(2), Text(2, "Grüße 🌍\u2028"), BlockStop(2)),
        *(BlockStart(3, "tool_use", "Bash", "toolu_1"), ToolInput(3, '{"n":1.0,"a":[]}'), BlockStop(3)),
        *(BlockStart(4, "tool_use", "Pwd", "toolu_2"), BlockStop(4)),
        usage,
        finish,
    ]
    assert fold(events) == MESSAGE | {"context_management": {"applied_edits": []}}


def test_a_message_may_say_little() -> None:
    assert PROTOCOL.read_answer(exchange(), b'{"content":[],"usage":null}', Quirks()) == [Start(), Usage(), Finish()]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "broken answer"),
        (b"[]", "broken answer"),
        (b"{}", "not a message"),
        (b'{"choices":[]}', "not a message"),
        (b'{"content":"text"}', "broken answer"),
        (b'{"content":["text"]}', "broken content block"),
        (b'{"content":[{"type":"text","text":{}}]}', "broken content block"),
        (b'{"content":[],"usage":{"input_tokens":"1"}}', "broken answer"),
        (b'{"type":"error"}', "not a message"),
        (b'{"error":{"message":"out of memory"}}', "out of memory"),
    ],
)
def test_what_is_no_message_is_the_upstreams_failure(body: bytes, message: str) -> None:
    with pytest.raises(UpstreamFailed, match=message):
        PROTOCOL.read_answer(exchange(), body, Quirks())


def test_an_error_in_a_message_is_raised_as_its_kind() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
    with pytest.raises(Overloaded, match="busy"):
        PROTOCOL.read_answer(exchange(), body, Quirks())


@given(st.binary(max_size=60))
def test_foreign_bytes_raise_nothing_else(noise: bytes) -> None:
    for body in (noise, b'{"content":[' + noise + b"]}", b'{"content":[{"type":"tool_use","input":' + noise):
        try:
            events = PROTOCOL.read_answer(exchange(), body, Quirks())
        except GatewayError:
            continue
        assert isinstance(events[-1], Finish)


# ---------------------------------------------------------------- the official client


@pytest.mark.parametrize("size", [0, 7])
async def test_the_official_client_reads_the_same_message_streamed_and_whole(
    upstream: ScriptedUpstream, size: int
) -> None:
    encoder = PROTOCOL.encoder(exchange(upstream=PROTOCOL))
    streamed = event_stream(*map(encoder.encode, ANSWER))
    upstream.answers(streamed.split(size) if size else streamed, json_reply(fold(ANSWER)))
    async with anthropic.AsyncAnthropic(base_url=upstream.url, api_key="k", max_retries=0) as client:
        asked: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        async with client.messages.stream(**asked) as stream:
            live = await stream.get_final_message()
        whole = await client.messages.create(**asked)
    for message in (live, whole):
        assert plain(message) == MESSAGE


async def test_the_official_client_understands_our_failures(upstream: ScriptedUpstream) -> None:
    encoder = PROTOCOL.encoder(exchange(upstream=PROTOCOL))
    upstream.answers(event_stream(encoder.encode(Start()), encoder.fail(Overloaded("no capacity"))))
    async with anthropic.AsyncAnthropic(base_url=upstream.url, api_key="k", max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError, match="no capacity"):
            async with client.messages.stream(model="m", max_tokens=9, messages=[]) as stream:
                await stream.get_final_message()


async def test_the_official_client_reads_the_list_of_models(upstream: ScriptedUpstream) -> None:
    upstream.answers(json_reply(json.loads(PROTOCOL.models([ModelInfo(id="claude-y", name="Y", context=5)], {}))))
    async with anthropic.AsyncAnthropic(base_url=upstream.url, api_key="k", max_retries=0) as client:
        models = [model async for model in client.models.list()]
    assert [(model.id, model.display_name, model.max_input_tokens) for model in models] == [("claude-y", "Y", 5)]


def plain(message: anthropic.types.Message) -> Any:
    """What the client holds, without what it adds."""
    return {
        name: [{key: member for key, member in block.items() if member is not None} for block in value]
        if name == "content"
        else value
        for name, value in message.model_dump(mode="json", exclude_unset=True).items()
        if name not in ("stop_details", "container")
    }
