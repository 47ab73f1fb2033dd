"""Scripts in the Chat Completions format."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from random import Random
from typing import Any

from penstock import Usage
from penstock_translation.openai_chat import ChatQuirks, OpenAIChat
from tests.protocols.scripts import Call, Part, Said, Script, Thought
from tests.protocols.wires.wire import Frame, Record, Wire, dumped, pieces, shuffled

_HEAD = {"id": "chatcmpl-1", "created": 1, "model": "m-1"}
_ORDER = (Thought, Said, Call)
_REASONS = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}


class Chat(Wire):
    """OpenAI's Chat Completions; tool calls may carry state, as Google's do."""

    title = "openai-chat"
    protocol = OpenAIChat()
    parts = (Said, Thought, Call)

    def quirks(self, noise: Random) -> ChatQuirks:
        return ChatQuirks(tool_extra_content=True)

    def tidy(self, script: Script) -> Script:
        parts = (part if isinstance(part, Call) else type(part)(part.text) for part in script.parts)
        return script._replace(parts=tuple(part for part in parts if isinstance(part, Call) or part.text))

    def whole_parts(self, script: Script) -> Sequence[Part]:
        return sorted(script.parts, key=lambda part: _ORDER.index(type(part)))

    def frames(self, script: Script, names: Mapping[str, str], noise: Random) -> Iterator[Frame]:
        placed = noise.choice(("after", "finish", "choice", "always"))
        usage = _usage(script.usage)
        deltas = list(self._deltas(script.parts, names, noise))
        choices: list[dict[str, Any] | None] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        if noise.random() < 0.2:
            choices.insert(noise.randrange(len(choices) + 1), None)
        choices.append(
            {"index": 0, "delta": noise.choice(({}, {"content": ""})), "finish_reason": _reason(script, noise)}
        )
        if placed == "choice":
            choices[-1] = {**(choices[-1] or {}), "usage": usage}
        for number, choice in enumerate(choices, 1):
            last = number == len(choices)
            given = usage if placed == "always" or (last and placed == "finish") else None
            yield Frame(_chunk([choice] if choice else [], given))
        if placed == "after":
            yield Frame(_chunk([], usage))
        if noise.random() < 0.9:
            yield Frame(b"[DONE]")

    def _deltas(self, parts: Sequence[Part], names: Mapping[str, str], noise: Random) -> Iterator[Record]:
        """Calls that follow one another arrive interleaved; everything else in its order."""
        if noise.random() < 0.8:
            yield {"role": "assistant", "content": ""}
        index = 0
        for _, group in groupby(enumerate(parts), lambda numbered: type(numbered[1])):
            calls = []
            for number, part in group:
                if isinstance(part, Call):
                    calls.append(part)
                elif isinstance(part, Thought):
                    yield from self._thought(number, part, noise)
                else:
                    yield from ({"content": piece} for piece in pieces(part.text, noise))
            queues = [_fragments(number, call, names, noise) for number, call in enumerate(calls, index)]
            index += len(calls)
            yield from ({"tool_calls": [fragment]} for fragment in shuffled(queues, noise))

    def _thought(self, number: int, thought: Thought, noise: Random) -> Iterator[Record]:
        """The deltas of a thought, in a field that servers use."""
        field = noise.choice(("reasoning_content", "reasoning"))
        yield from ({field: piece} for piece in pieces(thought.text, noise))

    def _thoughts(self, thoughts: Sequence[Thought], noise: Random) -> Record:
        """The members of a whole message that tell thoughts."""
        text = "".join(thought.text for thought in thoughts)
        return {noise.choice(("reasoning_content", "reasoning")): text} if text else {}

    def body(self, script: Script, names: Mapping[str, str], noise: Random) -> Record:
        parts = self.whole_parts(script)
        said = "".join(part.text for part in parts if isinstance(part, Said))
        message: dict[str, Any] = {"role": "assistant", "content": said or None}
        message |= self._thoughts([part for part in parts if isinstance(part, Thought)], noise)
        if script.calls:
            message["tool_calls"] = [_call(call, names, dumped(call.input, noise)) for call in script.calls]
        choice = {"index": 0, "message": message, "finish_reason": _reason(script, noise)}
        return {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _usage(script.usage)}

    def tool_names(self, body: Any) -> list[str]:
        return [tool["function"]["name"] for tool in body.get("tools", ())]

    def turns(self, body: Any) -> list[Any]:
        turns: list[Any] = body["messages"]
        return turns


class Routed(Chat):
    """As OpenRouter serves it: thinking is a list of details, some of them signed or sealed."""

    title = "openai-chat, routed"

    def quirks(self, noise: Random) -> ChatQuirks:
        return ChatQuirks(reasoning_details=True)

    def tidy(self, script: Script) -> Script:
        parts = (part._replace(state="") if isinstance(part, Call) else part for part in script.parts)
        return script._replace(parts=tuple(parts))

    def returning(self, script: Script) -> list[str]:
        """A turn of nothing but thinking cannot be told."""
        return script.states if any(not isinstance(part, Thought) for part in script.parts) else []

    def _thought(self, number: int, thought: Thought, noise: Random) -> Iterator[Record]:
        told, *seal = _details(number, thought)
        for piece in pieces(thought.text, noise):
            yield {"reasoning": piece, "reasoning_details": [told | {"text": piece}]}
        if seal or not thought.text:
            yield {"reasoning_details": seal or [told]}

    def _thoughts(self, thoughts: Sequence[Thought], noise: Random) -> Record:
        found: list[Record] = []
        for number, thought in enumerate(thoughts):
            told, *seal = _details(number, thought)
            found.append({**told, **(seal[0] if seal else {})})
        return {"reasoning_details": found} if found else {}


def _details(number: int, thought: Thought) -> list[dict[str, Any]]:
    """What is told of a thought, and the seal that comes after it."""
    head = {"format": "anthropic-claude-v1", "index": number}
    if not thought.text:
        return [{"type": "reasoning.encrypted", "data": thought.state, **head}]
    seal = [{"type": "reasoning.text", "signature": thought.state, "index": number}] if thought.state else []
    return [{"type": "reasoning.text", "text": thought.text, **head}, *seal]


def _chunk(choices: list[Any], usage: Record | None) -> Record:
    return {**_HEAD, "object": "chat.completion.chunk", "choices": choices, "usage": usage}


def _reason(script: Script, noise: Random) -> str:
    """Some servers say `stop` after a tool call."""
    return "stop" if script.reason == "tool_use" and noise.random() < 0.2 else _REASONS[script.reason]


def _usage(usage: Usage) -> Record:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _fragments(index: int, call: Call, names: Mapping[str, str], noise: Random) -> list[Record]:
    """A call as it is announced, and more of its arguments."""
    first, *rest = pieces(dumped(call.input, noise), noise)
    if noise.random() < 0.5:
        first, rest = "", [first, *rest]
    more = [{"index": index, "function": {"arguments": piece}} for piece in rest]
    return [{"index": index, **_call(call, names, first)}, *more]


def _call(call: Call, names: Mapping[str, str], arguments: str) -> Record:
    made = {"id": call.id, "type": "function", "function": {"name": names[call.name], "arguments": arguments}}
    return made | ({"extra_content": {"google": {"thought_signature": call.state}}} if call.state else {})
