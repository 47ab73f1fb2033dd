"""The way up: which steps hear an event, what they may make of it, and what leaves."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from penstock import (
    BlockStart,
    BlockStop,
    Event,
    Exchange,
    Failed,
    Finish,
    Internal,
    Opaque,
    Overloaded,
    Piece,
    Ping,
    Plugin,
    Prompt,
    Request,
    Start,
    Text,
    UpstreamFailed,
    Usage,
    hookimpl,
)
from penstock.delivery import Delivery
from penstock.plan import Call, Step, Upward, compile_plan
from penstock.sources import SILENCE, Source
from tests.core.lane import answer
from tests.core.lines import Lines, LinesEncoder, line, spaced

Makes = Callable[[Any], Any]


class Hears(Plugin):
    """Hears every event and makes of it what the test wants."""

    makes: Makes = lambda _: None
    heard: list[Event] = []

    @hookimpl
    def on_event(self, event: Event) -> Any:
        self.heard.append(event)
        return self.makes(event)


class HearsText(Plugin):
    """Hears text and nothing else."""

    makes: Makes = lambda _: None
    heard: list[Event] = []

    @hookimpl
    def on_event(self, event: Text) -> Any:
        self.heard.append(event)
        return self.makes(event)


def exchange() -> Exchange:
    return Exchange(
        pipeline="test",
        protocol=Lines(),
        operation="generate",
        request=Request(b'{"model":"m"}', lambda _: Prompt()),
        headers={},
        upstreams={},
        started=0.0,
    )


def broke(call: Call, error: Exception) -> Upward:
    raise Internal(f"{call.step} made the mistake {error!r}")


def delivery(*steps: Plugin, relay: bool = False, of: Exchange | None = None) -> Delivery:
    """What carries an answer from below all steps, which are called s0, s1 ... from above."""
    plan = compile_plan([Step(number, f"s{number}", step) for number, step in enumerate(steps)])
    return Delivery(
        of or exchange(),
        plan.upward(len(steps)),
        relay=relay,
        sees_deltas=True,
        clock=lambda: 7.0,
        broke=broke,
    )


def pieces(events: Iterable[Event]) -> list[Piece]:
    """Each event as a piece of its own, with the bytes of an upstream."""
    return [Piece((event,), spaced(event)) for event in events]


def delivered(*steps: Plugin, of: Iterable[Event] | None = None) -> list[Event]:
    return delivery(*steps).events(pieces(answer("a", "b") if of is None else of))


def texts(events: Iterable[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Text)]


# ---------------------------------------------------------------- listeners


def test_an_event_meets_the_steps_from_the_bottom_up() -> None:
    above = HearsText(makes=lambda event: Text(0, event.text + " above"))
    below = HearsText(makes=lambda event: Text(0, event.text + " below"))
    assert texts(delivered(above, below)) == ["a below above", "b below above"]
    assert texts(above.heard) == ["a below", "b below"]


def test_a_step_hears_the_types_it_names_and_no_others() -> None:
    some, everything = HearsText(), Hears()
    assert delivered(some, everything) == answer("a", "b")
    assert some.heard == [Text(0, "a"), Text(0, "b")]
    assert everything.heard == answer("a", "b")


def split(event: Text) -> Iterator[Event]:
    for letter in event.text:
        yield Text(0, letter)


MAKES: dict[str, tuple[Makes, list[str]]] = {
    "nothing keeps it": (lambda _: None, ["one", "two"]),
    "an event replaces it": (lambda event: Text(0, event.text.upper()), ["ONE", "TWO"]),
    "several expand it": (split, list("onetwo")),
    "an empty tuple drops it": (lambda event: () if event.text == "one" else None, ["two"]),
    "a list of others": (lambda event: [BlockStop(0), BlockStart(1), Text(1, event.text)], ["one", "two"]),
}


@pytest.mark.parametrize("name", MAKES)
def test_what_a_step_may_make_of_an_event(name: str) -> None:
    makes, expected = MAKES[name]
    above = HearsText()
    left = delivered(above, HearsText(makes=makes), of=answer("one", "two"))
    assert texts(left) == expected
    assert texts(above.heard) == expected
    assert (left[0], left[-1]) == (answer("")[0], Finish())


def test_what_a_step_makes_goes_to_those_above_that_hear_its_type() -> None:
    above = HearsText()
    below = Hears(makes=lambda event: [Text(0, "more"), event] if isinstance(event, BlockStop) else None)
    assert texts(delivered(above, below)) == ["a", "b", "more"]
    assert texts(above.heard) == ["a", "b", "more"]


def test_what_a_step_drops_the_steps_above_never_hear() -> None:
    above = Hears()
    delivered(above, HearsText(makes=lambda _: ()))
    assert texts(above.heard) == []


def test_repairs_come_after_the_last_step() -> None:
    """A step that drops the end of a block leaves no broken answer behind."""
    of = exchange()
    carries = delivery(Hears(makes=lambda event: () if isinstance(event, BlockStop) else None), of=of)
    *before, usage, finish = answer("a")
    assert carries.events(pieces(answer("a"))) == [*before[:-1], usage, BlockStop(0), finish]
    assert of.repairs == {"unclosed_block": 1}


@pytest.mark.parametrize("made", [5, "text", [Text(0, "x"), "text"], {"event": "text"}])
def test_what_is_not_an_event_is_a_mistake_of_the_step_that_made_it(made: object) -> None:
    with pytest.raises(Internal, match=r"s1.*(made something that is not an event|made the mistake)"):
        delivered(Hears(), HearsText(makes=lambda _: made))


def test_a_mistake_in_a_step_is_told_with_its_name() -> None:
    def fails(event: Event) -> None:
        raise KeyError(type(event).__name__)

    with pytest.raises(Internal, match="s1 made the mistake KeyError\\('Text'\\)"):
        delivered(Hears(), HearsText(makes=fails))


def test_a_step_that_may_break_hears_no_more_and_loses_nothing() -> None:
    """Those above it hear what it should have heard, and what comes later."""
    above, heard = HearsText(), []

    def fails(event: Event) -> tuple[Event, object]:
        heard.append(event)
        return (event, "no event") if len(heard) == 2 else (event, event)

    plan = compile_plan([Step(0, "s0", above), Step(1, "s1", HearsText(makes=fails))])

    def without(call: Call, _: Exception) -> Upward:
        return plan.without(frozenset({call.step})).upward(2)

    carries = Delivery(exchange(), plan.upward(2), relay=True, sees_deltas=True, clock=lambda: 7.0, broke=without)
    leaving = carries.encode(pieces(answer("a", "b", "c", "d")), Lines().encoder(exchange()))
    assert texts(heard) == ["a", "b"]
    assert texts(above.heard) == ["a", "a", "b", "c", "d"]
    assert leaving.endswith(b"".join(map(spaced, answer("a", "b", "c", "d")[3:])))


def test_a_mistake_in_a_generator_is_found_too() -> None:
    def fails(event: Event) -> Iterator[Event]:
        yield event
        raise KeyError("late")

    with pytest.raises(Internal, match="s0 made the mistake"):
        delivered(HearsText(makes=fails))


def test_a_step_may_end_the_answer_with_an_error_of_its_own() -> None:
    def ends(_: Event) -> None:
        raise Overloaded("enough")

    with pytest.raises(Overloaded, match="enough"):
        delivered(HearsText(makes=ends))


# ---------------------------------------------------------------- bytes


def test_what_nobody_changed_leaves_as_its_bytes_when_relayed() -> None:
    came = pieces(answer("a"))
    assert delivery(Hears(), relay=True).encode(came, LinesEncoder()) == b"".join(piece.raw for piece in came)


def test_without_relaying_everything_is_written_anew() -> None:
    out = delivery().encode(pieces(answer("a")), LinesEncoder())
    assert out == b"".join(map(line, answer("a")))


def test_only_what_was_changed_is_written_anew() -> None:
    shout = HearsText(makes=lambda event: Text(0, "B") if event.text == "b" else None)
    out = delivery(shout, relay=True).encode(pieces(answer("a", "b")), LinesEncoder())
    expected = [spaced(event) for event in answer("a", "b")]
    expected[3] = line(Text(0, "B"))
    assert out.splitlines() == b"".join(expected).splitlines()


def test_a_piece_whose_events_were_dropped_leaves_nothing() -> None:
    out = delivery(HearsText(makes=lambda _: ()), relay=True).encode(pieces(answer("a")), LinesEncoder())
    assert b'"text":"a"' not in out
    assert len(out.splitlines()) == len(answer("a")) - 1


def test_bytes_that_nobody_wanted_to_look_at_are_relayed_or_dropped() -> None:
    odd = Piece((), b"novelty\n")
    assert delivery(relay=True).encode([odd], LinesEncoder()) == b"novelty\n"
    assert delivery(relay=False).encode([odd], LinesEncoder()) == b""


def test_one_read_is_one_write() -> None:
    came = [Piece(tuple(answer("a")), b"all of it\n")]
    assert delivery(relay=True).encode(came, LinesEncoder()) == b"all of it\n"
    assert delivery(relay=True).encode(pieces(answer("a")), LinesEncoder()).count(b"\n") == len(answer("a"))


def test_a_sign_of_life_is_written_for_the_client() -> None:
    carries = delivery(Hears(), relay=True)
    carries.events(pieces(answer("a")[:2]))
    assert carries.encode(SILENCE, LinesEncoder()) == line(Ping())


def test_a_whole_answer_leaves_as_its_body_unless_something_changed() -> None:
    body = Piece(tuple(answer("a")), b"the body")
    carries = delivery(Hears(), relay=True)
    assert carries.unchanged([body], carries.events([body])) == b"the body"
    carries = delivery(HearsText(makes=lambda _: Text(0, "x")), relay=True)
    assert carries.unchanged([body], carries.events([body])) is None
    carries = delivery(relay=False)
    assert carries.unchanged([body], carries.events([body])) is None


# ---------------------------------------------------------------- what the exchange learns


def test_the_exchange_learns_what_was_served() -> None:
    of = exchange()
    carries = delivery(of=of)
    assert not carries.complete
    carries.events(pieces([*answer("a")[:-1], Usage(input=3, output=9), Finish("max_tokens")]))
    assert (of.served_model, of.usage, of.stop_reason) == ("m", Usage(input=3, output=9), "max_tokens")
    assert of.first_event == 7.0
    assert carries.complete


@pytest.mark.parametrize(
    ("told", "noted"),
    [(10**400, 10**9), (10**9 + 1, 10**9), (-5, 0), (10**9, 10**9), (0, 0)],
    ids=["beyond all numbers", "too many", "negative", "the most", "none"],
)
def test_counts_that_cannot_be_are_not_believed(told: int, noted: int) -> None:
    of = exchange()
    carries = delivery(of=of)
    carries.events(pieces([Start(usage=Usage(input=told))]))
    assert of.usage == Usage(input=noted)
    carries.events(pieces([Usage(output=told, cache_read=7, searches=told, mode="fast")]))
    assert of.usage == Usage(output=noted, cache_read=7, searches=noted, mode="fast")


def test_a_model_without_a_name_leaves_the_one_that_is_known() -> None:
    of = exchange()
    of.served_model = "asked"
    delivery(of=of).events(pieces([Start()]))
    assert of.served_model == "asked"


def test_silence_is_no_first_event() -> None:
    of = exchange()
    delivery(of=of).events(SILENCE)
    assert of.first_event is None


class Tail(Source):
    """What comes after an answer: silence, or a failure."""

    def __init__(self, failure: UpstreamFailed | None = None) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._failure = failure

    async def fetch(self, seconds: float) -> Sequence[Piece] | None:
        self.waits.append(seconds)
        if self._failure is not None:
            raise self._failure
        return SILENCE


async def test_a_complete_answer_is_not_waited_for_long() -> None:
    carries, tail = delivery(), Tail()
    assert await carries.next_of(tail, 15.0) is SILENCE
    carries.events(pieces(answer("a")))
    assert await carries.next_of(tail, 15.0) is None
    assert await carries.next_of(tail, 0.1) is None
    assert tail.waits == [15.0, 1.0, 0.1]


async def test_how_a_complete_answer_ends_does_not_matter() -> None:
    carries, tail = delivery(), Tail(UpstreamFailed("reset"))
    with pytest.raises(UpstreamFailed):
        await carries.next_of(tail, 15.0)
    carries.events(pieces(answer("a")))
    assert await carries.next_of(tail, 15.0) is None


def test_a_failure_among_the_events_ends_the_answer() -> None:
    """What came before it in the same read still leaves."""
    came = [Piece((*answer("a")[:3], Failed(Overloaded("too much"))), b"")]
    with pytest.raises(Overloaded, match="too much"):
        delivery().events(came)
    carries = delivery()
    assert carries.encode(came, LinesEncoder()) == b"".join(map(line, answer("a")[:3]))
    assert isinstance(carries.failure, Overloaded)


def test_an_answer_without_an_end_is_none() -> None:
    carries = delivery()
    carries.events(pieces(answer("a")[:-1]))
    with pytest.raises(UpstreamFailed, match="broke off"):
        carries.end()


def test_frames_outside_the_vocabulary_pass() -> None:
    came = [*answer("a")[:1], Opaque(b"novel\n"), *answer("a")[1:]]
    assert delivery(Hears()).events(pieces(came)) == came
