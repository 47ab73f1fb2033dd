"""What tests of plugins rely on, as mypy and pyright see it. Nothing here is run; tests/test_typing.py checks it."""

from collections.abc import Sequence
from typing import assert_type

from penstock import Event, Exchange, GatewayError, Overloaded, Plugin, Response, Text, Usage
from penstock.testing import (
    Answer,
    Client,
    Clock,
    Failure,
    MakeClient,
    MakePipeline,
    MakePlaybook,
    Played,
    RunningGateway,
    ScriptedUpstream,
    ToolCall,
    assert_valid_stream,
)


class Guard(Plugin):
    """A plugin under test."""

    limit: int = 3


async def through_a_gateway(
    pipeline: MakePipeline, upstream: ScriptedUpstream, client: MakeClient, clock: Clock
) -> None:
    """The fixtures that make a gateway and ask it."""
    upstream.answers("a", ["b", ToolCall("Read", {"path": "x"})])
    upstream.fails(Overloaded)
    gate = pipeline("plugins: [{guard: {limit: 3}}]", guard=Guard)
    assert_type(gate, RunningGateway)
    answer = await gate.ask("hi", stream=True)
    assert_type(answer, Answer)
    assert_type(answer.text, str)
    assert_type(answer.status, int)
    assert_type(answer.usage, Usage)
    assert_type(answer.error, Failure | None)
    assert_type(client("anthropic"), Client)
    assert_type(clock(), float)
    clock.advance(60)
    assert_valid_stream(answer.body)


async def one_hook(playbook: MakePlaybook) -> None:
    """Scenes for one plugin."""
    play = playbook(Guard(limit=3))
    played = await play.event(Text(0, "x"))
    assert_type(played, Played)
    assert_type(played.events, Sequence[Event])
    assert_type((await play.request("hi")).response, Response | None)
    assert_type((await play.error(Overloaded("x"))).error, GatewayError | None)
    assert_type((await play.complete()).exchange, Exchange)
