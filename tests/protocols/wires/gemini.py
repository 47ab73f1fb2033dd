"""Scripts in the Gemini format."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, ClassVar

from penstock import Usage
from penstock_translation.gemini import Gemini as Protocol
from tests.protocols.scripts import Call, Part, Said, Script, Thought
from tests.protocols.wires.wire import Frame, Record, Wire, pieces

_REASONS = {"end_turn": "STOP", "tool_use": "STOP", "max_tokens": "MAX_TOKENS", "refusal": "SAFETY"}


class Gemini(Wire):
    """Google's generateContent: calls come whole, state comes with any part."""

    title = "gemini"
    protocol = Protocol()
    parts: ClassVar = (Said, Thought, Call)
    ids = False

    def tidy(self, script: Script) -> Script:
        """The state of thinking comes with what follows it."""
        parts = (part._replace(state="") if isinstance(part, Thought) else part for part in script.parts)
        usage = script.usage
        return script._replace(
            parts=tuple(part for part in parts if isinstance(part, Call) or part.text),
            usage=usage.__class__(usage.input, usage.cache_read, output=usage.output, reasoning=usage.reasoning),
        )

    def frames(self, script: Script, names: Mapping[str, str], noise: Random) -> Iterator[Frame]:
        parts = [fragment for part in script.parts for fragment in _fragments(part, names, noise)]
        chunks: list[list[Record]] = []
        for part in parts:
            if chunks and noise.random() < 0.3:
                chunks[-1].append(part)
            else:
                chunks.append([part])
        if not chunks or noise.random() < 0.4:
            chunks.append([{"text": ""}] if noise.random() < 0.5 else [])
        for chunk in chunks[:-1]:
            yield Frame(_answer(script, chunk, "", noise))
        yield Frame(_answer(script, chunks[-1], _REASONS[script.reason], noise))

    def body(self, script: Script, names: Mapping[str, str], noise: Random) -> Record:
        parts = [_part(part, names, noise) for part in script.parts]
        return _answer(script, parts, _REASONS[script.reason], noise)

    def tool_names(self, body: Any) -> list[str]:
        return [tool["name"] for entry in body.get("tools", ()) for tool in entry.get("functionDeclarations", ())]

    def turns(self, body: Any) -> list[Any]:
        """Part by part: turns of one side that an empty one stood between become one turn."""
        return [(turn["role"], part) for turn in body["contents"] for part in turn["parts"]]


def _answer(script: Script, parts: list[Record], reason: str, noise: Random) -> Record:
    """A chunk; usage is cumulative, and some chunks have none."""
    candidate: dict[str, Any] = {"index": 0}
    if parts or noise.random() < 0.5:
        candidate["content"] = {"role": "model", "parts": parts}
    if reason:
        candidate["finishReason"] = reason
    found: dict[str, Any] = {"candidates": [candidate], "modelVersion": "m-1", "responseId": "r1"}
    if reason or noise.random() < 0.5:
        found["usageMetadata"] = _usage(script.usage, bool(reason))
    return found


def _usage(usage: Usage, last: bool) -> Record:
    """Counts of nothing are left out."""
    counts = {
        "promptTokenCount": usage.prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output - usage.reasoning if last else 1,
        "thoughtsTokenCount": usage.reasoning if last else 0,
    }
    counts["totalTokenCount"] = (
        counts["promptTokenCount"] + counts["candidatesTokenCount"] + counts["thoughtsTokenCount"]
    )
    return {name: count for name, count in counts.items() if count}


def _fragments(part: Part, names: Mapping[str, str], noise: Random) -> Iterator[Record]:
    if isinstance(part, Call):
        yield _part(part, names, noise)
        return
    for piece in pieces(part.text, noise):
        yield _part(type(part)(piece), names, noise)


def _part(part: Part, names: Mapping[str, str], noise: Random) -> Record:
    match part:
        case Said(text):
            return {"text": text}
        case Thought(text, _):
            return {"text": text, "thought": True}
        case Call(id, name, given, state):
            call: dict[str, Any] = {"name": names[name]}
            call |= {"args": given} if given or noise.random() < 0.5 else {}
            call |= {"id": id} if id.startswith("call") else {}
            return {"functionCall": call} | ({"thoughtSignature": state} if state else {})
