"""What of a Messages request decides its answer, as a fingerprint: equal for two requests that ask for the same.

Everything counts, and what this file does not know counts too, except for:

- the top-level members `stream`, `metadata`, `tags`, `service_tier` and `cache_control`;
- cache marks on tools, on blocks of the system prompt and of turns, and on the blocks inside of results and documents;
- the agent's billing tag, if it is the first block of the system prompt;
- white space between the parts of the document, and the order of its top-level members;
- headers but `anthropic-version` and `anthropic-beta`, and of the latter the order and values that change no answer.

What is inside of messages and tools stays as it is written, so that no two requests that differ there can be confused.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from penstock import Request

from .mistakes import BROKEN
from .prompt import ATTRIBUTION

_MARK = "cache_control"
_QUOTED_MARK = b'"cache_control"'
_BESIDES = frozenset({"stream", "metadata", "tags", "service_tier", _MARK})
_MARKED = frozenset({"system", "tools", "messages"})
_HOLDERS = ("content", "source")  # members in which there may be marked blocks
_DEEPEST = 6  # a turn, a result, a document, its source, a text: what is deeper stays as it is

# How the beta values begin that are about caching, counting, labels and the cut of a stream.
_IDLE_BETAS = (
    "claude-code-",
    "prompt-caching-",
    "extended-cache-ttl-",
    "token-counting-",
    "request-tags-",
    "fine-grained-tool-streaming-",
)


class _Text(msgspec.Struct):
    text: str | None = None


_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(_Text)


def fingerprint(request: Request, headers: Mapping[str, str]) -> bytes | None:
    """The fingerprint of a request as it is now, None if its document cannot be read."""
    fields = request.current
    digest = sha256(_said(headers))
    try:
        for name in sorted(fields.keys() - _BESIDES):
            value = msgspec.json.format(bytes(fields[name]), indent=-1)
            digest.update(b"\n%b:" % msgspec.json.encode(name))
            digest.update(_part(name, value) if name in _MARKED else value)
    except BROKEN:
        return None
    return digest.digest()


def _said(headers: Mapping[str, str]) -> bytes:
    betas = {beta.strip() for beta in headers.get("anthropic-beta", "").split(",")}
    counted = sorted(beta for beta in betas if beta and not beta.startswith(_IDLE_BETAS))
    return msgspec.json.encode([headers.get("anthropic-version", ""), *counted])


def _part(name: str, value: bytes) -> bytes:
    """The system prompt, the tools or the turns, without what does not count. Raises what the JSON reader raises."""
    if not value.startswith(b"["):
        return value
    if name == "system" and ATTRIBUTION.encode() in value:
        parts = _LIST.decode(value)
        if (_TEXT.decode(parts[0]).text or "").startswith(ATTRIBUTION):
            return _list(parts[1:])
    return _list(_LIST.decode(value)) if _QUOTED_MARK in value else value


def _list(parts: Sequence[msgspec.Raw], depth: int = _DEEPEST) -> bytes:
    return b"[%b]" % b",".join([_unmarked(bytes(part), depth) for part in parts])


def _unmarked(part: bytes, depth: int) -> bytes:
    """A tool, a turn or a block without its mark, and without those on the blocks in it."""
    if _QUOTED_MARK not in part or not part.startswith(b"{") or not depth:
        return part
    members = {name: bytes(value) for name, value in _OBJECT.decode(part).items()}
    if len(part) != 1 + sum(len(name.encode()) + 4 + len(value) for name, value in members.items()):
        return part  # a member stands twice: another reader may take the other one
    members.pop(_MARK, None)
    for name in _HOLDERS:
        if name in members:
            members[name] = _inside(members[name], depth - 1)
    return b"{%b}" % b",".join([b'"%b":%b' % (name.encode(), value) for name, value in members.items()])


def _inside(value: bytes, depth: int) -> bytes:
    return _list(_LIST.decode(value), depth) if value.startswith(b"[") else _unmarked(value, depth)
