"""The test kit's answers are what the official SDKs of their formats accept, and say what the script says."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from anthropic import AsyncAnthropic
from google.genai import types as contents_types
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from penstock import sse
from penstock.testing import MakeUpstream, Reply, Thought, ToolCall, chat, contents, messages, responses

CALLS = (ToolCall("Read", {"file": "é🦊", "lines": [1, 2]}, "call_a"), ToolCall("Now", {}, "call_b"))
PARTS = (Thought("let me see", "c2lnbmVk"), "I will look, 🦊.", *CALLS)
PROMPT: Any = [{"role": "user", "content": "hi"}]

Made = Callable[..., Reply]
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def records(reply: Reply) -> list[Any]:
    """The data of a stream's events, or the one body."""
    if reply.headers["content-type"] == "application/json":
        return [json.loads(reply.payload)]
    return [json.loads(frame.data) for frame in sse.Reader().feed(reply.payload)]


@pytest.fixture
async def sdk(make_upstream: MakeUpstream) -> AsyncIterator[Callable[[Reply], AsyncOpenAI]]:
    """An SDK that will get one answer."""
    upstream = await make_upstream()
    async with AsyncOpenAI(base_url=upstream.url, api_key="key", max_retries=0) as client:

        def answering(reply: Reply) -> AsyncOpenAI:
            upstream.answers(reply)
            return client

        yield answering


# ---------------------------------------------------------------- Responses


def test_every_event_of_a_response_has_its_type_and_number() -> None:
    found = records(responses.stream(*PARTS))
    read = [TypeAdapter(ResponseStreamEvent).validate_python(record) for record in found]
    assert [event.type for event in read] == [record["type"] for record in found]
    assert [event.sequence_number for event in read] == list(range(len(read)))


async def test_a_streamed_response_is_accumulated(sdk: Callable[[Reply], AsyncOpenAI]) -> None:
    client = sdk(responses.stream(*PARTS))
    async with client.responses.stream(model="m", input="hi") as stream:
        async for _ in stream:
            pass
        check_response(await stream.get_final_response())


async def test_a_whole_response_says_the_same(sdk: Callable[[Reply], AsyncOpenAI]) -> None:
    check_response(await sdk(responses.whole(*PARTS)).responses.create(model="m", input="hi"))


def check_response(response: Response) -> None:
    """That a response is PARTS."""
    reasoning, message, *calls = response.output
    assert reasoning.type == "reasoning"
    assert [part.text for part in reasoning.summary] == ["let me see"]
    assert reasoning.encrypted_content == "c2lnbmVk"
    assert message.type == "message"
    assert response.output_text == "I will look, 🦊."
    read = [(call.name, call.arguments, call.call_id) for call in calls if call.type == "function_call"]
    assert read == [(call.name, call.json, call.id) for call in CALLS]
    assert response.status == "completed"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (11, 7)


def test_calls_of_a_response_are_interleaved() -> None:
    indexes = [record["output_index"] for record in records(responses.stream(*CALLS)) if "output_index" in record]
    assert indexes[:4] == [0, 1, 0, 1]


@BOTH
def test_an_incomplete_response_says_why(stream: bool) -> None:
    made = responses.stream if stream else responses.whole
    last = records(made("Hello", incomplete="max_output_tokens"))[-1]
    response = Response.model_validate(last["response"] if stream else last)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


# ---------------------------------------------------------------- generateContent


def read_contents(reply: Reply) -> list[contents_types.GenerateContentResponse]:
    return [contents_types.GenerateContentResponse.model_validate(record) for record in records(reply)]


def parts_of(answers: list[contents_types.GenerateContentResponse]) -> list[contents_types.Part]:
    found = [answer.candidates[0].content for answer in answers if answer.candidates]
    return [part for content in found if content for part in content.parts or ()]


@BOTH
def test_contents_say_what_the_script_says(stream: bool) -> None:
    answers = read_contents((contents.stream if stream else contents.whole)(*PARTS))
    parts = parts_of(answers)
    assert "".join(part.text or "" for part in parts if part.thought) == "let me see"
    assert "".join(part.text or "" for part in parts if not part.thought) == "I will look, 🦊."
    calls = [part.function_call for part in parts if part.function_call]
    assert [(call.name, call.args, call.id) for call in calls] == [(call.name, call.input, None) for call in CALLS]
    assert [part.thought_signature for part in parts if part.function_call] == [b"signed", None]
    usage, candidates = answers[-1].usage_metadata, answers[-1].candidates
    assert usage
    assert candidates
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (11, 7, 18)
    assert candidates[0].finish_reason == "STOP"


def test_a_stream_of_contents_is_coarse() -> None:
    reply = contents.stream(*PARTS)
    assert reply.payload.count(b"\r\n\r\n") == reply.payload.count(b"\n\r\n") == len(reply.body)
    answers = read_contents(reply)
    assert [len(parts_of([answer])) for answer in answers][-2:] == [2, 1]  # the calls, and an empty end
    assert [bool(answer.candidates and answer.candidates[0].finish_reason) for answer in answers].count(True) == 1


@BOTH
def test_without_calls_the_signature_comes_at_the_end(stream: bool) -> None:
    answers = read_contents((contents.stream if stream else contents.whole)(Thought("", "c2lnbmVk"), "Hello"))
    last = parts_of(answers)[-1]
    assert (last.text, last.thought_signature) == ("", b"signed")
    assert not any(part.thought for part in parts_of(answers))


def test_an_error_of_contents() -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
    reply = contents.error(429, "RESOURCE_EXHAUSTED", "slow down", [retry])
    assert reply.status == 429
    assert records(reply)[0]["error"]["details"] == [retry]


# ---------------------------------------------------------------- four formats at once


async def test_an_upstream_for_each_format(make_upstream: MakeUpstream) -> None:
    first, second, third, fourth = [await make_upstream() for _ in range(4)]
    first.answers(messages.stream(*PARTS))
    second.answers(chat.stream(*PARTS))
    third.answers(responses.stream(*PARTS))
    where = contents.path(stream=True)
    fourth.answers(contents.stream(*PARTS), path=where)
    async with (
        AsyncAnthropic(base_url=first.url, api_key="k") as one,
        AsyncOpenAI(base_url=second.url, api_key="k") as two,
        AsyncOpenAI(base_url=third.url, api_key="k") as three,
        aiohttp.ClientSession(fourth.url) as four,
    ):
        async with one.messages.stream(model="m", max_tokens=9, messages=PROMPT) as stream:
            assert [block.type for block in (await stream.get_final_message()).content][-2:] == ["tool_use"] * 2
        async with two.chat.completions.stream(model="m", messages=PROMPT) as chunks:
            assert (await chunks.get_final_completion()).choices[0].message.content == "I will look, 🦊."
        async with three.responses.stream(model="m", input="hi") as events:
            check_response(await events.get_final_response())
        async with four.post(where) as response:
            assert await response.read() == contents.stream(*PARTS).payload
    assert [call.path for upstream in (first, second, third, fourth) for call in upstream.calls] == [
        messages.PATH,
        chat.PATH,
        responses.PATH,
        where,
    ]
