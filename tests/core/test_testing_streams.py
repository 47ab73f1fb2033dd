"""The stream validator of the kit: what is right passes, and everything that is wrong is named with its place."""

from collections.abc import Callable, Sequence

import pytest

from penstock import BlockStart, BlockStop, Event, Finish, Start, Text, ToolInput, Usage
from penstock.testing import Thought, ToolCall, assert_valid_stream, chat, events_of, messages

GOOD = messages.stream(Thought("hm"), "hello", ToolCall("Read", {"path": "a"})).payload
FRAMES = GOOD.decode().split("\n\n")[:-1]


def names() -> list[str]:
    return [frame.split("\n")[0].removeprefix("event: ") for frame in FRAMES]


def without(number: int) -> bytes:
    return joined([frame for place, frame in enumerate(FRAMES) if place != number])


def joined(frames: Sequence[str]) -> bytes:
    return "".join(f"{frame}\n\n" for frame in frames).encode()


def first(name: str) -> int:
    return names().index(name)


def test_what_is_right_passes() -> None:
    assert_valid_stream(GOOD)
    assert_valid_stream(b": a comment\n\n" + GOOD, "anthropic")
    assert_valid_stream(messages.stream().payload)
    assert_valid_stream(events_of(Thought("hm"), "hello", ToolCall("Read", {"path": "a"})))


@pytest.mark.parametrize("number", [place for place, name in enumerate(names()) if name != "ping"])
def test_no_frame_but_increments_may_be_missing(number: int) -> None:
    delta = FRAMES[number]
    if names()[number] == "content_block_delta" and "input_json" not in delta:
        assert_valid_stream(without(number))
    else:
        with pytest.raises(AssertionError):
            assert_valid_stream(without(number))


@pytest.mark.parametrize("number", [place for place, name in enumerate(names()) if name != "ping"])
def test_no_frame_but_increments_may_come_twice(number: int) -> None:
    twice = joined([*FRAMES[: number + 1], *FRAMES[number:]])
    if names()[number] == "content_block_delta" and "input_json" not in FRAMES[number]:
        assert_valid_stream(twice)
    else:
        with pytest.raises(AssertionError, match=r"^frame \d+ \(\w+, byte \d+\): "):
            assert_valid_stream(twice)


def replaced(old: str, new: str) -> Callable[[], bytes]:
    assert old in GOOD.decode(), old
    return lambda: GOOD.decode().replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (lambda: b"", "the stream ends without message_start"),
        (lambda: GOOD[: GOOD.index(b"event: message_stop")], "the stream ends without message_stop"),
        (lambda: GOOD[: GOOD.index(b"event: message_delta")], "the stream ends without message_delta"),
        (lambda: GOOD[:-20], r"byte \d+: the stream ends within a frame: b'event: message_stop"),
        (lambda: without(0), r"frame 1 \(ping, byte 0\)|must begin with message_start"),
        (replaced('"index": 1', '"index": 2'), "the block has index 2, the next one is 1"),
        (replaced('"type": "text_delta"', '"type": "thinking_delta"'), "thinking_delta in a block of text"),
        (replaced('"stop_reason": "tool_use"', '"stop_reason": "end_turn"'), "end_turn after a call of a tool"),
        (replaced('"output_tokens": 7', '"output_tokens": 0'), "output_tokens falls from 1 to 0"),
        (replaced('"role": "assistant"', '"role": "user"'), "a message begins with"),
        (replaced('"content_block": {', '"content": {'), "a field is missing or no object: 'content_block'"),
        (replaced("event: ping", "event: pong"), "the event is called 'pong', its data says 'ping'"),
        (replaced('{"type": "ping"}', "{"), r"frame 2 \(ping, byte \d+\): the data is no JSON object"),
        (lambda: GOOD + messages.frame({"type": "message_stop"}), "something comes after message_stop"),
        (lambda: GOOD.replace(b"ping", b"pong"), "no client knows such an event"),
        (
            lambda: messages.stream("hi", stop="tool_use").payload,
            "stop_reason is tool_use, but there is no call of a tool",
        ),
        (
            lambda: joined(FRAMES[: first("content_block_stop")]) + messages.frame({"type": "error", "error": "x"}),
            "the answer ends in an error: x",
        ),
    ],
)
def test_what_is_wrong_is_named(stream: Callable[[], bytes], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_valid_stream(stream())


def test_half_a_tool_call_is_right_only_where_the_answer_is_cut_short() -> None:
    last = max(place for place, frame in enumerate(FRAMES) if "input_json_delta" in frame)
    with pytest.raises(AssertionError, match="the input of the tool call is no JSON object"):
        assert_valid_stream(without(last))
    assert_valid_stream(without(last).replace(b'"stop_reason": "tool_use"', b'"stop_reason": "max_tokens"'))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "after event 0: the answer has no Finish"),
        ([Finish()], r"event 1, Finish.*missing_start"),
        ([Start(), Text(0, "x"), Finish()], r"event 2, Text.*\(missing_block: an increment had no block"),
        ([Start(), BlockStart(0), Finish()], r"event 3, Finish.*unclosed_block"),
        ([Start(), BlockStart(0), BlockStop(1)], r"event 3, BlockStop.*stray_stop"),
        ([Start(), ToolInput(0, "{}")], "event 2, .*the input of a tool call without the call"),
        ([Start(), Usage(output=3), Usage(output=2)], r"event 3, Usage.*usage: a negative or falling count"),
        ([Start(), Finish("tool_use")], r"event 2, Finish.*stop_reason"),
    ],
)
def test_what_is_wrong_with_events_is_named(events: list[Event], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_valid_stream(events)


def test_formats_that_cannot_be_checked_are_refused() -> None:
    with pytest.raises(ValueError, match="protocol 'openai-chat' is for upstreams only"):
        assert_valid_stream(chat.stream("hi").payload, "openai-chat")
    with pytest.raises(ValueError, match="unknown protocol 'antropic'; did you mean 'anthropic'"):
        assert_valid_stream(GOOD, "antropic")
