"""Cache marks on the parts of messages, for upstreams that take Anthropic's `cache_control` there.

Anthropic refuses more than four (its page on prompt caching), which OpenRouter passes on; Alibaba heeds the last four
(its page on the context cache).
"""

from typing import Any, Literal

Part = dict[str, Any]

_MOST = 4


class Marks:
    """Marks parts, and takes back what are too many."""

    def __init__(self, longest: Literal["none", "5m", "1h"]) -> None:
        """`longest` is how long a mark may ask for; with `none` nothing is marked."""
        self._longest = longest
        self._marked: list[Part] = []

    def put(self, part: Part, mark: str) -> Part:
        """The part, marked if it should and can be."""
        if mark and self._longest != "none" and "cache_control" not in part:
            lasting = {"ttl": "1h"} if mark == self._longest == "1h" else {}
            part["cache_control"] = {"type": "ephemeral", **lasting}
            self._marked.append(part)
        return part

    def content(self, text: str, mark: str) -> str | list[Part]:
        """A text as the content of a message."""
        part = self.put({"type": "text", "text": text}, mark)
        return [part] if "cache_control" in part else text

    def move(self, entry: dict[str, Any], mark: str) -> None:
        """Mark the end of an earlier message, on behalf of what cannot be marked."""
        content = entry.get("content")
        if isinstance(content, str):
            entry["content"] = self.content(content, mark)
        elif content:
            self.put(content[-1], mark)

    def settle(self) -> None:
        """Leave the last marks only, as many as are allowed."""
        for part in self._marked[:-_MOST]:
            del part["cache_control"]
