"""The blocks of an answer as they are written: one after the other, never blank, numbered in the order they open."""

from collections.abc import Callable
from typing import Literal

import msgspec

from penstock import BlockStart, BlockStop, Citation, Event, Signature, Text, Thinking, ToolInput

from ..names import client_id
from ..searches import SEARCH, Page, citation, result
from .search import Pages


class Writer:
    """Collects `events`; knows what they amount to so far."""

    def __init__(
        self, name_of: Callable[[str], str], offered: frozenset[str], unique_part: Callable[[], str], maker: str
    ) -> None:
        """`offered` are the names of tools on the wire, and `name_of` turns one into the client's.

        `unique_part` is what makes an id one that nobody else has.
        """
        self.events: list[Event] = []
        self.maker = maker
        self.offered = offered
        self.calls = 0
        self.searches = 0  # that are paid for
        self.size = 0  # bytes of the answer, for an estimate
        self.refused = False
        self.pages = Pages()
        self._name_of = name_of
        self._unique_part = unique_part
        self._ids: set[str] = set()
        self._index = 0
        self._open: Literal["", "text", "thinking", "tool_use"] = ""
        self._blank: list[str] = []  # words that open no block, unless others follow

    def words(self, kind: Literal["text", "thinking"], text: str) -> None:
        """More text or thinking; opens a block if none is open."""
        if not self._open:
            if not text or text.isspace():
                self._blank.append(text)
                return
            text = "".join((*self._blank, text))
            self._blank = []
            self._start(kind)
        self.size += len(text.encode())
        self.events.append(Text(self._index, text) if kind == "text" else Thinking(self._index, text))

    def call(self, id: str, name: str) -> None:
        """Open a tool call."""
        self.calls += 1
        self.events.append(BlockStart(self._index, "tool_use", self._name_of(name), self._unique(id)))
        self._open = "tool_use"

    def input(self, json: str) -> None:
        """More of the open call's input."""
        self.size += len(json.encode())
        self.events.append(ToolInput(self._index, json))

    def cite(self, page: Page) -> None:
        """A source of the open text."""
        if self._open == "text":
            self.events.append(Citation(self._index, citation(page)))

    def search(self, query: str, pages: list[Page], *, failed: bool) -> None:
        """A search that the server has made, and what it found."""
        id = f"srvtoolu_penstock_{self._unique_part()}"
        self.events.append(BlockStart(self._index, "server_tool_use", SEARCH, id))
        self._open = "tool_use"
        self.input(msgspec.json.encode({"query": query}).decode())
        self.close()
        self.events.append(BlockStart(self._index, "other", data=result(id, pages, failed=failed)))
        self._end()

    def seal(self, seal: str) -> None:
        """A seal in the open thinking, else in a block of its own."""
        if self._open == "thinking":
            self.events.append(Signature(self._index, seal))
            return
        if self._open:
            self._end()
        self.events.append(BlockStart(self._index, "redacted_thinking", data=seal))
        self._end()

    def close(self) -> None:
        """Close the open block, if any."""
        self._blank = []
        if self._open:
            self._end()

    def _start(self, kind: Literal["text", "thinking"]) -> None:
        self.events.append(BlockStart(self._index, kind))
        self._open = kind

    def _end(self) -> None:
        self.events.append(BlockStop(self._index))
        self._index += 1
        self._open = ""

    def _unique(self, id: str) -> str:
        id = client_id(id)
        if not id or id in self._ids:
            id = f"call_{self._unique_part()}"
        self._ids.add(id)
        return id
