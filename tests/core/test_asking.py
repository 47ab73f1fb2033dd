"""Sub-requests: a step asks a model through its own pipeline, as the same client, accounted for, and not for ever."""

import asyncio
from typing import Any

import pytest

from penstock import Exchange, Prompt, Request
from penstock.testing import HANG, MakeGateway, RunningGateway, ScriptedUpstream, messages
from penstock_auth.keys import hash_of, new_key
from tests.core.lines import Lines
from tests.integration.talk import ask, log_lines, opened, prompt

GUARD = '''
from penstock import Exchange, Forbidden, Message, Plugin, Prompt, Response, TextBlock, hookimpl


class Guard(Plugin):
    """Ask a small model whether a prompt is allowed."""

    model: str = "small"
    timeout: float = 10.0
    polite: bool = True

    @hookimpl
    async def on_request(self, exchange: Exchange) -> None:
        if self.polite and self.step in exchange.asked_by:
            return
        asked = exchange.request.prompt.messages[-1].content[-1].text
        verdict = await exchange.ask(
            self.step, model=self.model, prompt=asked, system="Answer yes or no.", max_tokens=5, timeout=self.timeout
        )
        if not verdict.text.startswith("yes"):
            raise Forbidden("the guard does not allow this")
'''
SUMMARY = '''
from collections.abc import AsyncIterator
from penstock import Event, Exchange, Plugin, Prompt, Response, StashKey, Text, hookimpl

SAID: StashKey[list[str]] = StashKey()


class Summary(Plugin):
    """Sum up each answer after it has been given."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.stash[SAID] = []

    @hookimpl
    def on_event(self, exchange: Exchange, event: Text) -> None:
        exchange.stash[SAID].append(event.text)

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None:
        if exchange.asked_by:
            return
        summary = await exchange.ask(self.step, model="small", prompt="Sum up: " + "".join(exchange.stash[SAID]))
        self.log.warning("summary %s %s %s", summary.text, summary.usage.output, summary.cost)
'''
PIPELINE = """
path: /
upstreams:
  main: {protocol: %s, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
%s
  - translation
"""
KEY = new_key()
KEYS = f'keys:\n  - {{hash: "{hash_of(KEY)}", user: bob, team: research, name: laptop}}\n'
FILES = {"../plugins/guard.py": GUARD, "../plugins/summary.py": SUMMARY, "keys.yaml": KEYS}
ASKING = {"authorization": f"Bearer {KEY}", "x-claude-code-session-id": "session-1"}


def pipeline(*steps: str, protocol: str = "anthropic") -> str:
    return PIPELINE % (protocol, "\n".join(f"  - {step}" for step in steps))


def answers_by_model(upstream: ScriptedUpstream, **texts: str) -> None:
    def script(call: Any) -> Any:
        body = call.json()
        make = messages.stream if body.get("stream") else messages.whole
        return make(texts[body["model"].replace("-", "_")])

    upstream.always(script)


async def lines_by_model(gate: RunningGateway, count: int) -> dict[str, dict[str, Any]]:
    return {line["model"]: line for line in await log_lines(gate, count)}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_guard_asks_a_small_model(gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool) -> None:
    answers_by_model(upstream, small="yes, it is", model_a="hello")
    gate = await gateway(pipeline("guard"), url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt("may I?", stream=stream))
    assert (said.status, said.text) == (200, "hello")
    asked = upstream.calls[0].json()
    assert (asked["model"], asked["max_tokens"], asked["system"][0]["text"]) == ("small", 5, "Answer yes or no.")
    assert asked["messages"] == [{"role": "user", "content": [{"type": "text", "text": "may I?"}]}]
    lines = await lines_by_model(gate, 2)
    assert lines["small"]["parent"] == lines["model-a"]["request_id"] != lines["small"]["request_id"]
    assert (lines["small"]["asked_by"], lines["small"]["outcome"], lines["small"]["status"]) == ("guard", "ok", 200)
    assert lines["small"]["tokens"] == {"input": 11, "output": 7}


async def test_the_guard_refuses(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    answers_by_model(upstream, small="no")
    gate = await gateway(pipeline("guard"), url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt("may I?"))
    assert (said.status, said.error["message"]) == (403, "the guard does not allow this")
    assert len(upstream.calls) == 1


async def test_another_format_upstream_is_asked_as_well(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    from penstock.testing import chat

    upstream.answers(chat.whole("yes"), chat.stream("hello"))
    gate = await gateway(pipeline("guard", protocol="openai-chat"), url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt("may I?", stream=True))
    assert (said.status, said.text) == (200, "hello")
    assert upstream.calls[0].json()["messages"][0] == {"role": "system", "content": "Answer yes or no."}


async def test_it_is_the_same_client_in_the_same_team(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    answers_by_model(upstream, for_research="yes")
    text = pipeline("auth: {keys: keys.yaml}", "guard", 'models: {routes: {"*": main/for-everybody}}')
    text += 'teams:\n  research: {models: {routes: {"*": main/for-research}}}\n'
    gate = await gateway(text, url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt(), headers=ASKING)
    assert said.status == 200
    assert [call.json()["model"] for call in upstream.calls] == ["for-research"] * 2
    lines = await lines_by_model(gate, 2)
    who = [(line["user"], line["team"], line["key"], line["session"]) for line in lines.values()]
    assert who[0] == who[1] == ("bob", "research", "laptop", "session-1")


async def test_it_counts_against_the_same_limits(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    answers_by_model(upstream, small="yes", model_a="hello")
    steps = ("auth: {keys: keys.yaml}", "limits: {requests_per_day: 3}", "guard")
    gate = await gateway(pipeline(*steps), url=upstream.url, files=FILES)
    first, second = [await ask(gate.url, prompt(), headers=ASKING) for _ in range(2)]
    assert (first.status, second.status) == (200, 429)
    assert second.error["message"].startswith("step 'guard' asked 'small': ")
    assert int(second.headers["retry-after"]) > 0
    assert len(upstream.calls) == 2


async def test_an_answer_is_summed_up_after_its_end(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    answers_by_model(upstream, small="short", model_a="a long answer")
    gate = await gateway(pipeline("summary"), url=upstream.url, files=FILES)
    assert (await ask(gate.url, prompt(stream=True))).text == "a long answer"
    call = await upstream.called(2)
    assert call.json()["messages"][0]["content"][0]["text"] == "Sum up: a long answer"
    await lines_by_model(gate, 2)
    assert "summary short 7 None" in caplog.text


async def test_a_step_that_asks_itself_is_refused(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    gate = await gateway(pipeline("guard: {polite: false}"), url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt())
    assert (said.status, upstream.calls) == (500, [])
    assert said.error["message"].endswith("step 'guard' asks within its own sub-request")
    lines = await log_lines(gate, 2)
    assert all("if self.step in exchange.asked_by: return" in line["error"]["detail"] for line in lines)


async def test_steps_that_ask_each_other_come_to_an_end(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    steps = [f"guard: {{model: m{number}}}\n    id: g{number}" for number in range(5)]
    gate = await gateway(pipeline(*steps), url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt())
    assert (said.status, upstream.calls) == (500, [])
    assert said.error["message"].endswith("steps ask within each other's sub-requests too deeply: g0 > g1 > g2 > g3")


async def test_a_failure_keeps_its_kind_and_says_whose_it_is(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    long = "prompt is too long: 200001 tokens > 200000 maximum"
    upstream.answers(messages.error(400, "invalid_request_error", long))
    gate = await gateway(pipeline("guard"), url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt())
    assert (said.status, said.error["type"]) == (400, "invalid_request_error")
    assert said.error["message"] == f"step 'guard' asked 'small': {long}"  # not a reason for the agent to compact


async def test_a_sub_request_has_its_time(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.whole("yes").first(HANG))
    gate = await gateway(pipeline("guard: {timeout: 0.2}"), url=upstream.url, files=FILES)
    said = await ask(gate.url, prompt())
    assert (said.status, said.error["message"]) == (504, "step 'guard' asked 'small': no whole answer within 0.2 s")
    assert await upstream.calls[0].over() == "gone"
    lines = await lines_by_model(gate, 2)
    assert lines["small"]["error"]["kind"] == "timed_out"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_it_ends_when_the_client_leaves(gateway: MakeGateway, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.answers(messages.whole("yes").first(HANG))
    gate = await gateway(pipeline("guard: {timeout: 60}"), url=upstream.url, files=FILES)

    async def impatient() -> None:
        async with opened(gate.url, prompt(stream=stream)):
            pass

    client = asyncio.get_running_loop().create_task(impatient())
    call = await upstream.called(1)
    client.cancel()
    assert await call.over() == "gone"
    lines = await lines_by_model(gate, 2)
    assert {line["outcome"] for line in lines.values()} == {"cancelled"}


async def test_an_exchange_of_no_gateway_asks_nobody() -> None:
    request = Request(b'{"model":"m"}', lambda _: None)  # type: ignore[arg-type, return-value]
    exchange = Exchange(
        pipeline="p", protocol=Lines(), operation="generate", request=request, headers={}, upstreams={}, started=0.0
    )
    with pytest.raises(RuntimeError, match="runs in a gateway"):
        await exchange.ask("step", model="m", prompt="hi")


def test_a_protocol_that_writes_no_prompts_says_so() -> None:
    with pytest.raises(TypeError, match="only reads prompts"):
        Lines().compose("m", Prompt(max_tokens=1), {})
