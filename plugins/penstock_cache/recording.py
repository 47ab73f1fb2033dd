"""The events of one answer, collected while they pass."""

from collections.abc import Iterator
from itertools import groupby

from msgspec.structs import replace

from penstock import BlockStart, Citation, Event, Finish, Opaque, Signature, Text, Thinking, ToolInput, Usage

_OWN_WORDS = frozenset({"text", "thinking", "redacted_thinking"})
_FRAME = 60  # bytes of an event around its text, about


class Recording:
    """Collects until the answer is too large, or proves to be one that must not be kept: then it is `spoiled`."""

    def __init__(self, largest: int, *, tool_calls: bool) -> None:
        """`largest` is in characters; `tool_calls` says whether answers may have more in them than words."""
        self._room = largest
        self._tool_calls = tool_calls
        self._events: list[Event] = []
        self.finish: Finish | None = None
        self.spoiled = False

    def add(self, event: Event) -> None:
        """The next event."""
        self._events.append(event)
        match event:
            case Text(text=text) | Thinking(text=text) | Signature(signature=text):
                self._room -= len(text)
            case ToolInput(json=text) | Citation(json=text):
                self._room -= len(text)
            case BlockStart():
                self._room -= len(event.data) + _FRAME
                self.spoiled = not self._tool_calls and event.kind not in _OWN_WORDS
            case Finish():
                self.finish = event
            case Opaque():
                self.spoiled = True  # what nobody understands cannot be said again
            case _:
                pass
        self.spoiled = self.spoiled or self._room < 0

    def events(self) -> list[Event]:
        """The answer in as few events as say the same."""
        last = next((event for event in reversed(self._events) if isinstance(event, Usage)), None)
        kept = (event for event in self._events if not isinstance(event, Usage) or event is last)
        return [one for key, events in groupby(kept, _place) for one in (_joined(list(events)) if key else events)]


def _place(event: Event) -> tuple[type, int] | None:
    """Where an increment belongs that can be joined with its neighbours."""
    return (type(event), event.index) if isinstance(event, Text | Thinking | ToolInput) else None


def _joined(events: list[Event]) -> Iterator[Event]:
    first = events[0]
    if isinstance(first, ToolInput):
        yield replace(first, json="".join(event.json for event in events if isinstance(event, ToolInput)))
    elif isinstance(first, Text | Thinking):
        yield replace(first, text="".join(event.text for event in events if isinstance(event, Text | Thinking)))
