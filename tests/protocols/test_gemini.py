"""Gemini upstreams: what the golden files cannot say."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from penstock import InvalidRequest, Message, Prompt, Target, TextBlock, Tool, ToolChoice, UpstreamFailed
from penstock_translation.gemini import Gemini, GeminiQuirks
from penstock_translation.gemini.schema import openapi_parameters, openapi_schema
from tests.protocols.golden import Golden, compact, exchange_for, exhaust, goldens, raw

GEMINI = Gemini()
EMPTY = Golden(GEMINI, {})
BODY: dict[str, TypeAdapter[Any]] = {
    "contents": TypeAdapter(list[types.Content]),
    "systemInstruction": TypeAdapter(types.Content),
    "tools": TypeAdapter(list[types.Tool]),
    "toolConfig": TypeAdapter(types.ToolConfig),
    "generationConfig": TypeAdapter(types.GenerationConfig),
    "safetySettings": TypeAdapter(list[types.SafetySetting]),
    "serviceTier": TypeAdapter(Literal["unspecified", "flex", "standard", "priority"]),  # types.ServiceTier takes all
}
SCHEMA = TypeAdapter(types.Schema)
ANSWER = TypeAdapter(types.GenerateContentResponse)


def rendered(prompt: Prompt, operation: Any = "generate", **quirks: Any) -> tuple[str, Any]:
    exchange = exchange_for(GEMINI, prompt, stream=False)
    exchange.operation = operation
    request = GEMINI.render(exchange, Target("up", "m"), GeminiQuirks(**quirks))
    return request.path, json.loads(request.body)


def reduced(schema: Any) -> Any:
    return openapi_schema(raw(schema))


@contextmanager
def quick(seconds: float = 1.0) -> Iterator[None]:
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < seconds


# ---------------------------------------------------------------- requests


@goldens("request", "gemini")
def test_request_is_what_the_official_client_knows(golden: Golden) -> None:
    for name, value in json.loads(golden.render().body).items():
        exhaust(BODY[name].validate_json(json.dumps(value)))


@goldens("request", "gemini")
def test_request_of_a_longer_conversation_begins_like_the_shorter(golden: Golden) -> None:
    """Prompt caches live on that."""
    turns = golden.case["prompt"]["messages"]
    whole = json.loads(golden.render().body)["contents"]
    for end in range(1, len(turns)):
        if turns[end - 1]["role"] == "user" and turns[end]["role"] == "assistant":
            shorter = Golden(GEMINI, golden.case | {"prompt": golden.case["prompt"] | {"messages": turns[:end]}})
            contents = json.loads(shorter.render().body)["contents"]
            assert whole[: len(contents)] == contents


@goldens("request", "gemini")
def test_sides_take_turns_and_every_call_is_answered_next(golden: Golden) -> None:
    contents = json.loads(golden.render().body)["contents"]
    assert [content["role"] for content in contents] == [("user", "model")[n % 2] for n in range(len(contents))]
    for content, after in zip(contents, [*contents[1:], {"parts": []}], strict=True):
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        answers = [part["functionResponse"] for part in after["parts"][: len(calls)]]
        assert [(call["name"], call.get("id")) for call in calls] == [(it["name"], it.get("id")) for it in answers]


@pytest.mark.parametrize(
    ("schema", "message"),
    [(b'{"x":"\x80"}', "not UTF-8"), (b'{"a":' * 990 + b"1" + b"}" * 990, "nested too deeply")],
    ids=["bytes", "depth"],
)
def test_request_that_only_shows_its_fault_here_is_refused(schema: bytes, message: str) -> None:
    for prompt in Prompt(output_schema=msgspec.Raw(schema)), Prompt(tools=(Tool("f", schema=msgspec.Raw(schema)),)):
        with pytest.raises(InvalidRequest, match=message):
            rendered(prompt)


@pytest.mark.parametrize(
    ("quirks", "message"),
    [
        ({"levels": ["high", "low"]}, "efforts must ascend"),
        ({"levels": []}, "levels must not be empty"),
        ({"levels": ["none"]}, "Invalid enum value 'none'"),
        ({"budget_min": 5, "budget_max": 4}, "budget_min must not exceed budget_max"),
        ({"thinking_level": "low"}, "unknown field `thinking_level`"),
        ({"tool_name_limit": 3}, ">= 16"),
    ],
)
def test_quirks_that_make_no_sense_are_refused(quirks: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        msgspec.convert(quirks, GeminiQuirks)


# ---------------------------------------------------------------- counting

COUNTED = Prompt(
    system=(TextBlock("Be brief."),),
    messages=(Message("user", (TextBlock("hi"),)),),
    tools=(Tool("f"),),
    tool_choice=ToolChoice("any"),
    max_tokens=10,
)


def test_tokens_are_counted_of_all_that_makes_a_prompt_longer() -> None:
    path, body = rendered(COUNTED, "count_tokens")
    assert path == "/models/m:countTokens"
    whole = body.pop("generateContentRequest")
    assert body == {}
    assert whole.pop("model") == "models/m"
    assert whole.keys() == {"contents", "systemInstruction", "tools"}


def test_vertex_counts_the_members_of_a_request() -> None:
    path, body = rendered(COUNTED, "count_tokens", count_whole_request=False)
    assert path == "/models/m:countTokens"
    assert body.keys() == {"contents", "systemInstruction", "tools"}


def test_the_upstreams_count_is_read() -> None:
    assert GEMINI.read_token_count(b'{"totalTokens":31,"promptTokensDetails":[]}') == 31


@pytest.mark.parametrize("body", [b"", b"{}", b'{"totalTokens":"many"}', b'{"totalTokens":-1}', b"[]"])
def test_a_count_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="cannot be read"):
        GEMINI.read_token_count(body)


# ---------------------------------------------------------------- answers


@goldens("answer", "gemini")
def test_whole_answers_are_what_the_official_client_reads(golden: Golden) -> None:
    answer = golden.case["answer"]
    if "error" not in golden.case and isinstance(answer, dict):
        ANSWER.validate_json(json.dumps(answer))


@goldens("stream", "gemini")
def test_chunks_are_what_the_official_client_reads(golden: Golden) -> None:
    if "error" in golden.case or golden.case["about"] in ("what is unknown is skipped", "odd numbers are nothing"):
        return
    for record in golden.case["stream"]:
        if isinstance(record, dict):
            ANSWER.validate_json(json.dumps(record))


@pytest.mark.parametrize(
    ("text", "details"),
    [
        ("API key not valid. Please pass a valid API key.", [{"reason": "API_KEY_INVALID"}]),
        ("API key expired. Please renew the API key.", []),
        ("Something else.", [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]),
        ("User location is not supported for the API use.", []),
    ],
)
def test_a_refusal_of_the_gateways_key_is_not_the_clients_fault(text: str, details: list[Any]) -> None:
    body = {"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT", "details": details}}
    error = GEMINI.read_error(400, {}, compact(body).encode())
    assert isinstance(error, UpstreamFailed)
    assert (error.status, error.should_retry, error.raw) == (502, False, None)


# ---------------------------------------------------------------- schemas

_NAMES = st.sampled_from(["a", "b", "$ref", "items", "type", ""])
_TYPES = st.sampled_from(["string", "number", "integer", "boolean", "array", "object", "null", "String", "any"])
_REFERENCES = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/nowhere", "other.json", ""])
_ODD = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)


def _nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many = st.lists(inner, max_size=3)
    named = st.dictionaries(_NAMES, inner, max_size=3)
    known: dict[str, st.SearchStrategy[Any]] = {
        "type": _TYPES | st.lists(_TYPES, max_size=3),
        "properties": named,
        "$defs": named,
        "items": inner | many,
        "prefixItems": many,
        "anyOf": many,
        "oneOf": many,
        "allOf": many,
        "not": inner,
        "additionalProperties": inner,
        "enum": st.lists(_ODD, max_size=3),
        "required": st.lists(_NAMES, max_size=3),
        "$ref": _REFERENCES,
    }
    plain = ("const", "minimum", "exclusiveMaximum", "minItems", "maxLength", "format", "pattern", "default", "title")
    odd = dict.fromkeys((*plain, "description", "nullable", "$schema", "multipleOf", *known), _ODD)
    return st.fixed_dictionaries({}, optional=known) | st.fixed_dictionaries({}, optional=odd)


SCHEMAS: st.SearchStrategy[Any] = st.recursive(_ODD | st.just({}), _nodes, max_leaves=12)


@given(SCHEMAS)
def test_any_schema_becomes_one_that_google_knows(schema: Any) -> None:
    for whole in reduced(schema), openapi_parameters(raw(schema)):
        SCHEMA.validate_json(json.dumps(whole))
        check_schema(whole) if whole else None


def check_schema(schema: Any) -> None:
    """The rules that the official types do not know."""
    if "anyOf" in schema:
        assert schema.keys() == {"anyOf"}
        assert len(schema["anyOf"]) > 1
    else:
        assert schema["type"] in ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")
    assert (schema.get("type") == "ARRAY") is ("items" in schema)
    assert "" not in schema.get("enum", ["x"])
    assert set(schema.get("required", ())) <= schema.get("properties", {}).keys()
    assert "properties" not in schema or schema["properties"]
    for inner in (
        *schema.get("anyOf", ()),
        *schema.get("properties", {}).values(),
        *filter(None, [schema.get("items")]),
    ):
        check_schema(inner)


def test_references_do_not_multiply() -> None:
    """Each definition names the next ten times: written out, that would be 10 ** 30 nodes."""
    names = [f"d{number}" for number in range(30)]
    defs = {
        name: {"type": "object", "properties": {f"p{n}": {"$ref": f"#/$defs/{after}"} for n in range(10)}}
        for name, after in zip(names, [*names[1:], names[-1]], strict=True)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": defs}
    with quick():
        size = len(json.dumps(reduced(schema)))
    assert size < 20 * len(json.dumps(schema)) + 50_000


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(20_000)}},
        {"type": "object", "properties": {"a": {}}, "required": ["a"] * 100_000},
        {"enum": ["x" * 10] * 100_000},
        {"anyOf": [{"type": "string", "maxLength": n} for n in range(20_000)]},
        {"allOf": [{"properties": {f"p{n}": {}}} for n in range(10_000)]},
        {"$ref": "#/$defs/" + "x" * 100_000},
        {"properties": {f"p{n}": {"$ref": "#/$defs/a"} for n in range(5_000)}, "$defs": {"a": {"enum": ["x"] * 5_000}}},
        {
            "properties": {f"p{n}": {"allOf": [{"$ref": "#/$defs/a"}]} for n in range(3_000)},
            "$defs": {"a": {"properties": {f"q{n}": True for n in range(3_000)}}},
        },
        {"$ref": "#/$defs/d0", "$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(10_000)}},
    ],
    ids=["properties", "required", "enum", "variants", "all-of", "pointer", "referenced", "all-of-references", "chain"],
)
def test_large_schemas_are_quick(schema: Any) -> None:
    with quick(3.0):
        reduced(schema)


def test_a_schema_nested_in_itself_is_cut() -> None:
    schema: Any = {"type": "string"}
    for _ in range(60):
        schema = {"type": "object", "properties": {"a": schema}}
    text = json.dumps(reduced(schema))
    assert 20 < text.count("properties") < 60


# ---------------------------------------------------------------- whatever else an upstream may send

NAMES = (
    "candidates content parts text thought thoughtSignature functionCall name args id inlineData mimeType data "
    "executableCode codeExecutionResult output toolCall toolResponse finishReason finishMessage groundingMetadata "
    "groundingChunks groundingSupports groundingChunkIndices segment web uri title webSearchQueries index "
    "promptFeedback blockReason usageMetadata promptTokenCount cachedContentTokenCount candidatesTokenCount "
    "thoughtsTokenCount modelVersion responseId error code message status details retryDelay violations quotaId reason"
)
WORDS = st.sampled_from(NAMES.split())
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    VALUES | st.text(max_size=8) | st.sampled_from(["STOP", "SAFETY", "OTHER", "MALFORMED_FUNCTION_CALL", "5s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(WORDS, JSON, max_size=3)
CHUNKS = st.builds(
    lambda record, candidate, part: {**record, "candidates": [{**candidate, "content": {"parts": [part]}}]},
    RECORDS,
    RECORDS,
    RECORDS,
)


@given(st.lists(CHUNKS | RECORDS, max_size=4))
def test_odd_records_are_read_or_refused(chunks: list[Any]) -> None:
    EMPTY.decode([f"data: {compact(chunk)}\n\n".encode() for chunk in chunks])
    EMPTY.read(compact(chunks[:1]).encode())
    EMPTY.read(compact(chunks[0] if chunks else {}).encode())


@given(st.integers(300, 599), JSON | RECORDS | st.builds(lambda record: {"error": record}, RECORDS))
def test_odd_error_bodies_have_a_kind(status: int, body: Any) -> None:
    error = GEMINI.read_error(status, {}, compact(body).encode())
    assert error.message
    assert error.status not in (401, 403)
    assert error.retry_after is None or 0 <= error.retry_after <= 86_400


def test_many_calls_and_citations_are_quick() -> None:
    supports = [{"segment": {"text": "x"}, "groundingChunkIndices": list(range(1000))} for _ in range(1000)]
    grounding = {
        "groundingChunks": [{"web": {"uri": f"https://a/{n}"}} for n in range(1000)],
        "groundingSupports": supports,
    }
    calls = [{"functionCall": {"name": "f", "args": {"n": n}, "id": "x"}} for n in range(10_000)]
    first = {"candidates": [{"content": {"parts": [*calls, {"text": "Hi."}]}}]}
    last = {"candidates": [{"finishReason": "STOP", "groundingMetadata": grounding}]}
    with quick(3.0):
        events, error = EMPTY.decode([f"data: {compact(record)}\n\n".encode() for record in (first, last)])
    assert error is None
    assert sum(type(event).__name__ == "BlockStart" for event in events) == 10_003
