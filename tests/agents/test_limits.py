"""The real Claude Code meets limits and budgets: it waits as it is told, and shows why it may not go on."""

import asyncio
from pathlib import Path

import pytest

from penstock.testing import MakeGateway, ScriptedUpstream, messages
from tests.agents.claude import ask as run
from tests.agents.claude import find_binary
from tests.integration.talk import RELAY, ask, log_lines, prompt

pytestmark = [pytest.mark.agents, pytest.mark.timeout(90)]


def with_steps(steps: str) -> str:
    return RELAY.replace("  - translation", f"{steps}\n  - translation")


@pytest.fixture(scope="session")
def binary() -> str:
    """Where Claude Code is."""
    return find_binary()


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A home and a folder to work in."""
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    return home, folder


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ("  - limits: {requests_per_day: 1}", "limit reached: 1 request per day for this pipeline; try again in 24 h"),
        ("  - limits: {per: session, iterations: 1}", ""),
        (
            '  - prices: {overrides: {"*": {input: 10000, output: 10000}}}\n'
            "  - budgets: {total: 1, advice: ask Eve for more}",
            "the budget of $1.00 for this pipeline is spent; it does not reset; ask Eve for more",
        ),
    ],
    ids=["limit", "other session", "budget"],
)
async def test_it_shows_why_and_does_not_ask_again(
    gateway: MakeGateway,
    upstream: ScriptedUpstream,
    binary: str,
    places: tuple[Path, Path],
    steps: str,
    reason: str,
) -> None:
    upstream.always(messages.stream("hello", input_tokens=100))
    gate = await gateway(with_steps(steps), url=upstream.url)
    first = await run(binary, gate.url, *places, "hi")
    assert (first["is_error"], first["result"]) == (False, "hello")
    await log_lines(gate, 1)
    second = await run(binary, gate.url, *places, "hi")
    assert second["is_error"] is bool(reason)
    assert second["result"] == (f"API Error: Request rejected (429) · {reason}" if reason else "hello")
    assert len(await log_lines(gate, 2)) == 2


async def test_it_waits_as_it_is_told(
    gateway: MakeGateway, upstream: ScriptedUpstream, binary: str, places: tuple[Path, Path]
) -> None:
    upstream.always(messages.stream("hello"))
    gate = await gateway(with_steps("  - limits: {requests_per_minute: 6}"), url=upstream.url)
    answers = await asyncio.gather(*(ask(gate.url, prompt(stream=True)) for _ in range(6)))
    assert {said.status for said in answers} == {200}
    result = await run(binary, gate.url, *places, "hi")
    assert (result["is_error"], result["result"]) == (False, "hello")
    lines = (await log_lines(gate, 8))[6:]
    assert [line["status"] for line in lines] == [429, 200]
