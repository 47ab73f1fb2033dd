"""Options of the type Secret are shown by nothing: no command, no log, no error, no endpoint, whatever it does."""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from penstock import Secret
from penstock.cli import main as penstock_command
from penstock.problems import ConfigError
from penstock.testing import MakeGateway, MakeProcess, ScriptedUpstream, clean_environment, messages
from tests.integration.talk import RELAY, ask, prompt

CARELESS = '''
from penstock import EndpointRequest, Answer, Exchange, Gateway, Plugin, Response, Secret, hookimpl


class Careless(Plugin):
    """Says its secret wherever it can without meaning to."""

    token: Secret
    spare: Secret | None = None
    fails: str = ""

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self.log.warning("started with %s %r %s", self.token, self.token, self)
        gateway.add_route("careless", self.told)
        if self.fails == "startup":
            raise ValueError(f"cannot use {self.token!r} of {self}")

    async def told(self, asked: EndpointRequest) -> Answer:
        return Answer(200, {"content-type": "text/plain"}, f"{self} {self.token}".encode())

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        token, given = self.token, self.token.reveal()
        assert given
        if self.fails == "on_request":
            raise RuntimeError(f"{token} {self!r}")

    @hookimpl
    def on_response(self, response: Response) -> None:
        response.headers["x-token"] = f"{self.token} {self}"
'''
HUSH = "hush-hush-4711"
PIPELINE = RELAY.replace("  - translation\n", "  - careless: {token: '${HUSH}'%s}\n  - translation\n")
FILES = {"../plugins/careless.py": CARELESS}


async def test_answers_endpoints_and_the_log(
    gateway: MakeGateway, upstream: ScriptedUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    upstream.always(messages.whole("hello"))
    gate = await gateway(PIPELINE % "", url=upstream.url, files=FILES, env={"HUSH": HUSH})
    said = [await ask(gate.url, prompt())]
    said += [
        await ask(gate.url, method="GET", path=path) for path in ("/-/careless", "/-/stats", "/health", "/nowhere")
    ]
    shown = "".join(f"{each.headers} {each.body!r}" for each in said)
    assert "Careless(token=***, spare=None" in shown
    assert "Careless(token=***, spare=None" in caplog.text
    assert HUSH not in shown + caplog.text + (gate.place.folder / "log.jsonl").read_text()


async def test_a_mistake_of_the_plugin_with_its_traceback(
    gateway_process: MakeProcess, upstream: ScriptedUpstream
) -> None:
    pipeline = PIPELINE % ", fails: on_request"
    gate = await gateway_process(pipeline, url=upstream.url, files=FILES, env={"HUSH": HUSH})
    said = await ask(gate.url, prompt())
    assert said.status == 500
    await gate.says(r"RuntimeError: \*\*\* Careless\(token=\*\*\*")
    await gate.close()
    assert "Traceback" in gate.output
    assert HUSH not in f"{gate.output} {said.headers} {said.body!r} {(gate.place.folder / 'log.jsonl').read_text()}"


async def test_what_keeps_a_gateway_from_starting(gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    literal = f"spare: {HUSH}"
    for more in (
        ", fails: startup",
        ", fails: [1]",
        f", {literal}, unknown: 1",
        f", spare: [{HUSH}]",
        f", spare: {{a: {HUSH}}}",
    ):
        with pytest.raises(ConfigError) as caught:
            await gateway(PIPELINE % more, url=upstream.url, files=FILES, env={"HUSH": HUSH})
        assert HUSH not in "".join(traceback.format_exception(caught.value)), more


@pytest.mark.parametrize("command", ["check", "explain", "plugins", "schema"])
async def test_commands(gateway: MakeGateway, upstream: ScriptedUpstream, command: str) -> None:
    gate = await gateway(PIPELINE % "", url=upstream.url, files=FILES, env={"HUSH": HUSH})
    ran = CliRunner(env={"HUSH": HUSH}).invoke(penstock_command, [command, os.fspath(gate.place.file)])
    assert ran.exit_code == 0, ran.output
    assert "careless" in ran.output or command == "check"
    assert HUSH not in ran.output


def test_a_default_would_be_in_the_source(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "plugins/careless.py").write_text(
        CARELESS.replace("Secret | None = None", f"Secret = Secret('{HUSH}')")
    )
    (tmp_path / "pipelines/test.yaml").write_text("path: /\nplugins: [{careless: {token: a}}]\n")
    ran = subprocess.run(
        [sys.executable, "-m", "penstock", "check", tmp_path / "pipelines/test.yaml"],
        env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "write `Secret | None = None`" in ran.stdout + ran.stderr
    assert HUSH not in ran.stdout + ran.stderr


def test_it_cannot_be_encoded() -> None:
    for encode in (msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins, json.dumps):
        with pytest.raises(TypeError) as caught:
            encode({"token": Secret(HUSH)})
        assert HUSH not in str(caught.value)
    assert msgspec.json.encode(Secret(HUSH), enc_hook=str) == b'"***"'
    assert HUSH not in f"{Secret(HUSH)} {[Secret(HUSH)]} {Secret(HUSH)!r:>20}" + "%s" % Secret(HUSH)  # noqa: UP031
