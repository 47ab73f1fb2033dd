"""Records of an upstream, put together to the events of one answer."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec

from penstock import Event, Exchange, Finish, GatewayError, Overloaded, Start, StopReason, UpstreamFailed, Usage
from penstock_translation.openai_chat.blocks import Blocks
from penstock_translation.openai_chat.errors import error_of
from penstock_translation.openai_chat.quirks import ChatQuirks
from penstock_translation.openai_chat.shapes import Choice, Chunk, Delta, ToolCall
from penstock_translation.openai_chat.tools import tool_names
from penstock_translation.openai_chat.usage import read_usage

_REASONS: dict[str, StopReason] = {
    "length": "max_tokens",
    "model_length": "max_tokens",  # Mistral
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "tool_use": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "sensitive": "refusal",  # Z.ai
    "model_context_window_exceeded": "context_exceeded",  # Z.ai
}
_BROKEN = ("error", "network_error")  # OpenRouter, Z.ai
_NO_CAPACITY = "insufficient_system_resource"  # DeepSeek


class Assembly:
    """Takes the records of one answer, gives its events."""

    def __init__(self, exchange: Exchange, quirks: ChatQuirks) -> None:
        prompt = exchange.request.prompt
        attempt = exchange.attempt
        self.finished = False
        self.reason = ""
        self._model = ""
        self._expected_model = (attempt.target.model if attempt else "") or exchange.request.model
        self._id = ""
        self._usage: Usage | None = None
        self._size = 0  # bytes of the answer, for an estimate
        self._started = False
        self._refused = False
        self._stops = prompt.stop
        self._stop: str | None = None
        ids = count()
        prefix = f"call_{exchange.id.removeprefix('req_')}"
        self._blocks = Blocks(tool_names(prompt, quirks).client, lambda: f"{prefix}_{next(ids)}")

    @property
    def started(self) -> bool:
        """Whether the answer has begun for the client."""
        return self._started

    @property
    def begun(self) -> bool:
        """Whether the upstream said anything of its answer."""
        return bool(self.reason) or self._blocks.begun

    def take(self, chunk: Chunk) -> None:
        """One record. Raises the GatewayError that the record tells of."""
        if chunk.error or chunk.object == "error":
            raise _RecordIsError
        if chunk.id and not self._id:
            self._id = str(chunk.id)
        if chunk.model and not self._model:
            self._model = str(chunk.model)
        if chunk.usage:
            self._count(chunk.usage)
        elif chunk.x_groq:
            self._extra(chunk.x_groq)
        for choice in chunk.choices or ():
            if not choice.index:  # others are further alternatives, which nobody asked for
                self._choice(choice)

    def finish(self) -> None:
        """The answer is complete: close what is open, say what it cost and why it ended."""
        self._blocks.finish()
        reason = self._reason()
        usage = self._usage or Usage(output=(self._size + 3) // 4, estimated=True)
        self._blocks.events += [usage, Finish(reason, self._stop if reason == "stop_sequence" else None)]
        self.finished = True

    def drain(self) -> list[Event]:
        """The events since the last call. The first one of all is Start."""
        events, self._blocks.events = self._blocks.events, []
        if events and not self._started:
            self._started = True
            start = Start(self._model or self._expected_model, self._id, self._usage or Usage())
            events.insert(0, start)
        return events
