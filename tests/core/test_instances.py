"""Endpoints of a step that teams have changed: everybody is answered by the instance of their own team."""

from typing import Any

import pytest

from penstock.problems import ConfigError
from penstock.testing import MakeGateway, RunningGateway, ScriptedUpstream
from tests.integration.talk import Said, ask

DESK = '''
"""Tells its options."""
from penstock import Answer, EndpointRequest, Gateway, Plugin, hookimpl

class Desk(Plugin):
    """Says at `/-/desk` and `/-/shared` what its option is."""
    word: str = "everybody"
    path: str = "desk"

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        gateway.add_route(self.path, self.show)
        gateway.add_route(f"{self.path}/shared", self.show, ("GET", "DELETE"), shared=True)

    async def show(self, asked: EndpointRequest) -> Answer:
        return Answer(200, {"content-type": "text/plain"}, self.word.encode())
'''
WHO = '''
"""Says who is asking, by headers."""
from penstock import Exchange, Gateway, Plugin, Principal, hookimpl

class Who(Plugin):
    """Believes what it is told."""
    provides = frozenset({"principal"})

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        gateway.identify_by(lambda asked: self.principal(asked.headers))

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        exchange.identify(self.principal(exchange.headers))

    def principal(self, headers) -> Principal:
        return Principal(user="ann", team=headers.get("x-team", ""), admin="x-admin" in headers)
'''
FILES = {"../plugins/desk.py": DESK, "../plugins/who.py": WHO}
PIPELINE = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: k}
plugins:
  - who
  - desk: {options}
    enabled: {enabled}
  - translation
teams:
  red: {desk: {word: red}}
  green: {desk: false}
  blue: {desk: {word: blue}}
  grey: {}
"""


async def started(
    gateway: MakeGateway, upstream: ScriptedUpstream, enabled: str = "true", pipeline: str = PIPELINE
) -> RunningGateway:
    return await gateway(pipeline, url=upstream.url, files=FILES, enabled=enabled, options="{}")


async def look(gate: RunningGateway, path: str, team: str, method: str = "GET", **headers: str) -> Said:
    given = {"x-team": team} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(gate.url, method=method, path=f"/-/{path}", headers=given)


def words(said: Said) -> Any:
    """What was told, or the reason why not."""
    return said.body.decode() if said.status == 200 else said.json()["error"]["message"]


@pytest.mark.parametrize(
    ("team", "told"),
    [
        ("red", "red"),
        ("blue", "blue"),
        ("grey", "everybody"),
        ("unheard of", "everybody"),
        ("", "everybody"),
        ("green", "step 'desk' is off for team green"),
    ],
)
async def test_the_instance_of_the_team_answers(
    gateway: MakeGateway, upstream: ScriptedUpstream, team: str, told: str
) -> None:
    gate = await started(gateway, upstream)
    assert words(await look(gate, "desk", team)) == told
    assert words(await look(gate, "desk/shared", team)) == "everybody"
    assert words(await look(gate, "desk/shared", team, "DELETE")) == "everybody"


async def test_only_an_admin_of_all_teams_may_name_another(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await started(gateway, upstream)
    assert words(await look(gate, "desk?team=red", "", x_admin="yes")) == "red"
    assert words(await look(gate, "desk?team=green", "", x_admin="yes")) == "step 'desk' is off for team green"
    assert words(await look(gate, "desk?team=red", "blue", x_admin="yes")) == "blue"
    assert words(await look(gate, "desk?team=red", "")) == "everybody"


async def test_a_step_that_is_on_for_some_teams_only(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    gate = await started(gateway, upstream, enabled="false")
    assert words(await look(gate, "desk", "red")) == "red"
    said = await look(gate, "desk", "")
    assert (said.status, words(said)) == (404, "step 'desk' is off for everybody whose team says nothing of it")
    assert words(await look(gate, "desk/shared", "green")) == "red"  # whoever of the step comes first


async def test_two_steps_cannot_serve_the_same_path(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    second = PIPELINE.replace("  - translation\n", "  - desk\n    id: other\n  - translation\n").replace(
        "  - desk\n    id", "  - desk:\n    id"
    )
    with pytest.raises(ConfigError, match="step 'other' did not start: GET /-/desk is already served"):
        await started(gateway, upstream, pipeline=second)
