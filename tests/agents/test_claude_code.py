"""The real Claude Code does a task through the gateway: on a native upstream, a translated one, and the simulator."""

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.testing import Call, MakeProcess, Reply, ScriptedUpstream, ToolCall, chat, json_reply, messages
from tests.agents.claude import RUN, environment, find_binary, tapped
from tests.integration.talk import CHAT, RELAY, SIMULATOR

pytestmark = [pytest.mark.agents, pytest.mark.timeout(90)]

FILES = {"one.txt": "first é🦊\n", "two.txt": 'second "quoted" \\n\n'}


@pytest.fixture(scope="session")
def binary() -> str:
    """Where Claude Code is."""
    return find_binary()


class Run(NamedTuple):
    """What came of a run: its JSON result, and the bytes it sent to the gateway."""

    result: dict[str, Any]
    sent: bytes
    folder: Path


Claude = Callable[..., Any]


@pytest.fixture
def claude(binary: str, tmp_path: Path) -> Claude:
    """`await claude(url, prompt, *arguments, **env)`: run the agent to its end; returns a Run."""

    async def run(url: str, prompt: str, *arguments: str, **env: str) -> Run:
        home, folder = tmp_path / "home", tmp_path / "work"
        home.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        async with tapped(url) as (address, sent):
            command = (binary, "-p", prompt, "--output-format", "json", *arguments)
            process = await asyncio.create_subprocess_exec(
                *command, cwd=folder, env=environment(home, address) | env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
            try:
                async with asyncio.timeout(RUN):
                    out, err = await process.communicate()
            except TimeoutError:
                process.kill()
                await process.communicate()
                raise
        assert process.returncode == 0, (out + err).decode()
        return Run(json.loads(out), bytes(sent), folder)

    return run


def two_writes(folder: Path) -> tuple[ToolCall, ToolCall]:
    """Two parallel calls that write two files."""
    one, two = (
        ToolCall("Write", {"file_path": str(folder / name), "content": text}, f"toolu_{number}")
        for number, (name, text) in enumerate(FILES.items(), 1)
    )
    return one, two


WORK = ("Write the two files.", "--permission-mode", "acceptEdits", "--allowedTools", "Write")


def written(run: Run) -> dict[str, str]:
    """The files in the agent's folder."""
    return {file.name: file.read_text() for file in run.folder.iterdir()}


async def test_on_a_native_upstream(
    claude: Claude, gateway_process: MakeProcess, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    def answer(call: Call) -> Reply:
        if call.path != messages.PATH:
            return json_reply({"input_tokens": 1000})
        if not results_of(call):
            return messages.stream("I will write.", *two_writes(tmp_path / "work"))
        return messages.stream("Both are written.")

    upstream.always(answer)
    gate = await gateway_process(RELAY, url=upstream.url)
    run = await claude(gate.url, *WORK)
    assert written(run) == FILES
    assert (run.result["is_error"], run.result["result"]) == (False, "Both are written.")
    turns = [call for call in upstream.calls if call.path == messages.PATH]
    assert results_of(turns[-1]) == {"toolu_1": False, "toolu_2": False}
    for call in turns:
        assert call.body in run.sent  # byte for byte what the agent has sent
        assert call.json()["system"][0]["text"].startswith("x-anthropic-billing-header:")
        assert call.header("x-api-key") == "upstream-key"
        assert call.header("anthropic-beta")
        assert b"client-token" not in call.raw_head
        assert call.query == "beta=true"


async def test_on_a_translated_upstream(
    claude: Claude, gateway_process: MakeProcess, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    def answer(call: Call) -> Reply:
        if not tool_messages(call):
            return chat.stream("I will write.", *two_writes(tmp_path / "work"))
        return chat.stream("Both are written.")

    upstream.always(answer)
    gate = await gateway_process(CHAT, url=upstream.url)
    run = await claude(gate.url, *WORK)
    assert written(run) == FILES
    assert (run.result["is_error"], run.result["result"]) == (False, "Both are written.")
    assert b"x-anthropic-billing-header" in run.sent
    assert all(call.path == "/v1/chat/completions" for call in upstream.calls)
    assert not any(b"billing-header" in call.body for call in upstream.calls)
    last = upstream.calls[-1].json()["messages"]
    (asked,) = (place for place, message in enumerate(last) if message.get("tool_calls"))
    calls = [call["id"] for call in last[asked]["tool_calls"]]
    assert len(set(calls)) == 2
    assert [message.get("tool_call_id") for message in last[asked + 1 : asked + 3]] == calls
    assert tool_messages(upstream.calls[-1]) == calls


async def test_on_the_simulator_without_any_key(claude: Claude, gateway_process: MakeProcess) -> None:
    gate = await gateway_process(SIMULATOR)
    run = await claude(gate.url, *WORK, "--model", "sim/tools")
    assert run.result["is_error"] is False
    assert run.result["result"].startswith("[simulated]")
    assert written(run)


async def test_its_model_discovery(claude: Claude, gateway_process: MakeProcess) -> None:
    gate = await gateway_process(SIMULATOR)
    # Before 2.1.257 the switch against nonessential traffic took the discovery with it.
    env = {"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": ""}
    run = await claude(gate.url, "hello", "--model", "claude-sim-echo", **env)
    assert b"GET /v1/models?limit=1000 HTTP/1.1" in run.sent
    assert run.result["result"].startswith("[simulated]")


def results_of(call: Call) -> dict[str, bool]:
    """The tool results a Messages request brings back: id, and whether it is an error."""
    found = {}
    for message in call.json()["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "tool_result":
                found[block["tool_use_id"]] = block.get("is_error", False)
    return found


def tool_messages(call: Call) -> list[str]:
    """The ids of the tool messages of a Chat Completions request, in their order."""
    return [message["tool_call_id"] for message in call.json()["messages"] if message["role"] == "tool"]
