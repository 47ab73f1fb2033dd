"""The notation of the golden files, and what brings one of them to life; README.md in cases/ explains the files."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from penstock import (
    Attempt,
    Block,
    DocumentBlock,
    Event,
    Exchange,
    Failed,
    GatewayError,
    ImageBlock,
    Message,
    ModelInfo,
    OtherBlock,
    Prompt,
    Request,
    Target,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
    Upstream,
    UpstreamProtocol,
    UpstreamRequest,
    Usage,
)
from penstock_translation.anthropic import Anthropic
from penstock_translation.gemini import Gemini
from penstock_translation.openai_chat import OpenAIChat
from penstock_translation.openai_responses import OpenAIResponses
from penstock_translation.seals import maker_of, seal

Case = dict[str, Any]
Outcome = tuple[list[Event], GatewayError | None]

CASES = Path(__file__).parent / "cases"
UPSTREAMS: dict[str, UpstreamProtocol] = {
    "anthropic": Anthropic(),
    "gemini": Gemini(),
    "openai_chat": OpenAIChat(),
    "openai_responses": OpenAIResponses(),
}
"""The upstream protocols with golden files, by folder."""

_TARGET = Target("up", "m")
_BLOCKS: dict[str, type[msgspec.Struct]] = {
    "text": TextBlock,
    "image": ImageBlock,
    "document": DocumentBlock,
    "thinking": ThinkingBlock,
}


class Golden(NamedTuple):
    """A golden file and the upstream protocol it is about."""

    protocol: UpstreamProtocol
    case: Case

    @property
    def quirks(self) -> Any:
        return msgspec.convert(self.case.get("quirks", {}), self.protocol.quirks)

    def exchange(self) -> Exchange:
        """An exchange with the case's prompt, that the upstream is answering."""
        case = self.case
        notation = case.get("prompt") or {
            "tools": [{"name": name} for name in case.get("tools", ())],
            "stop": case.get("stop", []),
        }
        made = exchange_for(
            self.protocol,
            prompt_of(notation),
            stream=case.get("stream") is True if "prompt" in case else True,
            output_limit=case.get("output_limit", 0),
            session=case.get("session", ""),
        )
        if "document" in case:
            made.request = Anthropic().read(compact(case["document"]).encode(), {})
        return made

    def render(self) -> UpstreamRequest:
        """The upstream's request."""
        return self.protocol.render(self.exchange(), Target("up", self.case.get("target", "m")), self.quirks)

    def decode(self, chunks: Iterable[bytes]) -> Outcome:
        """What comes of a stream in these pieces."""

        def produce(collect: Callable[[Iterable[Event]], None]) -> None:
            decoder = self.protocol.decoder(self.exchange(), None, self.quirks)
            for chunk in chunks:
                for piece in decoder.feed(chunk):
                    collect(piece.events)
            for piece in decoder.end():
                collect(piece.events)

        return outcome(produce)

    def read(self, body: bytes) -> Outcome:
        """What comes of a whole answer."""
        return outcome(lambda collect: collect(self.protocol.read_answer(self.exchange(), body, self.quirks)))

    def stream(self) -> bytes:
        """The case's stream as bytes."""
        return b"".join(part.encode() if isinstance(part, str) else framed(part) for part in self.case["stream"])


def framed(record: Any) -> bytes:
    """A record as a server-sent event, named if it is a list of its name and itself."""
    if isinstance(record, list):
        return f"event: {record[0]}\ndata: {compact(record[1])}\n\n".encode()
    return f"data: {compact(record)}\n\n".encode()


def load(file: Path) -> Golden:
    """A golden file."""
    return Golden(UPSTREAMS[file.parent.name], cast("Case", _unfolded(json.loads(file.read_bytes()))))


def files(kind: str, folder: str = "*") -> list[Path]:
    """The golden files of a kind."""
    return sorted(CASES.glob(f"{folder}/{kind}_*.json"))


def goldens(kind: str, folder: str = "*") -> pytest.MarkDecorator:
    """A test for each golden file of a kind, as its argument `golden`."""
    named = [pytest.param(load(file), id=f"{file.parent.name}-{file.stem}") for file in files(kind, folder)]
    return pytest.mark.parametrize("golden", named)


def _unfolded(value: Any) -> Any:
    """The seals written out: {"sealed": x} is the target's own, {"sealed_elsewhere": x} another's."""
    if isinstance(value, list):
        return [_unfolded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"sealed"}:
        return seal(maker_of(exchange_for(OpenAIChat(), Prompt()), _TARGET), compact(value["sealed"]).encode())
    if value.keys() == {"sealed_elsewhere"}:
        return seal("0" * 12, compact(value["sealed_elsewhere"]).encode())
    return {name: _unfolded(member) for name, member in value.items()}


# ---------------------------------------------------------------- the files' notation as values


def compact(value: object) -> str:
    """JSON without spaces."""
    return msgspec.json.encode(value).decode()


def raw(value: object) -> msgspec.Raw:
    """JSON that stays as it is."""
    return msgspec.Raw(msgspec.json.encode(value))


def block(value: Any) -> Block:
    """A content block."""
    if isinstance(value, str):
        return TextBlock(value)
    kind = value["type"]
    members = {name: member for name, member in value.items() if name != "type"}
    if kind == "tool_use":
        return ToolUseBlock(value["id"], value["name"], raw(value["input"]), value.get("cache", ""))
    if kind == "tool_result":
        return ToolResultBlock(**members | {"content": tuple(map(block, value["content"]))})
    if kind == "other":
        return OtherBlock(value["kind"], value.get("text", ""))
    return cast("Block", _BLOCKS[kind](**members))


def prompt_of(notation: dict[str, Any]) -> Prompt:
    """A neutral prompt."""
    fields = dict(notation)
    readers: dict[str, Callable[[Any], Any]] = {
        "system": lambda blocks: tuple(map(block, blocks)),
        "messages": lambda turns: tuple(Message(turn["role"], tuple(map(block, turn["content"]))) for turn in turns),
        "tools": lambda tools: tuple(map(_tool, tools)),
        "output_schema": raw,
    }
    for name, read in readers.items():
        if name in fields:
            fields[name] = read(fields[name])
    kinds = {field.name: field.type for field in msgspec.structs.fields(Prompt)}
    plain = {name: msgspec.convert(value, kinds[name]) for name, value in fields.items() if name not in readers}
    return Prompt(**fields | plain)


def _tool(notation: dict[str, Any]) -> Tool:
    fields: Any = {name: raw(value) if name in ("schema", "options") else value for name, value in notation.items()}
    return Tool(**fields)


def exchange_for(
    protocol: UpstreamProtocol, prompt: Prompt, *, stream: bool = True, output_limit: int = 0, session: str = ""
) -> Exchange:
    """An exchange whose client's document stays out of the way: the prompt is given."""
    upstream = Upstream(name="up", protocol=protocol, models=(ModelInfo(id="m", output=output_limit),))
    exchange = Exchange(
        pipeline="t",
        protocol=Anthropic(),
        operation="generate",
        request=Request(bytes(raw({"model": "claude-x", "stream": stream})), lambda body: prompt, session=session),
        headers={},
        upstreams={"up": upstream},
        started=0.0,
    )
    exchange.id = "req_0"
    exchange.attempts.append(Attempt(1, _TARGET, upstream))
    return exchange


def outcome(produce: Callable[[Callable[[Iterable[Event]], None]], None]) -> Outcome:
    """The events that came, and the error in which it ended."""
    events: list[Event] = []

    def collect(more: Iterable[Event]) -> None:
        for event in more:
            if isinstance(event, Failed):
                raise event.error
            events.append(event)

    try:
        produce(collect)
    except GatewayError as error:
        return events, error
    return events, None


def check(result: Outcome, case: Case) -> None:
    """That these are the events, and the error, of a case."""
    events, error = [_without_prompt(event) for event in result[0]], result[1]
    assert events == msgspec.convert(case["events"], list[Event])
    check_error(error, case.get("error"))


def _without_prompt(event: Event) -> Event:
    """An estimate without its prompt, which is no business of the case."""
    return msgspec.structs.replace(event, input=0) if isinstance(event, Usage) and event.estimated else event


def check_error(error: GatewayError | None, expected: dict[str, Any] | None) -> None:
    """That this is the error a case tells of, or none if it tells of none."""
    if expected is None:
        assert error is None
        return
    assert error is not None
    assert re.search(re.escape(expected["message"]), error.message)
    seen = {name: getattr(error, name) for name in expected if name != "message"}
    assert seen == {name: value for name, value in expected.items() if name != "message"}


def exhaust(value: object) -> None:
    """Look at everything: pydantic validates the items of an iterable only when they are asked for."""
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            exhaust(item)
