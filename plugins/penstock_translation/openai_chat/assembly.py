"""Records of an upstream, put together to the events of one answer."""

from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from penstock import Event, Exchange, Finish, Ping, Start, UpstreamFailed, Usage, sse

from ..blocks import Blocks
from ..complaint import read_complaint
from ..estimates import estimated_usage
from ..failures import inband_error
from ..modes import mode_of
from ..seals import maker_of, seal
from ..streaming import Assembly, read_record
from ..untyped import items, members, words
from .details import Details
from .quirks import ChatQuirks
from .shapes import CHUNK, Choice, Delta, Function, ToolCall
from .stops import breakage, stop_reason
from .tools import tool_names
from .usage import read_usage
from .websearch import citations

_DONE = b"[DONE]"
_STRING = msgspec.json.Decoder(str)
_LEGACY = "function_call"  # stands for the number of a call, which the older form lacks

# The error codes of MiniMax, which come with status 200 (platform.minimax.io, error codes), and what others call them.
_STATUS_OF_CODE = {1002: 429, 1004: 401, 1008: 402, 1027: 400, 1039: 429, 2013: 400}


class ChatAssembly(Assembly):
    """Takes the records of one answer, gives its events."""

    def __init__(self, exchange: Exchange, quirks: ChatQuirks) -> None:
        prompt = exchange.request.prompt
        attempt = exchange.attempt
        self._exchange = exchange
        self.reason = ""  # the upstream's, once it has said why it stops
        self._started = False
        self._id = ""
        self._model = ""
        self._asked_model = (attempt.target.model if attempt else "") or exchange.request.model
        self._usage: Usage | None = None
        self._tier: object = None
        self._refused = False
        self._stops = prompt.stop
        self._keeps_extra = quirks.tool_extra_content
        self._keeps_details = quirks.reasoning_details
        self._details = Details()  # not sealed yet
        self._sources: set[str] = set()
        self._uncited: deque[str] = deque()  # sources that wait for a text
        self._maker = maker_of(exchange)
        self._stop: str | None = None
        prefix, numbers = exchange.id.removeprefix("req_"), count()
        self._blocks = Blocks(tool_names(prompt, quirks).client, lambda: f"call_{prefix}_{next(numbers)}")

    @property
    def begun(self) -> bool:
        """Whether the upstream said anything of its answer."""
        return bool(self.reason) or self._blocks.begun

    def take(self, frame: sse.Frame) -> None:
        """A record of a stream."""
        if frame.data.startswith(_DONE):
            if not self.begun:
                raise UpstreamFailed("the upstream closed its stream without an answer")
            self._finish()
        elif frame.name == b"error":
            raise inband_error(frame.data)
        else:
            self._record(frame.data)

    def whole(self, body: bytes) -> None:
        """An answer in one JSON body: one record that holds everything."""
        if body.lstrip().startswith(b"["):
            raise inband_error(body)  # no answer is a list, but some errors are
        self._record(body)
        if not self.begun:
            raise inband_error(body) if read_complaint(body).text else UpstreamFailed("the upstream's answer is empty")
        self._finish()

    def ended(self) -> bool:
        """Some servers forget the last record; an answer with a reason to stop is complete without."""
        if self.reason:
            self._finish()
        return bool(self.reason)

    def ping(self) -> None:
        """A sign of life; it is not a reason for the answer to begin."""
        if self._started:
            self._blocks.events.append(Ping())

    def drain(self) -> list[Event]:
        """The events since the last call."""
        events, self._blocks.events = self._blocks.events, []
        return events

    def _record(self, record: bytes) -> None:
        chunk = read_record(CHUNK, record)
        if chunk.error or chunk.object == "error":
            raise inband_error(record)
        if chunk.base_resp:
            self._check(members(chunk.base_resp))
        if chunk.x_groq:
            self._groq(chunk.x_groq)
        if chunk.usage:
            self._count(chunk.usage)
        if chunk.service_tier:
            self._tier = chunk.service_tier
        if not self._started:
            self._id = self._id or str(chunk.id or "")
            self._model = self._model or str(chunk.model or "")
        for choice in chunk.choices or ():
            if choice.index:
                continue  # an alternative that nobody asked for
            if choice.error:
                raise inband_error(msgspec.json.encode({"error": choice.error}))
            if choice.delta is not None:
                self._delta(choice.delta)
            if choice.finish_reason or choice.message is not None or choice.usage:
                self._rest(choice)
        if chunk.web_search or self._uncited:
            self._cite(chunk.web_search)
        if not self._started:
            self._start()

    def _finish(self) -> None:
        """The answer is complete: close what is open, say what it cost and why it ended."""
        self._seal_details()
        self._blocks.finish()
        usage = self._usage or estimated_usage(self._exchange, self._blocks.size)
        self._blocks.events += [replace(usage, mode=mode_of(self._tier)), self._ending()]
        if not self._started:
            self._start()
        self.done = True

    def _start(self) -> None:
        """Start leaves with the first event, not earlier: until then another upstream can still take over."""
        if self._blocks.events:
            self._started = True
            model = self._model or self._asked_model
            self._blocks.events.insert(0, Start(model, self._id, self._usage or Usage()))

    def _check(self, status: Mapping[str, Any]) -> None:
        """MiniMax's status, which is 0 for success."""
        if code := status.get("status_code"):
            known = _STATUS_OF_CODE.get(code) if isinstance(code, int) else None
            error = {"message": status.get("status_msg"), "code": known or code}
            raise inband_error(msgspec.json.encode({"error": error}))

    def _groq(self, extra: Any) -> None:
        own = members(extra)
        if error := own.get("error"):
            raise inband_error(msgspec.json.encode({"error": error}))
        self._count(own.get("usage"))

    def _count(self, usage: Any) -> None:
        """Usage is cumulative wherever it stands, so the last one counts."""
        self._usage = read_usage(members(usage)) or self._usage

    def _rest(self, choice: Choice) -> None:
        """What most chunks do not have."""
        if choice.message is not None:
            self._message(choice.message)
        if choice.usage:  # Moonshot
            self._count(choice.usage)
        if choice.finish_reason and not self.reason:
            self._stopped(str(choice.finish_reason), choice.stop_reason)

    def _stopped(self, reason: str, matched: Any) -> None:
        if error := breakage(reason):
            raise error
        self.reason = reason
        if isinstance(matched, str) and matched in self._stops:  # vLLM
            self._stop = matched

    def _message(self, message: Delta) -> None:
        """A whole message: its calls are one each, whatever their ids and indexes say."""
        for index, call in enumerate(message.tool_calls or ()):
            call.index = index
        self._delta(message)

    def _delta(self, delta: Delta) -> None:
        thought = (
            delta.reasoning_content
            or delta.reasoning
            or delta.reasoning_details
            or delta.reasoning_text  # GitHub Copilot
            or delta.thinking  # Ollama's own field
        )
        if thought:
            self._thought(thought)
        if delta.reasoning_details and self._keeps_details:
            self._details.add(items(delta.reasoning_details))
        content = delta.content
        if content:
            if not isinstance(content, str):
                self._parts(content)
            elif self._keeps_details:
                self._text("text", content)
            else:
                self._blocks.text("text", content)
        if delta.refusal and (refusal := words(delta.refusal)):
            self._refused = True
            self._text("text", refusal)
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._call(call)
        if delta.function_call:
            legacy = members(delta.function_call)
            arguments = msgspec.Raw(msgspec.json.encode(legacy.get("arguments")))
            self._call(ToolCall(index=_LEGACY, function=Function(words(legacy.get("name")), arguments)))
        if delta.annotations:
            self._cite(delta.annotations)

    def _text(self, kind: Literal["text", "thinking"], text: str) -> None:
        if self._keeps_details and kind == "text" and self._blocks.under_way != "text":
            self._seal_details()  # what comes later than that must not cut the text in two
        self._blocks.text(kind, text)

    def _seal_details(self) -> None:
        if self._details:
            content = msgspec.json.encode({"reasoning_details": self._details.entries()})
            self._details = Details()
            self._blocks.sealed(seal(self._maker, content))

    def _thought(self, thought: Any) -> None:
        """Reasoning as text, or as OpenRouter's list of details, of which some are sealed or only carry a seal."""
        if text := words(thought):
            self._text("thinking", text)
        for detail in map(members, items(thought)):
            if text := words(detail.get("text") or detail.get("summary")):
                self._text("thinking", text)

    def _cite(self, sources: Any) -> None:
        """Sources belong to the text under way; those that come before it wait for it."""
        for source in citations(sources):
            if source not in self._sources:
                self._sources.add(source)
                self._uncited.append(source)
        while self._uncited and self._blocks.cite(self._uncited[0]):
            self._uncited.popleft()

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
        self._seal_details()
        carried = ""
        if self._keeps_extra and bytes(call.extra_content) != b"null":
            carried = seal(self._maker, msgspec.json.encode({"extra_content": call.extra_content}))
        self._blocks.call(call.index, call.id or "", name, arguments, carried)

    def _ending(self) -> Finish:
        reason = stop_reason(self.reason)
        if reason is not None:
            return Finish(reason)
        if self._blocks.calls:
            return Finish("tool_use")
        if self._refused:
            return Finish("refusal")
        return Finish("stop_sequence", self._stop) if self._stop is not None else Finish()


def _arguments(raw: msgspec.Raw) -> str:
    """Arguments are JSON inside a string; some servers send the object itself, some `null` for none."""
    data = bytes(raw)
    if data == b"null":
        return ""
    try:
        return read_record(_STRING, data) if data.startswith(b'"') else data.decode()
    except UnicodeDecodeError as error:
        raise UpstreamFailed(f"the upstream sent a tool call that cannot be read: {error}") from None
