"""What clients send in the benchmark: the workloads and their requests."""

import json
from typing import Any, NamedTuple

from benchmarks.answers import EVENTS

PATH = "/v1/messages"
KEY = "benchmark"  # its hash stands in keys.yaml
SMALL = "small"  # the model that answers in one short message
_WORDS = "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.\n"
_CODE = 'def greet(name: str) -> str:\n    """Say \\"hello\\"."""\n    return f"hello {name}"\n'


class Workload(NamedTuple):
    """One kind of exchange. Its model is the name of the upstream's answer; `bar` is the most CPU, in floors."""

    title: str
    model: str
    concurrency: int
    requests: int
    events: int = 0
    bar: float = 1.5


def _streams(title: str, name: str, bar: float) -> tuple[Workload, ...]:
    """A stream event by event and in bursts, alone and with others."""
    return (
        Workload(f"{title}, paced", f"{name}-paced", 1, 2, EVENTS, bar),
        Workload(f"{title}, paced", f"{name}-paced", 16, 32, EVENTS, bar),
        Workload(f"{title}, burst", f"{name}-burst", 1, 20, EVENTS, bar),
        Workload(f"{title}, burst", f"{name}-burst", 16, 160, EVENTS, bar),
    )


WORKLOADS = (
    Workload("message", SMALL, 1, 300),
    Workload("message", SMALL, 16, 1000),
    *_streams("stream", "messages", 1.5),
    *_streams("chat", "chat", 2.0),
    *_streams("responses", "responses", 2.0),
    *_streams("gemini", "gemini", 2.0),
)


# ---------------------------------------------------------------- requests


def request(model: str, key: str = KEY, question: str = "Say hello.") -> bytes:
    """A Messages request as HTTP: a small one for the model `SMALL`, else one as Claude Code sends, streamed."""
    body = json.dumps((_small if model == SMALL else _large)(model, question)).encode()
    headers = _headers(len(body), key)
    head = "\r\n".join([f"POST {PATH}?beta=true HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())])
    return head.encode() + b"\r\n\r\n" + body


def _headers(length: int, key: str) -> dict[str, object]:
    stainless = {"arch": "x64", "lang": "js", "os": "Linux", "retry-count": 0, "runtime": "node", "timeout": 600}
    return {
        "host": "127.0.0.1",
        "accept": "application/json",
        "content-type": "application/json",
        "content-length": length,
        "user-agent": "claude-cli/2.1.329 (external, cli)",
        "authorization": f"Bearer {key}",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
        "x-app": "cli",
        "x-claude-code-session-id": "00000000-0000-4000-8000-000000000000",
        **{f"x-stainless-{name}": value for name, value in stainless.items()},
    }


def _small(model: str, question: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": question}]}


def _large(model: str, question: str) -> dict[str, Any]:
    """About 50 KB: system prompt, tools with schemas, and a turn with a tool call behind it."""
    cached = {"cache_control": {"type": "ephemeral"}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "Tool1", "input": {"path": "greet.py", "text": _CODE}}
    return {
        "model": model,
        "max_tokens": 32000,
        "stream": True,
        "system": [{"type": "text", "text": _WORDS * 2}, {"type": "text", "text": _WORDS * 70, **cached}],
        "tools": [_tool(number) for number in range(20)],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": _WORDS * 10}, {"type": "text", "text": question}]},
            {"role": "assistant", "content": [{"type": "text", "text": "I write the file."}, call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": _CODE * 90}]},
        ],
    }


def _tool(number: int) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": _WORDS} for name in ("path", "text", "reason")}
    schema = {"type": "object", "properties": properties, "required": ["path"], "additionalProperties": False}
    return {"name": f"Tool{number}", "description": _WORDS * 14, "input_schema": schema}


def session(times: int = 1) -> bytes:
    """A request as Claude Code sends it in the middle of its work: 200 KB, 40 tools, 60 turns; or some times that."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": _WORDS * 10}]
    for number in range(30 * times):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": f"Tool{number % 40}", "input": {"path": "a.py"}}
        thought = {"type": "thinking", "thinking": _WORDS * 3, "signature": "c2ln" * 100}
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": _CODE * 40}
        messages.append({"role": "assistant", "content": [thought, {"type": "text", "text": "I look."}, call]})
        messages.append({"role": "user", "content": [result]})
    tools = [_tool(number) for number in range(40 * times)]
    return json.dumps(_large("session", "Greet.") | {"tools": tools, "messages": messages}).encode()
