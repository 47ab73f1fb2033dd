"""What a client got, in no format's words: the answer's events, and what they come to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from penstock import (
    BlockStart,
    BlockStop,
    Event,
    Exchange,
    Failed,
    Finish,
    GatewayError,
    Signature,
    Start,
    Text,
    Thinking,
    ToolInput,
    Usage,
)
from penstock.testing.parts import Part, Thought, ToolCall, pieces

E = TypeVar("E", Text, Thinking)


@dataclass(frozen=True)
class Failure:
    """An error: the gateway's kind, such as `rate_limited`, the status, and the sentence for the client."""

    kind: str
    status: int
    message: str


def kind_of(status: int) -> str:
    """The kind of error that usually has a status, "" if none has."""
    return next((kind.kind for kind in GatewayError.__subclasses__() if kind.default_status == status), "")


@dataclass(frozen=True)
class Answer:
    """A complete answer as a client read it from the socket: status, headers (lower-case names) and every byte.

        answer = await gate.ask("hi", stream=True)
        assert answer.text == "hello"
        assert answer.headers["content-type"] == "text/event-stream"

    `error` is what the client was told, also at the end of a stream that had begun; None if all went well.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    events: Sequence[Event] = ()
    error: Failure | None = None
    seen: Exchange | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether it is an answer and no error."""
        return self.error is None

    @property
    def exchange(self) -> Exchange:
        """The exchange inside the gateway: outcome, attempts, cost, principal, stash. Raises LookupError.

        All its steps are through with it, unless the gate was made by the fixture `gateway`, which shows none.
        """
        if self.seen is None:
            raise LookupError("no exchange: the request came to none, or the gate was not made by `pipeline`")
        return self.seen

    @property
    def text(self) -> str:
        """All text."""
        return joined(self.events, Text)

    @property
    def thinking(self) -> str:
        """All thinking."""
        return joined(self.events, Thinking)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls of tools, their inputs decoded."""
        return tool_calls(self.events)

    @property
    def usage(self) -> Usage:
        """The tokens that the client was told of."""
        told = Usage()
        for event in self.events:
            if isinstance(event, Start | Usage):
                told = event.usage if isinstance(event, Start) else event
        return told

    @property
    def stop_reason(self) -> str:
        """Why the model stopped; "" for an answer that did not come to its end."""
        return next((event.reason for event in self.events if isinstance(event, Finish)), "")

    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


def joined(events: Sequence[Event], kind: type[E]) -> str:
    """The increments of one kind as one text."""
    return "".join(event.text for event in events if isinstance(event, kind))


def tool_calls(events: Sequence[Event]) -> list[ToolCall]:
    """The calls of tools; one whose input is no JSON object has it under the name "" as it came."""
    calls: dict[int, tuple[BlockStart, list[str]]] = {}
    for event in events:
        if isinstance(event, BlockStart) and event.kind == "tool_use":
            calls[event.index] = (event, [])
        elif isinstance(event, ToolInput) and event.index in calls:
            calls[event.index][1].append(event.json)
    return [ToolCall(start.name, _input("".join(parts)), start.id) for start, parts in calls.values()]


def _input(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {"": text}


def failed(events: Sequence[Event]) -> Failed | None:
    """The event with which an answer broke off."""
    return next((event for event in events if isinstance(event, Failed)), None)


# ---------------------------------------------------------------- the other way


def events_of(*parts: Part, model: str = "model-a", usage: Usage | None = None) -> list[Event]:
    """A complete answer of these parts, as events: what a step may give as `Response(events=events_of("hello"))`."""
    counts = usage or Usage(input=11, output=7)
    start = Start(model=model, id="msg_1", usage=Usage(input=counts.input))
    blocks = [event for index, part in enumerate(parts) for event in _block(index, part)]
    calls = any(isinstance(part, ToolCall) for part in parts)
    return [start, *blocks, counts, Finish("tool_use" if calls else "end_turn")]


def _block(index: int, part: Part) -> Iterator[Event]:
    if isinstance(part, Thought):
        yield BlockStart(index, "thinking")
        yield from (Thinking(index, piece) for piece in pieces(part.text))
        yield Signature(index, part.signature)
    elif isinstance(part, ToolCall):
        yield BlockStart(index, "tool_use", part.name, part.id)
        yield from (ToolInput(index, piece) for piece in part.fragments())
    else:
        yield BlockStart(index)
        yield from (Text(index, piece) for piece in pieces(part))
    yield BlockStop(index)
