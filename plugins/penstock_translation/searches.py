"""Searches of the web that an upstream has made, told in the blocks in which Anthropic tells its own."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

SEARCH = "web_search"
"""What Anthropic's clients know the tool as."""


class Page(NamedTuple):
    """A page that a search came upon; its title may be unknown."""

    url: str
    title: str = ""


def citation(page: Page, quote: str = "") -> str:
    """A source of a text as JSON; `quote` is what the page says, if that is known."""
    place = {"url": page.url, "title": page.title or None, "encrypted_index": "", "cited_text": quote}
    return _json({"type": "web_search_result_location", **place})


def result(id: str, pages: Iterable[Page], *, failed: bool = False) -> str:
    """The block with what the search `id` has found, as JSON."""
    content: Any = [
        {"type": "web_search_result", "url": url, "title": title or url, "encrypted_content": "", "page_age": None}
        for url, title in pages
    ]
    if failed:
        content = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    return _json({"type": "web_search_tool_result", "tool_use_id": id, "content": content})


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
