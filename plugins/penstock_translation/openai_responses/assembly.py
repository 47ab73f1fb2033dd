"""Records of a Responses upstream, put together to the events of one answer."""

from collections.abc import Mapping
from itertools import count

import msgspec
from msgspec.structs import replace

from penstock import Event, Exchange, Finish, Ping, Start, StopReason, UpstreamFailed, Usage, sse

from ..complaint import read_complaint
from ..estimates import estimated_usage
from ..failures import inband_error
from ..modes import mode_of
from ..seals import maker_of
from ..streaming import Assembly, read_record
from ..untyped import items, members, words
from .lineup import Lineup
from .outputs import FINISHED, Call, Message, Output, Reasoning
from .quirks import ResponsesQuirks
from .shapes import (
    Response,
    output_decoder,
    record_decoder,
    response_decoder,
)
from .tools import tool_names
from .usage import read_usage
from .writer import Writer

_DONE = b"[DONE]"  # not of this format, but some servers are used to it

_PARTS: Mapping[str, type[Output]] = {
    "response.output_text.delta": Message,
    "response.output_text.done": Message,
    "response.output_text.annotation.added": Message,
    "response.refusal.delta": Message,
    "response.refusal.done": Message,
    "response.content_part.done": Message,
    "response.reasoning_summary_text.delta": Reasoning,
    "response.reasoning_summary_text.done": Reasoning,
    "response.reasoning_summary_part.done": Reasoning,
    "response.reasoning_text.delta": Reasoning,
    "response.reasoning_text.done": Reasoning,
    "response.function_call_arguments.delta": Call,
    "response.function_call_arguments.done": Call,
    "response.custom_tool_call_input.done": Call,
}
"""What holds a part of an item, and of which kind of item; all other records of items say nothing new."""

_ENDINGS = {
    "response.completed": "completed",
    "response.done": "completed",  # xAI
    "response.incomplete": "incomplete",
    "response.failed": "failed",
}

_CUT: Mapping[str, StopReason | None] = {"content_filter": "refusal", "max_messages": None, "steered": None}
"""Why an answer is incomplete if not for want of tokens; None ends the turn."""


class ResponsesAssembly(Assembly):
    """Takes the records of one answer, gives its events."""

    def __init__(self, exchange: Exchange, quirks: ResponsesQuirks) -> None:
        prompt, attempt = exchange.request.prompt, exchange.attempt
        self._exchange = exchange
        prefix, numbers = exchange.id.removeprefix("req_"), count()
        names = tool_names(prompt, quirks)
        offered = frozenset(names.wire(tool.name) for tool in prompt.tools)
        self._writer = Writer(names.client, offered, lambda: f"{prefix}_{next(numbers)}", maker_of(exchange))
        self._lineup = Lineup(self._writer)
        self._asked_model = (attempt.target.model if attempt else "") or exchange.request.model
        self._id = self._model = ""
        self._usage: Usage | None = None
        self._tier: object = None
        self._started = False

    @property
    def begun(self) -> bool:
        return self._lineup.begun

    def take(self, frame: sse.Frame) -> None:
        if frame.data.startswith(_DONE):
            if self._lineup.complete:
                self._end(Response(), "completed")
            return
        record = read_record(record_decoder, frame.data)
        kind = words(record.type)
        if kind == "error" or record.error or frame.name == b"error":
            raise inband_error(frame.data)
        if record.response is not None:
            self._sketch(record.response)
        if kind in _PARTS:
            if record.annotation is not None:
                self._writer.pages.note(members(record.annotation))
            self._lineup.more(record, _PARTS[kind])
        elif kind == FINISHED:
            self._lineup.finish(record)
        elif kind == "response.output_item.added":
            self._lineup.announce(record)
        elif kind in _ENDINGS:
            self._end(record.response or Response(), _ENDINGS[kind])
        if not self._started:
            self._start()

    def whole(self, body: bytes) -> None:
        if body.lstrip().startswith(b"["):
            raise inband_error(body)  # no answer is a list, but some errors are
        response = read_record(response_decoder, body)
        if response.error:
            raise inband_error(body)
        if response.object != "response" and bytes(response.output) == b"null":
            raise inband_error(body) if read_complaint(body).text else UpstreamFailed("the upstream's answer is empty")
        self._sketch(response)
        self._end(response, words(response.status) or "completed")

    def ended(self) -> bool:
        """Without a last record an answer can pass for complete only if the server says that it is at its end."""
        return False

    def ping(self) -> None:
        if self._started:
            self._writer.events.append(Ping())

    def drain(self) -> list[Event]:
        events, self._writer.events = self._writer.events, []
        return events

    def _sketch(self, response: Response) -> None:
        """What any record about the whole answer may tell."""
        self._id = self._id or words(response.id)
        self._model = self._model or words(response.model)
        self._usage = read_usage(members(response.usage)) or self._usage
        self._tier = response.service_tier or self._tier  # the one asked for at first, the one used in the end

    def _start(self) -> None:
        """Start leaves with the first event, not earlier: until then another upstream can still take over."""
        if self._writer.events:
            self._started = True
            start = Start(self._model or self._asked_model, self._id, self._usage or Usage())
            self._writer.events.insert(0, start)

    def _end(self, response: Response, status: str) -> None:
        """The last record: what is missing, what it cost, why it ended."""
        if status == "failed":
            error = msgspec.json.encode({"error": response.error})
            raise inband_error(error) if response.error else UpstreamFailed("the upstream broke its answer off")
        if status not in ("completed", "incomplete"):
            raise UpstreamFailed(f"the upstream's answer is not complete: its status is {status[:100]!r}")
        self._lineup.rest(items(read_record(output_decoder, bytes(response.output))))
        self._lineup.close()
        usage = self._usage or estimated_usage(self._exchange, self._writer.size)
        usage = replace(usage, mode=mode_of(self._tier), searches=self._writer.searches)
        self._writer.events += [usage, self._ending(response, status)]
        if not self._started:
            self._start()
        self.done = True

    def _ending(self, response: Response, status: str) -> Finish:
        if status == "incomplete":
            reason = words(members(response.incomplete_details).get("reason"))
            if cut := _CUT.get(reason, "max_tokens"):
                return Finish(cut)
        if self._writer.calls:
            return Finish("tool_use")
        return Finish("refusal") if self._writer.refused else Finish()
