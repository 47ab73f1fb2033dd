"""Clients that leave: the upstream is closed at once, the log says cancelled; and many clients at the same time."""

import asyncio
import random

import aiohttp
import pytest

from penstock.testing import (
    HANG,
    PATIENCE,
    MakeGateway,
    MakeProcess,
    Reply,
    RunningGateway,
    ScriptedUpstream,
    chat,
    messages,
)
from tests.integration.talk import CHAT, RELAY, SIMULATOR, ask, log_lines, opened, prompt

AT_ONCE = 0.1  # seconds
STREAMS = pytest.mark.parametrize("pipeline", [RELAY, CHAT], ids=["relayed", "translated"])


def hanging(pipeline: str) -> Reply:
    """A stream that has begun and does not go on."""
    if pipeline is RELAY:
        return messages.stream("hello", "again").at(b"event: content_block_stop", HANG)
    return chat.stream("hello", "again").at(b"data: [DONE]", HANG)


async def left(gate: RunningGateway, upstream: ScriptedUpstream) -> float:
    """Seconds from now until the upstream noticed that the gateway has gone."""
    now = asyncio.get_running_loop().time()
    assert await upstream.calls[-1].over() == "gone"
    ended = upstream.calls[-1].ended_at
    assert ended is not None
    return ended - now


@STREAMS
async def test_leaving_in_the_middle_of_a_stream(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str
) -> None:
    upstream.answers(hanging(pipeline))
    gate = await gateway(pipeline, url=upstream.url)
    async with opened(gate.url, prompt(stream=True)) as response:
        await response.content.readuntil(b"text_delta")
    assert await left(gate, upstream) < AT_ONCE
    (line,) = await log_lines(gate)
    assert (line["outcome"], line["status"]) == ("cancelled", 200)


@STREAMS
async def test_what_was_delivered_until_then_is_counted(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str
) -> None:
    """Upstreams tell the output at the end, which does not come any more."""
    said, words = (messages, b"event: content_block_stop") if pipeline is RELAY else (chat, b"data: [DONE]")
    upstream.answers(said.stream("some words " * 2000 + "the end").at(words, HANG))
    gate = await gateway(pipeline, url=upstream.url)
    async with opened(gate.url, prompt(stream=True, max_tokens=32_000)) as response:
        await response.content.readuntil(b"the end")
    (line,) = await log_lines(gate)
    assert line["outcome"] == "cancelled"
    assert line["tokens"]["estimated"]
    assert 500 < line["tokens"]["output"] < 6000
    assert line["tokens"]["input"] > 0


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@STREAMS
async def test_leaving_before_the_answer_has_begun(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str, stream: bool
) -> None:
    upstream.answers(messages.whole("hello").first(HANG))
    gate = await gateway(pipeline, url=upstream.url)
    async with aiohttp.ClientSession() as session:
        request = asyncio.ensure_future(session.post(gate.url + "/v1/messages", json=prompt(stream=stream)))
        await upstream.called()
        request.cancel()
        await asyncio.wait({request})
    assert await left(gate, upstream) < AT_ONCE
    (line,) = await log_lines(gate)
    assert line["outcome"] == "cancelled"


async def test_leaving_while_the_gateway_pings(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.whole("hello").first(HANG))
    gate = await gateway(RELAY, url=upstream.url, files={"gateway.yaml": "ping: 50ms\ncommit_after: 50ms\n"})
    async with opened(gate.url, prompt(stream=True)) as response:
        await response.content.readuntil(b"event: ping")
    assert await left(gate, upstream) < AT_ONCE
    assert (await log_lines(gate))[0]["outcome"] == "cancelled"


async def test_leaving_a_step_that_answers_slowly(gateway: MakeGateway) -> None:
    gate = await gateway(SIMULATOR.replace("10ms", "1h"))
    async with aiohttp.ClientSession() as session:
        request = asyncio.ensure_future(session.post(gate.url + "/v1/messages", json=prompt(model="sim/slow")))
        await asyncio.sleep(0.05)
        request.cancel()
        await asyncio.wait({request})
    (line,) = await log_lines(gate)
    assert (line["outcome"], line["simulated"]) == ("cancelled", True)


@pytest.mark.parametrize("kind", ["in this process", "as a process"])
async def test_of_many_early_leavers_none_leaves_an_upstream_open(
    gateway: MakeGateway, gateway_process: MakeProcess, upstream: ScriptedUpstream, kind: str
) -> None:
    """In this process on asyncio's loop; the process takes uvloop where it is installed."""
    dice = random.Random(7)
    upstream.always(messages.stream(*["hello"] * 5).at(b"event: message_delta", HANG))
    gate = await (gateway if kind == "in this process" else gateway_process)(RELAY, url=upstream.url)

    async def leaver() -> None:
        async with asyncio.timeout(PATIENCE):
            async with aiohttp.ClientSession() as session:
                request = asyncio.ensure_future(session.post(gate.url + "/v1/messages", json=prompt(stream=True)))
                done, _ = await asyncio.wait({request}, timeout=dice.random() * 0.05)
                if not done:
                    request.cancel()
                    return
                async with request.result() as response:
                    if dice.random() < 0.5:
                        await response.content.readany()

    for _ in range(12):
        await asyncio.gather(*(leaver() for _ in range(25)))
    await upstream.until(lambda: upstream.open_streams == 0)
    lines = [line for line in await log_lines(gate, len(upstream.calls)) if line["operation"] == "generate"]
    assert {line["outcome"] for line in lines} == {"cancelled"}


@STREAMS
async def test_two_hundred_streams_at_once(gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str) -> None:
    all_there = asyncio.Event()
    reply = messages.stream("hello") if pipeline is RELAY else chat.stream("hello")
    marker = b"event: content_block_stop" if pipeline is RELAY else b"data: [DONE]"
    upstream.always(reply.at(marker, all_there))
    gate = await gateway(pipeline, url=upstream.url)
    streams = [asyncio.ensure_future(ask(gate.url, prompt(stream=True))) for _ in range(200)]
    await upstream.until(lambda: upstream.open_streams == 200)
    all_there.set()
    answers = await asyncio.gather(*streams)
    assert {answer.text for answer in answers} == {"hello"}
    assert {answer.events[-1][0] for answer in answers} == {"message_stop"}
    assert {line["outcome"] for line in await log_lines(gate, 200)} == {"ok"}


async def test_connections_to_the_upstream_are_kept(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(messages.stream("hello"))
    gate = await gateway(RELAY, url=upstream.url)
    for _ in range(5):
        await ask(gate.url, prompt(stream=True))
    assert upstream.connections == 1
