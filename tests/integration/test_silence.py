"""Silent upstreams: pings while the client waits, whatever the upstream is doing; and answers that never end."""

import asyncio
import json

import pytest

from penstock.testing import PATIENCE, MakeGateway, ScriptedUpstream, chat, event_stream, messages
from tests.integration.talk import CHAT, IMPATIENT, RELAY, ask, events_of, log_lines, opened, prompt

FILES = {"gateway.yaml": IMPATIENT}
PING = ("ping", {"type": "ping"})


async def test_an_upstream_that_thinks_before_its_headers(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    reply = messages.stream("hello")
    upstream.answers(reply.first(go_on))
    gate = await gateway(RELAY, url=upstream.url, files=FILES)
    async with opened(gate.url, prompt(stream=True)) as response:
        assert response.status == 200
        assert response.headers["request-id"]
        seen = b""
        while seen.count(b"event: ping") < 3:
            seen += await response.content.readany()
        go_on.set()
        seen += await response.read()
    pings, rest = seen.split(b"event: message_start")
    assert set(map(str, events_of(pings))) == {str(PING)}
    assert b"event: message_start" + rest == reply.payload


@pytest.mark.parametrize("pipeline", [RELAY, CHAT], ids=["relayed", "translated"])
async def test_an_upstream_that_pauses_in_the_middle(
    gateway: MakeGateway, upstream: ScriptedUpstream, pipeline: str
) -> None:
    go_on = asyncio.Event()
    answer = messages.stream("hello", "again") if pipeline is RELAY else chat.stream("hello", "again")
    upstream.answers(
        answer.at(b'event: content_block_start\ndata: {"type": "content_block_start", "index": 1', go_on)
        if pipeline is RELAY
        else answer.at(b"data: [DONE]", go_on)
    )
    gate = await gateway(pipeline, url=upstream.url, files=FILES)
    async with opened(gate.url, prompt(stream=True)) as response:
        seen = b""
        while seen.count(b"event: ping") < 3:
            seen += await response.content.readany()
        go_on.set()
        seen += await response.read()
    assert events_of(seen)[-1][0] == "message_stop"


async def test_a_late_failure_is_an_error_event(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    upstream.answers(messages.error(529, "overloaded_error", "busy").first(go_on))
    gate = await gateway(RELAY, url=upstream.url, files=FILES)
    async with opened(gate.url, prompt(stream=True)) as response:
        seen = await response.content.readany()
        go_on.set()
        seen += await response.read()
    name, data = events_of(seen)[-1]
    assert (name, data["error"]) == ("error", {"type": "overloaded_error", "message": "busy"})
    (line,) = await log_lines(gate)
    assert (line["status"], line["outcome"]) == (200, "error")


async def test_comments_of_an_upstream_are_no_excuse_for_silence(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    """Some upstreams keep their own side alive with comments, which no agent would see after translation."""
    comments = event_stream(*(step for _ in range(40) for step in (b": PROCESSING\n\n", 0.02)))
    answer = chat.stream("hello")
    upstream.answers(event_stream(*comments.body, *answer.body))
    gate = await gateway(CHAT, url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt(stream=True))
    assert said.text == "hello"
    assert said.events.count(PING) >= 3


async def test_a_stream_that_stays_open_after_its_end_is_closed(
    gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    upstream.answers(messages.stream("hello").then(asyncio.Event()))
    gate = await gateway(RELAY, url=upstream.url)
    async with asyncio.timeout(3):
        said = await ask(gate.url, prompt(stream=True))
    assert said.body == messages.stream("hello").payload
    assert await upstream.calls[0].over() == "gone"
    assert (await log_lines(gate))[0]["outcome"] == "ok"


async def test_an_answer_without_end_is_ended(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    ping = messages.frame({"type": "ping"})
    start, rest = messages.stream("hello").payload.split(b"event: content_block_stop")
    assert rest
    upstream.always(event_stream(start, *(step for _ in range(500) for step in (ping, 0.02))))
    gate = await gateway(RELAY.replace("key: upstream-key", "key: k, timeout: 300ms"), url=upstream.url)
    said = await ask(gate.url, prompt(stream=True))
    name, data = said.events[-1]
    assert (name, data["error"]["type"]) == ("error", "timeout_error")
    assert await upstream.calls[0].over() == "gone"


async def test_a_pause_within_a_frame_breaks_no_frame(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    reply = messages.stream("hello")
    upstream.answers(reply.at(b'content_block_delta", "index"', go_on))
    gate = await gateway(RELAY, url=upstream.url, files=FILES)
    async with opened(gate.url, prompt(stream=True)) as response:
        seen = b""
        async with asyncio.timeout(PATIENCE):
            while seen.count(b"event: ping") < 3:
                seen += await response.content.readany()
        go_on.set()
        seen += await response.read()
    ours = b'event: ping\ndata: {"type":"ping"}\n\n'
    assert seen.replace(ours, b"") == reply.payload
    assert json.loads(seen.split(b"data: ")[-1])["type"] == "message_stop"
