"""What a scripted upstream does with one request: a status, headers, and a body that may misbehave at any byte."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal


class Act(Enum):
    """Something an upstream does instead of sending bytes."""

    HANG = "nothing more, until the client leaves"
    CUT = "close the connection in the middle"
    RESET = "reset the connection"


HANG, CUT, RESET = Act.HANG, Act.CUT, Act.RESET

Step = bytes | Act | asyncio.Event | float
"""Bytes are sent in a write of their own; an event is waited for; a number is a pause in seconds."""

Framing = Literal["length", "chunked", "close"]
"""How the client learns where the body ends: content-length, chunks, or the end of the connection."""


@dataclass(frozen=True)
class Reply:
    """One answer. All methods return a changed copy."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: tuple[Step, ...] = ()
    framing: Framing = "length"
    before: tuple[Step, ...] = ()

    @property
    def payload(self) -> bytes:
        """All bytes of the body."""
        return b"".join(step for step in self.body if isinstance(step, bytes))

    def split(self, size: int) -> "Reply":
        """The same bytes in writes of `size` bytes. Drops the acts between them."""
        payload = self.payload
        return replace(self, body=tuple(payload[at : at + size] for at in range(0, len(payload), size)))

    def split_at(self, position: int) -> "Reply":
        """The same bytes in two writes. Drops the acts between them."""
        return replace(self, body=(self.payload[:position], self.payload[position:]))

    def at(self, marker: bytes, *steps: Step) -> "Reply":
        """With steps just before the first occurrence of `marker`: `reply.at(b"event: ping", CUT)`."""
        before, found, after = self.payload.partition(marker)
        if not found:
            raise ValueError(f"the body does not contain {marker!r}")
        return replace(self, body=(before, *steps, found + after))

    def then(self, *steps: Step) -> "Reply":
        """With steps after the body; further bytes are no part of its length."""
        return replace(self, body=(*self.body, *steps))

    def first(self, *steps: Step) -> "Reply":
        """With steps before the status line: `reply.first(HANG)` never answers."""
        return replace(self, before=(*self.before, *steps))

    def framed(self, framing: Framing) -> "Reply":
        """With another way to say where the body ends."""
        return replace(self, framing=framing)

    def with_headers(self, **headers: str) -> "Reply":
        """With more headers; an underscore in a name stands for a hyphen."""
        return replace(self, headers={**self.headers, **{n.replace("_", "-"): v for n, v in headers.items()}})


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON body."""
    return Reply(status, {"content-type": "application/json", **(headers or {})}, (json.dumps(value).encode(),))


def html_reply(status: int = 200) -> Reply:
    """A web page, as a proxy or a captive portal in the way sends it."""
    page = b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"
    return Reply(status, {"content-type": "text/html"}, (page,))


def event_stream(*frames: Step) -> Reply:
    """Server-sent events and what happens between them, each frame in a write of its own, chunked."""
    return Reply(200, {"content-type": "text/event-stream"}, frames, "chunked")
