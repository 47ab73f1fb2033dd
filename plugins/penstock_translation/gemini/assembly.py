"""Records of an upstream, put together to the events of one answer."""

from itertools import count

from msgspec.structs import replace

from penstock import Event, Exchange, Finish, Ping, Start, UpstreamFailed, Usage, sse

from ..blocks import Blocks
from ..complaint import read_complaint
from ..estimates import estimated_usage
from ..failures import inband_error
from ..seals import maker_of
from ..streaming import Assembly, read_record
from ..untyped import members, words
from .endings import BLOCKED, breakdown, stop_reason
from .grounding import Grounding
from .quirks import GeminiQuirks
from .shapes import NOTHING, Candidate, Chunk, chunk_decoder, list_decoder, usage_decoder
from .tools import tool_names
from .usage import read_usage
from .writer import PartWriter

_DONE = b"[DONE]"  # not of this format, but some servers are used to it


class GeminiAssembly(Assembly):
    """Takes the records of one answer, gives its events."""

    def __init__(self, exchange: Exchange, quirks: GeminiQuirks) -> None:
        prompt, attempt = exchange.request.prompt, exchange.attempt
        self._exchange = exchange
        prefix, numbers = exchange.id.removeprefix("req_"), count()

        def new_id() -> str:
            return f"call_{prefix}_{next(numbers)}"

        self._blocks = Blocks(tool_names(prompt, quirks).client, new_id)
        self._writer = PartWriter(self._blocks, maker_of(exchange), new_id)
        self._search_id = f"srvtoolu_penstock_{prefix}"
        self._asked_model = (attempt.target.model if attempt else "") or exchange.request.model
        self._id = self._model = ""
        self._usage: Usage | None = None
        self._counts = NOTHING  # the last usage on the wire, not read yet
        self._reason = self._message = ""
        self._grounding: Grounding | None = None
        self._told = False  # of what it rests on
        self._searches = 0
        self._started = False

    @property
    def begun(self) -> bool:
        return bool(self._reason) or self._blocks.begun

    def take(self, frame: sse.Frame) -> None:
        try:
            self._record(frame.data)
        finally:
            if not self._started:
                self._start()

    def whole(self, body: bytes) -> None:
        self._record(body)
        if not self.begun:
            raise inband_error(body) if read_complaint(body).text else UpstreamFailed("the upstream's answer is empty")
        if not self.ended():
            raise UpstreamFailed("the upstream's answer does not say why it ends")

    def ended(self) -> bool:
        if self._reason and not self.done:
            self._finish()
        return self.done

    def ping(self) -> None:
        if self._started:  # it is not a reason for the answer to begin
            self._blocks.events.append(Ping())

    def drain(self) -> list[Event]:
        events, self._blocks.events = self._blocks.events, []
        return events

    def _record(self, record: bytes) -> None:
        """A record, or a list: so comes a stream from a server that does not know events, and many an error."""
        if record.startswith(b"{") or not record.lstrip().startswith(b"["):
            self._chunk(record)
        elif not record.startswith(_DONE):
            for one in read_record(list_decoder, record):
                self._chunk(bytes(one))

    def _chunk(self, record: bytes) -> None:
        chunk: Chunk = read_record(chunk_decoder, record)
        if chunk.error:
            raise inband_error(record)
        if not self._started:
            self._id = self._id or words(chunk.response_id)
            self._model = self._model or words(chunk.model_version)
        if chunk.usage_metadata != NOTHING:
            self._counts = chunk.usage_metadata  # cumulative, so the last one counts
        for candidate in chunk.candidates or ():
            if not candidate.index:  # the others are alternatives that nobody asked for
                self._candidate(candidate)
        if chunk.prompt_feedback and not self._reason and words(members(chunk.prompt_feedback).get("blockReason")):
            self._reason = BLOCKED

    def _candidate(self, candidate: Candidate) -> None:
        if candidate.grounding_metadata:
            self._ground(Grounding(members(candidate.grounding_metadata)))
        for part in (candidate.content and candidate.content.parts) or ():
            self._writer.part(part)
        if candidate.finish_reason and not self._reason:
            self._reason, self._message = words(candidate.finish_reason), words(candidate.finish_message)

    def _ground(self, grounding: Grounding) -> None:
        self._searches = max(self._searches, grounding.searches)  # each record tells of the answer so far, or of less
        if grounding.found:
            self._grounding = grounding
            if not self._blocks.begun:
                self._tell(grounding)

    def _tell(self, grounding: Grounding) -> None:
        """What was searched and found; before the text if it came so early, else behind it."""
        if not self._told:
            self._told = True
            self._writer.search(grounding, self._search_id)

    def _start(self) -> None:
        """Start leaves with the first event, not earlier: until then another upstream can still take over."""
        if self._blocks.events:
            self._read_usage()
            self._started = True
            start = Start(self._model or self._asked_model, self._id, self._usage or Usage())
            self._blocks.events.insert(0, start)

    def _read_usage(self) -> None:
        self._usage = read_usage(members(read_record(usage_decoder, bytes(self._counts)))) or self._usage

    def _finish(self) -> None:
        """The answer is complete: close what is open, say what it cost and why it ended."""
        calls = bool(self._writer.calls)
        if error := breakdown(self._reason, self._message, calls=calls, content=self._blocks.begun):
            raise error
        if self._grounding is not None:
            self._writer.cite(self._grounding)
            self._tell(self._grounding)
        self._blocks.finish()
        self._read_usage()
        usage = self._usage or estimated_usage(self._exchange, self._blocks.size)
        if self._grounding is not None:
            usage = replace(usage, searches=self._searches)
        self._blocks.events += [usage, Finish(stop_reason(self._reason, calls=calls))]
        if not self._started:
            self._start()
        self.done = True
