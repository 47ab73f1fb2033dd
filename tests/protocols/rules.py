"""What each format demands of a request, as its servers would complain."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Body = Mapping[str, Any]


def chat(body: Body) -> None:
    """Chat Completions: every call answered directly after it, and nothing empty."""
    waiting: list[str] = []
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        if role == "tool":
            assert waiting, "a tool message without a call"
            assert message["tool_call_id"] == waiting.pop(0)
        else:
            assert not waiting, f"{waiting} have no tool messages"
        if role == "assistant":
            waiting = [call["id"] for call in message.get("tool_calls", ())]
            assert content is None or content
            assert content is not None or waiting
            for call in message.get("tool_calls", ()):
                assert isinstance(json.loads(call["function"]["arguments"]), dict)
                assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["function"]["name"])
        else:
            assert content
        assert len(set(waiting)) == len(waiting)
        assert all(0 < len(id) <= 40 for id in waiting)
        _chat_parts(role, content)
    assert not waiting, f"{waiting} have no tool messages"
    _functions([tool["function"] for tool in body.get("tools", ())], body, r"[a-zA-Z0-9_-]{1,64}")
    assert "stream_options" not in body or body["stream"]
    assert 1 <= len(body.get("stop", "x")) <= 4


def _chat_parts(role: str, content: Any) -> None:
    if not isinstance(content, list):
        return
    for part in content:
        assert part["type"] != "text" or part["text"]
        assert part["type"] == "text" or role == "user"


def responses(body: Body) -> None:
    """Responses without a store: every call has its output later, reasoning its item directly after it."""
    assert body["store"] is False
    items = body["input"]
    assert items
    called: list[str] = []
    answered: list[str] = []
    for place, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            assert item["call_id"] not in called
            called.append(item["call_id"])
            assert 0 < len(item["call_id"]) <= 64
            assert item.get("id", "fc_").startswith("fc")
            assert isinstance(json.loads(item["arguments"]), dict)
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", item["name"])
        elif kind == "function_call_output":
            assert item["call_id"] in called
            answered.append(item["call_id"])
            assert item["output"]
        elif kind == "reasoning":
            _reasoning(item, items[place + 1 : place + 2])
        else:
            assert item["content"]
    assert sorted(called) == sorted(answered)
    tools = [tool for tool in body.get("tools", ()) if tool["type"] == "function"]
    assert all("strict" in tool for tool in tools)
    _functions(tools, body, r"[a-zA-Z0-9_-]{1,64}")
    assert body.get("max_output_tokens", 16) >= 16
    assert not {"stop", "max_tokens", "messages"} & body.keys()


def _reasoning(item: Body, following: Sequence[Body]) -> None:
    assert item["summary"] is not None
    assert following, "reasoning at the end"
    after = following[0]
    kind = after.get("type", "message")
    assert kind in ("reasoning", "function_call") or (kind == "message" and after["role"] == "assistant")


_PARTS = {"text", "inlineData", "fileData", "functionCall", "functionResponse"}
_REFUSED = {"$schema", "$ref", "$defs", "additionalProperties", "const", "exclusiveMinimum", "oneOf", "allOf", "not"}


def gemini(body: Body) -> None:
    """Gemini: the sides take turns, and every call has its response in the very next turn, in its order."""
    waiting: list[str] = []
    for place, turn in enumerate(body["contents"]):
        assert turn["role"] == ("model" if place % 2 else "user")
        assert turn["parts"]
        for part in turn["parts"]:
            assert len(_PARTS & part.keys()) == 1, part
            assert "text" not in part or part["text"] or "thoughtSignature" in part
        given = [part["functionResponse"] for part in turn["parts"] if "functionResponse" in part]
        assert [response["name"] for response in given] == waiting
        assert all(isinstance(response["response"], dict) for response in given)
        calls = [part["functionCall"] for part in turn["parts"] if "functionCall" in part]
        assert turn["role"] == "model" or not calls
        assert all(isinstance(call.get("args", {}), dict) for call in calls)
        waiting = [call["name"] for call in calls]
        assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}", name) for name in waiting)
    assert not waiting
    functions = [function for tool in body.get("tools", ()) for function in tool.get("functionDeclarations", ())]
    names = [function["name"] for function in functions]
    assert len(set(names)) == len(names)
    for function in functions:
        assert not {"parameters", "parametersJsonSchema"} <= function.keys()
        _schema(function.get("parameters", {}))
    config = body.get("toolConfig", {}).get("functionCallingConfig", {})
    assert set(config.get("allowedFunctionNames", ())) <= set(names)
    assert len(body.get("generationConfig", {}).get("stopSequences", ())) <= 5


def _schema(schema: Any) -> None:
    assert not _REFUSED & schema.keys()
    assert isinstance(schema.get("type", ""), str)
    for inner in schema.get("properties", {}).values():
        _schema(inner)
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        _schema(inner)


def messages(body: Body) -> None:
    """Messages to Claude: thinking has a signature, and no text is empty."""
    compatible(body)
    for block in _blocks(body):
        assert block["type"] != "thinking" or block["signature"]


def compatible(body: Body) -> None:
    """Messages to others, which do not mind unsigned thinking."""
    assert body["messages"]
    assert all(turn["content"] for turn in body["messages"])
    for block in _blocks(body):
        assert block["type"] != "text" or block["text"]


def _blocks(body: Body) -> Iterator[Any]:
    for turn in body["messages"]:
        yield from turn["content"] if isinstance(turn["content"], list) else ()


def _functions(functions: Sequence[Body], body: Body, pattern: str) -> None:
    names = [function["name"] for function in functions]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(pattern, name) for name in names)
    for function in functions:
        schema = function["parameters"]
        assert schema["type"] == "object"
        assert isinstance(schema["properties"], dict)
    assert "tools" not in body or body["tools"]
    assert "tools" in body or not {"tool_choice", "parallel_tool_calls"} & body.keys()


RULES: Mapping[str, Callable[[Body], None]] = {
    "openai-chat": chat,
    "openai-chat, routed": chat,
    "openai-responses": responses,
    "gemini": gemini,
    "anthropic": messages,
    "anthropic, not Claude": compatible,
}
"""By the title of the format."""
