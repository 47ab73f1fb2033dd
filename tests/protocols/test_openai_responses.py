"""Responses upstreams: what the golden files cannot say."""

import base64
import json
import re
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent, input_token_count_params
from openai.types.responses import response_create_params as params
from pydantic import TypeAdapter

from penstock import (
    BlockStart,
    Exchange,
    InvalidRequest,
    Message,
    Prompt,
    Signature,
    Target,
    Text,
    TextBlock,
    ThinkingBlock,
    ThinkingControl,
    ToolChoice,
    ToolUseBlock,
    UpstreamFailed,
    Usage,
)
from penstock.testing import MakeGateway, ScriptedUpstream, json_reply
from penstock_translation.openai_responses import OpenAIResponses, ResponsesQuirks
from tests.integration.talk import ask, prompt
from tests.protocols.golden import Case, Golden, compact, exchange_for, exhaust, goldens, prompt_of

RESPONSES = OpenAIResponses()
EMPTY = Golden(RESPONSES, {})
PLAIN: TypeAdapter[Any] = TypeAdapter(params.ResponseCreateParamsNonStreaming)
STREAMED: TypeAdapter[Any] = TypeAdapter(params.ResponseCreateParamsStreaming)
COUNTED: TypeAdapter[Any] = TypeAdapter(input_token_count_params.InputTokenCountParams)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TARGET = Target("up", "m")


def body_of(exchange: Exchange, **quirks: Any) -> dict[str, Any]:
    """The body that is rendered for an exchange."""
    body: dict[str, Any] = json.loads(RESPONSES.render(exchange, TARGET, ResponsesQuirks(**quirks)).body)
    return body


def skip_if_odd(case: Case) -> None:
    if case.get("odd"):
        pytest.skip("not what the official client's types allow")


# ---------------------------------------------------------------- the official client


@goldens("request", "openai_responses")
def test_request_is_what_the_official_client_would_send(golden: Golden) -> None:
    body = json.loads(golden.render().body)
    exhaust((STREAMED if "stream" in body else PLAIN).validate_python(body))


@goldens("stream", "openai_responses")
def test_stream_is_what_the_official_client_knows(golden: Golden) -> None:
    skip_if_odd(golden.case)
    for record in golden.case["stream"]:
        if not isinstance(record, str):
            EVENT.validate_python(record[1] if isinstance(record, list) else record)


@goldens("answer", "openai_responses")
def test_answer_is_what_the_official_client_knows(golden: Golden) -> None:
    skip_if_odd(golden.case)
    Response.model_validate(golden.case["answer"])


@goldens("request", "openai_responses")
def test_tokens_are_counted_with_what_the_official_client_would_send(golden: Golden) -> None:
    exchange = golden.exchange()
    exchange.operation = "count_tokens"
    request = RESPONSES.render(exchange, TARGET, golden.quirks)
    body, whole = json.loads(request.body), json.loads(golden.render().body)
    exhaust(COUNTED.validate_python(body))
    assert request.path == "/responses/input_tokens"
    assert body.keys() <= COUNTED.core_schema["schema"]["fields"].keys()
    assert [body[name] for name in ("input", "tools") if name in whole] == [
        whole[name] for name in ("input", "tools") if name in whole
    ]


# ---------------------------------------------------------------- conversations


@goldens("request", "openai_responses")
def test_request_of_a_longer_conversation_begins_like_the_shorter(golden: Golden) -> None:
    """Prompt caches live on that."""
    turns = golden.case["prompt"]["messages"]
    whole = json.loads(golden.render().body)["input"]
    for end in range(1, len(turns)):
        if turns[end - 1]["role"] == "user" and turns[end]["role"] == "assistant":
            shorter = Golden(RESPONSES, golden.case | {"prompt": golden.case["prompt"] | {"messages": turns[:end]}})
            items = json.loads(shorter.render().body)["input"]
            assert whole[: len(items)] == items


@goldens("stream", "openai_responses")
def test_what_an_answer_thought_comes_back_as_it_was(golden: Golden) -> None:
    """The items before a message or a call, and the phases, survive the way through the client's history."""
    skip_if_odd(golden.case)
    records = [record for record in golden.case["stream"] if isinstance(record, dict)]
    output = [record["item"] for record in records if record["type"] == "response.output_item.done"]
    events, error = golden.decode([golden.stream()])
    if error is not None or not output:
        pytest.skip("not an answer, or not one of finished items")
    exchange = exchange_for(RESPONSES, Prompt(messages=(Message("assistant", tuple(history(events))),)))
    rendered = body_of(exchange)["input"]
    thoughts = [item for item in rendered if item["type"] == "reasoning"]
    for item in thoughts:
        assert item in [{name: value for name, value in made.items() if value is not None} for made in output]
    pairs = [first for first, second in pairwise(output) if leads(first, second)]
    assert len(thoughts) == len(pairs)
    phases = [item["phase"] for item in output if item.get("phase")]
    assert [item["phase"] for item in rendered if item.get("phase")] == phases


def leads(first: Any, second: Any) -> bool:
    sealed = first.get("encrypted_content") or first.get("content")
    return bool(first["type"] == "reasoning" and sealed and second["type"] in ("message", "function_call"))


def history(events: list[Any]) -> list[Any]:
    """The blocks that a client keeps of an answer."""
    blocks: list[Any] = []
    for event in events:
        if isinstance(event, BlockStart) and event.kind == "tool_use":
            blocks.append(ToolUseBlock(event.id, event.name, msgspec.Raw(b"{}")))
        elif isinstance(event, BlockStart) and event.kind == "redacted_thinking":
            blocks.append(ThinkingBlock(redacted=event.data))
        elif isinstance(event, BlockStart):
            blocks.append(TextBlock("text") if event.kind == "text" else ThinkingBlock("thought"))
        elif isinstance(event, Signature):
            blocks[-1] = ThinkingBlock("thought", event.signature)
    return blocks


def test_session_names_the_prompt_cache() -> None:
    exchange = exchange_for(RESPONSES, Prompt())
    assert "prompt_cache_key" not in body_of(exchange, prompt_cache_key=True)
    exchange.request.session = "secret-session"
    assert "prompt_cache_key" not in body_of(exchange)
    key = body_of(exchange, prompt_cache_key=True)["prompt_cache_key"]
    assert re.fullmatch(r"\w{64}", key)
    assert key == body_of(exchange, prompt_cache_key=True)["prompt_cache_key"]
    exchange.request.session = "another"
    assert key != body_of(exchange, prompt_cache_key=True)["prompt_cache_key"]


def test_a_forged_seal_is_not_sent() -> None:
    text = base64.urlsafe_b64encode(b'{"item":7}').decode().rstrip("=")
    prompt = prompt_of({"messages": [{"role": "assistant", "content": ["x"]}]})
    block = ThinkingBlock(signature=f"penstock1.b364420010cd.{text}")
    turn = Message("assistant", (block, *prompt.messages[0].content))
    exchange = exchange_for(RESPONSES, Prompt(messages=(turn,)))
    assert [item["type"] for item in body_of(exchange)["input"]] == ["message"]


# ---------------------------------------------------------------- counting, quirks, faults


def test_token_count_is_read() -> None:
    assert RESPONSES.read_token_count(b'{"object":"response.input_tokens","input_tokens":123}') == 123
    for nonsense in (b"{}", b"<html>", b'{"input_tokens":"many"}', b'{"input_tokens":-1}', b"\xff"):
        with pytest.raises(UpstreamFailed, match="cannot be read"):
            RESPONSES.read_token_count(nonsense)


def test_counting_is_not_streamed_and_holds_no_quirky_extras() -> None:
    exchange = exchange_for(RESPONSES, Prompt(thinking=ThinkingControl("off"), tool_choice=ToolChoice("any")))
    exchange.operation = "count_tokens"
    request = RESPONSES.render(exchange, TARGET, ResponsesQuirks(reasoning=True, extra_body={"metadata": {}}))
    assert request.headers["accept"] == "application/json"
    assert json.loads(request.body) == {"model": "m", "input": [], "reasoning": {"effort": "low"}}


@pytest.mark.parametrize(
    ("schema", "message"),
    [(b'{"x":"\x80"}', "not UTF-8"), (b'{"a":' * 990 + b"1" + b"}" * 990, "nested too deeply")],
    ids=["bytes", "depth"],
)
def test_request_that_only_shows_its_fault_here_is_refused(schema: bytes, message: str) -> None:
    exchange = exchange_for(RESPONSES, Prompt(output_schema=msgspec.Raw(schema)))
    with pytest.raises(InvalidRequest, match=message):
        RESPONSES.render(exchange, TARGET, ResponsesQuirks())


@pytest.mark.parametrize(
    ("quirks", "message"),
    [
        ({"efforts": ["high", "low"]}, "efforts must ascend"),
        ({"efforts": ["lots"]}, "Invalid enum value 'lots'"),
        ({"reasonning": True}, "unknown field `reasonning`"),
        ({"tool_call_id_limit": 3}, ">= 16"),
    ],
)
def test_quirks_that_make_no_sense_are_refused(quirks: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        msgspec.convert(quirks, ResponsesQuirks)


# ---------------------------------------------------------------- answers that are put together from any order


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """Records of some items in any order that keeps each item's own, and the items."""
    texts = draw(st.lists(st.lists(st.text("ab é\n", min_size=1, max_size=3), max_size=3), min_size=1, max_size=4))
    queues: list[list[Any]] = []
    output: list[Any] = []
    for index, pieces in enumerate(texts):
        calls = draw(st.booleans())
        item, records = (call_records if calls else message_records)(index, pieces)
        output.append(item)
        queues.append(records)
    announced = [queue.pop(0) for queue in queues]
    rest: list[Any] = []
    while any(queues):
        rest.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    return [*announced, *rest], output


def message_records(index: int, pieces: list[str]) -> tuple[Any, list[Any]]:
    head = {"type": "message", "id": f"msg_{index}", "role": "assistant"}
    item = head | {"content": [{"type": "output_text", "text": "".join(pieces), "annotations": []}]}
    deltas = [
        {"type": "response.output_text.delta", "output_index": index, "content_index": 0, "delta": piece}
        for piece in pieces
    ]
    return item, [added(index, head), *deltas, done(index, item)]


def call_records(index: int, pieces: list[str]) -> tuple[Any, list[Any]]:
    arguments = compact({"x": "".join(pieces)})
    head = {"type": "function_call", "id": f"fc_{index}", "call_id": f"call_{index}", "name": "t", "arguments": ""}
    deltas = [
        {"type": "response.function_call_arguments.delta", "output_index": index, "delta": arguments[at : at + 4]}
        for at in range(0, len(arguments), 4)
    ]
    item = head | {"arguments": arguments}
    return item, [added(index, head), *deltas, done(index, item)]


def added(index: int, item: Any) -> Any:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: Any) -> Any:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def folded(events: list[Any]) -> list[tuple[str, str, str]]:
    """Kind, id and content of each block."""
    blocks: list[tuple[str, str, str]] = []
    for event in events:
        if isinstance(event, BlockStart):
            blocks.append((event.kind, event.id, ""))
        elif (text := getattr(event, "text", None) or getattr(event, "json", None)) is not None:
            kind, id, so_far = blocks[-1]
            blocks[-1] = kind, id, so_far + text
    return blocks


@given(interleaved())
def test_interleaved_items_amount_to_the_whole_answer(drawn: tuple[list[Any], list[Any]]) -> None:
    records, output = drawn
    response = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": output}
    stream = [*records, {"type": "response.completed", "response": response}]
    events, error = EMPTY.decode([b"data: %b\n\n" % compact(record).encode() for record in stream])
    whole, refused = EMPTY.read(compact(response).encode())
    assert (error, refused) == (None, None)
    assert folded(events) == folded(whole)
    assert events[-1] == whole[-1]
    assert [event for event in events if isinstance(event, Usage)] == [
        event for event in whole if isinstance(event, Usage)
    ]


# ---------------------------------------------------------------- whatever else an upstream may send

NAMES = (
    "id type output_index item_id content_index summary_index annotation_index item part delta text refusal arguments "
    "input annotation annotations response error code message model status output usage incomplete_details reason name "
    "call_id action query queries sources url title summary content encrypted_content phase input_tokens detail "
    "input_tokens_details output_tokens_details cached_tokens"
)
TYPES = (
    "response.output_item.added response.output_item.done response.output_text.delta response.output_text.done "
    "response.content_part.done response.refusal.delta response.output_text.annotation.added response.completed "
    "response.reasoning_summary_text.delta response.reasoning_summary_part.done response.reasoning_text.done "
    "response.function_call_arguments.delta response.function_call_arguments.done response.incomplete response.failed "
    "response.custom_tool_call_input.done error reasoning message function_call custom_tool_call web_search_call "
    "output_text refusal url_citation search completed"
)
OPTIONS = "allowed_domains blocked_domains user_location max_uses city name"
WORDS = st.sampled_from([*NAMES.split(), *OPTIONS.split()])
KINDS = st.sampled_from(TYPES.split())
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | KINDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=4)
RECORDS = st.builds(
    lambda record, kind, item: {**record, "type": kind, "item": item},
    OBJECTS,
    KINDS,
    JSON | st.builds(lambda kind, item: {**item, "type": kind}, KINDS, OBJECTS),
)


@given(st.lists(RECORDS, max_size=5))
def test_odd_records_are_read_or_refused(records: list[Any]) -> None:
    EMPTY.decode([f"data: {compact(record)}\n\n".encode() for record in records])
    EMPTY.read(compact({"object": "response", "output": [record["item"] for record in records]}).encode())
    EMPTY.read(compact(records[:1]).encode())


def test_a_record_that_can_just_be_read_is_used_or_refused() -> None:
    """Items are written anew from a deeper place than where they are read."""
    for depth in range(600, 1000):
        sealed = '{"type":"reasoning","encrypted_content":' + "[" * depth + "]" * depth + "}"
        items = [
            f'{{"type":"response.output_item.done","output_index":0,"item":{sealed}}}',
            compact(added(1, {"type": "message"})),
        ]
        _, error = EMPTY.decode([b"data: %b\n\n" % item.encode() for item in items])
        assert error is not None
        whole = f'{{"object":"response","status":"completed","output":[{sealed},{{"type":"message"}}]}}'
        EMPTY.read(whole.encode())


def test_what_waits_for_an_item_that_never_ends_ends_somewhere() -> None:
    begun = [added(0, {"type": "message"}), added(1, {"type": "message"})]
    waiting = {"type": "response.output_text.delta", "output_index": 1, "delta": "x" * (1 << 20)}
    chunks = [b"data: %b\n\n" % compact(item).encode() for item in begun]
    _, error = EMPTY.decode([*chunks, *[b"data: %b\n\n" % compact(waiting).encode()] * 256])
    assert error is not None
    assert "larger than 256 MiB" in error.message


def test_a_long_answer_in_small_pieces_is_no_large_one() -> None:
    """A record is many times longer than the token in it."""
    delta = {"type": "response.output_text.delta", "output_index": 0, "delta": "word", "obfuscation": "x" * 700}
    frame = b"data: %b\n\n" % compact(delta).encode()
    events, error = EMPTY.decode([frame * 10_000] * 10)
    assert error is not None
    assert "broke off" in error.message
    assert sum(isinstance(event, Text) for event in events) == 100_000


@given(st.integers(300, 599), JSON)
def test_odd_error_bodies_have_a_kind(status: int, body: Any) -> None:
    error = RESPONSES.read_error(status, {"retry-after": "1"}, compact(body).encode())
    assert error.message
    assert error.status not in (401, 403)


@given(st.dictionaries(st.sampled_from(OPTIONS.split()), JSON, max_size=4))
def test_odd_options_of_a_search_are_left_out(options: dict[str, Any]) -> None:
    tool = {"name": "web_search", "type": "web_search_20250305", "options": options}
    exchange = exchange_for(RESPONSES, prompt_of({"tools": [tool]}))
    exhaust(STREAMED.validate_python(body_of(exchange, web_search=True)))


# ---------------------------------------------------------------- through the gateway

PIPELINE = """
path: /
upstreams:
  main: {{protocol: openai-responses, url: "{{url}}/v1", key: upstream-key, quirks: {{count_tokens: {counts}}}}}
plugins:
  - translation
"""


async def test_upstream_counts_tokens(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(json_reply({"object": "response.input_tokens", "input_tokens": 4711}))
    gate = await gateway(PIPELINE.format(counts="true"), url=upstream.url)
    said = await ask(gate.url, prompt(), path="/v1/messages/count_tokens")
    assert (said.status, said.json()) == (200, {"input_tokens": 4711})
    assert upstream.calls[0].path == "/v1/responses/input_tokens"


async def test_upstream_that_cannot_count_is_not_asked(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(PIPELINE.format(counts="false"), url=upstream.url)
    said = await ask(gate.url, prompt(), path="/v1/messages/count_tokens")
    assert said.status == 200
    assert said.json()["input_tokens"] > 0
    assert not upstream.calls
