"""The vocabulary of an answer: a cache can store it, tests can write it, nobody can change it."""

from typing import get_args

import msgspec
import pytest

from penstock import (
    BlockStart,
    BlockStop,
    Citation,
    Delta,
    Event,
    Failed,
    Finish,
    Internal,
    Opaque,
    Ping,
    Signature,
    Start,
    Text,
    Thinking,
    ToolInput,
    Usage,
)
from penstock.store import MemoryStore

ANSWER: list[Event] = [
    Start(model="m", id="msg_1", usage=Usage(input=3, cache_read=2)),
    Ping(),
    BlockStart(0, "thinking"),
    Thinking(0, "hm"),
    Signature(0, "c2VhbA=="),
    BlockStop(0),
    BlockStart(1),
    Text(1, "see"),
    Citation(1, '{"url":"x"}'),
    BlockStop(1),
    BlockStart(2, "tool_use", name="read", id="call_1"),
    ToolInput(2, '{"path":"a"}'),
    BlockStop(2),
    Opaque(b"event: novelty\n\n"),
    Usage(input=3, cache_read=2, cache_write=1, cache_write_1h=4, output=9, reasoning=5),
    Finish("tool_use", extra={"novelty": "[1]"}),
]


async def test_a_store_gives_back_the_answer_it_was_given() -> None:
    store = MemoryStore(lambda: 0.0)
    await store.set("answer", ANSWER)
    assert await store.get("answer", list[Event]) == ANSWER


def test_every_event_is_in_that_answer_but_the_failure() -> None:
    assert {type(event) for event in ANSWER} == set(get_args(Event)) - {Failed}


def test_an_answer_that_failed_is_nothing_to_store() -> None:
    with pytest.raises(TypeError, match="Internal"):
        msgspec.json.encode(Failed(Internal("broken")))


def test_written_as_json_an_event_says_which_it_is() -> None:
    assert msgspec.json.encode(Text(1, "hi")) == b'{"event":"text","index":1,"text":"hi"}'
    assert msgspec.json.decode(b'{"event":"finish","reason":"end_turn"}', type=Event) == Finish()


@pytest.mark.parametrize("event", ANSWER, ids=lambda event: type(event).__name__)
def test_events_cannot_be_changed(event: Event) -> None:
    for field in event.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(event, field, None)


def test_the_prompt_is_what_was_read_whatever_it_cost() -> None:
    assert Usage(input=1, cache_read=20, cache_write=300, cache_write_1h=4000, output=50000).prompt == 4321


def test_increments_belong_to_a_block() -> None:
    assert all("index" in kind.__struct_fields__ for kind in get_args(Delta))
