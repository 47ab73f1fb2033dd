"""A made-up answer as data, and its performance as a stream of events."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from typing import Literal, NamedTuple

import msgspec

from penstock import (
    BlockStart,
    BlockStop,
    Event,
    Finish,
    GatewayError,
    Signature,
    Start,
    StopReason,
    Text,
    Thinking,
    ToolInput,
    Usage,
)

MARK = "[simulated] "
"""What every simulated text begins with."""


class Part(NamedTuple):
    """One block: its text, or the JSON of a tool call's input."""

    kind: Literal["text", "thinking", "tool_use"]
    text: str
    name: str = ""
    id: str = ""
    signature: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What to answer. `delay` comes before the first event, `pause` before each piece of a block, in seconds.

    With a `failure` the answer breaks off before its last block closes, or at once if it has none.
    """

    parts: tuple[Part, ...] = ()
    stop: StopReason = "end_turn"
    delay: float = 0.0
    pause: float = 0.0
    failure: GatewayError | None = None
    usage: Usage | None = None


async def perform(reply: Reply, model: str, id: str, prompt_tokens: int) -> AsyncIterator[Event]:
    """The reply's events, under the name of `model` and with the message id `id`. Raises the reply's failure."""
    await _wait(reply.delay)
    usage = reply.usage or Usage(input=prompt_tokens, output=_tokens(reply.parts), estimated=True)
    yield Start(model=model, id=id, usage=msgspec.structs.replace(usage, output=0, reasoning=0))
    for index, part in enumerate(reply.parts):
        yield BlockStart(index, part.kind, name=part.name, id=part.id)
        for piece in _pieces(part):
            await _wait(reply.pause)
            yield _increment(part, index, piece)
        if reply.failure is not None and index == len(reply.parts) - 1:
            raise reply.failure
        if part.signature:
            yield Signature(index, part.signature)
        yield BlockStop(index)
    yield usage
    yield Finish(reply.stop)


async def _wait(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


def _pieces(part: Part) -> Iterable[str]:
    """Words of a text, short stretches of JSON."""
    return re.findall(r".{1,24}" if part.kind == "tool_use" else r"\s*\S+\s*|\s+", part.text, re.DOTALL)


def _increment(part: Part, index: int, piece: str) -> Event:
    match part.kind:
        case "text":
            return Text(index, piece)
        case "thinking":
            return Thinking(index, piece)
        case "tool_use":
            return ToolInput(index, piece)


def _tokens(parts: Iterable[Part]) -> int:
    """About four characters to a token."""
    return 1 + sum(len(part.text) for part in parts) // 4
