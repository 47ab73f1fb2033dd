"""pipelines/enterprise as it stands, on two hosts, with real Redis and PostgreSQL servers, several keys and teams."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from penstock.testing import (
    GatewayProcess,
    MakeProcess,
    MakeUpstream,
    Place,
    ScriptedUpstream,
    chat,
    messages,
)
from tests.integration.talk import Said, ask, prompt
from tests.pipelines.test_examples import PIPELINES, at
from tests.plugins.keydesk import made, penstock_here
from tests.plugins.redis_server import BINARY, RedisServer
from tests.postgres_server import MISSING, running_postgres

pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="needs redis-server or valkey-server"),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]

FILE = "pipelines/enterprise/enterprise.yaml"


class Company:
    """Two hosts with one environment, the upstreams that they ask, and people with a key each, by their first names."""

    TEAMS: ClassVar = {
        "ann": "web",
        "bob": "web",
        "eve": "web",
        "zoe": "apps",
        "eva": "evals",
        "max": "evals",
        "ian": "interns",
    }

    def __init__(self, folder: Path, env: Mapping[str, str], *upstreams: ScriptedUpstream) -> None:
        self.folder = folder
        self.env = env
        self.anthropic, self.openrouter = upstreams
        self.keys: dict[str, str] = {}
        self.hosts: list[GatewayProcess] = []

    async def open(self, start: Callable[[], Awaitable[GatewayProcess]], *names: str) -> None:
        """Make the keys of these people, then start the hosts: their workers know them from the beginning."""
        self.keys = {name: await self._key(name) for name in names}
        self.hosts = [*await asyncio.gather(start(), start())]

    async def _key(self, name: str) -> str:
        who = ("--user", name, "--team", self.TEAMS[name])
        key: str = (await made(self.folder, *who, place=FILE, **self.env))["key"]
        return key

    async def ask(self, host: int, name: str, text: str = "hi", model: str = "claude-opus-5-5", **more: Any) -> Said:
        """A request to one of the hosts."""
        headers = {"x-api-key": self.keys[name]} if name else {}
        body = prompt(text, model=model, **more)
        return await ask(self.hosts[host].url, body, path="/enterprise/v1/messages", headers=headers)

    async def usage(self, by: str, requests: int) -> dict[str, dict[str, Any]]:
        """`penstock usage` by something, once it knows of so many requests."""
        async with asyncio.timeout(20):
            while True:
                ran = await penstock_here(self.folder, "usage", "--by", by, "--json", place=FILE, **self.env)
                lines = {line[by]: line for line in ran.json()}
                if sum(line["requests"] for line in lines.values()) >= requests:
                    return lines


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of all hosts, with two servers that run."""
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        with running_postgres() as postgres:
            yield {
                "REDIS_URL": f"{redis.url}?timeout=5",
                "DATABASE_URL": postgres.url,
                "PENSTOCK_PEPPER": "a long text that nobody guesses",
                "ANTHROPIC_API_KEY": "one",
                "OPENROUTER_API_KEY": "two",
            }
    finally:
        redis.kill()


@pytest.fixture
async def company(
    request: pytest.FixtureRequest,
    gateway_process: MakeProcess,
    make_upstream: MakeUpstream,
    env: dict[str, str],
    tmp_path: Path,
) -> Company:
    """The company with the people whom a test names, open for business."""
    first, second = [await make_upstream() for _ in range(2)]
    first.always(messages.whole("from the first", input_tokens=1000, output_tokens=200))
    second.always(chat.whole("from the second", prompt_tokens=1000, completion_tokens=200))
    text = at("enterprise/enterprise", anthropic=first.url, openrouter=f"{second.url}/v1")
    place = Place(tmp_path, "enterprise/enterprise", {})
    workers, *names = request.param
    shared = (PIPELINES / "enterprise/gateway.yaml").read_text()
    place.write(shared.replace("workers: 2 ", f"workers: {workers} "), "enterprise/gateway.yaml")
    place.write(text)
    company = Company(tmp_path, env, first, second)
    await company.open(lambda: gateway_process(text, env=env, name="enterprise/enterprise"), *names)
    return company


def people(*names: str, workers: int = 1) -> pytest.MarkDecorator:
    """Who has a key in a test, and how many workers each host has; fewer start sooner than the two of the file."""
    return pytest.mark.parametrize("company", [(workers, *names)], indirect=True, ids=["-".join(names)])


def models(upstream: ScriptedUpstream) -> list[str]:
    return [call.json()["model"] for call in upstream.calls]


@people("eva", "max", "ann", workers=2)
async def test_keys_and_answers_are_those_of_all_hosts(company: Company) -> None:
    first = await company.ask(0, "eva")
    await company.usage("team", 1)  # what is in the ledger is in the cache
    again, other = [await company.ask(1, name) for name in ("max", "ann")]
    assert [said.text for said in (first, again, other)] == ["from the first"] * 3
    assert [said.headers.get("x-cache") for said in (first, again, other)] == ["miss", "hit", None]
    assert [call.header("x-api-key") for call in company.anthropic.calls] == ["one"] * 2
    assert (await company.ask(0, "")).status == 401
    lines = await company.usage("team", 3)
    assert (lines["web"]["requests"], lines["web"]["input_tokens"]) == (1, 1000)
    assert lines["web"]["cost_usd"] == pytest.approx(1000 * 4e-6 + 200 * 20e-6)
    assert (lines["evals"]["requests"], lines["evals"]["replays"], lines["evals"]["input_tokens"]) == (2, 1, 1000)


@people("ann")
async def test_when_a_target_fails_the_next_one_answers(company: Company) -> None:
    company.anthropic.answers(messages.error(529, "overloaded_error", "Overloaded"))
    said = await company.ask(0, "ann")
    assert said.text == "from the second"
    assert models(company.openrouter) == ["anthropic/claude-opus-4.5"]
    (line,) = (await company.usage("upstream", 1)).values()
    assert (line["upstream"], line["attempts"]) == ("openrouter", 2)


@people("ian")
async def test_limits_hold_over_all_hosts_and_the_free_tier_goes_first(company: Company) -> None:
    start = time.monotonic()
    answers = [await company.ask(number % 2, "ian", model="whatever") for number in range(30)]
    refill = 1 + int((time.monotonic() - start) / 3)  # 20 a minute
    served = sum(said.status == 200 for said in answers)
    assert 20 <= served <= 20 + refill
    assert {said.status for said in answers} == {200, 429}
    (refused, *_) = [said for said in answers if said.status == 429]
    assert "20 requests per minute for key" in refused.error["message"]
    free, paid = [models(company.openrouter).count(f"qwen/qwen3-coder{tail}") for tail in (":free", "-plus")]
    assert free + paid == served
    assert 10 <= free <= 10 + refill
    lines = await company.usage("model", 30)
    assert lines["qwen/qwen3-coder:free"]["cost_usd"] == 0
    assert lines["qwen/qwen3-coder-plus"]["cost_usd"] == pytest.approx(paid * (1000 * 0.65e-6 + 200 * 3.25e-6))


@people("ann", "bob", "eve", "zoe")
async def test_a_team_goes_to_the_cheaper_model_and_then_nowhere(company: Company) -> None:
    company.anthropic.answers(
        messages.whole("dear", output_tokens=85_000_000),  # 1,700 dollars
        messages.whole("cheaper", output_tokens=70_000_000),  # 350 dollars
    )
    answers = []
    for count, (host, name) in enumerate(((0, "ann"), (1, "bob"), (0, "eve"), (1, "zoe")), 1):
        answers.append(await company.ask(host, name))
        await company.usage("team", count)  # what it has cost is settled before it is in the ledger
    dear, cheaper, refused, other = answers
    assert [said.status for said in answers] == [200, 200, 429, 200]
    assert models(company.anthropic) == ["claude-opus-5-5", "claude-haiku-4-5", "claude-opus-5-5"]
    assert ["x-penstock-downgraded" in said.headers for said in (dear, cheaper, other)] == [False, True, False]
    assert refused.error["type"] == "billing_error"
    assert refused.error["message"].endswith("ask platform@example.com for more")
    assert refused.headers["x-should-retry"] == "false"
