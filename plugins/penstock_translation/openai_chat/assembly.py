"""Records of an upstream, put together to the events of one answer."""

from itertools import count
from typing import Any, Literal

import msgspec

from penstock import Event, Exchange, Finish, Overloaded, Ping, Start, StopReason, UpstreamFailed, Usage
from penstock_translation.blocks import Blocks
from penstock_translation.failures import inband_error
from penstock_translation.openai_chat.quirks import ChatQuirks
from penstock_translation.openai_chat.shapes import Choice, Chunk, Delta, ToolCall, decode
from penstock_translation.openai_chat.tools import tool_names
from penstock_translation.openai_chat.usage import read_usage
from penstock_translation.seals import maker_of, seal
from penstock_translation.untyped import items, members, words

_REASONS: dict[str, StopReason] = {
    "length": "max_tokens",
    "model_length": "max_tokens",  # Mistral
    "max_tokens": "max_tokens",
    "content_filter": "refusal",
    "refusal": "refusal",
    "sensitive": "refusal",  # Z.ai
    "model_context_window_exceeded": "context_exceeded",  # Z.ai
}
"""Everything else ends the turn, with a tool call or without; whether there was one is seen better than said."""

_BROKEN = ("error", "network_error")  # OpenRouter, Z.ai
_NO_CAPACITY = "insufficient_system_resource"  # DeepSeek


class Assembly:
    """Takes the records of one answer, gives its events."""

    def __init__(self, exchange: Exchange, quirks: ChatQuirks) -> None:
        prompt = exchange.request.prompt
        attempt = exchange.attempt
        self.reason = ""  # the upstream's, once it has said why it stops
        self._started = False
        self._id = ""
        self._model = ""
        self._asked_model = (attempt.target.model if attempt else "") or exchange.request.model
        self._usage: Usage | None = None
        self._size = 0  # bytes of the answer, for an estimate
        self._refused = False
        self._stops = prompt.stop
        self._keeps_extra = quirks.tool_extra_content
        self._maker = maker_of(exchange)
        self._stop: str | None = None
        prefix, numbers = exchange.id.removeprefix("req_"), count()
        self._blocks = Blocks(tool_names(prompt, quirks).client, lambda: f"call_{prefix}_{next(numbers)}")

    @property
    def begun(self) -> bool:
        """Whether the upstream said anything of its answer."""
        return bool(self.reason) or self._blocks.begun

    def take(self, record: bytes) -> None:
        """One record as JSON. Raises UpstreamFailed on nonsense, or the GatewayError the record tells of."""
        chunk = _decoded(record)
        if chunk.error or chunk.object == "error":
            raise inband_error(record)
        if chunk.id and not self._id:
            self._id = str(chunk.id)
        if chunk.model and not self._model:
            self._model = str(chunk.model)
        if chunk.x_groq:
            self._groq(chunk.x_groq)
        self._count(chunk.usage)
        for choice in chunk.choices or ():
            if not choice.index:  # the others are alternatives that nobody asked for
                self._choice(choice)
        self._start()

    def ping(self) -> None:
        """A sign of life; it is not a reason for the answer to begin."""
        if self._started:
            self._blocks.events.append(Ping())

    def finish(self) -> None:
        """The answer is complete: close what is open, say what it cost and why it ended."""
        self._blocks.finish()
        usage = self._usage or Usage(output=(self._size + 3) // 4, estimated=True)
        self._blocks.events += [usage, self._ending()]
        self._start()

    def drain(self) -> list[Event]:
        """The events since the last call."""
        events, self._blocks.events = self._blocks.events, []
        return events

    def _start(self) -> None:
        """Start leaves with the first event, not earlier: until then another upstream can still take over."""
        if not self._started and self._blocks.events:
            self._started = True
            model = self._model or self._asked_model
            self._blocks.events.insert(0, Start(model, self._id, self._usage or Usage()))

    def _groq(self, extra: Any) -> None:
        own = members(extra)
        if error := own.get("error"):
            raise inband_error(msgspec.json.encode({"error": error}))
        self._count(own.get("usage"))

    def _count(self, usage: Any) -> None:
        """Usage is cumulative wherever it stands, so the last one counts."""
        if usage:
            self._usage = read_usage(members(usage)) or self._usage

    def _choice(self, choice: Choice) -> None:
        if choice.error:
            raise inband_error(msgspec.json.encode({"error": choice.error}))
        if choice.delta is not None:
            self._delta(choice.delta)
        if choice.message is not None:
            self._message(choice.message)
        self._count(choice.usage)  # Moonshot
        if choice.finish_reason and not self.reason:
            self._stopped(str(choice.finish_reason), choice.stop_reason)

    def _stopped(self, reason: str, matched: Any) -> None:
        if reason in _BROKEN:
            raise UpstreamFailed("the upstream broke its answer off with an error")
        if reason == _NO_CAPACITY:
            raise Overloaded("the upstream broke its answer off for want of capacity")
        self.reason = reason
        if isinstance(matched, str) and matched in self._stops:  # vLLM
            self._stop = matched

    def _message(self, message: Delta) -> None:
        """A whole message: its calls are one each, whatever their ids and indexes say."""
        for index, call in enumerate(message.tool_calls or ()):
            call.index = index
        self._delta(message)

    def _delta(self, delta: Delta) -> None:
        thought = delta.reasoning_content or delta.reasoning or delta.reasoning_details
        if thought:
            self._thought(thought)
        content = delta.content
        if content:
            if isinstance(content, str):
                self._text("text", content)
            else:
                self._parts(content)
        if refusal := words(delta.refusal):
            self._refused = True
            self._text("text", refusal)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._call(call)

    def _text(self, kind: Literal["text", "thinking"], text: str) -> None:
        self._size += len(text.encode())
        self._blocks.text(kind, text)

    def _thought(self, thought: Any) -> None:
        """Reasoning as text, or as OpenRouter's list of details, of which some are sealed or only carry a seal."""
        if text := words(thought):
            self._text("thinking", text)
        for detail in map(members, items(thought)):
            if text := words(detail.get("text") or detail.get("summary")):
                self._text("thinking", text)

    def _parts(self, parts: Any) -> None:
        """Content as a list of parts: Mistral's, where a thinking part is again a list of text parts."""
        for part in map(members, items(parts)):
            self._thought(part.get("thinking"))
            if text := words(part.get("text")):
                self._text("text", text)

    def _call(self, call: ToolCall) -> None:
        function = call.function
        name, arguments = "", ""
        if function is not None:
            name, arguments = function.name or "", _arguments(function.arguments)
        self._size += len(name) + len(arguments)
        carried = ""
        if self._keeps_extra and bytes(call.extra_content) != b"null":
            carried = seal(self._maker, msgspec.json.encode({"extra_content": call.extra_content}))
        self._blocks.call(call.index, call.id or "", name, arguments, carried)

    def _ending(self) -> Finish:
        reason = _REASONS.get(self.reason)
        if reason is not None:
            return Finish(reason)
        if self._blocks.calls:
            return Finish("tool_use")
        if self._refused:
            return Finish("refusal")
        return Finish("stop_sequence", self._stop) if self._stop is not None else Finish()


def _decoded(record: bytes) -> Chunk:
    try:
        return decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(record, error) from None


def _arguments(raw: msgspec.Raw) -> str:
    """Arguments are JSON inside a string; some servers send the object itself, some `null` for none."""
    data = bytes(raw)
    try:
        text = msgspec.json.decode(data, type=str) if data.startswith(b'"') else data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(data, error) from None
    return "" if text == "null" else text


def _unreadable(record: bytes, error: Exception) -> UpstreamFailed:
    shown = record[:300].decode(errors="replace")
    return UpstreamFailed(f"the upstream sent a record that cannot be read: {error}", detail=shown)
