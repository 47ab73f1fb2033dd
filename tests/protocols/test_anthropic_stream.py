"""The Messages stream both ways: frames exactly as agents expect them, and nothing lost on the way back."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import (
    BlockStart,
    BlockStop,
    Citation,
    Event,
    Failed,
    Finish,
    GatewayError,
    Opaque,
    Overloaded,
    Piece,
    Ping,
    PromptTooLong,
    RawError,
    Signature,
    Start,
    Text,
    Thinking,
    ToolInput,
    UpstreamFailed,
    Usage,
    sse,
)
from penstock_translation.anthropic import Quirks
from penstock_translation.openai_chat import OpenAIChat
from tests.protocols.exchanges import PROTOCOL, exchange

RELAYED: frozenset[type] = frozenset({Start, Usage, Finish})
SAFEGUARDS = {"model": "m", "messages": [], "safeguards": [{"type": "dangerous_tool_use", "classifier_context": {}}]}
UNSUPPORTED = [{"type": "dangerous_tool_use", "status": {"type": "unsupported"}}]

STREAM = b"""\
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x",\
"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":7,\
"cache_read_input_tokens":20,"cache_creation":{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":2},\
"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm\xe2\x80\xa8."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta",\
"text":"Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x8c\x8d"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"url":"https://x"}}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":\
{"type":"tool_use","id":"toolu_1","name":"Bash","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\\"a\\": 1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null,"container":null},\
"usage":{"output_tokens":42,"output_tokens_details":{"thinking_tokens":9}}}

event: message_stop
data: {"type":"message_stop"}

"""
EVENTS: list[Event] = [
    Start("claude-x", "msg_1", Usage(input=3, cache_read=20, cache_write=5, cache_write_1h=2, output=1)),
    BlockStart(0, "thinking"),
    Ping(),
    Thinking(0, "Hm\u2028."),
    Signature(0, "c2ln"),
    BlockStop(0),
    BlockStart(1, "text"),
    Text(1, "Grüße 🌍"),
    Citation(1, '{"url":"https://x"}'),
    BlockStop(1),
    BlockStart(2, "tool_use", "Bash", "toolu_1"),
    ToolInput(2, '{"a": 1}'),
    BlockStop(2),
    Usage(input=3, cache_read=20, cache_write=5, cache_write_1h=2, output=42, reasoning=9),
    Finish("tool_use"),
]


def decode(chunks: Iterable[bytes], wanted: frozenset[type] | None = None) -> list[Piece]:
    decoder = PROTOCOL.decoder(exchange(), wanted, Quirks())
    pieces = [piece for chunk in chunks for piece in decoder.feed(chunk)]
    return pieces + decoder.end()


def events_of(pieces: Sequence[Piece]) -> list[Event]:
    return [event for piece in pieces for event in piece.events]


def raise_failure(pieces: Sequence[Piece]) -> None:
    for event in events_of(pieces):
        if isinstance(event, Failed):
            raise event.error


def raw_of(pieces: Sequence[Piece]) -> bytes:
    return b"".join(piece.raw for piece in pieces)


def encode(*events: Event, **of_exchange: Any) -> bytes:
    encoder = PROTOCOL.encoder(exchange(**{"upstream": PROTOCOL} | of_exchange))
    return b"".join(map(encoder.encode, events))


def frame(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def data_of(frame: bytes) -> Any:
    return json.loads(frame.split(b"data: ", 1)[1])


MESSAGE_START = frame("message_start", message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 10}})
MESSAGE_DELTA = frame("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
MESSAGE_STOP = frame("message_stop")
FINISHED: list[Event] = [Start("m", "msg_1", Usage(input=10)), Usage(input=10, output=5), Finish()]


# ---------------------------------------------------------------- decoding


def test_a_stream_is_its_events_and_its_bytes() -> None:
    pieces = decode([STREAM])
    assert events_of(pieces) == EVENTS
    assert raw_of(pieces) == STREAM


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("wanted", [None, RELAYED])
def test_how_the_bytes_are_cut_does_not_matter(size: int, wanted: frozenset[type] | None) -> None:
    pieces = decode((STREAM[i : i + size] for i in range(0, len(STREAM), size)), wanted)
    assert raw_of(pieces) == STREAM
    assert events_of(pieces) == events_of(decode([STREAM], wanted))


def test_one_cut_anywhere_does_not_matter() -> None:
    hidden = (Thinking, Signature, Text, Citation, ToolInput)
    for cut in range(len(STREAM)):
        pieces = decode([STREAM[:cut], STREAM[cut:]], RELAYED)
        assert raw_of(pieces) == STREAM
        assert events_of(pieces) == [event for event in EVENTS if not isinstance(event, hidden)]


def test_what_nobody_wants_is_relayed_unread_and_in_one_piece() -> None:
    deltas = b"event: content_block_delta\ndata: not even JSON\n\n" * 3
    stream = MESSAGE_START + deltas + MESSAGE_DELTA + MESSAGE_STOP
    pieces = decode([stream], RELAYED)
    assert pieces[1] == Piece((), deltas)
    assert raw_of(pieces) == stream
    assert events_of(pieces) == FINISHED
    with pytest.raises(UpstreamFailed, match="broken content_block_delta"):
        decode([stream])


def test_increments_are_read_for_whoever_listens_to_one() -> None:
    assert Text(1, "Grüße 🌍") in events_of(decode([STREAM], RELAYED | {Text}))


def test_frames_without_a_name_get_it() -> None:
    unnamed = b"\n\n".join(frame.split(b"\n", 1)[1] for frame in STREAM.rstrip().split(b"\n\n")) + b"\n\n"
    named_message = unnamed.replace(b"data:", b"event: message\ndata:")
    assert b"event:" not in unnamed
    for stream in (unnamed, named_message):
        for wanted in (None, RELAYED):
            pieces = decode([stream], wanted)
            assert raw_of(pieces) == STREAM
            assert [event for event in events_of(pieces) if type(event) in RELAYED] == [EVENTS[0], *EVENTS[-2:]]


def test_a_frame_on_several_lines_and_without_a_name_becomes_one_line() -> None:
    stream = MESSAGE_START + b'data: {"type":\ndata: "content_block_stop",\ndata: "index":0}\n\n' + MESSAGE_DELTA
    assert decode([stream])[1] == Piece(
        (BlockStop(0),), b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    )


def test_windows_line_ends() -> None:
    pieces = decode([STREAM.replace(b"\n", b"\r\n")])
    assert (events_of(pieces), raw_of(pieces)) == (EVENTS, STREAM)


@pytest.mark.parametrize("wanted", [None, RELAYED])
def test_comments_and_pings_are_signs_of_life(wanted: frozenset[type] | None) -> None:
    stream = (
        b": PROCESSING\n\n" + MESSAGE_START + b"event: ping\ndata: {}\n\n" + MESSAGE_DELTA + b":\n\n" + MESSAGE_STOP
    )
    pieces = decode([stream], wanted)
    assert raw_of(pieces) == stream
    assert events_of(pieces) == [Ping(), FINISHED[0], Ping(), Ping(), *FINISHED[1:]]


def test_what_the_format_does_not_know_is_kept_as_bytes() -> None:
    novelty = frame("novelty", n=1)
    delta = frame("content_block_delta", index=0, delta={"type": "novel_delta", "n": 1})
    nameless = b'data: {"n":1}\n\n'
    events = events_of(decode([MESSAGE_START, novelty, delta, nameless, MESSAGE_DELTA, MESSAGE_STOP]))
    assert events == [FINISHED[0], Opaque(novelty), Opaque(delta), Opaque(nameless), *FINISHED[1:]]


def test_a_foreign_end_mark_and_everything_after_the_end_is_ignored() -> None:
    stream = MESSAGE_START + MESSAGE_DELTA + MESSAGE_STOP
    for late in (b"data: [DONE]\n\n", MESSAGE_STOP, MESSAGE_DELTA, b": bye\n\n", b"event: content_block_delta\n\n"):
        pieces = decode([stream, late], RELAYED)
        assert (events_of(pieces), raw_of(pieces)) == (FINISHED, stream)
    assert raw_of(decode([MESSAGE_START, b"data: [DONE]\n\n", MESSAGE_DELTA, MESSAGE_STOP])) == stream


@pytest.mark.parametrize("tail", [b"", b"data: [DONE]\n\n", b"event: message_stop\nda"])
def test_a_missing_message_stop_is_added(tail: bytes) -> None:
    pieces = decode([MESSAGE_START + MESSAGE_DELTA + tail])
    assert events_of(pieces) == FINISHED
    assert raw_of(pieces).replace(b" ", b"") == (MESSAGE_START + MESSAGE_DELTA + MESSAGE_STOP).replace(b" ", b"")


def test_an_unterminated_last_frame_counts() -> None:
    stream = MESSAGE_START + MESSAGE_DELTA.rstrip()
    assert events_of(decode([stream])) == FINISHED


def test_several_message_deltas_are_one_finish() -> None:
    results = [{"type": "dangerous_tool_use", "status": {"type": "available", "tool_uses": {}}}]
    early = frame("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 3})
    late = frame(
        "message_delta",
        delta={"stop_reason": None, "safeguard_results": results},
        usage={"input_tokens": 12, "output_tokens": 8},
        context_management={"applied_edits": []},
    )
    pieces = decode([MESSAGE_START, early, MESSAGE_DELTA, late, MESSAGE_STOP])
    first, last = events_of(pieces)[1], pieces[-1]
    assert first == Usage(input=10, output=3)
    usage, finish = last.events
    assert usage == Usage(input=12, output=8)
    assert isinstance(finish, Finish)
    assert finish.reason == "end_turn"
    assert {name: json.loads(raw) for name, raw in finish.extra.items()} == {
        "safeguard_results": results,
        "context_management": {"applied_edits": []},
    }
    assert last.raw == MESSAGE_DELTA + late + MESSAGE_STOP


def test_a_message_that_only_stops_gets_its_reason() -> None:
    pieces = decode([MESSAGE_START + MESSAGE_STOP])
    assert events_of(pieces) == [FINISHED[0], Usage(input=10), Finish()]
    assert data_of(pieces[-1].raw.split(b"\n\n")[0])["delta"]["stop_reason"] == "end_turn"
    assert pieces[-1].raw.endswith(b'data: {"type":"message_stop"}\n\n')


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_use"),
        ("pause_turn", "pause_turn"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "context_exceeded"),
        ("novelty", "end_turn"),
    ],
)
def test_stop_reasons(wire: str, reason: str) -> None:
    delta = frame("message_delta", delta={"stop_reason": wire, "stop_sequence": "</x>"})
    finish = events_of(decode([MESSAGE_START, delta, MESSAGE_STOP]))[-1]
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.stop_sequence) == (reason, "</x>")
    assert f'"stop_reason":"{wire}"'.encode() in encode(finish)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage(input=10, cache_write=4, cache_write_1h=3, output=1)),
        ({"output_tokens": 9}, Usage(input=10, cache_write=4, cache_write_1h=3, output=9)),
        ({"input_tokens": None, "output_tokens": 9}, Usage(input=10, cache_write=4, cache_write_1h=3, output=9)),
        ({"cache_read_input_tokens": 8}, Usage(input=10, cache_read=8, cache_write=4, cache_write_1h=3, output=1)),
        ({"cache_creation_input_tokens": 9}, Usage(input=10, cache_write=6, cache_write_1h=3, output=1)),
        ({"cache_creation_input_tokens": 2}, Usage(input=10, cache_write_1h=2, output=1)),
        (
            {"cache_creation": {"ephemeral_1h_input_tokens": 5}},
            Usage(input=10, cache_write=4, cache_write_1h=5, output=1),
        ),
    ],
)
def test_usage_is_cumulative(usage: Any, expected: Usage) -> None:
    first = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
        "output_tokens": 1,
    }
    start = frame("message_start", message={"usage": first})
    delta = frame("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    assert events_of(decode([start, delta]))[1] == expected


@pytest.mark.parametrize("start", [frame("message_start"), frame("message_start", message={"usage": None, "id": None})])
def test_a_start_may_say_nothing(start: bytes) -> None:
    assert events_of(decode([start, MESSAGE_DELTA]))[0] == Start()


@pytest.mark.parametrize(
    ("block", "events"),
    [
        ({"type": "text", "text": "a"}, [BlockStart(0), Text(0, "a")]),
        ({"type": "text", "text": "", "citations": [{"n": 1}]}, [BlockStart(0), Citation(0, '{"n": 1}')]),
        (
            {"type": "thinking", "thinking": "a", "signature": "s"},
            [BlockStart(0, "thinking"), Thinking(0, "a"), Signature(0, "s")],
        ),
        ({"type": "redacted_thinking", "data": "xyz"}, [BlockStart(0, "redacted_thinking", data="xyz")]),
        (
            {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}},
            [BlockStart(0, "tool_use", "n", "t"), ToolInput(0, '{"a":1}')],
        ),
        (
            {"type": "server_tool_use", "id": "t", "name": "n", "input": {}},
            [BlockStart(0, "server_tool_use", "n", "t")],
        ),
        ({"type": "novelty", "text": 1}, [BlockStart(0, "other", data='{"type": "novelty", "text": 1}')]),
    ],
)
def test_a_block_may_open_with_content(block: dict[str, Any], events: list[Event]) -> None:
    opened = frame("content_block_start", index=0, content_block=block)
    assert list(decode([MESSAGE_START, opened, MESSAGE_DELTA])[1].events) == events


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b": alive\n\n",
        MESSAGE_START,
        STREAM[: STREAM.index(b"event: message_delta")],
        MESSAGE_START + frame("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 1}),
    ],
)
def test_a_stream_that_breaks_off_is_no_answer(stream: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="broke off"):
        decode([stream])


@pytest.mark.parametrize(
    "nonsense",
    [
        b"event: message_start\ndata: <html>\n\n",
        b'event: content_block_start\ndata: {"index":0}\n\n',
        b'event: content_block_delta\ndata: {"index":"0","delta":{}}\n\n',
        b'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":"\xff"}}\n\n',
        b"event: message_delta\ndata: []\n\n",
        b"data: <html>\n\n",
        b'event: content_block_start\ndata: {"content_block":' + b"[" * 9999 + b"\n\n",
    ],
)
def test_nonsense_is_the_upstreams_failure(nonsense: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="the upstream sent a broken"):
        raise_failure(decode([MESSAGE_START, nonsense]))


def test_a_frame_without_end_is_refused() -> None:
    with pytest.raises(UpstreamFailed, match="larger than"):
        decode(b"x" * 1_000_000 for _ in range(40))


@given(st.binary(max_size=200))
def test_foreign_bytes_raise_nothing_else(noise: bytes) -> None:
    for prefix in (b"", b"data: ", b"event: message_delta\ndata: {", b"event: content_block_start\ndata: "):
        try:
            events = events_of(decode([prefix + noise]))
        except GatewayError:
            continue
        assert isinstance(events[-1], Finish | Failed)


@pytest.mark.parametrize(
    "frame",
    [
        sse.write("ping", b'{"type":"ping","more":"%b"}' % (b"x" * (1 << 20))),
        sse.write("message_delta", b'{"type":"message_delta","delta":{"more":"%b"}}' % (b"x" * (1 << 20))),
        b": %b\n\n" % (b"x" * (1 << 20)),
    ],
    ids=["pings", "final records", "comments"],
)
def test_what_waits_for_the_end_of_the_answer_ends_somewhere(frame: bytes) -> None:
    ending = sse.write("message_delta", b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}')
    stopped = STREAM.partition(b"event: message_delta")[0] + ending
    failure = events_of(decode([stopped, *[frame] * 256]))[-1]
    assert isinstance(failure, Failed)
    assert "larger than 256 MiB" in failure.error.message


def test_an_error_event_is_raised_as_its_kind_and_leaves_as_it_came() -> None:
    event = frame("error", error={"type": "overloaded_error", "message": "Overloaded"})
    with pytest.raises(Overloaded, match="Overloaded") as caught:
        decode([MESSAGE_START, event])
    assert caught.value.status == 529
    assert PROTOCOL.encoder(exchange()).fail(caught.value).replace(b" ", b"") == event.replace(b" ", b"")


@pytest.mark.parametrize("wanted", [None, RELAYED])
def test_an_error_in_an_answer_that_has_begun_is_its_last_event(wanted: frozenset[type] | None) -> None:
    event = frame("error", error={"type": "api_error", "message": "it broke"})
    begun = STREAM[: STREAM.index(b"event: content_block_stop")]
    pieces = decode([begun + event + STREAM], wanted)
    failed = pieces[-1].events[0]
    assert isinstance(failed, Failed)
    assert (failed.error.message, pieces[-1].raw) == ("it broke", b"")
    assert raw_of(pieces) == begun


def test_an_error_without_a_name_is_an_error() -> None:
    with pytest.raises(UpstreamFailed, match=r"^the upstream failed: out of memory$"):
        decode([MESSAGE_START, b'data: {"error":{"message":"out of memory"}}\n\n'])


# ---------------------------------------------------------------- encoding


def test_the_frames_are_exactly_these() -> None:
    events = [event for event in EVENTS if not isinstance(event, Ping)]
    expected = STREAM.replace(b'event: ping\ndata: {"type": "ping"}\n\n', b"").replace(b',"container":null', b"")
    start, end = expected.index(b'"usage":{"output_tokens":42'), expected.index(b"\n\nevent: message_stop")
    counts = (
        b'"usage":{"input_tokens":3,"cache_creation_input_tokens":7,"cache_read_input_tokens":20,"cache_creation":'
        b'{"ephemeral_5m_input_tokens":5,"ephemeral_1h_input_tokens":2},"output_tokens":42,'
        b'"output_tokens_details":{"thinking_tokens":9}}}'
    )
    assert encode(*events) == expected[:start] + counts + expected[end:]


def test_other_blocks_open_with_what_they_are() -> None:
    novelty = '{"type":"novelty","n":1}'
    blocks = [
        BlockStart(0, "redacted_thinking", data="x"),
        BlockStart(1, "server_tool_use", "web_search", "s"),
        BlockStart(2, "other", data=novelty),
        BlockStart(3, "other"),
    ]
    assert [data_of(encode(block))["content_block"] for block in blocks] == [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "novelty", "n": 1},
        {"type": "text", "text": ""},
    ]


def test_a_foreign_start_gets_an_id_and_the_clients_model() -> None:
    exchanged = exchange({"model": "claude-alias", "messages": []}, upstream=OpenAIChat())
    message = data_of(PROTOCOL.encoder(exchanged).encode(Start("gpt-9", id="chatcmpl-9")))["message"]
    assert message["id"] == "msg_" + exchanged.id.removeprefix("req_")
    assert message["model"] == "claude-alias"


def test_usage_leaves_with_the_finish_and_the_last_word_counts() -> None:
    frames = encode(Start(usage=Usage(input=4)), Usage(input=4, output=1), Usage(input=4, output=6), Finish())
    usages = [data_of(part) for part in frames.split(b"\n\n")[:-1]]
    assert [sorted(found) for found in usages] == [["message", "type"], ["delta", "type", "usage"], ["type"]]
    assert usages[1]["usage"]["output_tokens"] == 6
    assert usages[1]["usage"]["input_tokens"] == 4


def test_a_ping() -> None:
    assert encode(Ping()) == PROTOCOL.encoder(exchange()).ping() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_a_failure_is_an_error_event() -> None:
    exchanged = exchange()
    encoder = PROTOCOL.encoder(exchanged)
    error = PromptTooLong(215692, 200000)
    message = "prompt is too long: 215692 tokens > 200000 maximum"
    expected = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": message},
        "request_id": exchanged.id,
    }
    for sent in (encoder.fail(error), encoder.encode(Failed(error))):
        assert sent.startswith(b"event: error\n")
        assert data_of(sent) == expected


def test_an_upstreams_own_error_leaves_on_one_line() -> None:
    body = b'{\n  "type": "error",\n  "error": {"type": "api_error", "message": "1\\n2"}\n}'
    error = UpstreamFailed("1\n2", raw=RawError("anthropic", 500, {}, body))
    sent = PROTOCOL.encoder(exchange()).fail(error)
    assert sent.count(b"\n") == 3
    assert data_of(sent) == json.loads(body)
    foreign = UpstreamFailed("no", raw=RawError("openai-chat", 500, {}, body))
    assert data_of(PROTOCOL.encoder(exchange()).fail(foreign))["error"]["message"] == "no"


def test_frames_of_another_format_are_dropped() -> None:
    opaque = Opaque(b"event: novelty\ndata: {}\n\n")
    assert encode(opaque, upstream=PROTOCOL) == opaque.frame
    assert encode(opaque, upstream=OpenAIChat()) == encode(opaque, upstream=None) == b""


def test_safety_checks_that_nobody_made_are_unsupported() -> None:
    def results(**of_exchange: Any) -> Any:
        return delta(Finish(), **of_exchange).get("safeguard_results")

    def delta(finish: Finish, **of_exchange: Any) -> Any:
        return data_of(encode(finish, **of_exchange).split(b"\n\n")[0])["delta"]

    assert results(body=SAFEGUARDS, upstream=OpenAIChat()) == UNSUPPORTED
    assert results(body=SAFEGUARDS, upstream=None) == UNSUPPORTED  # a step answered
    assert results(body=SAFEGUARDS, upstream=PROTOCOL) is None
    assert results(upstream=OpenAIChat()) is None
    assert results(body=SAFEGUARDS | {"safeguards": "odd"}) is None
    judged = Finish(extra={"safeguard_results": '[{"type":"x"}]'})
    assert delta(judged, body=SAFEGUARDS, upstream=OpenAIChat())["safeguard_results"] == [{"type": "x"}]


def test_further_members_of_the_final_record_stand_where_they_belong() -> None:
    extra = {"stop_details": '{"category":"x"}', "context_management": "[]"}
    record = data_of(encode(Finish("refusal", extra=extra)).split(b"\n\n")[0])
    assert record["delta"] == {"stop_reason": "refusal", "stop_sequence": None, "stop_details": {"category": "x"}}
    assert record["context_management"] == []


# ---------------------------------------------------------------- there and back

text = st.text(max_size=8)
counts = st.integers(0, 99)
usages = st.builds(Usage, counts, counts, counts, counts, counts)
json_objects = st.dictionaries(text, text, max_size=2).map(json.dumps)


def block(index: int, kind: str, parts: list[str], data: str) -> list[Event]:
    events: list[Event] = {
        "text": [BlockStart(index), *(Text(index, part) for part in parts), Citation(index, data)],
        "thinking": [BlockStart(index, "thinking"), *(Thinking(index, part) for part in parts), Signature(index, data)],
        "redacted_thinking": [BlockStart(index, "redacted_thinking", data=data)],
        "tool_use": [BlockStart(index, "tool_use", "n", data), *(ToolInput(index, part) for part in parts)],
        "server_tool_use": [BlockStart(index, "server_tool_use", "n", data), ToolInput(index, data)],
        "other": [BlockStart(index, "other", data=data)],
    }[kind]  # type: ignore[assignment]
    return [*events, BlockStop(index)]


kinds = st.sampled_from(["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "other"])
blocks = st.lists(st.tuples(kinds, st.lists(text, max_size=3), json_objects), max_size=5).map(
    lambda drawn: [event for index, parts in enumerate(drawn) for event in block(index, *parts)]
)
finishes = st.builds(
    Finish,
    st.sampled_from(
        ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "context_exceeded"]
    ),
    st.none() | text,
    st.dictionaries(
        st.sampled_from(["stop_details", "container", "context_management"]),
        json_objects,
    ),
)
answers = st.tuples(
    st.builds(Start, text.filter(bool), text.map("msg_".__add__), usages), blocks, usages, finishes
).map(lambda drawn: [drawn[0], *drawn[1], drawn[2], drawn[3]])


@given(answers)
def test_what_is_encoded_is_decoded(events: list[Event]) -> None:
    stream = encode(*events)
    pieces = decode([stream])
    assert events_of(pieces) == events
    assert raw_of(pieces) == raw_of(decode([stream], RELAYED)) == stream
