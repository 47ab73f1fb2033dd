"""Requests of the Messages format with whole conversations in them, as agents send them and worse."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from penstock import Attempt, Exchange, Target, Upstream
from tests.protocols.answers import Answer, answers, folded
from tests.protocols.exchanges import PROTOCOL
from tests.protocols.scripts import TOOLS, inputs, texts
from tests.protocols.wires.wire import Wire

Block = dict[str, Any]
Turn = dict[str, Any]

TARGET = Target("up", "m")
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
_PDF = "JVBERi0xLjQKJSVFT0YK"
_TEXT = "aGVsbG8gw6k="

_MEDIA: Sequence[Block] = (
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PNG}},
    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": _PDF}, "title": "A"},
    {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": _TEXT}},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}, "title": "B"},
    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "in parts"}]}},
    {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    {"type": "search_result", "title": "T", "source": "https://x", "content": [{"type": "text", "text": "found"}]},
)
_FOREIGN: Sequence[Block] = (
    {"type": "thinking", "thinking": "as Claude", "signature": "bare+signature=="},
    {"type": "thinking", "thinking": "as nobody", "signature": ""},
    {"type": "redacted_thinking", "data": "bare+data=="},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"type": "web_search_result", "title": "t"}],
    },
    {"type": "novelty", "text": "from next year"},
)
_SCHEMAS: Sequence[Block] = (
    {"type": "object"},
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "path": {"type": "string", "format": "uri"},
            "lines": {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 0}},
            "mode": {"anyOf": [{"const": "a"}, {"type": ["string", "null"]}]},
            "node": {"$ref": "#/$defs/node"},
        },
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "required": ["path"],
        "additionalProperties": False,
    },
)
_BUILT_IN: Sequence[Block] = (
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    {"type": "novelty_20270101", "name": "novelty"},
)


class Conversation(NamedTuple):
    """A request's document; opaque states in it that belong to the target, and those that do not."""

    document: Mapping[str, Any]
    own: Sequence[str] = ()
    foreign: Sequence[str] = ()

    @property
    def turns(self) -> Sequence[Turn]:
        turns: Sequence[Turn] = self.document["messages"]
        return turns

    def until(self, end: int) -> "Conversation":
        """The same with the first turns only."""
        return self._replace(document={**self.document, "messages": self.turns[:end]})

    def exchange(self, wire: Wire, quirks: Any) -> Exchange:
        """An exchange with this request for an upstream of a format."""
        upstream = Upstream(name="up", protocol=wire.protocol, quirks=quirks)
        made = Exchange(
            pipeline="t",
            protocol=PROTOCOL,
            operation="generate",
            request=PROTOCOL.read(json.dumps(self.document).encode(), {}),
            headers={},
            upstreams={"up": upstream},
            started=0.0,
        )
        made.attempts.append(Attempt(1, TARGET, upstream))
        return made


@st.composite
def conversations(draw: st.DrawFn, wire: Wire, others: Sequence[Wire]) -> Conversation:
    """Any conversation with a session's model behind `wire` and models behind `others` before it."""
    turns: list[Turn] = []
    own: list[str] = []
    foreign: list[str] = []
    calls: list[str] = []
    for number in range(draw(st.integers(1, 4))):
        turns += draw(_user_turns(calls))
        maker = draw(st.sampled_from((wire, *others, None)))
        if maker is None:
            content, states = draw(_said_by_claude(number)), list[str]()
        else:
            content, states = draw(_said_by(maker, number, TARGET if maker is wire else Target("elsewhere", "m")))
        if maker is wire:
            own += states
        elif wire.hides(maker):
            foreign += states
        calls = [block["id"] for block in content if block["type"] == "tool_use"]
        turns.append({"role": "assistant", "content": content})
    turns += draw(_user_turns(calls))
    return Conversation({"model": "claude-x", "messages": turns, **draw(_settings)}, own, foreign)


# ---------------------------------------------------------------- turns

_text_blocks = texts.map(lambda text: {"type": "text", "text": text})
_marked = _text_blocks.map(lambda block: {**block, "cache_control": {"type": "ephemeral"}})
_user_blocks = st.one_of(_text_blocks, _marked, st.sampled_from(_MEDIA))
_result_contents = st.one_of(
    st.just(""), texts, st.lists(st.one_of(_text_blocks, st.sampled_from(_MEDIA)), max_size=3), st.none()
)


@st.composite
def _user_turns(draw: st.DrawFn, calls: Sequence[str]) -> list[Turn]:
    """What the user says to the assistant's last turn, results of its calls first or among it; maybe not all."""
    results = [draw(_result(id)) for id in calls if draw(st.integers(0, 9))]
    if draw(st.integers(0, 9)) == 0:
        results.append(draw(_result("toolu_orphan")))
    results = draw(st.permutations(results))
    said = draw(st.lists(_user_blocks, min_size=0 if results else 1, max_size=3))
    content = draw(st.sampled_from(([*results, *said], [*said, *results])))
    turns: list[Turn] = [{"role": "user", "content": content}]
    if not results and draw(st.booleans()):
        turns = [{"role": "user", "content": draw(texts)}, *turns]
    if draw(st.integers(0, 4)) == 0:
        turns.insert(draw(st.integers(0, len(turns))), {"role": "system", "content": draw(texts)})
    return turns


@st.composite
def _result(draw: st.DrawFn, id: str) -> Block:
    content = draw(_result_contents)
    block: Block = {"type": "tool_result", "tool_use_id": id}
    block |= {} if content is None else {"content": content}
    return block | draw(st.sampled_from(({}, {"is_error": True}, {"is_error": False})))


@st.composite
def _said_by(draw: st.DrawFn, wire: Wire, number: int, target: Target) -> tuple[list[Block], list[str]]:
    """An assistant turn as the gateway has made it of an upstream's answer, and the opaque states in it."""
    answer: Answer = draw(answers(wire, target, f"{number}"))
    message, _ = folded(answer)
    return message["content"] or [{"type": "text", "text": "."}], wire.returning(answer.script)


@st.composite
def _said_by_claude(draw: st.DrawFn, number: int) -> list[Block]:
    """An assistant turn of a client's own making."""
    blocks = draw(st.lists(st.one_of(_text_blocks, st.sampled_from(_FOREIGN)), min_size=1, max_size=3))
    names = draw(st.lists(st.sampled_from((*TOOLS, "gone")), max_size=3))
    calls = [
        {"type": "tool_use", "id": f"toolu_{number}_{place}", "name": name, "input": draw(inputs)}
        for place, name in enumerate(names)
    ]
    return [*blocks, *calls]


# ---------------------------------------------------------------- everything around the turns

_functions = st.builds(
    lambda name, schema, description: {"name": name, "input_schema": schema, **description},
    st.sampled_from(TOOLS),
    st.sampled_from(_SCHEMAS),
    st.sampled_from(({}, {"description": "What it does."})),
)
_tools = st.lists(
    st.one_of(_functions, _functions, st.sampled_from(_BUILT_IN)), max_size=4, unique_by=lambda tool: tool["name"]
)
_CHOICES: Sequence[Block] = ({}, {"type": "auto"}, {"type": "any", "disable_parallel_tool_use": True}, {"type": "none"})
_OPTIONS: Mapping[str, Sequence[Any]] = {
    "system": ("Be brief.", [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]),
    "max_tokens": (1, 32_000),
    "stream": (True, False),
    "temperature": (0.0, 1),
    "top_p": (0.9,),
    "top_k": (40,),
    "stop_sequences": (["STOP"], [f"S{n}" for n in range(8)]),
    "thinking": ({"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2048}, {"type": "disabled"}),
    "output_config": ({"effort": "max"}, {"format": {"type": "json_schema", "schema": {"type": "object"}}}),
    "metadata": ({"user_id": '{"session_id":"s"}'},),
    "service_tier": ("auto", "standard_only"),
}


def _with_choice(
    document: dict[str, Any], tools: list[Block], choice: Mapping[str, Any], named: bool
) -> dict[str, Any]:
    if tools:
        document["tools"] = tools
        if named:
            document["tool_choice"] = {"type": "tool", "name": tools[0]["name"]}
        elif choice:
            document["tool_choice"] = choice
    return document


_optional = {name: st.sampled_from(values) for name, values in _OPTIONS.items()}
_settings = st.builds(
    _with_choice, st.fixed_dictionaries({}, optional=_optional), _tools, st.sampled_from(_CHOICES), st.booleans()
)
