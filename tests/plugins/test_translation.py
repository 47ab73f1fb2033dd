"""The step between the formats: what is served, what is rendered, and where token counts come from."""

import asyncio
from typing import Any, Literal

import msgspec
import pytest

from penstock import (
    Attempt,
    Exchange,
    Forbidden,
    GatewayError,
    Internal,
    InvalidRequest,
    NotFound,
    Operation,
    OverBudget,
    Overloaded,
    RateLimited,
    Target,
    TimedOut,
    TooLarge,
    Unauthenticated,
    Upstream,
    UpstreamFailed,
)
from penstock.problems import ConfigError
from penstock.testing import MakeGateway, ScriptedUpstream, json_reply
from penstock_translation import Translation
from penstock_translation.anthropic import Anthropic, Quirks
from penstock_translation.openai_chat import ChatQuirks, OpenAIChat
from tests.integration.talk import ask, prompt

COUNT = "/v1/messages/count_tokens"
BODY = b'{"model":"claude-x","messages":[{"role":"user","content":"How many tokens are these words?"}]}'

CLAUDE = Upstream(name="claude", protocol=Anthropic(), quirks=Quirks())
SILENT = Upstream(name="silent", protocol=Anthropic(), quirks=Quirks(count_tokens=False))
MIXED = Upstream(name="mixed", protocol=Anthropic(), model_quirks={"claude-old": Quirks(count_tokens=False)})
CHAT = Upstream(name="chat", protocol=OpenAIChat(), quirks=ChatQuirks())


def asked(
    *targets: Target, operation: Operation = "count_tokens", upstreams: Any = (CLAUDE, SILENT, MIXED, CHAT)
) -> Exchange:
    protocol = Anthropic()
    exchange = Exchange(
        pipeline="test",
        protocol=protocol,
        operation=operation,
        request=protocol.read(BODY, {}),
        headers={},
        upstreams={upstream.name: upstream for upstream in upstreams},
        started=0.0,
    )
    exchange.targets += targets
    return exchange


def is_estimated(exchange: Exchange) -> bool:
    response = Translation().on_request(exchange)
    if response is None:
        return False
    assert response.tokens is not None
    assert 3 < response.tokens < 100
    return True


# ---------------------------------------------------------------- token counts


@pytest.mark.parametrize(
    ("targets", "estimated"),
    [
        ([Target("claude")], False),
        ([Target("claude", "claude-y"), Target("chat")], False),
        ([Target("chat", "gpt"), Target("claude")], True),
        ([Target("silent")], True),
        ([Target("mixed")], False),
        ([Target("mixed", "claude-old")], True),
        ([], True),
    ],
)
def test_the_first_upstream_counts_if_it_speaks_the_clients_format(targets: list[Target], estimated: bool) -> None:
    assert is_estimated(asked(*targets)) == estimated


def test_without_targets_the_only_upstream_is_asked() -> None:
    assert not is_estimated(asked(upstreams=[CLAUDE]))
    assert is_estimated(asked(upstreams=[CHAT]))
    assert is_estimated(asked(upstreams=[]))


@pytest.mark.parametrize("operation", ["generate", "list_models", "probe"])
def test_nothing_else_is_answered(operation: Literal["generate", "list_models", "probe"]) -> None:
    exchange = asked(Target("chat"), operation=operation)
    assert Translation().on_request(exchange) is None
    assert Translation().on_error(exchange, Overloaded("busy")) is None


def test_more_words_are_more_tokens() -> None:
    short, long = asked(Target("chat")), asked(Target("chat"))
    long.request.set("messages", [{"role": "user", "content": "more words " * 200}])
    counts = [getattr(Translation().on_request(exchange), "tokens", 0) for exchange in (short, long)]
    assert counts[1] > 10 * counts[0]


@pytest.mark.parametrize(
    "error",
    [UpstreamFailed("x"), NotFound("x"), RateLimited("x"), Overloaded("x"), TimedOut("x"), Internal("x")],
)
def test_a_count_that_failed_is_estimated(error: GatewayError) -> None:
    response = Translation().on_error(asked(Target("claude")), error)
    assert response is not None
    assert response.tokens == getattr(Translation().on_request(asked(Target("silent"))), "tokens", 0)


@pytest.mark.parametrize(
    "error",
    [InvalidRequest("x"), Unauthenticated("x"), Forbidden("x"), TooLarge("x"), OverBudget("x")],
)
def test_what_is_the_clients_fault_stays_an_error(error: GatewayError) -> None:
    assert Translation().on_error(asked(Target("claude")), error) is None


def test_no_upstream_is_paid_for_a_count_it_cannot_make() -> None:
    exchange = asked(Target("claude"), Target("chat", "gpt"))
    attempt = Attempt(2, exchange.targets[1], CHAT)
    with pytest.raises(UpstreamFailed, match="'chat' counts no tokens") as caught:
        Translation().on_attempt(exchange, attempt)
    assert caught.value.retryable
    assert attempt.request is None


# ---------------------------------------------------------------- rendering


def test_each_attempt_is_rendered_for_its_target() -> None:
    exchange = asked(Target("claude", "claude-y"), Target("chat", "gpt"), operation="generate")
    first, second = (
        Attempt(number, target, exchange.upstreams[target.upstream])
        for number, target in enumerate(exchange.targets, 1)
    )
    Translation().on_attempt(exchange, first)
    Translation().on_attempt(exchange, second)
    assert first.request is not None
    assert second.request is not None
    assert (first.request.path, first.request.body) == ("/v1/messages", BODY.replace(b"claude-x", b"claude-y"))
    assert (second.request.path, msgspec.json.decode(second.request.body)["model"]) == ("/chat/completions", "gpt")
    assert exchange.request.body == BODY


def test_the_quirks_are_those_of_the_model() -> None:
    developer = ChatQuirks(system_role="developer")
    quirks = {"strict": developer, "claude-x": developer}
    upstream = Upstream(name="chat", protocol=OpenAIChat(), quirks=ChatQuirks(), model_quirks=quirks)
    roles = []
    for model in ("strict", "plain", ""):
        exchange = asked(Target("chat", model), operation="generate", upstreams=[upstream])
        exchange.request.set("system", "Be brief.")
        attempt = Attempt(1, exchange.targets[0], upstream)
        Translation().on_attempt(exchange, attempt)
        assert attempt.request is not None
        roles.append(msgspec.json.decode(attempt.request.body)["messages"][0]["role"])
    assert roles == ["developer", "system", "developer"]


# ---------------------------------------------------------------- in a pipeline

PIPELINE = """
path: /
upstreams:
  first: {protocol: anthropic, url: "{first}", key: k}
  second: {protocol: openai-chat, url: "{second}", key: k}
plugins:
  - models: {routes: {"*": [first, second/gpt]}}
  - translation
"""


async def test_counts_through_a_pipeline(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(json_reply({"input_tokens": 4321}), json_reply({"error": "no such path"}, 404))
    gate = await gateway(PIPELINE, first=upstream.url, second=upstream.url)
    counted = await ask(gate.url, prompt("some words"), path=COUNT + "?beta=true")
    assert (counted.status, counted.json()) == (200, {"input_tokens": 4321})
    assert upstream.calls[0].target == COUNT + "?beta=true"
    estimated = await ask(gate.url, prompt("some words"), path=COUNT)
    assert estimated.status == 200
    assert 0 < estimated.json()["input_tokens"] < 100
    assert [call.path for call in upstream.calls] == [COUNT, COUNT]


async def test_many_counts_at_once(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.always(json_reply({"input_tokens": 7}))
    gate = await gateway(PIPELINE, first=upstream.url, second=upstream.url)
    answers = await asyncio.gather(*(ask(gate.url, prompt(), path=COUNT) for _ in range(33)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, b'{"input_tokens":7}')}


@pytest.mark.parametrize(("clients", "status"), [("[anthropic]", 200), ("[]", 404)])
async def test_the_formats_to_serve_are_an_option(
    gateway: MakeGateway, upstream: ScriptedUpstream, clients: str, status: int
) -> None:
    upstream.always(json_reply({"input_tokens": 7}))
    pipeline = PIPELINE.replace("- translation", f"- translation: {{clients: {clients}}}")
    gate = await gateway(pipeline, first=upstream.url, second=upstream.url)
    assert (await ask(gate.url, prompt(), path=COUNT)).status == status


async def test_a_format_nobody_knows_is_refused_at_once(gateway: MakeGateway) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        await gateway("path: /\nplugins:\n  - translation: {clients: [nonsense]}\n")
