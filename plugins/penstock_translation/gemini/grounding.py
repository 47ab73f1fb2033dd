"""What a search of Google's has brought to an answer: its query, the pages it found, and which of them are cited."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from penstock import BlockStart, BlockStop, Event, ToolInput

from ..searches import SEARCH, Page, citation, result
from ..untyped import items, members, words

Place = Callable[[int], Iterable[Event]]
"""Makes the events of a block for its index."""


class Grounding:
    """The `groundingMetadata` of an answer."""

    def __init__(self, wire: Mapping[str, Any]) -> None:
        queries = [text for query in items(wire.get("webSearchQueries")) if (text := words(query))]
        self.searches = len(queries)
        self._query = queries[0] if queries else ""
        self._pages = [_page(members(members(chunk).get("web"))) for chunk in items(wire.get("groundingChunks"))]
        self._supports = [members(support) for support in items(wire.get("groundingSupports"))]

    @property
    def found(self) -> bool:
        """Whether there is anything to tell."""
        return any(page.url for page in self._pages)

    def blocks(self, id: str) -> tuple[Place, Place]:
        """The search `id` and its result."""

        def searched(index: int) -> Iterable[Event]:
            query = msgspec.json.encode({"query": self._query}).decode()
            return BlockStart(index, "server_tool_use", SEARCH, id), ToolInput(index, query), BlockStop(index)

        def found(index: int) -> Iterable[Event]:
            pages = [page for page in dict.fromkeys(self._pages) if page.url]
            return BlockStart(index, "other", data=result(id, pages)), BlockStop(index)

        return searched, found

    def citations(self) -> Iterator[str]:
        """The pages that the text rests on, as JSON. Their passages are unknown: a support quotes the answer itself."""
        numbers = (number for support in self._supports for number in items(support.get("groundingChunkIndices")))
        cited = {number for number in numbers if isinstance(number, int)}
        for number, page in enumerate(self._pages):
            if number in cited and page.url:
                yield citation(page)


def _page(web: Mapping[str, Any]) -> Page:
    return Page(words(web.get("uri")), words(web.get("title")))
