"""Chat Completions upstreams against golden files: cases/openai_chat holds one JSON file per case.

request_*  a neutral prompt in, the upstream's request out: `prompt`, `upstream`; `stream`, `target`, `output_limit`
stream_*   an upstream's records in, events out: `stream` (an object is framed, a string is bytes as they are),
           `events`, `error` if it ends in one; `tools` and `stop` of the request
answer_*   a whole answer in, events out: `answer` (an object or a string), `events`, `error`
error_*    an error answer in, a kind out: `status`, `headers`, `body`, `error`

All have `about`, which says what the case shows, and may have `quirks`. Members of an expected event that have their
default may be left out; the message of an expected error is a part of the real one.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import completion_create_params as params
from pydantic import TypeAdapter

from penstock import (
    Block,
    DocumentBlock,
    Event,
    Exchange,
    Failed,
    GatewayError,
    ImageBlock,
    InvalidRequest,
    Message,
    ModelInfo,
    OtherBlock,
    Prompt,
    PromptTooLong,
    Request,
    Target,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
    Upstream,
)
from penstock_translation.anthropic import Anthropic
from penstock_translation.openai_chat import ChatQuirks, OpenAIChat

Case = dict[str, Any]
Outcome = tuple[list[Event], GatewayError | None]

CASES = Path(__file__).parent / "cases/openai_chat"
CHAT = OpenAIChat()
PLAIN: TypeAdapter[Any] = TypeAdapter(params.CompletionCreateParamsNonStreaming)
STREAMED: TypeAdapter[Any] = TypeAdapter(params.CompletionCreateParamsStreaming)
BLOCKS: dict[str, type[msgspec.Struct]] = {
    "text": TextBlock,
    "image": ImageBlock,
    "document": DocumentBlock,
    "thinking": ThinkingBlock,
}


def cases(kind: str) -> pytest.MarkDecorator:
    files = sorted(CASES.glob(f"{kind}_*.json"))
    return pytest.mark.parametrize("case", [pytest.param(json.loads(f.read_bytes()), id=f.stem) for f in files])


# ---------------------------------------------------------------- the files' notation as values


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def block(value: Any) -> Block:
    if isinstance(value, str):
        return TextBlock(value)
    kind = value["type"]
    members = {name: member for name, member in value.items() if name != "type"}
    if kind == "tool_use":
        return ToolUseBlock(value["id"], value["name"], raw(value["input"]))
    if kind == "tool_result":
        return ToolResultBlock(**members | {"content": tuple(map(block, value["content"]))})
    if kind == "other":
        return OtherBlock(value["kind"], value.get("text", ""))
    return cast("Block", BLOCKS[kind](**members))


def prompt_of(notation: dict[str, Any]) -> Prompt:
    fields = dict(notation)
    readers: dict[str, Callable[[Any], Any]] = {
        "system": lambda texts: tuple(map(TextBlock, texts)),
        "messages": lambda turns: tuple(Message(turn["role"], tuple(map(block, turn["content"]))) for turn in turns),
        "tools": lambda tools: tuple(map(tool, tools)),
        "output_schema": raw,
    }
    for name, read in readers.items():
        if name in fields:
            fields[name] = read(fields[name])
    kinds = {field.name: field.type for field in msgspec.structs.fields(Prompt)}
    plain = {name: msgspec.convert(value, kinds[name]) for name, value in fields.items() if name not in readers}
    return Prompt(**fields | plain)


def tool(notation: dict[str, Any]) -> Tool:
    schema = {"schema": raw(notation["schema"])} if "schema" in notation else {}
    return Tool(**notation | schema)


def quirks_of(case: Case) -> ChatQuirks:
    return msgspec.convert(case.get("quirks", {}), ChatQuirks)


def exchange_for(prompt: Prompt, *, stream: bool = True, output_limit: int = 0) -> Exchange:
    """An exchange whose client's document stays out of the way: the prompt is given."""
    models = (ModelInfo(id="m", output=output_limit),)
    exchange = Exchange(
        pipeline="t",
        protocol=Anthropic(),
        operation="generate",
        request=Request(bytes(raw({"model": "claude-x", "stream": stream})), lambda body: prompt),
        headers={},
        upstreams={"up": Upstream(name="up", protocol=CHAT, models=models)},
        started=0.0,
    )
    exchange.id = "req_0"
    return exchange


# ---------------------------------------------------------------- requests


def render(case: Case) -> dict[str, Any]:
    exchange = exchange_for(
        prompt_of(case["prompt"]), stream=case.get("stream", False), output_limit=case.get("output_limit", 0)
    )
    request = CHAT.render(exchange, Target("up", case.get("target", "m")), quirks_of(case))
    assert (request.method, request.path) == ("POST", "/chat/completions")
    assert request.headers["content-type"] == "application/json"
    return cast("dict[str, Any]", json.loads(request.body))


@cases("request")
def test_request(case: Case) -> None:
    assert render(case) == case["upstream"]


@cases("request")
def test_request_is_what_the_official_client_would_send(case: Case) -> None:
    if quirks_of(case).images_in_tool_results:
        pytest.skip("images in tool messages are a dialect")
    body = render(case)
    exhaust((STREAMED if "stream" in body else PLAIN).validate_python(body))


def exhaust(value: object) -> None:
    """Look at everything: pydantic validates the items of an iterable only when they are asked for."""
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            exhaust(item)


@cases("request")
def test_request_of_a_longer_conversation_begins_like_the_shorter(case: Case) -> None:
    """Prompt caches live on that."""
    turns = case["prompt"]["messages"]
    whole = render(case)["messages"]
    for end in range(1, len(turns)):
        if turns[end - 1]["role"] == "user" and turns[end]["role"] == "assistant":
            shorter = render(case | {"prompt": case["prompt"] | {"messages": turns[:end]}})["messages"]
            assert whole[: len(shorter)] == shorter


@pytest.mark.parametrize(
    ("schema", "message"),
    [(b'{"x":"\x80"}', "not UTF-8"), (b'{"a":' * 990 + b"1" + b"}" * 990, "nested too deeply")],
    ids=["bytes", "depth"],
)
def test_request_that_only_shows_its_fault_here_is_refused(schema: bytes, message: str) -> None:
    exchange = exchange_for(Prompt(output_schema=msgspec.Raw(schema)))
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


# ---------------------------------------------------------------- answers


def outcome(produce: Callable[[Callable[[Iterable[Event]], None]], None]) -> Outcome:
    """The events that came, and the error in which it ended."""
    events: list[Event] = []

    def collect(more: Iterable[Event]) -> None:
        for event in more:
            if isinstance(event, Failed):
                raise event.error
            events.append(event)

    try:
        produce(collect)
    except GatewayError as error:
        return events, error
    return events, None


def exchange_of(case: Case) -> Exchange:
    tools = [{"name": name} for name in case.get("tools", ())]
    return exchange_for(prompt_of({"tools": tools, "stop": case.get("stop", [])}))


def compact(value: object) -> str:
    return msgspec.json.encode(value).decode()


def stream_bytes(case: Case) -> bytes:
    frames = (part if isinstance(part, str) else f"data: {compact(part)}\n\n" for part in case["stream"])
    return "".join(frames).encode()


def decode(case: Case, chunks: Iterable[bytes]) -> Outcome:
    def produce(collect: Callable[[Iterable[Event]], None]) -> None:
        decoder = CHAT.decoder(exchange_of(case), None, quirks_of(case))
        for chunk in chunks:
            for piece in decoder.feed(chunk):
                collect(piece.events)
        for piece in decoder.end():
            collect(piece.events)

    return outcome(produce)


def check(result: Outcome, case: Case) -> None:
    events, error = result
    assert events == msgspec.convert(case["events"], list[Event])
    check_error(error, case.get("error"))


def check_error(error: GatewayError | None, expected: dict[str, Any] | None) -> None:
    if expected is None:
        assert error is None
        return
    assert error is not None
    assert expected["message"] in error.message
    seen = {name: getattr(error, name) for name in expected if name != "message"}
    assert seen == {name: value for name, value in expected.items() if name != "message"}


@cases("stream")
def test_stream(case: Case) -> None:
    check(decode(case, [stream_bytes(case)]), case)


@cases("stream")
def test_stream_does_not_depend_on_how_it_is_cut(case: Case) -> None:
    data = stream_bytes(case)
    check(decode(case, [data[at : at + 1] for at in range(len(data))]), case)
    for at in range(1, len(data)):
        check(decode(case, [data[:at], data[at:]]), case)


@cases("stream")
def test_stream_keeps_the_order_of_an_answer(case: Case) -> None:
    """One Start first, blocks one after the other with their own increments, Usage and one Finish last."""
    events, error = decode(case, [stream_bytes(case)])
    names = [type(event).__name__ for event in events if type(event).__name__ != "Ping"]
    if names:
        assert names[0] == "Start"
    assert names.count("Start") <= 1
    if error is None:
        assert names[-2:] == ["Usage", "Finish"]
    depth, opened = 0, 0
    for event in events:
        match type(event).__name__:
            case "BlockStart":
                assert (depth, getattr(event, "index", -1)) == (0, opened)
                depth, opened = 1, opened + 1
            case "BlockStop":
                assert (depth, getattr(event, "index", -1)) == (1, opened - 1)
                depth = 0
            case "Text" | "Thinking" | "ToolInput":
                assert (depth, getattr(event, "index", -1)) == (1, opened - 1)
    assert error is not None or depth == 0


@cases("answer")
def test_answer(case: Case) -> None:
    body = case["answer"] if isinstance(case["answer"], str) else compact(case["answer"])
    result = outcome(lambda collect: collect(CHAT.read_answer(exchange_of(case), body.encode(), quirks_of(case))))
    check(result, case)


@cases("error")
def test_error(case: Case) -> None:
    body = case["body"] if isinstance(case["body"], str) else compact(case["body"])
    error = CHAT.read_error(case["status"], case.get("headers", {}), body.encode())
    check_error(error, case["error"])
    if isinstance(error, PromptTooLong):
        assert error.tokens > error.maximum > 0
    if case["status"] in (401, 402, 403):
        assert error.raw is None, "what is said about the gateway's own account is not for the client"
    else:
        assert error.raw is not None
        assert (error.raw.protocol, error.raw.body) == ("openai-chat", body.encode())


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
    decode({}, [f"data: {compact(chunk)}\n\n".encode() for chunk in chunks])
    outcome(lambda collect: collect(CHAT.read_answer(exchange_of({}), compact(chunks[:1]).encode(), ChatQuirks())))


@settings(deadline=None)
@given(st.sampled_from(sorted(CASES.glob("stream_*.json"))), st.data())
def test_damaged_streams_are_read_or_refused(file: Path, data: st.DataObject) -> None:
    case = json.loads(file.read_bytes())
    whole = stream_bytes(case)
    start = data.draw(st.integers(0, len(whole)))
    damage = data.draw(st.binary(max_size=3))
    end = data.draw(st.integers(start, min(len(whole), start + 3)))
    decode(case, [whole[:start] + damage + whole[end:]])


@settings(deadline=None)
@given(st.integers(300, 599), JSON | RECORDS)
def test_odd_error_bodies_have_a_kind(status: int, body: Any) -> None:
    error = CHAT.read_error(status, {"retry-after": "1"}, compact(body).encode())
    assert error.message
    assert error.status not in (401, 403)
