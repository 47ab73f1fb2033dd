"""Chat Completions: what is large or hostile takes no more than linear time and breaks nothing."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import pytest

from penstock import Message, Prompt, Target, TextBlock, Tool, ToolInput, UpstreamFailed
from penstock_translation.blocks import Blocks
from penstock_translation.openai_chat import ChatQuirks, OpenAIChat
from tests.protocols.golden import Golden, exchange_for, framed

CHAT = OpenAIChat()


@contextmanager
def quick(seconds: float = 1.0) -> Iterator[None]:
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < seconds


def rendered(prompt: Prompt) -> dict[str, Any]:
    body = CHAT.render(exchange_for(CHAT, prompt), Target("up", "m"), ChatQuirks()).body
    return cast("dict[str, Any]", json.loads(body))


def collected() -> Blocks:
    return Blocks(lambda name: name, lambda: "made-up")


def inputs(blocks: Blocks) -> dict[int, str]:
    found: dict[int, str] = {}
    for event in blocks.events:
        if isinstance(event, ToolInput):
            found[event.index] = found.get(event.index, "") + event.json
    return found


def test_a_schema_with_many_properties_is_quick() -> None:
    names = [f"p{number}" for number in range(40_000)]
    properties: dict[str, object] = {name: {} for name in names}
    schema = {"properties": properties, "required": [*names, 1, []], "additionalProperties": False}
    prompt = Prompt(output_schema=msgspec.Raw(json.dumps(schema).encode()))
    with quick():
        body = rendered(prompt)
    assert body["response_format"]["json_schema"]["strict"] is True


def test_many_turns_of_one_side_are_quick() -> None:
    prompt = Prompt(messages=tuple(Message("user", (TextBlock("x"),)) for _ in range(40_000)))
    with quick():
        body = rendered(prompt)
    assert len(body["messages"]) == 1


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "9" * 400, "9" * 5000, "1e300", "999999999"])
def test_a_wait_is_a_day_at_most(name: str, value: str) -> None:
    wait = CHAT.read_error(429, {name: value}, b"").retry_after
    assert wait is None or 0 <= wait <= 86_400


def test_a_date_beyond_all_years_is_no_wait() -> None:
    headers = {"retry-after": f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT", "date": "Mon, 01 Jan 2024 00:00:00 GMT"}
    assert CHAT.read_error(429, headers, b"").retry_after is None


def test_a_call_in_many_pieces_is_quick() -> None:
    blocks = collected()
    with quick(2.0):
        for index in 0, 1:  # the second makes the first one be looked at for its end
            blocks.call(index, f"c{index}", "f", "{")
        for _ in range(40_000):
            blocks.call(0, "", "", '"a":{}')
        blocks.finish()
    assert inputs(blocks)[0] == "{" + '"a":{}' * 40_000


def test_many_calls_known_by_their_ids_are_quick() -> None:
    blocks = collected()
    with quick(2.0):
        for number in range(20_000):
            blocks.call(None, f"c{number}", f"f{number}", "{")
        for number in range(20_000):
            blocks.call(None, f"c{number}", "", "}")
        blocks.finish()
    assert set(inputs(blocks).values()) == {"{}"}


@pytest.mark.parametrize("text", ['{"a":{"b":1},"c":2}', r'{"a":"\\\"}{","b":"\\u007d\\\\"}', '{"a":"x y{"} '])
def test_the_end_of_an_input_is_seen_however_it_is_cut(text: str) -> None:
    for size in range(1, len(text) + 1):
        blocks = collected()
        for at in range(0, len(text), size):
            blocks.call(0, "c", "", text[at : at + size]) if at else blocks.call(0, "c", "f", text[:size])
            blocks.call(1, "d", "g" if not at else "", "{" if not at else " ")
        assert inputs(blocks)[0] == text.rstrip() or inputs(blocks)[0] == text
        assert 1 in inputs(blocks), "the second call is open, so the first one has ended"


@pytest.mark.parametrize("kind", ["text", "thinking", "tool_use"])
def test_blank_fragments_are_quick(kind: str) -> None:
    blocks = collected()
    with quick(2.0):
        for _ in range(40_000):
            blocks.call(0, "c", "f", " ") if kind == "tool_use" else blocks.text("text", " ")
            if kind == "thinking":
                blocks.text("thinking", "\n")
        blocks.finish()
    assert inputs(blocks) == ({0: "{}"} if kind == "tool_use" else {})


def test_details_in_many_fragments_are_quick() -> None:
    golden = Golden(CHAT, {"quirks": {"reasoning_details": True}})
    details = [{"type": "reasoning.text", "text": "x" * 20, "index": number % 50} for number in range(20_000)]
    chunks = [framed({"choices": [{"delta": {"reasoning_details": [detail]}}]}) for detail in details]
    with quick(2.0):
        events, error = golden.decode([*chunks, framed({"choices": [{"finish_reason": "stop"}]}), b"data: [DONE]\n\n"])
    assert error is None
    assert len(events) == 20_000 + 6


def test_sources_without_a_text_are_quick() -> None:
    golden = Golden(CHAT, {})
    sources = [{"url": f"https://a.example/{number}"} for number in range(200)]
    chunk = framed({"choices": [{"delta": {"annotations": sources}}]})
    with quick(2.0):
        golden.decode([chunk] * 200)


def test_a_schema_of_many_alternatives_is_quick() -> None:
    branches = [{"properties": {f"p{number}": {}, "same": {"const": number}}} for number in range(2_000)]
    prompt = Prompt(tools=(Tool("f", schema=msgspec.Raw(json.dumps({"anyOf": branches}).encode())),))
    with quick():
        body = rendered(prompt)
    assert len(body["tools"][0]["function"]["parameters"]["properties"]) == 2_001


LARGE = "x" * (1 << 20)


def repeat(times: int, step: Callable[[int], object]) -> None:
    for number in range(times):
        step(number)


@pytest.mark.parametrize("chunk", [LARGE.encode(), b"data: {}\n\n" * 100_000], ids=["a whole body", "empty records"])
def test_an_answer_without_end_ends_somewhere(chunk: bytes) -> None:
    decoder = CHAT.decoder(exchange_for(CHAT, Prompt()), None, ChatQuirks())
    decoder.feed(b'{"' if chunk == LARGE.encode() else b"data: {}\n\n")
    with pytest.raises(UpstreamFailed, match="larger than 256 MiB"):
        repeat(300, lambda number: decoder.feed(chunk))
