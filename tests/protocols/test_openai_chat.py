"""Chat Completions upstreams: what the golden files cannot say."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import completion_create_params as params
from pydantic import TypeAdapter

from penstock import (
    Block,
    BlockStart,
    Event,
    InvalidRequest,
    Message,
    Prompt,
    Signature,
    Target,
    Text,
    Thinking,
    ThinkingBlock,
    ToolUseBlock,
)
from penstock_translation.openai_chat import ChatQuirks, OpenAIChat
from tests.protocols.golden import Golden, compact, exchange_for, exhaust, framed, goldens

CHAT = OpenAIChat()
EMPTY = Golden(CHAT, {})
PLAIN: TypeAdapter[Any] = TypeAdapter(params.CompletionCreateParamsNonStreaming)
STREAMED: TypeAdapter[Any] = TypeAdapter(params.CompletionCreateParamsStreaming)


@goldens("request", "openai_chat")
def test_request_is_what_the_official_client_would_send(golden: Golden) -> None:
    if golden.quirks.images_in_tool_results or golden.quirks.web_search in ("openrouter", "zai"):
        pytest.skip("images in tool messages, and tools that search, are dialects")
    body = json.loads(golden.render().body)
    exhaust((STREAMED if "stream" in body else PLAIN).validate_python(body))


@goldens("request", "openai_chat")
def test_request_of_a_longer_conversation_begins_like_the_shorter(golden: Golden) -> None:
    """Prompt caches live on that; only their marks move on."""
    if golden.quirks.cache_control != "none":
        pytest.skip("a mark makes a string a list of parts")
    turns = golden.case["prompt"]["messages"]
    whole = json.loads(golden.render().body)["messages"]
    for end in range(1, len(turns)):
        if turns[end - 1]["role"] == "user" and turns[end]["role"] == "assistant":
            shorter = Golden(CHAT, golden.case | {"prompt": golden.case["prompt"] | {"messages": turns[:end]}})
            messages = json.loads(shorter.render().body)["messages"]
            assert whole[: len(messages)] == messages


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (b'{"x":"\x80"}', "not UTF-8"),
        (b'{"a":' * 990 + b"1" + b"}" * 990, "nested too deeply"),
        (b"[1]", "the schema of the answer must be a JSON object"),
    ],
    ids=["bytes", "depth", "list"],
)
def test_request_that_only_shows_its_fault_here_is_refused(schema: bytes, message: str) -> None:
    exchange = exchange_for(CHAT, Prompt(output_schema=msgspec.Raw(schema)))
    with pytest.raises(InvalidRequest, match=message):
        CHAT.render(exchange, Target("up", "m"), ChatQuirks())


@pytest.mark.parametrize(
    ("quirks", "message"),
    [
        ({"efforts": ["high", "low"]}, "efforts must ascend"),
        ({"efforts": ["low", "low"]}, "efforts must ascend"),
        ({"efforts": ["lots"]}, "Invalid enum value 'lots'"),
        ({"max_token_field": "max_tokens"}, "unknown field `max_token_field`"),
        ({"tool_call_id_limit": 3}, ">= 9"),
        ({"temperature_range": [1, 0]}, "temperature_range must not fall, got [1, 0]"),
        ({"top_p_range": [0.5, 0.1]}, "top_p_range must not fall"),
    ],
)
def test_quirks_that_make_no_sense_are_refused(quirks: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        msgspec.convert(quirks, ChatQuirks)


# ---------------------------------------------------------------- what has to come back

PIECES = st.lists(st.text("ab ", min_size=1, max_size=3), min_size=1, max_size=3)
ENTRIES = st.lists(st.tuples(st.sampled_from(["text", "summary", "encrypted"]), PIECES, st.booleans()), max_size=5)


def entry(number: int, kind: str, pieces: list[str], signed: bool) -> dict[str, Any]:
    """One of a list of reasoning details."""
    member = "data" if kind == "encrypted" else kind
    seal = {"signature": f"s{number}"} if signed and kind == "text" else {}
    return {"type": f"reasoning.{kind}", "index": number, member: "".join(pieces), **seal}


def fragments(whole: dict[str, Any], pieces: list[str]) -> list[dict[str, Any]]:
    """An entry as a stream brings it: its text in pieces, its signature in a piece of its own."""
    if "data" in whole:
        return [whole]
    member = "text" if "text" in whole else "summary"
    bare = {"type": whole["type"], "index": whole["index"]}
    signature = [bare | {"signature": whole["signature"]}] if "signature" in whole else []
    return [bare | {member: piece} for piece in pieces] + signature


@given(ENTRIES, st.lists(st.sampled_from(["", "word"]), min_size=5, max_size=5))
def test_reasoning_details_come_back_as_they_were(parts: list[tuple[str, list[str], bool]], between: list[str]) -> None:
    entries = [entry(number, *part) for number, part in enumerate(parts)]
    deltas: list[dict[str, Any]] = []
    for whole, part, word in zip(entries, parts, between, strict=False):
        deltas += [{"reasoning_details": [fragment]} for fragment in fragments(whole, part[1])]
        deltas += [{"content": word}] if word else []
    deltas.append({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}]})
    golden = Golden(CHAT, {"quirks": {"reasoning_details": True}})
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas] + [{"choices": [{"finish_reason": "stop"}]}]
    events, error = golden.decode(map(framed, chunks))
    assert error is None
    message = Message("assistant", tuple(blocks_of(events)))
    body = CHAT.render(exchange_for(CHAT, Prompt(messages=(message,))), Target("up", "m"), golden.quirks).body
    assert json.loads(body)["messages"][0].get("reasoning_details", []) == entries


def blocks_of(events: list[Event]) -> Iterator[Block]:
    """The blocks that a client makes of an answer and sends back."""
    text = ""
    for event in events:
        match event:
            case BlockStart(kind="redacted_thinking"):
                yield ThinkingBlock(redacted=event.data)
            case BlockStart(kind="tool_use"):
                yield ToolUseBlock(event.id, event.name, msgspec.Raw(b"{}"))
            case BlockStart():
                text = ""
            case Text() | Thinking():
                text += event.text
            case Signature():
                yield ThinkingBlock(text, event.signature)
            case _:
                pass


# ---------------------------------------------------------------- whatever else an upstream may send

NAMES = (
    "id index type name function arguments tool_calls extra_content content text thinking summary reasoning refusal "
    "reasoning_content reasoning_details signature data url annotations function_call base_resp status_code choices "
    "delta message finish_reason stop_reason usage prompt_tokens x_groq completion_tokens prompt_tokens_details "
    "cached_tokens model object error code detail metadata raw"
)
WORDS = st.sampled_from(NAMES.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(WORDS, JSON, max_size=3)
CHUNKS = st.builds(
    lambda record, choice, delta: {**record, "choices": [{**choice, "delta": delta}]}, RECORDS, RECORDS, RECORDS
)


@given(st.lists(CHUNKS, max_size=4))
def test_odd_records_are_read_or_refused(chunks: list[Any]) -> None:
    EMPTY.decode([f"data: {compact(chunk)}\n\n".encode() for chunk in chunks])
    EMPTY.read(compact(chunks[:1]).encode())


@given(st.integers(300, 599), JSON | RECORDS)
def test_odd_error_bodies_have_a_kind(status: int, body: Any) -> None:
    error = CHAT.read_error(status, {"retry-after": "1"}, compact(body).encode())
    assert error.message
    assert error.status not in (401, 403)
