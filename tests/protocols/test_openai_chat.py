"""Chat Completions upstreams: what the golden files cannot say."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import completion_create_params as params
from pydantic import TypeAdapter

from penstock import InvalidRequest, Prompt, Target
from penstock_translation.openai_chat import ChatQuirks, OpenAIChat
from tests.protocols.golden import Golden, compact, exchange_for, exhaust, goldens

CHAT = OpenAIChat()
EMPTY = Golden(CHAT, {})
PLAIN: TypeAdapter[Any] = TypeAdapter(params.CompletionCreateParamsNonStreaming)
STREAMED: TypeAdapter[Any] = TypeAdapter(params.CompletionCreateParamsStreaming)


@goldens("request", "openai_chat")
def test_request_is_what_the_official_client_would_send(golden: Golden) -> None:
    if golden.quirks.images_in_tool_results:
        pytest.skip("images in tool messages are a dialect")
    body = json.loads(golden.render().body)
    exhaust((STREAMED if "stream" in body else PLAIN).validate_python(body))


@goldens("request", "openai_chat")
def test_request_of_a_longer_conversation_begins_like_the_shorter(golden: Golden) -> None:
    """Prompt caches live on that."""
    turns = golden.case["prompt"]["messages"]
    whole = json.loads(golden.render().body)["messages"]
    for end in range(1, len(turns)):
        if turns[end - 1]["role"] == "user" and turns[end]["role"] == "assistant":
            shorter = Golden(CHAT, golden.case | {"prompt": golden.case["prompt"] | {"messages": turns[:end]}})
            messages = json.loads(shorter.render().body)["messages"]
            assert whole[: len(messages)] == messages


@pytest.mark.parametrize(
    ("schema", "message"),
    [(b'{"x":"\x80"}', "not UTF-8"), (b'{"a":' * 990 + b"1" + b"}" * 990, "nested too deeply")],
    ids=["bytes", "depth"],
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
    ],
)
def test_quirks_that_make_no_sense_are_refused(quirks: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        msgspec.convert(quirks, ChatQuirks)


# ---------------------------------------------------------------- whatever else an upstream may send

NAMES = (
    "id index type name function arguments tool_calls extra_content content text thinking summary reasoning refusal "
    "reasoning_content reasoning_details choices delta message finish_reason stop_reason usage prompt_tokens x_groq "
    "completion_tokens prompt_tokens_details cached_tokens model object error code detail metadata raw"
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


@settings(deadline=None)
@given(st.lists(CHUNKS, max_size=4))
def test_odd_records_are_read_or_refused(chunks: list[Any]) -> None:
    EMPTY.decode([f"data: {compact(chunk)}\n\n".encode() for chunk in chunks])
    EMPTY.read(compact(chunks[:1]).encode())


@settings(deadline=None)
@given(st.integers(300, 599), JSON | RECORDS)
def test_odd_error_bodies_have_a_kind(status: int, body: Any) -> None:
    error = CHAT.read_error(status, {"retry-after": "1"}, compact(body).encode())
    assert error.message
    assert error.status not in (401, 403)
