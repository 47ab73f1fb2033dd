"""What goes to upstreams of the Messages format is what the official client could send, and it reads what we answer."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import anthropic.types.beta as beta
import pytest
from anthropic import types
from anthropic.types.beta import message_count_tokens_params, message_create_params
from pydantic import TypeAdapter

from penstock import Event, Exchange, Finish, Operation, Start, StopReason, Target, Usage
from penstock_translation.anthropic import Quirks
from penstock_translation.seals import maker_of, seal
from tests.protocols.exchanges import PROTOCOL, exchange
from tests.protocols.golden import Golden, exhaust, goldens

PLAIN: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParamsNonStreaming)
STREAMED: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParamsStreaming)
COUNTED: TypeAdapter[Any] = TypeAdapter(message_count_tokens_params.MessageCountTokensParams)

MARK = {"cache_control": {"type": "ephemeral"}}
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
SEAL = seal("0" * 12, b'{"signature":"c2ln"}')
AGENT: Mapping[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 64000,
    "stream": True,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.74f; cc_entrypoint=cli;"},
        {"type": "text", "text": "You are an agent.", **MARK},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Look at a.png."}]},
        {"role": "system", "content": [{"type": "text", "text": "You are in /home/dev."}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "So be it.", "signature": "c2ln"},
                {"type": "thinking", "thinking": "As another model had it.", "signature": SEAL},
                {"type": "redacted_thinking", "data": SEAL},
                {"type": "server_tool_use", "id": "srvtoolu_penstock_1", "name": "web_search", "input": {"query": "a"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_penstock_1", "content": []},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.png"}},
                {"type": "tool_use", "id": "toolu_2", "name": "bash", "input": {"command": "ls"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "denied", "is_error": True},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [PIXEL]},
                {"type": "text", "text": "Next?", **MARK},
            ],
        },
        {"role": "system", "content": [], "output_config": {"effort": "low"}},
    ],
    "tools": [
        {"name": "Read", "description": "Reads.", "input_schema": {"type": "object"}, "eager_input_streaming": True},
        {"name": "Later", "input_schema": {"type": "object"}, "defer_loading": True},
        {"type": "bash_20250124", "name": "bash", **MARK},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "computer_20251124", "name": "computer", "display_width_px": 9, "display_height_px": 9},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "metadata": {"user_id": '{"device_id":"d","session_id":"s"}'},
    "thinking": {"type": "adaptive", "display": "summarized"},
    "output_config": {"effort": "xhigh"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "service_tier": "auto",
}
COUNTABLE = {name: AGENT[name] for name in ("model", "system", "messages", "tools", "thinking")}
UPSTREAMS = (
    Quirks(),
    Quirks(drop=("tags",), system_messages="user"),
    Quirks(claude=False),
    Quirks(claude=False, thinking="budget", system_messages="user"),
    Quirks(claude=False, thinking="adaptive", efforts=("low", "high")),
    Quirks(claude=False, thinking="none", efforts=("low", "high", "max"), server_tools=True),
)


def sent(document: Mapping[str, Any], quirks: Quirks, operation: Operation = "generate") -> Any:
    return json.loads(PROTOCOL.render(exchange(document, operation=operation), Target("up", "m"), quirks).body)


@pytest.mark.parametrize("quirks", UPSTREAMS, ids=str)
def test_an_agents_request_stays_one_of_the_official_client(quirks: Quirks) -> None:
    exhaust(STREAMED.validate_python(sent(AGENT, quirks)))
    whole = {**AGENT, "thinking": {"type": "enabled", "budget_tokens": 31999}, "stream": False}
    exhaust(PLAIN.validate_python(sent({name: whole[name] for name in whole if name != "stream"}, quirks)))


@pytest.mark.parametrize("quirks", UPSTREAMS, ids=str)
def test_a_prompt_to_count_stays_one_of_the_official_client(quirks: Quirks) -> None:
    asked = exchange(COUNTABLE, operation="count_tokens", query="beta=true")
    rendered = PROTOCOL.render(asked, Target("up", "m"), quirks)
    assert rendered.path == "/v1/messages/count_tokens?beta=true"
    body = json.loads(rendered.body)
    exhaust(COUNTED.validate_python(body))
    assert "max_tokens" not in body


def test_a_makers_own_seals_are_counted_as_what_they_hold() -> None:
    asked = exchange(COUNTABLE)
    own = seal(maker_of(asked, Target("up", "m")), b'{"signature":"c2ln"}')
    document = json.loads(json.dumps(COUNTABLE).replace(SEAL, own))
    content = sent(document, Quirks(claude=False), "count_tokens")["messages"][2]["content"]
    assert [block.get("signature") or block.get("data") for block in content[:3]] == ["c2ln"] * 3


@goldens("request", "anthropic")
def test_golden_requests_are_what_the_official_client_could_send(golden: Golden) -> None:
    if golden.case["document"].get("thinking") == 7:
        pytest.skip("it cannot be read, and passes as it is")
    exhaust(PLAIN.validate_python({"max_tokens": 1, **json.loads(golden.render().body)}))


# ---------------------------------------------------------------- the end of an answer


def ended(finish: Finish, usage: Usage | None = None) -> tuple[types.Message, types.RawMessageDeltaEvent]:
    """The answer, whole and at the end of a stream, as the official client reads it."""
    made: Exchange = exchange()
    events: tuple[Event, ...] = (Start(), usage or Usage(output=3), finish)
    whole = types.Message.model_validate_json(PROTOCOL.fold(made, events), strict=True)
    stream = b"".join(map(PROTOCOL.encoder(made).encode, events))
    last = stream.split(b"\n\n")[-3].split(b"data: ", 1)[1]
    return whole, types.RawMessageDeltaEvent.model_validate_json(last, strict=True)


@pytest.mark.parametrize("reason", get_args(StopReason))
def test_every_reason_to_stop_is_one_that_the_official_client_knows(reason: StopReason) -> None:
    whole, last = ended(Finish(reason, "</x>" if reason == "stop_sequence" else None))
    assert whole.stop_reason == last.delta.stop_reason
    assert whole.stop_reason in get_args(types.StopReason)
    assert whole.stop_reason == {"context_exceeded": "model_context_window_exceeded"}.get(reason, reason)
    assert whole.stop_sequence == last.delta.stop_sequence


def test_every_reason_that_the_official_client_knows_can_be_said() -> None:
    said = {ended(Finish(reason))[0].stop_reason for reason in get_args(StopReason)}
    assert said == set(get_args(types.StopReason))


def test_a_refusal_keeps_its_details() -> None:
    told = {"stop_details": '{"type":"refusal","category":"bio","explanation":"No."}'}
    whole, last = ended(Finish("refusal", extra=told))
    for details in (whole.stop_details, last.delta.stop_details):
        assert details is not None
        assert (details.category, details.explanation) == ("bio", "No.")
    assert ended(Finish("refusal"))[0].stop_details is None


def test_a_reason_of_a_beta_is_passed_on() -> None:
    (finish,) = [
        event
        for event in PROTOCOL.read_answer(exchange(), b'{"content":[],"stop_reason":"compaction"}', Quirks())
        if isinstance(event, Finish)
    ]
    body = PROTOCOL.fold(exchange(), [Start(), Usage(), finish])
    assert beta.BetaMessage.model_validate_json(body, strict=True).stop_reason == "compaction"
    mended = Finish("tool_use", extra=finish.extra)
    assert json.loads(PROTOCOL.fold(exchange(), [Start(), Usage(), mended]))["stop_reason"] == "tool_use"


def test_estimates_are_plain_numbers() -> None:
    whole, last = ended(Finish(), Usage(input=2, output=3, estimated=True))
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (2, 3)
    assert (last.usage.input_tokens, last.usage.output_tokens) == (2, 3)
