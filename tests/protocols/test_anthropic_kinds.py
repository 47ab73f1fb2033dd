"""What agents want answers for: their work, or something on the side. Bodies are of the shapes of captured requests."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from penstock import Exchange, Kind
from tests.core.lines import Lines
from tests.protocols.exchanges import PROTOCOL, exchange

TAG = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.49c; cc_entrypoint=cli;"}
TOOLS = [{"name": "Read", "input_schema": {"type": "object"}}, {"name": "Write", "input_schema": {"type": "object"}}]
TITLE = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}


def turn(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def system(text: str) -> dict[str, Any]:
    return {"system": [TAG, {"type": "text", "text": text}], **turn("hi")}


RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "[SUGGESTION MODE: no]"}
KINDS: Mapping[str, tuple[Kind, dict[str, Any]]] = {
    "work": ("main", {**turn("Write a title"), "tools": TOOLS}),
    "a question": ("main", turn("You are a title generator.")),
    "nothing": ("main", {}),
    "claude code 2.1: title": ("title", {**turn("x"), "tools": [], "output_config": {"format": {"schema": TITLE}}}),
    "claude code 1.0: title": ("title", system("Summarize this coding conversation in under 50 characters.\nCapture")),
    "opencode: title": ("title", system("You are a title generator. You output ONLY a thread title.")),
    "claude code 2.0: topic": ("topic", system("Analyze if this message indicates a new conversation topic. If it")),
    "quota": ("warmup", {**turn("quota"), "max_tokens": 1}),
    "prefill of a cache": ("warmup", {**turn("long"), "max_tokens": 0, "tools": TOOLS}),
    "warmup": ("warmup", {**turn("Warmup"), "tools": TOOLS}),
    "a word that begins so": ("main", {**turn("Warmup exercises for the voice"), "tools": TOOLS}),
    "prefix of a command": (
        "command",
        system("Your task is to process Bash commands that an AI coding agent wants to run"),
    ),
    "suggestion": ("suggestion", {**turn("[SUGGESTION MODE: Suggest what the user might type]"), "tools": TOOLS}),
    "what a tool has read": ("main", {"messages": [{"role": "user", "content": [RESULT]}], "tools": TOOLS}),
    "judge": ("classifier", {**turn("x"), "stop_sequences": ["</block>"], "thinking": {"type": "disabled"}}),
    "search": ("search", {**turn("x"), "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    "compaction": (
        "compaction",
        {**turn("Your task is to create a detailed summary of the conversation"), "tools": TOOLS},
    ),
    "work with a schema": ("main", {**turn("x"), "output_config": {"format": {"schema": {"properties": {"a": {}}}}}}),
    "a prompt for the title of an agent at work": ("main", {**system("You are a title generator."), "tools": TOOLS}),
}


def kind(body: Mapping[str, Any], headers: Mapping[str, str] | None = None, **more: Any) -> Kind:
    return exchange(json.dumps({"model": "m", **body}).encode(), headers=headers, **more).kind


@pytest.mark.parametrize(("expected", "body"), KINDS.values(), ids=KINDS)
def test_the_kind(expected: Kind, body: dict[str, Any]) -> None:
    assert kind(body) == expected


@pytest.mark.parametrize(
    ("said", "expected"), [("main", "main"), ("auxiliary", "auxiliary"), ("compaction", "compaction"), ("new", "main")]
)
def test_an_agent_may_say_it(said: str, expected: Kind) -> None:
    headers = {"x-claude-code-request-class": said}
    assert kind({**turn("x"), "tools": TOOLS}, headers) == expected
    assert kind({**turn("quota"), "max_tokens": 1}, headers) == "warmup"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "x"},
        {"messages": [1], "tools": {}},
        {"system": 1},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
        {"output_config": 1},
        {"stop_sequences": [1]},
        {"tools": [None]},
        {"output_config": {"format": {"schema": {"properties": ["title"]}}}},
    ],
)
def test_nonsense_is_for_others_to_refuse(body: dict[str, Any]) -> None:
    assert kind(body) == "main"


def test_a_count_is_no_kind_of_answer() -> None:
    assert kind({**turn("quota"), "max_tokens": 1}, operation="count_tokens") == "main"


def test_a_protocol_need_not_know_kinds() -> None:
    asked = exchange()
    other = Exchange(
        pipeline="test",
        protocol=Lines(),
        operation="generate",
        request=asked.request,
        headers={},
        upstreams={},
        started=0.0,
    )
    assert other.kind == "main"
    assert PROTOCOL.kind(asked.request, {}) == "main"
