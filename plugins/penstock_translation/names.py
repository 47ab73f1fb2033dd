"""Stand-ins for tool names and call ids that an upstream would refuse: unique, and the same in every request.

Nothing has to be remembered: a stand-in for a name follows from the name, and the way back from the request's tools.
A call id travels to the client in characters that every protocol allows and regains its own on the way back.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_ESCAPED = re.compile(r"(?:--[0-9a-f]{2})+")
_STRICT_BELOW = 16  # see ChatQuirks.tool_call_id_limit


class NameRule(NamedTuple):
    """The characters of a name on the wire, as in a regular expression; an underscore must always be among them."""

    first: str = "a-zA-Z0-9_-"
    rest: str = "a-zA-Z0-9_-"


PLAIN = NameRule()
"""The rule of Anthropic, OpenAI and nearly everybody else."""


class ToolNames:
    """The names of a request's tools, for the client and on the wire."""

    def __init__(self, names: Iterable[str], limit: int, rule: NameRule = PLAIN) -> None:
        """`limit` is the length of the longest name on the wire."""
        self._limit = limit
        self._first = re.compile(f"[{rule.first}]")
        self._allowed = re.compile(f"[{rule.first}][{rule.rest}]{{0,{limit - 1}}}")
        names = tuple(names)
        self._taken = {name for name in names if self._allowed.fullmatch(name)}
        self._wire: dict[str, str] = {}
        for name in names:
            if name not in self._taken:
                self._wire[name] = self._stand_in(name)
        self._client = {alias: name for name, alias in self._wire.items()}

    def wire(self, name: str) -> str:
        """What the upstream calls the tool."""
        if self._allowed.fullmatch(name):
            return name
        return self._wire.get(name) or self._stand_in(name)

    def client(self, name: str) -> str:
        """What the client calls the tool."""
        return self._client.get(name, name)

    def _stand_in(self, name: str) -> str:
        digest = _digest(name)
        while True:
            plain = _FOREIGN.sub("_", name)
            plain = plain if self._first.match(plain) else f"_{plain}"
            alias = f"{plain[: self._limit - 9]}_{digest[:8]}"
            if alias not in self._taken:
                return alias
            digest = _digest(digest)


def client_id(id: str) -> str:
    """An upstream's call id with the characters that Anthropic's API would refuse written as `--` and their hex."""
    if not _FOREIGN.search(id):
        return id
    return _FOREIGN.sub(lambda found: "".join(f"--{byte:02x}" for byte in found[0].encode()), id)


def wire_id(id: str, limit: int) -> str:
    """The upstream's spelling of a client's call id, or a digest if the id is not one the upstream would take."""
    original = _ESCAPED.sub(_unescape, id)
    if limit < _STRICT_BELOW:
        return original if re.fullmatch(rf"[a-zA-Z0-9]{{{limit}}}", original) else _digest(id)[:limit]
    return original if 0 < len(original) <= limit else "call_" + _digest(id)[: min(limit, 40) - 5]


def _unescape(found: re.Match[str]) -> str:
    try:
        return bytes.fromhex(found[0].replace("--", "")).decode()
    except UnicodeDecodeError:
        return found[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
