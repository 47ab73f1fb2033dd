"""The items of an answer, each of which knows how its records become blocks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock import UpstreamFailed

from ..untyped import items, members, number, words
from .reasoning import sealed
from .search import cited, found, query
from .shapes import Record
from .writer import Writer

FINISHED = "response.output_item.done"
"""The type of the record with the whole of an item."""


class Output(ABC):
    """An item as it comes. It writes while it is the first in the line; until then its records are `waiting`."""

    def __init__(self, writer: Writer, head: Mapping[str, Any]) -> None:
        """`head` is the item as it was announced, possibly nothing."""
        self.id = words(head.get("id"))
        self.phase = words(head.get("phase"))
        self.ended = False
        self.waiting: list[Record] = []
        self._writer = writer

    def take(self, record: Record) -> None:
        """A record of the item. What was said once is not said again: records overlap."""
        if record.type == FINISHED:
            self.finish(members(record.item))
        else:
            self.more(record)

    @abstractmethod
    def more(self, record: Record) -> None:
        """A part of the item."""

    @abstractmethod
    def finish(self, item: Mapping[str, Any]) -> None:
        """The whole item."""

    def ready(self, follower: "Output | None") -> bool:
        """Whether it can be closed."""
        return self.ended

    def close(self, follower: "Output | None") -> None:
        """Write what is left to be said; nothing more comes."""
        self._writer.close()


class Foreign(Output):
    """An item of which an agent can make nothing."""

    def more(self, record: Record) -> None:
        pass

    def finish(self, item: Mapping[str, Any]) -> None:
        pass


class Message(Output):
    """Text, refusals and citations, part by part."""

    _part = -1
    _said = 0  # characters of the part
    _cited = 0

    def more(self, record: Record) -> None:
        index = number(record.content_index)
        match record.type:
            case "response.output_text.delta":
                self._say(index, words(record.delta))
            case "response.output_text.done":
                self._whole(index, words(record.text))
            case "response.refusal.delta" | "response.refusal.done":
                self._refuse(index, record)
            case "response.content_part.done":
                self._finish(index, members(record.part))
            case "response.output_text.annotation.added":
                self._cite(index, number(record.annotation_index), members(record.annotation))
            case _:
                pass

    def finish(self, item: Mapping[str, Any]) -> None:
        for index, part in enumerate(items(item.get("content"))):
            self._finish(index, members(part))

    def _finish(self, index: int, part: Mapping[str, Any]) -> None:
        refusal = words(part.get("refusal"))
        self._writer.refused |= bool(refusal)
        self._whole(index, refusal or words(part.get("text")))
        for position, annotation in enumerate(items(part.get("annotations"))):
            self._cite(index, position, members(annotation))

    def _refuse(self, index: int, record: Record) -> None:
        """An increment or the whole of a refusal; a record has one of them."""
        self._say(index, words(record.delta))
        self._whole(index, words(record.refusal))
        self._writer.refused = True

    def _whole(self, index: int, text: str) -> None:
        self._say(index, text[self._said :] if index == self._part else text)

    def _say(self, index: int, text: str) -> None:
        if not text or index < self._part:
            return
        if index > self._part:
            self._writer.close()
            self._part, self._said, self._cited = index, 0, 0
        if self.phase and not text.isspace():
            self._writer.seal(sealed(self._writer.maker, {}, self.phase))
            self.phase = ""
        self._said += len(text)
        self._writer.words("text", text)

    def _cite(self, index: int, position: int, annotation: Mapping[str, Any]) -> None:
        if index == self._part and position >= self._cited:
            self._cited = position + 1
            if page := cited(annotation):
                self._writer.cite(page)


class Reasoning(Output):
    """Summaries of thinking, or thinking itself; in the end the item is sealed, for it has to come back."""

    _kind = ""
    _part = 0
    _said = 0  # characters of the part
    _between = ""

    def __init__(self, writer: Writer, head: Mapping[str, Any]) -> None:
        super().__init__(writer, head)
        self._item: Mapping[str, Any] = {}

    def more(self, record: Record) -> None:
        match record.type:
            case "response.reasoning_summary_text.delta":
                self._say("summary", number(record.summary_index), words(record.delta))
            case "response.reasoning_summary_text.done":
                self._whole("summary", number(record.summary_index), words(record.text))
            case "response.reasoning_summary_part.done":
                self._whole("summary", number(record.summary_index), words(members(record.part).get("text")))
            case "response.reasoning_text.delta":
                self._say("content", number(record.content_index), words(record.delta))
            case "response.reasoning_text.done":
                self._whole("content", number(record.content_index), words(record.text))
            case "response.content_part.done":
                self._whole("content", number(record.content_index), words(members(record.part).get("text")))
            case _:
                pass

    def finish(self, item: Mapping[str, Any]) -> None:
        self._item = item
        for kind in "summary", "content":
            for index, part in enumerate(items(item.get(kind))):
                self._whole(kind, index, words(members(part).get("text")))

    def ready(self, follower: Output | None) -> bool:
        return self.ended and follower is not None

    def close(self, follower: Output | None) -> None:
        """With a seal around the item, which a server takes back only before what it led to, and the next phase."""
        leads = isinstance(follower, Message | Call)
        if seal := sealed(self._writer.maker, self._item if leads else {}, follower.phase if follower else ""):
            self._writer.seal(seal)
        self._writer.close()
        if follower:
            follower.phase = ""

    def _whole(self, kind: str, index: int, text: str) -> None:
        self._say(kind, index, text[self._said :] if index == self._part else text)

    def _say(self, kind: str, index: int, text: str) -> None:
        if not text or index < self._part or kind != (self._kind or kind):
            return
        if index > self._part:
            self._part, self._said, self._between = index, 0, "\n\n" if self._kind else ""
        self._kind = kind
        self._said += len(text)
        self._writer.words("thinking", self._between + text)
        self._between = ""


class Call(Output):
    """A call of one of the client's tools."""

    _said = 0  # characters of the arguments
    _opened = _filled = False

    def __init__(self, writer: Writer, head: Mapping[str, Any]) -> None:
        super().__init__(writer, head)
        self._held: list[str] = []  # what came before the name and the id, or is blank
        self._name = self._call_id = ""
        self._identify(head)

    def more(self, record: Record) -> None:
        match record.type:
            case "response.function_call_arguments.delta":
                self._say(words(record.delta))
            case "response.function_call_arguments.done":
                self._whole(_arguments(record.arguments))
            case "response.custom_tool_call_input.done":
                self._whole(_custom(record.input))
            case _:
                pass

    def finish(self, item: Mapping[str, Any]) -> None:
        self._identify(item)
        custom = item.get("type") == "custom_tool_call"
        self._whole(_custom(item.get("input")) if custom else _arguments(item.get("arguments")))

    def close(self, follower: Output | None) -> None:
        if not self._opened:
            self._open()
        if not self._filled:
            self._writer.input("{}")
        self._writer.close()

    def _identify(self, item: Mapping[str, Any]) -> None:
        self._name = self._name or words(item.get("name"))
        self._call_id = self._call_id or words(item.get("call_id"))

    def _whole(self, text: str) -> None:
        self._say(text[self._said :])

    def _say(self, text: str) -> None:
        if text:
            self._said += len(text)
            self._filled |= not text.isspace()
            self._held.append(text)
        if self._opened:
            self._flush()
        elif self._name and self._call_id:
            self._open()

    def _open(self) -> None:
        if not self._name:
            raise UpstreamFailed("the upstream sent a tool call without the name of a tool")
        self._opened = True
        self._writer.call(self._call_id, self._name)
        self._flush()

    def _flush(self) -> None:
        if self._filled and self._held:
            self._writer.input("".join(self._held))
            self._held = []


class Search(Output):
    """A search of the web that the server has made."""

    def __init__(self, writer: Writer, head: Mapping[str, Any]) -> None:
        super().__init__(writer, head)
        self._item = head

    def more(self, record: Record) -> None:
        pass

    def finish(self, item: Mapping[str, Any]) -> None:
        self._item = item

    def ready(self, follower: Output | None) -> bool:
        """What was found may only be known from what the answer cites."""
        return self.ended and bool(found(members(self._item.get("action"))) or self._writer.pages.known)

    def close(self, follower: Output | None) -> None:
        action, failed = members(self._item.get("action")), self._item.get("status") == "failed"
        pages = self._writer.pages.titled(found(action))
        self._writer.searches += not failed and action.get("type", "search") == "search"  # opening a page is free
        self._writer.search(query(action), pages, failed=failed)


def _arguments(value: object) -> str:
    """Arguments are JSON inside a string; some servers send the object itself, or nothing for none."""
    if isinstance(value, str):
        return "" if value == "null" else value
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else ""


def _custom(text: object) -> str:
    """The free text of a custom tool's call as an object."""
    return msgspec.json.encode({"input": text}).decode() if isinstance(text, str) else ""
