"""Web searches of the server: what was looked for, and which pages it came upon."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..searches import Page
from ..untyped import items, members, words


def query(action: Mapping[str, Any]) -> str:
    """What was searched for, or the page that was opened."""
    queries = [text for text in items(action.get("queries")) if isinstance(text, str)]
    return words(action.get("query")) or ", ".join(queries) or words(action.get("url"))


def found(action: Mapping[str, Any]) -> list[str]:
    """The addresses a search came upon, if the server tells them."""
    return [url for source in map(members, items(action.get("sources"))) if (url := words(source.get("url")))]


def cited(annotation: Mapping[str, Any]) -> Page | None:
    """The page that an annotation of a text names, None if it names none."""
    url = words(annotation.get("url"))
    return Page(url, words(annotation.get("title"))) if annotation.get("type") == "url_citation" and url else None


class Pages:
    """The pages that an answer cites: `known` once a message of it is complete."""

    def __init__(self) -> None:
        self.known = False
        self._titles: dict[str, str] = {}

    def read(self, message: Mapping[str, Any]) -> None:
        """All that a complete message cites."""
        self.known = True
        for part in map(members, items(message.get("content"))):
            for annotation in map(members, items(part.get("annotations"))):
                self.note(annotation)

    def note(self, annotation: Mapping[str, Any]) -> None:
        """A page, if the annotation names one."""
        if page := cited(annotation):
            self._titles.setdefault(*page)

    def titled(self, urls: Sequence[str]) -> list[Page]:
        """What a search found: these pages with their titles; without any, the cited ones, to the first who asks."""
        if urls:
            return [Page(url, self._titles.get(url, "")) for url in urls]
        pages, self._titles = list(map(Page._make, self._titles.items())), {}
        return pages
