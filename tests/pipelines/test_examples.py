"""The pipelines of the repository run as they stand, but for the addresses of their upstreams."""

import re
from pathlib import Path

import pytest

from penstock.testing import MakeGateway, ScriptedUpstream, chat, messages
from tests.integration.talk import ask, prompt
from tests.plugins.keydesk import made, until_known

PIPELINES = Path(__file__).parents[2] / "pipelines"


def at(name: str, **urls: str) -> str:
    """The text of a pipeline, with the upstreams named at other addresses."""
    text = (PIPELINES / f"{name}.yaml").read_text()
    for upstream, url in urls.items():
        text, changed = re.subn(rf"(?m)^(  {upstream}: {{preset: [\w-]+)", rf'\1, url: "{url}"', text)
        assert changed == 1
    return text


def test_every_pipeline_has_a_test_here() -> None:
    files = {file.relative_to(PIPELINES).as_posix() for file in PIPELINES.rglob("*.yaml") if "keys" not in file.parts}
    assert files == {"solo.yaml", "team.yaml", "enterprise/enterprise.yaml", "enterprise/gateway.yaml"}


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-haiku-4-5", "sim/echo", "whatever"])
async def test_solo_without_a_key_simulates(gateway: MakeGateway, model: str) -> None:
    gate = await gateway(at("solo"), name="solo")
    said = await ask(gate.url, prompt(model=model))
    assert said.text.startswith("[simulated]")
    assert said.headers["x-penstock-simulated"] == "1"


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("claude-opus-5-5", "glm-5.3"),
        ("claude-haiku-4-5-20251001", "glm-5.3-flash"),
        ("glm-4.7", "glm-4.7"),
        ("zai/glm-5.1", "glm-5.1"),
        ("zai,glm-5.1", "glm-5.1"),
    ],
)
async def test_solo_with_one_key_goes_to_that_provider(
    gateway: MakeGateway, upstream: ScriptedUpstream, asked: str, served: str
) -> None:
    upstream.answers(messages.whole("hello"))
    gate = await gateway(at("solo", zai=upstream.url), name="solo", env={"ZAI_API_KEY": "zai-key"})
    said = await ask(gate.url, prompt(model=asked))
    assert said.text == "hello"
    call = upstream.calls[0]
    assert (call.json()["model"], call.header("authorization")) == (served, "Bearer zai-key")


async def test_solo_with_a_key_never_simulates_a_real_name(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await gateway(at("solo", zai=upstream.url), name="solo", env={"ZAI_API_KEY": "zai-key"})
    said = await ask(gate.url, prompt(model="grok-4.7"))
    assert (said.status, said.error["type"]) == (404, "not_found_error")
    assert "XAI_API_KEY" in said.error["message"]
    assert (await ask(gate.url, prompt(model="sim/echo"))).text.startswith("[simulated]")


async def test_team_sends_each_key_its_own_way(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    upstream.answers(messages.whole("from the first"), chat.whole("from the second"))
    gate = await gateway(
        at("team", anthropic=upstream.url, openrouter=f"{upstream.url}/v1"),
        name="team",
        env={"ANTHROPIC_API_KEY": "one", "OPENROUTER_API_KEY": "two"},
    )
    here, url = gate.place.folder.parent, f"{gate.url}/team"
    ann, ian = [
        (await made(here, "--user", user, "--team", team))["key"]
        for user, team in (("ann", "platform"), ("ian", "interns"))
    ]
    await until_known(url, ian)
    for key, model, text in ((ann, "claude-opus-5-5", "from the first"), (ian, "claude-opus-5-5", "from the second")):
        said = await ask(gate.url, prompt(model=model), path="/team/v1/messages", headers={"x-api-key": key})
        assert said.text == text
    assert [call.json()["model"] for call in upstream.calls] == ["claude-opus-5-5", "qwen/qwen3-coder-plus"]
    assert [call.header("x-api-key") for call in upstream.calls] == ["one", None]
    stranger = await ask(gate.url, prompt(), path="/team/v1/messages")
    assert stranger.status == 401
