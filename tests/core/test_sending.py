"""One attempt on its way to an upstream: what it learns from the answer, and what a refusal may not give away."""

from dataclasses import replace

import pytest

from penstock import Exchange, Target
from penstock.testing import HANG, ScriptedUpstream
from tests.core import lines
from tests.core.lane import Render, Witness, along, answer


def twice(exchange: Exchange) -> None:
    exchange.targets = [Target("main"), Target("main")]


@pytest.mark.parametrize(("name", "expected"), [("request-id", "up-1"), ("x-request-id", "up-1"), ("x-other", "")])
async def test_an_attempt_has_the_upstreams_own_request_id(
    upstream: ScriptedUpstream, name: str, expected: str
) -> None:
    refusal, good = lines.error(503), lines.stream(*answer("hi"))
    upstream.answers(replace(refusal, headers={**refusal.headers, name: "up-0"}))
    upstream.answers(replace(good, headers={**good.headers, name: "up-1"}))
    witness = Witness(name="a", does={"on_request": twice})
    async with along(witness, Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask()
    assert [attempt.request_id for attempt in said.exchange.attempts] == ["up-0" if expected else "", expected]


async def test_a_refusal_is_told_without_the_key_that_it_quotes(upstream: ScriptedUpstream) -> None:
    upstream.answers(lines.error(400, "the key upstream-key is for others"))
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask()
    assert said.status == 400
    assert "is for others" in said.error[1]
    assert b"upstream-key" not in said.body
    assert upstream.calls[0].header("authorization") == "Bearer upstream-key"


async def test_a_client_that_leaves_while_a_refusal_is_read_takes_the_upstream_along(
    upstream: ScriptedUpstream,
) -> None:
    upstream.answers(replace(lines.error(503), body=(HANG,)))
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        begun = lane.begin(stream=True)
        reply = lane.spawn(begun.run.reply(), "reply")
        await upstream.called(1)
        reply.cancel()
        begun.run.close()
        await begun.completed()
        assert await upstream.calls[0].over() == "gone"
