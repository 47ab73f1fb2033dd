"""One session of the real Claude Code with four models of four formats: each switch leaves the tool loop whole.

Each model thinks, seals its thinking in its own way and writes two files at once. What it has sealed comes back to it
exactly, and to it alone; whatever it is sent is valid in its format and holds all that the session has done.
"""

import asyncio
import base64
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from penstock.testing import (
    Call,
    MakeProcess,
    MakeUpstream,
    Reply,
    ScriptedUpstream,
    Thought,
    ToolCall,
    chat,
    contents,
    json_reply,
    messages,
    responses,
)
from tests.agents.claude import ask, conversation, find_binary, tapped
from tests.agents.histories import HISTORIES
from tests.integration.official import check_request

pytestmark = [pytest.mark.agents, pytest.mark.timeout(180)]

PIPELINE = """
path: /
upstreams:
  claude: {protocol: anthropic, url: "{claude}", key: upstream-key}
  chat:
    protocol: openai-chat
    url: "{chat}/v1"
    key: upstream-key
    quirks: {reasoning: effort, reasoning_field: reasoning_content}
  responses: {protocol: openai-responses, url: "{responses}/v1", key: upstream-key, quirks: {reasoning: true}}
  gemini: {protocol: gemini, url: "{gemini}/v1beta", key: upstream-key}
plugins:
  - models: {routes: {"claude-*": claude, "chat-*": chat, "responses-*": responses, "gemini-*": gemini}}
  - translation
"""
FORMATS: dict[str, tuple[str, ModuleType, str]] = {
    "claude": ("anthropic", messages, "claude-opus-5-5"),
    "chat": ("openai-chat", chat, "chat-model"),
    "responses": ("openai-responses", responses, "responses-model"),
    "gemini": ("gemini", contents, "gemini-3-pro"),
}
ROUNDS = [*FORMATS, *FORMATS]
PERMITTED = ("--permission-mode", "acceptEdits", "--allowedTools", "Write")
ARGUMENTS = (*PERMITTED, "--model", FORMATS["claude"][2])


class Line(NamedTuple):
    """What a model says, and the event until which it is held back."""

    thought: Thought
    parts: tuple[str | ToolCall, ...]
    held: asyncio.Event | None = None

    @property
    def files(self) -> list[str]:
        return [Path(part.input["file_path"]).name for part in self.parts if isinstance(part, ToolCall)]


class Request(NamedTuple):
    """A request for a line, with how many lines of the model and how many files of the session came before it."""

    call: Call
    lines: int
    files: int


class Model:
    """A scripted model that answers in its own format; `files` are those of the session in their order."""

    def __init__(self, name: str, upstream: ScriptedUpstream, files: list[str]) -> None:
        self.name = name
        self.protocol, self.format, self.id = FORMATS[name]
        self.upstream = upstream
        self.lines: list[Line] = []
        self.requests: list[Request] = []
        self._files = files
        upstream.always(self._answer)

    def writes(self, folder: Path, held: asyncio.Event | None = None) -> None:
        """Think, and write two files at once."""
        number = len(self.lines) + 1
        names = [f"{self.name}-{number}-{part}" for part in "ab"]
        inputs = [{"file_path": str(folder / name), "content": f"{name} é🦊\n"} for name in names]
        calls = [ToolCall("Write", input, f"call_{name}") for name, input in zip(names, inputs, strict=True)]
        self.lines.append(Line(self._thought(), (f"Step {number}.", *calls), held))

    def says(self, text: str) -> None:
        """Think, and say something."""
        self.lines.append(Line(self._thought(), (text,)))

    async def asked(self, times: int) -> None:
        """Wait for that many requests that want a line."""
        await self.upstream.until(lambda: len(self.requests) == times)

    def _thought(self) -> Thought:
        number = len(self.lines) + 1
        sealed = base64.b64encode(f"sealed by {self.name}: {number}".encode()).decode()
        return Thought(f"{self.name} thinks {number}", sealed)

    def _answer(self, call: Call) -> Reply:
        make: Any = self.format
        if call.path.endswith("/count_tokens"):
            return json_reply({"input_tokens": 1000})
        if not call.json().get("tools"):  # before it switches to a model, the agent tries whether it is there
            return make.whole("ok")  # type: ignore[no-any-return]
        number = len(self.requests)
        line = self.lines[number]
        self.requests.append(Request(call, number, len(self._files)))
        self._files += line.files
        reply: Reply = make.stream(line.thought, *line.parts, id=f"{self.name}_{number}", model=self.id)
        return reply.first(line.held) if line.held else reply


class Cast(NamedTuple):
    """The models by name, and the folders: a home, and one to work in."""

    models: dict[str, Model]
    files: list[str]
    home: Path
    work: Path

    @property
    def urls(self) -> dict[str, Any]:
        return {name: model.upstream.url for name, model in self.models.items()}

    def check(self) -> None:
        """That the session has done everything, and that each model was asked as it should be."""
        found = {file.name: file.read_text() for file in self.work.iterdir()}
        assert found == {name: f"{name} é🦊\n" for name in self.files}
        assert len(found) == 2 * len(ROUNDS)
        for model in self.models.values():
            assert len(model.requests) == len(model.lines)
            for call in model.upstream.calls:
                if not call.path.endswith("/count_tokens"):
                    check_request(model.protocol, call)
            for request in model.requests:
                self._check_history(model, request)

    def _check_history(self, model: Model, request: Request) -> None:
        """That a request holds the whole tool loop, all that this model has sealed, and nothing that others have."""
        history, body = HISTORIES[model.protocol], request.call.json()
        files = self.files[: request.files]
        steps = [((("call", a), ("call", b)), (("result", a), ("result", b))) for a, b in pairwise(files)][::2]
        assert list(history.loop(body)) == [entry for calls, results in steps for entry in (*calls, *results)]
        others = [line.thought for other in self.models.values() if other is not model for line in other.lines]
        in_the_clear = {thought.text for thought in others}  # are words, which every model may read
        sealed = [thought for thought in history.sealed(body) if thought not in in_the_clear]
        lines = [line for line in model.lines[: request.lines] if line.files or history.last_words]
        assert sealed == [history.thought(line.thought) for line in lines]
        assert not [thought for thought in others if thought.signature.encode() in request.call.body]
        assert b"penstock1." not in request.call.body


@pytest.fixture
async def players(make_upstream: MakeUpstream, tmp_path: Path) -> Cast:
    home, work, files = tmp_path / "home", tmp_path / "work", list[str]()
    home.mkdir()
    work.mkdir()
    return Cast({name: Model(name, await make_upstream(), files) for name in FORMATS}, files, home, work)


async def test_in_the_middle_of_a_tool_loop(players: Cast, gateway_process: MakeProcess) -> None:
    """The user asks once; each step of the loop is another model's, which goes on from the results of the last."""
    released = [asyncio.Event() for _ in ROUNDS]
    for name, event in zip(ROUNDS, released, strict=True):
        players.models[name].writes(players.work, event)
    players.models["claude"].says("All is written.")
    gate = await gateway_process(PIPELINE, **players.urls)
    async with conversation(find_binary(), gate.url, players.home, players.work, *ARGUMENTS) as session:
        await session.say("Write the files.")
        for number, (name, following) in enumerate(pairwise([*ROUNDS, "claude"])):
            await players.models[name].asked(number // len(FORMATS) + 1)
            await session.switch(players.models[following].id)
            released[number].set()
        result = await session.until("result")
    assert (result["is_error"], result["result"]) == (False, "All is written.")
    players.check()


async def test_with_the_command(players: Cast, gateway_process: MakeProcess) -> None:
    """The user types `/model` between turns, each of which has a tool loop of its own."""
    for name in ROUNDS:
        players.models[name].writes(players.work)
        players.models[name].says(f"{name} is done.")
    gate = await gateway_process(PIPELINE, **players.urls)
    async with (
        tapped(gate.url) as (address, sent),
        conversation(find_binary(), address, players.home, players.work, *ARGUMENTS) as session,
    ):
        for name in ROUNDS:
            await session.say(f"/model {players.models[name].id}")
            await session.until("result")
            await session.say("Write your two files.")
            result = await session.until("result")
            assert (result["is_error"], result["result"]) == (False, f"{name} is done.")
    assert b'"signature":"penstock1.' in sent
    players.check()


async def test_with_a_new_process_each_turn(players: Cast, gateway_process: MakeProcess) -> None:
    """The user takes the session up again with another model."""
    for name in ROUNDS:
        players.models[name].writes(players.work)
        players.models[name].says(f"{name} is done.")
    gate = await gateway_process(PIPELINE, **players.urls)
    resumed: tuple[str, ...] = ()
    for name in ROUNDS:
        arguments = ("Write your two files.", *resumed, *PERMITTED, "--model", players.models[name].id)
        result = await ask(find_binary(), gate.url, players.home, players.work, *arguments)
        assert (result["is_error"], result["result"]) == (False, f"{name} is done.")
        resumed = ("--resume", result["session_id"])
    players.check()
