"""Whether a stream is what clients rely on: checked frame by frame, or event by event, with the place of a mistake."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from penstock import Event, GatewayError, sse
from penstock.testing import messages
from penstock.testing.asking import native, route

_HOLDS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
    "tool_use": frozenset({"input_json_delta"}),
    "server_tool_use": frozenset({"input_json_delta"}),
}
_CUT_SHORT = frozenset({"max_tokens", "refusal", "model_context_window_exceeded"})
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def assert_valid_stream(stream: bytes | Iterable[Event], protocol: str = "") -> None:
    """Fail unless a stream is complete and in order; the message says what is wrong, and where.

        answer = await gate.ask("hi", stream=True)
        assert_valid_stream(answer.body)      # the bytes that the client got
        assert_valid_stream(answer.events)    # or events, as plugins see them

    `protocol` names the format of bytes, by default the one in which the kit asks. Raises AssertionError, and
    LookupError for a format that the kit cannot check.
    """
    if not isinstance(stream, bytes):
        _check_events(stream)
        return
    client = _client_protocol(protocol)
    if route(client, "generate") != messages.PATH:
        raise LookupError(f"the kit cannot check streams in {client.name!r}; their events it can")
    order = _Order()
    for place, record in _records(stream):
        order.check(place, record)
    order.end()


def _client_protocol(name: str) -> Any:
    from penstock.catalogue import Catalogue  # here: pytest loads the kit in every run

    return Catalogue(None).client_protocol(name) if name else native()


# ---------------------------------------------------------------- events


def _check_events(events: Iterable[Event]) -> None:
    """Whether the engine's own validator lets them pass as they are."""
    from penstock import validator

    checks = validator.Validator()
    known: dict[str, int] = {}
    number = 0
    for number, event in enumerate(events, 1):
        try:
            checks.check(event)
        except GatewayError as error:
            raise AssertionError(f"event {number}, {event}: {error.message}") from None
        if new := [name for name, count in checks.repairs.items() if count > known.get(name, 0)]:
            what = "; ".join(f"{name}: {_meaning(validator.__doc__ or '', name)}" for name in new)
            raise AssertionError(f"event {number}, {event}: the engine would have to repair this ({what})")
        known = dict(checks.repairs)
    try:
        checks.end()
    except GatewayError:
        raise AssertionError(f"after event {number}: the answer has no Finish") from None


def _meaning(words: str, repair: str) -> str:
    """What the validator says of one of its repairs."""
    found = re.search(rf"^{repair} +(.+)$", words, re.MULTILINE)
    return found[1] if found else "a repair"


# ---------------------------------------------------------------- bytes


class _Place(NamedTuple):
    """Where a frame stands."""

    number: int
    offset: int
    name: str

    def fail(self, message: str) -> AssertionError:
        return AssertionError(f"frame {self.number} ({self.name}, byte {self.offset}): {message}")


def _records(stream: bytes) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """The frames with data, decoded."""
    reader = sse.Reader()
    frames, offset = reader.feed(stream), 0
    for number, frame in enumerate(frames, 1):
        name = frame.name.decode(errors="replace") or "no name"
        place, offset = _Place(number, offset, name), offset + len(frame.raw)
        if not frame.name and not frame.data:
            continue  # a comment
        try:
            record = msgspec.json.decode(frame.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise place.fail(f"the data is no JSON object: {error}") from None
        if record.get("type") != name:
            raise place.fail(f"the event is called {name!r}, its data says {record.get('type')!r}")
        yield place, record
    if stream[offset:].strip():
        raise AssertionError(f"byte {offset}: the stream ends within a frame: {stream[offset : offset + 80]!r}")


class _Order:
    """The order of a message: its start, blocks one after the other, its delta, its stop."""

    def __init__(self) -> None:
        self._started = self._settled = self._stopped = False
        self._blocks = 0
        self._kind = ""
        self._kinds: set[str] = set()
        self._input: list[str] = []
        self._half: AssertionError | None = None
        self._usage: dict[str, int] = {}

    def check(self, place: _Place, record: dict[str, Any]) -> None:
        """The next frame. Raises AssertionError."""
        kind = record["type"]
        if kind == "ping":
            return
        if kind == "error":
            raise place.fail(f"the answer ends in an error: {record.get('error')}")
        if self._stopped:
            raise place.fail("something comes after message_stop")
        if not self._started and kind != "message_start":
            raise place.fail("the stream must begin with message_start")
        check = getattr(self, f"_{kind}", None)
        if check is None:
            raise place.fail("no client knows such an event")
        try:
            check(place, record)
        except (KeyError, TypeError, AttributeError) as error:
            raise place.fail(f"a field is missing or no object: {error}") from None

    def end(self) -> None:
        """The stream is over. Raises AssertionError."""
        if not self._stopped:
            missing = "message_delta" if not self._settled else "message_stop"
            raise AssertionError(f"the stream ends without {missing if self._started else 'message_start'}")

    def _message_start(self, place: _Place, record: dict[str, Any]) -> None:
        if self._started:
            raise place.fail("a second message_start")
        message = record["message"]
        if message["role"] != "assistant" or not message["id"] or message["content"]:
            raise place.fail("a message begins with an id, the role assistant and no content")
        self._started = True
        self._count(place, message["usage"])

    def _content_block_start(self, place: _Place, record: dict[str, Any]) -> None:
        if self._kind or self._settled:
            raise place.fail(f"block {record['index']} opens {self._where()}")
        if record["index"] != self._blocks:
            raise place.fail(f"the block has index {record['index']}, the next one is {self._blocks}")
        self._kind, self._input = record["content_block"]["type"], []
        self._kinds.add(self._kind)
        self._blocks += 1

    def _content_block_delta(self, place: _Place, record: dict[str, Any]) -> None:
        if not self._kind or record["index"] != self._blocks - 1:
            raise place.fail(f"an increment of block {record['index']} {self._where()}")
        delta = record["delta"]
        if delta["type"] not in _HOLDS.get(self._kind, {delta["type"]}):
            raise place.fail(f"{delta['type']} in a block of {self._kind}")
        self._input.append(delta.get("partial_json", ""))

    def _content_block_stop(self, place: _Place, record: dict[str, Any]) -> None:
        if not self._kind or record["index"] != self._blocks - 1:
            raise place.fail(f"block {record['index']} closes {self._where()}")
        self._half = self._half or self._half_input(place)
        self._kind = ""

    def _message_delta(self, place: _Place, record: dict[str, Any]) -> None:
        if self._kind or self._settled:
            raise place.fail(f"the message is settled {self._where()}")
        reason = record["delta"]["stop_reason"]
        if self._half is not None and reason not in _CUT_SHORT:
            raise self._half
        if reason == "tool_use" and self._kinds <= _HOLDS.keys() - {"tool_use"}:
            raise place.fail("stop_reason is tool_use, but there is no call of a tool")
        if reason == "end_turn" and "tool_use" in self._kinds:
            raise place.fail("stop_reason is end_turn after a call of a tool")
        self._settled = True
        self._count(place, record["usage"])

    def _message_stop(self, place: _Place, _record: dict[str, Any]) -> None:
        if self._kind or not self._settled:
            raise place.fail(
                f"the message stops {self._where()}" if self._kind else "the message stops without a delta"
            )
        self._stopped = True

    def _half_input(self, place: _Place) -> AssertionError | None:
        """What is wrong with the input of a tool call that has closed; an answer that is cut short may end so."""
        text = "".join(self._input)
        if self._kind != "tool_use":
            return None
        try:
            msgspec.json.decode(text or "{}", type=dict[str, Any])
        except msgspec.DecodeError as error:
            return place.fail(f"the input of the tool call is no JSON object ({error}): {text[:80]!r}")
        return None

    def _count(self, place: _Place, usage: dict[str, Any]) -> None:
        counts = {name: usage[name] for name in _COUNTS if isinstance(usage.get(name), int)}
        for name, count in counts.items():
            if count < self._usage.get(name, 0):
                raise place.fail(f"{name} falls from {self._usage[name]} to {count}")
        self._usage |= counts

    def _where(self) -> str:
        if self._settled:
            return "after the message_delta"
        return f"while block {self._blocks - 1} is open" if self._kind else "while no block is open"
