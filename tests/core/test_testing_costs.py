"""The latency assertion of the kit: a light step passes, a slow one fails, and the message says by how much."""

import pytest

from penstock import Exchange, InvalidRequest, Plugin, Response, Text, Usage, hookimpl
from penstock.testing import costs, events_of, recorded


class Idle(Plugin):
    """Does nothing."""


class Counts(Plugin):
    """Counts words, quickly."""

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        self.seen = 0

    @hookimpl
    def on_event(self, event: Text) -> None:
        self.seen += 1


class Slow(Plugin):
    """Wastes time, on a request or on each event."""

    requests: int = 0
    events: int = 0

    @hookimpl
    async def on_request(self) -> None:
        sum(range(self.requests))

    @hookimpl
    def on_event(self, event: Text) -> None:
        sum(range(self.events))


async def test_light_steps_pass() -> None:
    idle = await costs(Idle(), per_request=50, per_event=1)
    assert idle.per_event < 1
    light = await costs(Counts(), per_request=100, per_event=5)
    assert light.per_event > 0


async def test_a_step_that_is_slow_per_event_fails() -> None:
    with pytest.raises(AssertionError, match=r"^Slow is too slow: it adds \d+\.\d\d us of CPU to each event, allowed"):
        await costs(Slow(events=2000), per_event=5)
    await costs(Slow(events=2000), per_request=500)


async def test_a_step_that_is_slow_per_request_fails() -> None:
    with pytest.raises(
        AssertionError, match=r"^Slow is too slow: it adds \d+\.\d\d us of CPU to each request, allowed"
    ):
        await costs(Slow(requests=100_000), per_request=100)
    await costs(Slow(requests=100_000), per_event=10)


class Teller(Plugin):
    """Answers itself, and needs a principal."""

    requires = frozenset({"principal"})

    @hookimpl
    def on_request(self, exchange: Exchange) -> Response:
        return Response(events_of(exchange.principal.user if exchange.principal else ""))


async def test_what_is_asked_and_answered_can_be_chosen() -> None:
    found = await costs(Counts(), content=recorded("claude-code/first-turn"), events=[*events_of("hi"), Usage()][:-1])
    assert found.noise is not None
    assert (await costs(Teller(), per_request=1000)).per_request < 1000


async def test_nothing_costs_nothing() -> None:
    with pytest.raises(ValueError, match="allow more than 0 microseconds"):
        await costs(Idle(), per_event=0)


class Broken(Plugin):
    """Fails."""

    refuses: bool

    @hookimpl
    def on_request(self) -> None:
        if self.refuses:
            raise InvalidRequest("never")

    @hookimpl
    def on_event(self, event: Text) -> None:
        raise ZeroDivisionError("oh")


async def test_what_fails_is_not_measured() -> None:
    with pytest.raises(ZeroDivisionError, match="oh"):
        await costs(Broken(refuses=False), per_event=5)
    with pytest.raises(AssertionError, match="nothing to measure: never"):
        await costs(Broken(refuses=True), per_event=5)
