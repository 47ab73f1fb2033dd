"""Content blocks out of a format that has none: one open at a time, in the order in which they began.

A queue holds what began and is not closed yet. Only its head is open and flows through; what belongs to the others
waits. Text makes way for whatever comes after it, thinking also for its own seal. A tool call makes way once its input
is complete JSON, so calls that arrive interleaved come out one after the other; what is still unfinished at the end
comes out then. An answer may be large but not without bound, since some of it has to be kept.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from penstock import BlockStart, BlockStop, Citation, Event, Signature, Text, Thinking, ToolInput, UpstreamFailed

from .names import client_id

Index = int | float | str | None
"""What servers number their calls with, if they do."""

_MARKS = re.compile(r"""\\.?|["{}]""", re.DOTALL)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Input:
    """Whether fragments are an object yet. Each is looked at once; all are decoded when the braces first match."""

    def __init__(self, fragments: list[str]) -> None:
        self._fragments = fragments
        self._read = 0
        self._depth = 0
        self._quoted = self._escaped = self._whole = self._broken = False

    @property
    def complete(self) -> bool:
        fresh = "".join(self._fragments[self._read :])
        self._read = len(self._fragments)
        self._follow(fresh)
        if fresh and not fresh.isspace():
            self._whole = self._depth == 0 and not self._broken and self._decodes()
        return self._whole

    def _follow(self, fresh: str) -> None:
        marks = _MARKS.findall(fresh, int(self._escaped))
        for mark in marks:
            if mark == '"':
                self._quoted = not self._quoted
            elif not self._quoted and mark in "{}":
                self._depth += 1 if mark == "{" else -1
        if fresh:
            self._escaped = marks[-1:] == ["\\"]  # what it escapes is in the next fragment

    def _decodes(self) -> bool:
        """What is not an object although the braces match never becomes one."""
        try:
            _OBJECT.decode("".join(self._fragments))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._broken = True
        return not self._broken


class _Run:
    """One block to be. `index` is its number once it is open; `sent` counts the fragments that have left."""

    __slots__ = ("blank", "closed", "fragments", "id", "index", "input", "kind", "name", "seal", "sent")

    def __init__(self, kind: Literal["text", "thinking", "tool_use"]) -> None:
        self.kind: Literal["text", "thinking", "tool_use"] = kind
        self.id = ""
        self.name = ""
        self.seal = ""
        self.index = -1
        self.fragments: list[str] = []
        self.blank = True
        self.sent = 0
        self.closed = False
        self.input = _Input(self.fragments)

    def add(self, fragment: str) -> None:
        self.fragments.append(fragment)
        self.blank = self.blank and (not fragment or fragment.isspace() or self._is_nothing(fragment))

    def _is_nothing(self, fragment: str) -> bool:
        """What some servers send as the whole input of a call without one; no object begins like that."""
        return self.kind == "tool_use" and fragment == "null"

    def makes_way(self, more: bool) -> bool:
        """Whether nothing of it is to come, now that there is `more` behind it or not."""
        if self.kind == "tool_use":
            return more and self.input.complete
        return more or bool(self.seal)


class Blocks:
    """Takes text, thinking and fragments of tool calls; `events` collects what can be said so far."""

    def __init__(self, name_of: Callable[[str], str], new_id: Callable[[], str]) -> None:
        """`name_of` turns a tool's name on the wire into the client's; `new_id` makes an id for a call without one."""
        self.events: list[Event] = []
        self.calls = 0
        self.size = 0  # bytes of what was said, for an estimate
        self._name_of = name_of
        self._new_id = new_id
        self._queue: deque[_Run] = deque()
        self._opened = 0
        self._last: _Run | None = None
        self._by_id: dict[str, _Run] = {}
        self._by_index: dict[Index, _Run] = {}
        self._ids: set[str] = set()

    @property
    def begun(self) -> bool:
        """Whether anything came, be it blank."""
        return bool(self._opened or self._queue)

    @property
    def under_way(self) -> Literal["text", "thinking", "tool_use"] | None:
        """What came last, if it may still go on."""
        return self._queue[-1].kind if self._queue else None

    def text(self, kind: Literal["text", "thinking"], text: str) -> None:
        """More text or thinking."""
        self.size += len(text.encode())
        run = self._queue[-1] if self._queue else None
        if run is None or run.kind != kind or run.seal:
            run = self._begin(kind)
        if run.index >= 0:  # then it is the head, and nothing of it waits
            self.events.append(Text(run.index, text) if kind == "text" else Thinking(run.index, text))
            return
        run.add(text)
        self._advance()

    def sealed(self, seal: str) -> None:
        """What has to come back unread: it closes the thinking under way, or leaves as redacted thinking."""
        run = self._queue[-1] if self._queue else None
        if run is None or run.kind != "thinking" or run.seal:
            run = self._begin("thinking")
        run.seal = seal
        self._advance()

    def call(self, index: Index, id: str, name: str, arguments: str, seal: str = "") -> None:
        """A fragment of a tool call. Index, id and name may be missing; they are repeated by some servers.

        `seal` has to come back with the call; it leaves before it, as the data of redacted thinking.
        """
        self.size += len(name) + len(arguments)
        run = self._find(index, id)
        if run is None or _begins_another(run, id, name, arguments):
            run = self._last = self._begin("tool_use")
        elif run.closed or (name and arguments and run.input.complete):
            return  # a finished call once more
        self._by_index[index] = run
        run.id = run.id or id
        self._by_id.setdefault(run.id, run)
        run.name = run.name or name
        run.seal = run.seal or seal
        if arguments:
            run.add(arguments)
        self._advance()

    def cite(self, source: str) -> bool:
        """A source, as JSON, of the text under way; whether there is one."""
        run = self._queue[-1] if self._queue else None
        if run is None or run.kind != "text" or run.index < 0:
            return False
        self.events.append(Citation(run.index, source))
        return True

    def place(self, *blocks: Callable[[int], Iterable[Event]]) -> None:
        """Whole blocks of other kinds, each made for its index, behind everything so far, which is over."""
        self._advance(final=True)
        for events_at in blocks:
            self.events += events_at(self._opened)
            self._opened += 1

    def finish(self) -> None:
        """Nothing more comes. Raises UpstreamFailed for a tool call without a name."""
        self._advance(final=True)

    def _begin(self, kind: Literal["text", "thinking", "tool_use"]) -> _Run:
        self._queue.append(_Run(kind))
        return self._queue[-1]

    def _find(self, index: Index, id: str) -> _Run | None:
        if index is not None:
            return self._by_index.get(index)
        return (self._by_id.get(id) if id else None) or self._last

    def _advance(self, final: bool = False) -> None:
        queue = self._queue
        while queue:
            head = queue[0]
            more = len(queue) > 1
            if head.index < 0 and not self._open(head, final):
                if not final and (head.kind == "tool_use" or not head.makes_way(more)):
                    return
                queue.popleft()
                continue
            self._send(head)
            if not final and not head.makes_way(more):
                return
            self._close(head)
            queue.popleft()

    def _open(self, run: _Run, final: bool) -> bool:
        """Open a block unless something is missing: words that are not blank, or a call's name and id."""
        if run.kind != "tool_use":
            if run.blank:
                self._hand_over(run.seal)
                return False
            start = BlockStart(self._opened, run.kind)
        else:
            if not (run.name and run.id) and not final:
                return False
            if not run.name:
                if run.blank:
                    return False
                raise UpstreamFailed("the upstream sent a tool call without the name of a tool")
            self._hand_over(run.seal)
            start = BlockStart(self._opened, "tool_use", self._name_of(run.name), self._unique(run))
            self.calls += 1
        run.index = self._opened
        self._opened += 1
        self.events.append(start)
        return True

    def _unique(self, run: _Run) -> str:
        id = client_id(run.id)
        if not id or id in self._ids:
            id = self._new_id()
        self._ids.add(id)
        return id

    def _hand_over(self, seal: str) -> None:
        if seal:
            self.events += [BlockStart(self._opened, "redacted_thinking", data=seal), BlockStop(self._opened)]
            self._opened += 1

    def _send(self, run: _Run) -> None:
        if run.blank:
            return
        fragments = run.fragments
        fresh = fragments[run.sent :] if run.sent else fragments
        if not fresh:
            return
        text = fresh[0] if len(fresh) == 1 else "".join(fresh)
        if run.kind == "text":
            self.events.append(Text(run.index, text))
            fragments.clear()
        elif run.kind == "thinking":
            self.events.append(Thinking(run.index, text))
            fragments.clear()
        else:
            self.events.append(ToolInput(run.index, text))
            run.sent = len(fragments)

    def _close(self, run: _Run) -> None:
        if run.kind == "tool_use" and not run.sent:
            self.events.append(ToolInput(run.index, "{}"))
        if run.kind == "thinking" and run.seal:
            self.events.append(Signature(run.index, run.seal))
        self.events.append(BlockStop(run.index))
        run.closed = True


def _begins_another(run: _Run, id: str, name: str, arguments: str) -> bool:
    """Whether a fragment that points at a call belongs to a new one.

    Servers number parallel calls all alike, or not at all; others make up a new id for each fragment of one call,
    and others repeat id and name on each.
    """
    if id and run.id and id != run.id:
        return bool(name) or run.input.complete
    if not name or not run.name:
        return False
    if name != run.name:
        return True
    return not id and bool(arguments) and run.input.complete
