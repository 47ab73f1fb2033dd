"""What the formats on the wire have in common: how a stream is written, and in what pieces its bytes arrive."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, ClassVar, NamedTuple, TypeVar

from penstock import StopReason, UpstreamProtocol
from tests.protocols.scripts import Part, Script

T = TypeVar("T")
Record = Mapping[str, Any]


class Frame(NamedTuple):
    """One event of a stream; a record of bytes is data as it is."""

    record: Record | bytes
    name: str = ""


class Wire(ABC):
    """A format: scripts as its bytes. `noise` decides everything that the format leaves open."""

    title: ClassVar[str]
    protocol: ClassVar[UpstreamProtocol]
    parts: ClassVar[Sequence[type]]
    reasons: ClassVar[Sequence[StopReason]] = ("max_tokens", "refusal")
    comments: ClassVar[bool] = True
    seals: ClassVar[bool] = True
    """Whether opaque state travels sealed, for the target that made it alone."""
    ids: ClassVar[bool] = True
    """Whether every call has an id of the upstream's."""

    def quirks(self, noise: Random) -> Any:
        """What the upstream needs to be told of this answer."""
        return self.protocol.quirks()

    def tidy(self, script: Script) -> Script:
        """The script as far as the format can say it."""
        return script

    def returning(self, script: Script) -> list[str]:
        """The states that the upstream gets back with the next request."""
        return script.states

    def hides(self, maker: "Wire | None") -> bool:
        """Whether what this maker wants back must not get here; signatures that are not sealed pass as Claude's."""
        return self.protocol.name != "anthropic" or (maker is not None and maker.seals)

    def whole_parts(self, script: Script) -> Sequence[Part]:
        """The parts in the order in which a whole answer can tell them."""
        return script.parts

    @abstractmethod
    def frames(self, script: Script, names: Mapping[str, str], noise: Random) -> Iterator[Frame]:
        """A stream; `names` are the tools' on the wire."""

    @abstractmethod
    def body(self, script: Script, names: Mapping[str, str], noise: Random) -> Record:
        """A whole answer."""

    @abstractmethod
    def tool_names(self, body: Any) -> list[str]:
        """The names of the tools in a request."""

    @abstractmethod
    def turns(self, body: Any) -> list[Any]:
        """The conversation in a request."""

    def stream(self, script: Script, names: Mapping[str, str], noise: Random) -> bytes:
        """A stream as bytes."""
        end = noise.choice(("\n", "\n", "\r\n", "\r"))
        lines: list[str] = []
        for frame in self.frames(script, names, noise):
            if self.comments and noise.random() < 0.1:
                lines += [noise.choice((":", ": keep-alive", ": OPENROUTER PROCESSING")), ""]
            lines += [*_lines(frame, noise), ""]
        text = end.join([*lines, ""])
        return noise.choice((b"", b"", b"\xef\xbb\xbf")) + text.encode()


def _lines(frame: Frame, noise: Random) -> Iterator[str]:
    if frame.name:
        yield f"event: {frame.name}"
    space = noise.choice((" ", " ", ""))
    for line in dumped(frame.record, noise).split("\n"):
        yield f"data:{space}{line}"


def dumped(record: Record | bytes, noise: Random) -> str:
    """JSON in one of the ways in which servers write it."""
    if isinstance(record, bytes):
        return record.decode()
    ascii_ = noise.random() < 0.5
    if noise.random() < 0.03:
        return json.dumps(record, ensure_ascii=ascii_, indent=1)
    return json.dumps(record, ensure_ascii=ascii_, separators=noise.choice(((",", ":"), (", ", ": "))))


def pieces(text: str, noise: Random) -> list[str]:
    """A text in fragments, of which some may be empty."""
    found = [text[start:end] for start, end in _cuts(len(text), (1, 4, 20, 1000), noise)]
    if noise.random() < 0.1:
        found.insert(noise.randrange(len(found) + 1), "")
    return found


def arriving(stream: bytes, noise: Random) -> list[bytes]:
    """A stream in the pieces in which it arrives."""
    return [stream[start:end] for start, end in _cuts(len(stream), (5, 30, 300, 10_000), noise)]


def _cuts(length: int, sizes: Sequence[int], noise: Random) -> Iterator[tuple[int, int]]:
    most, at = noise.choice(sizes), 0
    while at < length:
        step = int(noise.random() * most) + 1
        yield at, at + step
        at += step


def shuffled(queues: Iterable[Sequence[T]], noise: Random) -> Iterator[T]:
    """The items of all queues, each queue in its order, their firsts in the order of the queues."""
    waiting = [list(queue) for queue in queues]
    begun = 0
    apart = noise.random() < 0.3
    while any(waiting):
        ready = [queue for queue in waiting[: begun + 1] if queue]
        queue = ready[0] if apart and ready else noise.choice(ready or waiting[begun : begun + 1])
        if begun < len(waiting) and queue is waiting[begun]:
            begun += 1
        if queue:
            yield queue.pop(0)
