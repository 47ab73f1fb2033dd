"""The validator: what comes in any order leaves as one proper answer, and every repair is counted."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import GatewayError, Internal, UpstreamFailed
from penstock.events import (
    BlockKind,
    BlockStart,
    BlockStop,
    Citation,
    Event,
    Failed,
    Finish,
    Opaque,
    Ping,
    Signature,
    Start,
    Text,
    Thinking,
    ToolInput,
    Usage,
)
from penstock.validator import Validator

START = Start("m", "msg_1")
TOOL = BlockStart(0, "tool_use", "Bash", "toolu_1")
OTHER = BlockStart(0, "other", data='{"type":"novelty"}')

PROPER: list[Event] = [
    Ping(),
    Start("m", "msg_1", Usage(input=5)),
    BlockStart(0, "thinking"),
    Thinking(0, "hm"),
    Signature(0, "seal"),
    BlockStop(0),
    BlockStart(1),
    Text(1, "Let me look."),
    Citation(1, "{}"),
    Opaque(b"data: 1\n\n"),
    BlockStop(1),
    BlockStart(2, "redacted_thinking", data="x"),
    BlockStop(2),
    BlockStart(3, "tool_use", "Bash", "toolu_1"),
    ToolInput(3, '{"command":'),
    ToolInput(3, '"ls"}'),
    BlockStop(3),
    BlockStart(4, "tool_use", "Pwd", "toolu_2"),
    BlockStop(4),
    Usage(input=5, output=9),
    Finish("tool_use"),
    Usage(input=5, output=10),
]


def check(events: Iterable[Event], sees_deltas: bool = True) -> tuple[list[Event], dict[str, int]]:
    validator = Validator(sees_deltas=sees_deltas)
    out = [checked for event in events for checked in validator.check(event)]
    return out, validator.repairs


@pytest.mark.parametrize("sees_deltas", [True, False])
def test_a_proper_answer_leaves_as_the_objects_that_came(sees_deltas: bool) -> None:
    out, repairs = check(PROPER, sees_deltas)
    assert [id(event) for event in out] == [id(event) for event in PROPER]
    assert repairs == {}


REPAIRED: dict[str, tuple[list[Event], list[Event], dict[str, int]]] = {
    "no start": (
        [Ping(), BlockStart(0), Text(0, "a"), BlockStop(0), Finish()],
        [Ping(), Start(), BlockStart(0), Text(0, "a"), BlockStop(0), Finish()],
        {"missing_start": 1},
    ),
    "nothing but an end": ([Finish()], [Start(), Finish()], {"missing_start": 1}),
    "usage before the start": (
        [Usage(output=1), START],
        [Start(), Usage(output=1)],
        {"missing_start": 1, "second_start": 1},
    ),
    "two starts": ([START, Start("other"), Finish()], [START, Finish()], {"second_start": 1}),
    "indexes from one, with a gap": (
        [START, BlockStart(1), Text(1, "a"), BlockStop(1), BlockStart(7), Text(7, "b"), BlockStop(7), Finish()],
        [START, BlockStart(0), Text(0, "a"), BlockStop(0), BlockStart(1), Text(1, "b"), BlockStop(1), Finish()],
        {"block_index": 2},
    ),
    "an index used twice": (
        [START, BlockStart(0), BlockStop(0), BlockStart(0), Text(0, "b"), BlockStop(0), Finish()],
        [START, BlockStart(0), BlockStop(0), BlockStart(1), Text(1, "b"), BlockStop(1), Finish()],
        {"block_index": 1},
    ),
    "a block opens inside another": (
        [START, BlockStart(0), Text(0, "a"), BlockStart(1, "thinking"), BlockStop(1), Finish()],
        [START, BlockStart(0), Text(0, "a"), BlockStop(0), BlockStart(1, "thinking"), BlockStop(1), Finish()],
        {"unclosed_block": 1},
    ),
    "a block is open at the end": (
        [START, BlockStart(0), Text(0, "a"), Finish()],
        [START, BlockStart(0), Text(0, "a"), BlockStop(0), Finish()],
        {"unclosed_block": 1},
    ),
    "text without a block": (
        [START, Text(0, "a"), Text(0, "b"), Finish()],
        [START, BlockStart(0), Text(0, "a"), Text(0, "b"), BlockStop(0), Finish()],
        {"missing_block": 1, "unclosed_block": 1},
    ),
    "a citation and a seal without their blocks": (
        [START, Citation(0, "{}"), Signature(1, "s"), Finish()],
        [
            START,
            BlockStart(0),
            Citation(0, "{}"),
            BlockStop(0),
            BlockStart(1, "thinking"),
            Signature(1, "s"),
            BlockStop(1),
            Finish(),
        ],
        {"missing_block": 2, "unclosed_block": 2},
    ),
    "thinking inside a text block": (
        [START, BlockStart(0), Text(0, "a"), Thinking(0, "b"), BlockStop(0), Finish()],
        [
            START,
            BlockStart(0),
            Text(0, "a"),
            BlockStop(0),
            BlockStart(1, "thinking"),
            Thinking(1, "b"),
            BlockStop(1),
            Finish(),
        ],
        {"missing_block": 1, "unclosed_block": 1, "block_index": 1},
    ),
    "text after its block": (
        [START, BlockStart(0), BlockStop(0), Text(0, "late"), Finish()],
        [START, BlockStart(0), BlockStop(0), BlockStart(1), Text(1, "late"), BlockStop(1), Finish()],
        {"missing_block": 1, "unclosed_block": 1, "block_index": 1},
    ),
    "stops without blocks": (
        [START, BlockStop(0), BlockStart(0), BlockStop(0), BlockStop(0), Finish()],
        [START, BlockStart(0), BlockStop(0), Finish()],
        {"stray_stop": 2},
    ),
    "increments of nothing": (
        [START, Text(0, ""), BlockStart(0), Text(0, ""), Thinking(0, ""), BlockStop(0), Finish()],
        [START, BlockStart(0), BlockStop(0), Finish()],
        {"empty_delta": 3},
    ),
    "negative usage": (
        [Start(usage=Usage(input=-1)), Usage(output=-7), Finish()],
        [Start(), Usage(), Finish()],
        {"usage": 2},
    ),
    "falling usage": (
        [Start(usage=Usage(input=10, cache_read=5)), Usage(output=8, reasoning=4), Usage(input=15, output=2), Finish()],
        [
            Start(usage=Usage(input=10, cache_read=5)),
            Usage(input=10, cache_read=5, output=8, reasoning=4),
            Usage(input=15, output=8, reasoning=4),
            Finish(),
        ],
        {"usage": 2},
    ),
    "a tool call that says end_turn": (
        [START, TOOL, BlockStop(0), Finish("end_turn")],
        [START, TOOL, BlockStop(0), Finish("tool_use")],
        {"stop_reason": 1},
    ),
    "tool_use without a tool call": ([START, Finish("tool_use")], [START, Finish("end_turn")], {"stop_reason": 1}),
    "more after the end": (
        [START, Finish(), Finish("refusal"), BlockStart(0), Text(0, "a"), BlockStop(0), Ping(), Usage(output=1)],
        [START, Finish(), Usage(output=1)],
        {"second_finish": 1, "after_finish": 3, "stray_stop": 1},
    ),
}


@pytest.mark.parametrize("case", REPAIRED)
def test_repairs(case: str) -> None:
    events, expected, counted = REPAIRED[case]
    assert check(events) == (expected, counted)


def test_usage_that_moves_into_the_cache_is_not_counted_twice() -> None:
    events: list[Event] = [Start(usage=Usage(input=100)), Usage(input=10, cache_read=90, output=1)]
    assert check(events) == (events, {})


def test_real_usage_corrects_an_estimate_downwards() -> None:
    events: list[Event] = [Start(usage=Usage(input=100, estimated=True)), Usage(input=80, output=1)]
    assert check(events) == (events, {})


@pytest.mark.parametrize("reason", ["max_tokens", "stop_sequence", "refusal", "pause_turn", "context_exceeded"])
def test_other_stop_reasons_stay_with_and_without_tools(reason: str) -> None:
    finish = msgspec.convert({"event": "finish", "reason": reason}, Finish)
    assert check([START, TOOL, BlockStop(0), finish])[0][-1] is finish
    assert check([START, finish])[0][-1] is finish


def test_a_block_nobody_knows_may_be_a_tool_call() -> None:
    finish = Finish("tool_use")
    assert check([START, OTHER, BlockStop(0), finish])[0][-1] is finish


def test_a_block_nobody_knows_takes_any_increment() -> None:
    events: list[Event] = [START, OTHER, Text(0, "a"), ToolInput(0, "{"), Thinking(0, "b"), BlockStop(0), Finish()]
    assert check(events) == (events, {})


@pytest.mark.parametrize("half", ['{"command":"rm -rf /tm', "[]", '"text"', '{"a":1}}'])
@pytest.mark.parametrize("then", [Finish("tool_use"), Finish("end_turn"), BlockStart(1), Text(1, "a")])
def test_half_a_tool_call_never_passes(half: str, then: Event) -> None:
    validator = Validator()
    for event in (START, TOOL, ToolInput(0, half), BlockStop(0), Usage(output=1)):
        validator.check(event)
    with pytest.raises(UpstreamFailed, match="half of a call of the tool 'Bash'"):
        validator.check(then)


@pytest.mark.parametrize("reason", ["max_tokens", "context_exceeded", "refusal"])
def test_half_a_tool_call_may_end_an_answer_that_says_it_was_cut_short(reason: str) -> None:
    finish = msgspec.convert({"event": "finish", "reason": reason}, Finish)
    events: list[Event] = [START, TOOL, ToolInput(0, '{"a":'), BlockStop(0), Usage(output=1), finish]
    assert check(events) == ([START, TOOL, ToolInput(0, '{"a":'), Usage(output=1), BlockStop(0), finish], {})


def test_the_input_of_no_tool_call_is_refused() -> None:
    with pytest.raises(UpstreamFailed, match="without the call"):
        check([START, ToolInput(0, "{}")])


def test_end_accepts_a_finished_or_failed_answer_only() -> None:
    finished, failed, broken = Validator(), Validator(), Validator()
    finished.check(Finish())
    failed.check(Failed(Internal("x")))
    broken.check(START)
    assert finished.end() == failed.end() == []
    with pytest.raises(UpstreamFailed, match="broke off"):
        broken.end()


# ---------------------------------------------------------------- when increments go past the validator


def test_without_increments_nothing_is_missed_and_indexes_stay() -> None:
    events: list[Event] = [
        START,
        BlockStart(1),
        BlockStop(1),
        msgspec.structs.replace(TOOL, index=5),
        BlockStop(5),
        Finish("tool_use"),
    ]
    assert check(events, sees_deltas=False) == (events, {})


def test_without_increments_blocks_may_overlap_and_are_closed_at_the_end() -> None:
    events: list[Event] = [START, BlockStart(0), BlockStart(1), BlockStop(0), BlockStop(0), Finish()]
    expected: list[Event] = [START, BlockStart(0), BlockStart(1), BlockStop(0), BlockStop(1), Finish()]
    assert check(events, sees_deltas=False) == (expected, {"stray_stop": 1, "unclosed_block": 1})


def test_without_increments_text_can_be_added_at_the_end() -> None:
    out, _ = check([START, BlockStart(0), BlockStop(0), Text(9, "PS"), Finish()], sees_deltas=False)
    assert out[3:] == [BlockStart(1), Text(1, "PS"), BlockStop(1), Finish()]


@pytest.mark.parametrize("events", [[START, Text(0, "banner"), BlockStart(0)], [START, BlockStart(0), Text(1, "a")]])
def test_without_increments_a_step_cannot_add_text_among_relayed_blocks(events: list[Event]) -> None:
    with pytest.raises(Internal, match="listen to BlockStart"):
        check(events, sees_deltas=False)


# ---------------------------------------------------------------- any order at all

indexes = st.integers(0, 3)
counts = st.integers(-2, 9)
kinds = st.sampled_from(["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "other"])
words = st.sampled_from(["", "a", "{}", '{"a":', "1}"])
usages = st.builds(Usage, counts, counts, counts, counts, counts, counts)
events_in_any_order = st.lists(
    st.one_of(
        st.builds(Start, usage=usages),
        st.builds(BlockStart, indexes, kinds),
        st.builds(Text, indexes, words),
        st.builds(Thinking, indexes, words),
        st.builds(Signature, indexes, words),
        st.builds(Citation, indexes, words),
        st.builds(ToolInput, indexes, words),
        st.builds(BlockStop, indexes),
        usages,
        st.builds(Finish, st.sampled_from(["end_turn", "tool_use", "max_tokens"])),
        st.just(Ping()),
        st.just(Opaque(b"x")),
    ),
    max_size=25,
)

HOLDS: dict[BlockKind, tuple[type, ...]] = {
    "text": (Text, Citation),
    "thinking": (Thinking, Signature),
    "redacted_thinking": (),
    "tool_use": (ToolInput,),
    "server_tool_use": (ToolInput,),
    "other": (Text, Citation, Thinking, Signature, ToolInput),
}


@given(events_in_any_order)
def test_whatever_comes_a_proper_answer_leaves(events: list[Event]) -> None:
    validator = Validator()
    out: list[Event] = []
    try:
        for event in events:
            out += validator.check(event)
    except GatewayError:
        return  # a refusal is proper too
    assert_proper([event for event in out if not isinstance(event, Ping | Opaque)])
    if out != events:
        assert validator.repairs or any(isinstance(event, ToolInput) for event in events)


def assert_proper(events: list[Event]) -> None:
    opened, block, usage, tools = 0, None, Usage(), 0
    for position, event in enumerate(events):
        assert isinstance(event, Start) == (position == 0)
        match event:
            case BlockStart():
                assert block is None
                assert event.index == opened
                block, opened, tools = event, opened + 1, tools + (event.kind in ("tool_use", "other"))
            case BlockStop(index=index):
                assert block is not None
                assert block.index == index
                block = None
            case Text() | Thinking() | Signature() | Citation() | ToolInput():
                assert block is not None
                assert (block.index, type(event) in HOLDS[block.kind]) == (event.index, True)
            case Usage():
                assert all(count >= 0 for count in msgspec.structs.astuple(event) if isinstance(count, int))
                assert event.prompt >= usage.prompt
                assert event.output >= usage.output
                usage = event
            case Finish(reason=reason):
                assert block is None
                assert reason != "tool_use" or tools
                assert all(isinstance(late, Usage) for late in events[position + 1 :])
