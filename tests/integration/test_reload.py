"""Changed files: a new generation for new requests, the old one for those under way, and no request lost."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from penstock.testing import MakeGateway, MakeUpstream, RunningGateway, ScriptedUpstream, messages
from tests.integration.talk import RELAY, ask, events_of, log_lines, opened, prompt, refused, until


async def health(gate: RunningGateway) -> dict[str, object]:
    found: dict[str, object] = (await ask(gate.url, method="GET", path="/health")).json()
    return found


async def test_a_stream_under_way_ends_on_the_old_generation(gateway: MakeGateway, make_upstream: MakeUpstream) -> None:
    old, new = await make_upstream(), await make_upstream()
    go_on = asyncio.Event()
    reply = messages.stream("from the old")
    old.answers(reply.at(b"event: content_block_stop", go_on))
    new.answers(messages.stream("from the new"))
    gate = await gateway(RELAY, url=old.url)
    before = await health(gate)
    async with opened(gate.url, prompt(stream=True)) as response:
        seen = await response.content.readuntil(b"text_delta")
        assert await gate.reload(RELAY.replace("{url}", new.url))
        assert (await ask(gate.url, prompt(stream=True))).text == "from the new"
        go_on.set()
        seen += await response.read()
    assert seen == reply.payload
    assert (await health(gate))["generation"] != before["generation"]
    assert [line["outcome"] for line in await log_lines(gate, 2)] == ["ok", "ok"]


async def test_a_changed_file_is_noticed(gateway: MakeGateway, make_upstream: MakeUpstream) -> None:
    old, new = await make_upstream(), await make_upstream()
    new.always(messages.whole("from the new"))
    gate = await gateway(RELAY, url=old.url)
    before = gate.host.current
    gate.place.write(RELAY.replace("{url}", new.url))
    await until(lambda: gate.host.current is not before)
    assert (await ask(gate.url, prompt())).text == "from the new"


@pytest.mark.parametrize(
    "broken",
    [
        "path: /\nplugins: [translation",
        "path: /\nplugins: [nonexistent]",
        "path: /\nplugins: []",
        RELAY.replace("key: upstream-key", 'key: "${UNSET}"'),
        RELAY.replace("log.jsonl", "/proc/nowhere/log.jsonl"),
    ],
)
async def test_a_broken_file_keeps_the_old_generation(
    gateway: MakeGateway, upstream: ScriptedUpstream, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.always(messages.whole("hello"))
    gate = await gateway(RELAY, url=upstream.url)
    before = await health(gate)
    assert not await gate.reload(broken)
    assert "test.yaml:" in caplog.text
    after = await health(gate)
    assert (after["generation"], after["reload_failed"]) == (before["generation"], True)
    assert (await ask(gate.url, prompt())).text == "hello"
    assert await gate.reload(RELAY)
    assert (await health(gate))["reload_failed"] is False


async def test_a_plugin_beside_the_pipelines_is_loaded_anew(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    plugin = """
from penstock import Exchange, Plugin, Response, hookimpl

class Mark(Plugin):
    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        response.headers["x-mark"] = "first"
"""
    upstream.always(messages.whole("hello"))
    pipeline = RELAY.replace("  - translation", "  - mark\n  - translation")
    gate = await gateway(pipeline, url=upstream.url, files={"../plugins/mark.py": plugin})
    assert (await ask(gate.url, prompt())).headers["x-mark"] == "first"
    gate.place.write(plugin.replace("first", "second"), "../plugins/mark.py")
    assert await gate.reload()
    assert (await ask(gate.url, prompt())).headers["x-mark"] == "second"
    gate.place.write("this is not Python", "../plugins/mark.py")
    assert not await gate.reload()
    assert (await ask(gate.url, prompt())).headers["x-mark"] == "second"


async def test_a_body_that_arrives_while_the_files_change(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.whole("hello"))
    gate = await gateway(RELAY, url=upstream.url)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        body = json.dumps(prompt()).encode()
        yield body[:10]
        begun.set()
        await go_on.wait()
        yield body[10:]

    async with aiohttp.ClientSession() as session:
        request = asyncio.ensure_future(session.post(gate.url + "/v1/messages", data=slowly()))
        await begun.wait()
        await ask(gate.url, method="GET", path="/health")  # the gateway has seen the first bytes by now
        assert await gate.reload(RELAY + "teams: {}\n")
        go_on.set()
        async with await request as response:
            assert response.status == 200
            assert json.loads(await response.read())["content"][0]["text"] == "hello"


async def test_reloads_under_load_lose_nothing(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    reply = messages.stream(*["hello"] * 3)
    upstream.always(reply.split(100))
    gate = await gateway(RELAY, url=upstream.url)
    stop = asyncio.Event()
    answers: list[bytes] = []

    async def client() -> None:
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                async with session.post(gate.url + "/v1/messages", json=prompt(stream=True)) as response:
                    answers.append(await response.read())

    clients = [asyncio.ensure_future(client()) for _ in range(10)]
    generations = {gate.host.current}
    for number in range(10):
        assert await gate.reload(f"{RELAY}# {number}\n")
        generations.add(gate.host.current)
        enough = len(answers) + 20
        await until(lambda: len(answers) >= enough)  # noqa: B023
    stop.set()
    await asyncio.gather(*clients)
    assert len(generations) == 11
    assert set(answers) == {reply.payload}
    assert events_of(answers[0])
    assert {line["outcome"] for line in await log_lines(gate, len(answers))} == {"ok"}


async def test_a_graceful_stop_lets_streams_finish(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    reply = messages.stream("hello")
    upstream.answers(reply.at(b"event: content_block_stop", go_on))
    gate = await gateway(RELAY, url=upstream.url)
    async with opened(gate.url, prompt(stream=True)) as response:
        seen = await response.content.readuntil(b"text_delta")
        gate.drain()
        await refused(gate.url)
        go_on.set()
        seen += await response.read()
    assert seen == reply.payload
    await gate.close()
    assert (await log_lines(gate))[0]["outcome"] == "ok"
