"""The test kit itself: a scripted upstream that keeps to its script, and fixtures that cost a test run nothing."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from penstock.testing import (
    CUT,
    HANG,
    RESET,
    Call,
    MakeGateway,
    MakeUpstream,
    Reply,
    ScriptedUpstream,
    Thought,
    ToolCall,
    chat,
    clean_environment,
    event_stream,
    html_reply,
    json_reply,
    messages,
)
from penstock.testing.reply import Framing


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as opened:
        yield opened


async def get(session: aiohttp.ClientSession, upstream: ScriptedUpstream, path: str = "/") -> tuple[int, bytes]:
    async with session.get(upstream.url + path) as response:
        return response.status, await response.read()


def test_loading_the_plugin_imports_no_server_and_no_client() -> None:
    heavy = "{'aiohttp', 'quart', 'hypercorn', 'uvloop', 'yaml'}"
    code = f"import sys, penstock.testing; print(sorted({heavy} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


async def test_answers_come_from_the_queues_then_from_always(
    upstream: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.answers(json_reply(1), json_reply(2))
    upstream.answers(json_reply("x"), path="/x")
    upstream.replies(429, 3)
    upstream.always(json_reply("always"))
    upstream.always(lambda call: json_reply(call.query), path="/y")
    assert await get(session, upstream, "/x") == (200, b'"x"')
    assert [await get(session, upstream, path) for path in ("/x", "/", "/", "/")] == [
        (200, b"1"),
        (200, b"2"),
        (429, b"3"),
        (200, b'"always"'),
    ]
    assert await get(session, upstream, "/y?a=b") == (200, b'"a=b"')


async def test_without_a_script_it_says_so(upstream: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    status, body = await get(session, upstream, "/lost")
    assert status == 500
    assert b"no answer for GET /lost" in body


async def test_requests_are_kept_as_they_came(upstream: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    upstream.always(json_reply(None))
    body = b'{ "odd" : 1.0 }'

    async def chunks() -> AsyncIterator[bytes]:
        yield body[:5]
        yield body[5:]

    for data in (body, chunks()):
        async with session.post(f"{upstream.url}/a?b=%2F", data=data, headers={"X-Odd": "é"}) as response:
            await response.read()
        call = await upstream.called(len(upstream.calls))
        assert (call.method, call.path, call.query, call.body) == ("POST", "/a", "b=/", body)
        assert call.header("x-odd") is not None
        assert call.header("missing") is None
        assert call.json() == {"odd": 1}
    assert [call.connection for call in upstream.calls] == [1, 1]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_every_framing_and_split_gives_the_same_bytes(
    upstream: ScriptedUpstream, session: aiohttp.ClientSession, framing: Framing
) -> None:
    reply = messages.stream("hello", Thought("hm"), ToolCall("Read", {"a": 1}))
    for variant in (reply, reply.split(1), reply.split_at(100), reply.at(b"event: ping", 0.01)):
        upstream.answers(variant.framed(framing))
        assert await get(session, upstream) == (200, reply.payload)
    assert {call.ended for call in upstream.calls} == {"finished"}


@pytest.mark.parametrize("act", [CUT, RESET])
@pytest.mark.parametrize("place", ["before", "within"])
async def test_it_breaks_off_where_it_should(
    upstream: ScriptedUpstream, session: aiohttp.ClientSession, act: object, place: str
) -> None:
    assert act in (CUT, RESET)
    reply = messages.whole("hello")
    upstream.always(reply.first(act) if place == "before" else reply.at(b'"content"', act))
    with pytest.raises(aiohttp.ClientError):
        await get(session, upstream)
    assert await upstream.calls[0].over() == "cut"


async def test_it_notices_who_leaves_and_when(upstream: ScriptedUpstream, session: aiohttp.ClientSession) -> None:
    upstream.answers(event_stream(b": begun\n\n", HANG))
    async with session.get(upstream.url) as response:
        assert await response.content.readany() == b": begun\n\n"
        assert upstream.open_streams == 1
        now = asyncio.get_running_loop().time()
    assert await upstream.calls[0].over() == "gone"
    assert upstream.open_streams == 0
    ended = upstream.calls[0].ended_at
    assert ended is not None
    assert 0 <= ended - now < 1


async def test_a_closed_upstream_refuses(make_upstream: MakeUpstream, session: aiohttp.ClientSession) -> None:
    upstream = await make_upstream()
    await upstream.close()
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(session, upstream)


def test_whole_and_streamed_answers_say_the_same() -> None:
    parts = (Thought("hm"), "Hello, 🦊", ToolCall("Read", {"a": "é"}, "c1"), ToolCall("Read", {}, "c2"))
    assert messages.stream(*parts).payload.count(b"event: content_block_start") == 4
    assert b'"stop_reason": "tool_use"' in messages.stream(*parts).payload
    assert b'"stop_reason": "tool_use"' in messages.whole(*parts).payload
    assert chat.stream(*parts).payload.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason": "tool_calls"' in chat.whole(*parts).payload
    assert b'"finish_reason": "stop"' in chat.whole("Hello").payload
    assert html_reply(503).status == 503
    with pytest.raises(ValueError, match="does not contain"):
        Reply(body=(b"abc",)).at(b"x", CUT)


STEP = """
from penstock import Exchange, Finish, Plugin, Response, Start, hookimpl

class Step(Plugin):
    word: str = ""

    @hookimpl
    def on_request(self, exchange: Exchange) -> Response:
        return Response([Start(model=self.word), Finish()])
"""


async def test_a_plugin_of_ones_own(gateway: MakeGateway, session: aiohttp.ClientSession) -> None:
    """As an author writes it: a plugin beside the pipeline, served on a socket."""
    pipeline = 'path: /\nplugins:\n  - step: {word: "${WORD}-{other}"}\n  - translation\n'
    gate = await gateway(pipeline, files={"../plugins/step.py": STEP}, env={"WORD": "one"}, other="two")
    body = {"model": "m", "messages": []}
    async with session.post(f"{gate.url}/v1/messages", json=body) as response:
        assert (await response.json())["model"] == "one-two"
    assert await gate.reload(pipeline.replace("${WORD}", "three"))
    async with session.post(f"{gate.url}/v1/messages", json=body) as response:
        assert (await response.json())["model"] == "three-two"


def test_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("SOME_API_KEY", "secret")
    found = clean_environment(MORE="x")
    assert found["MORE"] == "x"
    assert "HTTPS_PROXY" not in found
    assert "SOME_API_KEY" not in found


def test_a_call_reads_its_own_head() -> None:
    call = Call(1, b"POST /a?b HTTP/1.1\r\nX-One:  two \r\n\r\n", b"")
    assert (call.method, call.target, call.header("x-one")) == ("POST", "/a?b", "two")
