"""Steps of a pipeline on the way down and up: answers, changes, mistakes, and that each is completed exactly once."""

import asyncio
import json
from typing import Any

import pytest

from penstock.problems import ConfigError
from penstock.testing import HANG, MakeGateway, RunningGateway, ScriptedUpstream, messages
from tests.integration.talk import RELAY, ask, opened, prompt, until

DIARY = '''
import json
from penstock import Exchange, GatewayError, Plugin, Response, hookimpl

class Diary(Plugin):
    """Writes down which hooks were called."""

    def write(self, hook: str, exchange: Exchange) -> None:
        with (self.folder / "diary.jsonl").open("a") as file:
            file.write(json.dumps([self.step, hook, exchange.outcome]) + "\\n")

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        self.write("on_request", exchange)

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        self.write("on_response", exchange)

    @hookimpl
    def on_error(self, exchange: Exchange, error: GatewayError) -> None:
        self.write("on_error", exchange)

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None:
        self.write("on_complete", exchange)
'''
SUBJECT = '''
import asyncio
from collections.abc import AsyncIterator, Iterable
from penstock import (
    Attempt, BlockStart, BlockStop, Event, Exchange, Finish, GatewayError, Gateway, InvalidRequest, Overloaded, Plugin,
    Response, Start, Text, hookimpl,
)

ANSWER = (Start(), BlockStart(0), Text(0, "of its own"), BlockStop(0), Finish())


class Subject(Plugin):
    """%s"""
    hangs: bool = False

    async def slowly(self, broken: bool = False) -> AsyncIterator[Event]:
        for event in ANSWER:
            await asyncio.sleep(3600 if self.hangs and isinstance(event, BlockStop) else 0)
            if broken and isinstance(event, BlockStop):
                raise ZeroDivisionError("a mistake")
            yield event

%s
'''
PIPELINE = RELAY.replace(
    "  - logging: {to: log.jsonl}\n",
    "  - diary\n  - subject\n  - diary: {}\n    id: below\n",
)
MISTAKE = "raise ZeroDivisionError('a mistake')"


def subject(*hooks: str) -> str:
    """A plugin with these methods, each `name(arguments): body`."""
    methods = []
    for hook in hooks:
        head, _, body = hook.partition(": ")
        methods.append(f"    @hookimpl\n    {'' if ' def ' in f' {head}' else 'def '}{head}:\n        {body}\n")
    return SUBJECT % ("A plugin under test.", "\n".join(methods))


async def started(gateway: MakeGateway, url: str, *hooks: str, pipeline: str = PIPELINE) -> RunningGateway:
    files = {"../plugins/diary.py": DIARY, "../plugins/subject.py": subject(*hooks)}
    return await gateway(pipeline, url=url, files=files)


async def diary(gate: RunningGateway, completions: int) -> list[list[str]]:
    """What was written down, once so many completions are in it."""
    path = gate.place.folder / "diary.jsonl"
    await until(lambda: path.read_text().count("on_complete") >= completions)
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_down_in_order_and_up_in_reverse(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.stream("hello"))
    gate = await started(gateway, upstream.url)
    await ask(gate.url, prompt(stream=True))
    assert await diary(gate, 2) == [
        ["diary", "on_request", "open"],
        ["below", "on_request", "open"],
        ["below", "on_response", "open"],
        ["diary", "on_response", "open"],
        ["below", "on_complete", "ok"],
        ["diary", "on_complete", "ok"],
    ]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("events", ["ANSWER", "self.slowly()"])
async def test_a_steps_own_answer_travels_through_the_steps_above(
    gateway: MakeGateway, upstream: ScriptedUpstream, events: str, stream: bool
) -> None:
    gate = await started(
        gateway, upstream.url, f"on_request(self, exchange): return Response({events}, headers={{'x-own': '1'}})"
    )
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.text, said.headers["x-own"]) == (200, "of its own", "1")
    assert upstream.calls == []
    assert await diary(gate, 1) == [
        ["diary", "on_request", "open"],
        ["diary", "on_response", "open"],
        ["diary", "on_complete", "ok"],
    ]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    "hook",
    [
        f"on_request(self, exchange): {MISTAKE}",
        f"async def on_request(self, exchange): {MISTAKE}",
        f"on_attempt(self, exchange, attempt): {MISTAKE}",
        f"on_response(self, exchange, response): {MISTAKE}",
        "on_request(self, exchange): return Response(self.nothing)",
        "on_response(self, exchange, response): return Response(self.slowly(broken=True))  # a mistake",
        "on_request(self, exchange): return Response([])",
        "on_request(self, exchange): return Response()",
        "on_request(self, exchange): return 'nonsense'",
    ],
)
async def test_a_mistake_is_a_clean_500(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    hook: str,
    stream: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upstream.always(messages.stream("hello") if stream else messages.whole("hello"))
    gate = await started(gateway, upstream.url, hook)
    said = await ask(gate.url, prompt(stream=stream))
    if stream and said.status == 200:
        error = said.events[-1][1]["error"]
        assert said.events[-1][0] == "error"
    else:
        error = said.error
        assert said.status in (500, 502)
    assert error["type"] == "api_error"
    assert "ZeroDivision" not in said.body.decode()
    assert said.headers["request-id"] in said.body.decode()
    if "mistake" in hook or "no" in hook:
        assert f"{said.headers['request-id']}: mistake in" in caplog.text
    written = await diary(gate, 1)
    assert [line for line in written if line[:2] == ["diary", "on_complete"]] == [["diary", "on_complete", "error"]]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_mistake_among_the_events(gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.always(messages.stream("hello") if stream else messages.whole("hello"))
    gate = await started(gateway, upstream.url, f"on_event(self, exchange, event: Text): {MISTAKE}")
    said = await ask(gate.url, prompt(stream=stream))
    if stream:
        assert (said.status, said.events[-1][0]) == (200, "error")
        assert "'subject'" in said.events[-1][1]["error"]["message"]
    else:
        assert (said.status, said.error["type"]) == (500, "api_error")
    assert upstream.calls[0].ended in ("finished", "gone")


async def test_a_mistake_at_the_end_harms_nobody(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.whole("hello"))
    gate = await started(gateway, upstream.url, f"on_complete(self, exchange): {MISTAKE}")
    assert (await ask(gate.url, prompt())).text == "hello"
    assert [line[:2] for line in (await diary(gate, 2))[-2:]] == [["below", "on_complete"], ["diary", "on_complete"]]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_refusal_and_who_hears_of_it(gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool) -> None:
    gate = await started(gateway, upstream.url, "on_request(self, exchange): raise InvalidRequest('not like this')")
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.error["message"]) == (400, "not like this")
    assert await diary(gate, 1) == [
        ["diary", "on_request", "open"],
        ["diary", "on_error", "open"],
        ["diary", "on_complete", "error"],
    ]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("events", ["ANSWER", "self.slowly()"])
async def test_a_step_mends_a_failure(
    gateway: MakeGateway, upstream: ScriptedUpstream, events: str, stream: bool
) -> None:
    upstream.answers(messages.error(529, "overloaded_error", "busy"))
    gate = await started(gateway, upstream.url, f"on_error(self, exchange, error): return Response({events})")
    said = await ask(gate.url, prompt(stream=stream))
    assert (said.status, said.text) == (200, "of its own")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_text_is_rewritten_on_its_way(gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answers(messages.stream("hello") if stream else messages.whole("hello"))
    changed = "[Text(event.index, event.text.upper()), Text(event.index, '!')]"
    hook = f"on_event(self, exchange, event: Text): return {changed}"
    gate = await started(gateway, upstream.url, hook)
    said = await ask(gate.url, prompt(stream=stream))
    assert said.text.replace("!", "") == "HELLO"
    assert "!" in said.text


async def test_a_generator_is_closed_when_the_client_leaves(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await started(
        gateway,
        upstream.url,
        "on_request(self, exchange): return Response(self.slowly())",
        pipeline=PIPELINE.replace("- subject", "- subject: {hangs: true}"),
    )
    async with opened(gate.url, prompt(stream=True)) as response:
        await response.content.readuntil(b"of its own")
    assert (await diary(gate, 1))[-1] == ["diary", "on_complete", "cancelled"]


async def test_a_client_that_leaves_at_the_end_was_answered(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.stream("hello").then(HANG))
    gate = await started(gateway, upstream.url)
    async with opened(gate.url, prompt(stream=True)) as response:
        await response.content.readuntil(b"message_stop")
        await response.content.readany()
    assert (await diary(gate, 2))[-1] == ["diary", "on_complete", "ok"]
    assert await upstream.calls[0].over() == "gone"


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (f"startup(self, gateway): {MISTAKE}", "did not start: a mistake"),
        ("on_reqest(self, exchange): pass", "on_reqest"),
        ("on_request(self, exchnge): pass", "exchnge"),
        ("on_request(self, exchange=None): pass", "default"),
        ("async def on_event(self, event): pass", "plain"),
        ("on_event(self, event: int): pass", "not an event"),
    ],
)
async def test_a_broken_plugin_starts_nothing(
    gateway: MakeGateway, upstream: ScriptedUpstream, plugin: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        await started(gateway, upstream.url, plugin)
    assert "test.yaml:" in str(raised.value)


async def test_a_route_and_a_task_of_a_plugin(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    plugin = '''
import asyncio
from penstock import Answer, EndpointRequest, Gateway, Plugin, hookimpl

class Subject(Plugin):
    """Counts."""

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        self.count = 0
        gateway.add_route("count", self.show, ("GET", "POST"))
        gateway.spawn(self.tick(), "tick")

    async def tick(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    async def show(self, asked: EndpointRequest) -> Answer:
        if asked.body == b"mistake":
            raise ZeroDivisionError
        return Answer(200, {"content-type": "text/plain"}, b"%d %b" % (self.count, asked.body))
'''
    files = {"../plugins/diary.py": DIARY, "../plugins/subject.py": plugin}
    gate = await gateway(PIPELINE, url=upstream.url, files=files)
    said: Any = await ask(gate.url, b"seen", path="/-/count")
    assert said.status == 200
    assert int(said.body.split()[0]) > 0
    assert said.body.endswith(b"seen")
    assert (await ask(gate.url, b"mistake", path="/-/count")).status == 500
    async with asyncio.timeout(5):
        assert await gate.reload(f"{PIPELINE}# changed\n")
    assert (await ask(gate.url, method="GET", path="/-/count")).status == 200
