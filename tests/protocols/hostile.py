"""Inputs of any size that are made to be expensive, for each format."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Any

from penstock import Usage
from tests.protocols.scripts import Call, Part, Said, Script, Thought
from tests.protocols.wires.wire import Wire

_NAMES = {"Read": "Read"}


def answered(*parts: Part) -> Script:
    """A script with these parts."""
    return Script(
        parts, Usage(1, output=1), "tool_use" if any(isinstance(part, Call) for part in parts) else "end_turn"
    )


class _Plain(Random):
    """No noise: single spaces, line feeds, and texts in pieces of a given size."""

    def __init__(self, most: int) -> None:
        super().__init__(0)
        self._most = most

    def random(self) -> float:
        return 0.99

    def choice(self, options: Any) -> Any:
        return self._most if isinstance(options[0], int) else options[0]


def _stream(wire: Wire, script: Script, fragment: int = 1 << 30) -> bytes:
    return wire.stream(wire.tidy(script), _NAMES, _Plain(fragment))


def _small_frames(wire: Wire, size: int) -> Iterable[bytes]:
    return [_stream(wire, answered(Said("a" * size * 4)), 2)]


def _small_pieces(wire: Wire, size: int) -> Iterator[bytes]:
    data = _stream(wire, answered(Said("a" * size * 40)))
    return (data[at : at + 2] for at in range(0, len(data), 2))


def _alternating(wire: Wire, size: int) -> Iterable[bytes]:
    return [_stream(wire, answered(*(Thought("b") if number % 2 else Said("a") for number in range(size))))]


def _many_calls(wire: Wire, size: int) -> Iterable[bytes]:
    return [_stream(wire, answered(*(Call(f"call_{number}", "Read", {"a": 1}) for number in range(size))), 3)]


def _one_id(wire: Wire, size: int) -> Iterable[bytes]:
    return [_stream(wire, answered(*(Call("call_1", "Read", {"a": 1}) for _ in range(size))), 3)]


def _long_input(wire: Wire, size: int) -> Iterable[bytes]:
    text = '{"\\' * size * 20
    return [_stream(wire, answered(Call("call_1", "Read", {"a": text}), Call("call_2", "Read", {"a": text})), 20)]


def _open_calls(wire: Wire, size: int) -> Iterable[bytes]:
    """All calls begin before any of them goes on."""
    parts = [Call(f"call_{number}", "Read", {"a": "x" * 40}) for number in range(size // 4)]
    frames = list(wire.frames(wire.tidy(answered(*parts)), _NAMES, _Interleaving()))
    return [frame(item.record, item.name) for item in frames]


class _Interleaving(_Plain):
    def __init__(self) -> None:
        super().__init__(8)
        self._turn = 0

    def choice(self, options: Any) -> Any:
        if isinstance(options[0], list):
            self._turn += 1
            return options[self._turn % len(options)]
        return super().choice(options)


def _comments(wire: Wire, size: int) -> Iterable[bytes]:
    return [b": keep-alive\n\n" * size * 20]


def _line_ends(wire: Wire, size: int) -> Iterable[bytes]:
    return [b"\r\n" * size * 20, b"\n" * size * 20, b"\r" * size * 20]


def _split_line_ends(wire: Wire, size: int) -> Iterable[bytes]:
    return [b"data: x\r", b"\n"] * size


def _one_line(wire: Wire, size: int) -> Iterable[bytes]:
    return [b"data: ", *[b"a" * 50] * size * 4]


def _data_lines(wire: Wire, size: int) -> Iterable[bytes]:
    return [b"data: 1\n"] * size * 4


def _white_space(wire: Wire, size: int) -> Iterable[bytes]:
    return [b" "] * size * 20


def _open_object(wire: Wire, size: int) -> Iterable[bytes]:
    return [b'{"a":"'] + [b"a" * 50] * size * 4


def _nested(wire: Wire, size: int) -> Iterable[bytes]:
    return [b"data: " + b'{"a":' * size * 10 + b"\n\n"]


def frame(record: Any, name: str = "") -> bytes:
    """A record as a server-sent event."""
    data = record if isinstance(record, bytes) else json.dumps(record).encode()
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + data + b"\n\n"


STREAMS: Mapping[str, Callable[[Wire, int], Iterable[bytes]]] = {
    "small frames": _small_frames,
    "small pieces": _small_pieces,
    "text and thinking in turn": _alternating,
    "many calls": _many_calls,
    "calls of one id": _one_id,
    "a long input": _long_input,
    "calls all open": _open_calls,
    "comments": _comments,
    "line ends": _line_ends,
    "split line ends": _split_line_ends,
    "one line": _one_line,
    "lines of one event": _data_lines,
    "white space": _white_space,
    "an open object": _open_object,
    "deep nesting": _nested,
}
"""Streams in the pieces in which they arrive."""

BODIES: Mapping[str, Callable[[Wire, int], bytes]] = {
    "objects in objects": lambda wire, size: b'{"a":' * size * 10,
    "errors in errors": lambda wire, size: b'{"error":' * size * 10 + b'"x"' + b"}" * size * 10,
    "lists": lambda wire, size: b"[" * size * 10,
    "a list of errors": lambda wire, size: b"[" + b'{"error":{"message":"x"}},' * size + b"{}]",
    "white space": lambda wire, size: b" " * size * 100,
    "tags": lambda wire, size: b"<title " * size * 20,
    "tokens": lambda wire, size: (
        b'{"error":{"message":"' + b"maximum context length is 1 tokens, requested " * size + b'"}}'
    ),
    "digits": lambda wire, size: b'{"error":{"message":"prompt is too long ' + b"1" * size * 10 + b'"}}',
    "many calls": lambda wire, size: _body(wire, *(Call(f"c{number}", "Read", {"a": 1}) for number in range(size))),
    "many parts": lambda wire, size: _body(wire, *(Thought("b") if n % 2 else Said("a") for n in range(size))),
}
"""Answers and errors."""


def _body(wire: Wire, *parts: Part) -> bytes:
    return json.dumps(wire.body(wire.tidy(answered(*parts)), _NAMES, _Plain(1))).encode()


def _conversation(*turns: tuple[str, Any], **more: Any) -> Mapping[str, Any]:
    return {"model": "m", "messages": [{"role": role, "content": content} for role, content in turns], **more}


def _many_turns(size: int) -> Mapping[str, Any]:
    return _conversation(*(("assistant" if number % 2 else "user", "x") for number in range(size)), ("user", "x"))


def _tool_loop(size: int) -> Mapping[str, Any]:
    turns: list[tuple[str, Any]] = []
    for number in range(size):
        turns.append(("assistant", [{"type": "tool_use", "id": f"t{number}", "name": "Read", "input": {}}]))
        turns.append(("user", [{"type": "tool_result", "tool_use_id": f"t{number}", "content": "x"}]))
    return _conversation(("user", "x"), *turns)


def _parallel_calls(size: int, results: bool = True, same: bool = False) -> Mapping[str, Any]:
    ids = ["t" if same else f"t{number}" for number in range(size)]
    calls = [{"type": "tool_use", "id": id, "name": "Read", "input": {}} for id in ids]
    given = [{"type": "tool_result", "tool_use_id": id, "content": "x"} for id in reversed(ids)] if results else "x"
    return _conversation(("user", "x"), ("assistant", calls), ("user", given))


def _tools(size: int, name: str) -> Mapping[str, Any]:
    tools = [{"name": name % number, "input_schema": {"type": "object"}} for number in range(size)]
    return _conversation(("user", "x"), tools=tools)


def _references(size: int) -> Mapping[str, Any]:
    """Each definition twice refers to the next one: written out they would be 2^size."""
    defs = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(size)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**defs, f"d{size}": {}}}
    return _conversation(("user", "x"), tools=[{"name": "t", "input_schema": schema}])


def _deep_schema(size: int) -> Mapping[str, Any]:
    schema: Any = {"type": "string"}
    for _ in range(min(size // 10, 400)):
        schema = {"type": "object", "properties": {"a": schema}}
    return _conversation(("user", "x"), tools=[{"name": "t", "input_schema": schema}])


PROMPTS: Mapping[str, Callable[[int], Mapping[str, Any]]] = {
    "many turns": _many_turns,
    "a tool loop": _tool_loop,
    "parallel calls": _parallel_calls,
    "calls without results": lambda size: _parallel_calls(size, results=False),
    "calls of one id": lambda size: _parallel_calls(size, same=True),
    "one long turn": lambda size: _conversation(("user", [{"type": "text", "text": "x"}] * size)),
    "user turns": lambda size: _conversation(*[("user", "x")] * size),
    "system turns": lambda size: _conversation(("user", "x"), *[("system", "x")] * size, ("user", "x")),
    "thinking": lambda size: _conversation(
        ("user", "x"), ("assistant", [{"type": "redacted_thinking", "data": "penstock1."}] * size), ("user", "x")
    ),
    "tools": lambda size: _tools(size, "tool%d"),
    "tools with long names": lambda size: _tools(size, "x" * 200 + "%d"),
    "a schema full of references": _references,
    "a deep schema": _deep_schema,
}
"""Documents of requests."""
