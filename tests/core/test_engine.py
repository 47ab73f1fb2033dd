"""One exchange towards its client: signs of life, clients that leave, and that every exchange ends once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock import (
    BlockStart,
    Event,
    Finish,
    Ping,
    Plugin,
    Response,
    Text,
    Usage,
    hookimpl,
)
from penstock.journey import Timing
from penstock.testing import HANG, PATIENCE, ScriptedUpstream
from tests.core import lines
from tests.core.lane import Render, Witness, along, answer, read, replies
from tests.core.lines import line, spaced

# ---------------------------------------------------------------- waiting


async def test_a_silent_upstream_is_waited_for_with_signs_of_life(upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    upstream.answers(lines.stream(*answer("hi")[:3]).then(go_on, *map(spaced, answer("hi")[3:])))
    async with along(Render(), upstreams={"main": upstream.url}, timing=Timing(ping=0.02)) as lane:
        begun = lane.begin()
        reply = await begun.run.reply()
        assert not isinstance(reply.body, bytes)
        async with asyncio.timeout(PATIENCE):
            parts = []
            async for part in reply.body:
                parts.append(part)
                if parts.count(line_of_ping()) == 3:
                    go_on.set()
        await begun.completed()
    assert b"".join(parts).replace(line_of_ping(), b"") == lines.stream(*answer("hi")).payload


def line_of_ping() -> bytes:
    return b'{"event":"ping"}\n'


@pytest.mark.parametrize("answered", [True, False], ids=["answer", "error"])
async def test_when_nothing_comes_at_all_the_status_is_sent_anyway(upstream: ScriptedUpstream, answered: bool) -> None:
    go_on = asyncio.Event()
    upstream.answers((lines.stream(*answer("hi")) if answered else lines.error(429)).first(go_on))
    timing = Timing(ping=0.02, commit_after=0.02)
    async with along(Render(), upstreams={"main": upstream.url}, timing=timing) as lane:
        begun = lane.begin()
        reply = await begun.run.reply()
        assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
        assert not isinstance(reply.body, bytes)
        assert await anext(aiter(reply.body)) == line_of_ping()
        go_on.set()
        rest = (await read(reply)).replace(line_of_ping(), b"")
        await begun.completed()
    if answered:
        assert rest == lines.stream(*answer("hi")).payload
        assert begun.exchange.outcome == "ok"
    else:
        assert rest.startswith(b'{"failed":"rate_limited"')
        assert begun.exchange.outcome == "error"


async def test_a_complete_answer_whose_stream_stays_open_is_complete(upstream: ScriptedUpstream) -> None:
    upstream.answers(lines.stream(*answer("hi")).then(HANG))
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        said = await lane.ask()
    assert (said.text, said.exchange.outcome) == ("hi", "ok")
    assert await upstream.calls[0].over() == "gone"


@pytest.mark.parametrize("said", [[Text(0, "x" * 3000)], [Ping()] * 30], ids=["much", "little, often"])
async def test_a_stream_for_a_client_that_reads_none_ends_somewhere(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, said: list[Event]
) -> None:
    monkeypatch.setattr("penstock.engine.MOST_GATHERED", 5000)
    begin, *rest = answer("hi")
    upstream.answers(lines.stream(begin, *rest), lines.stream(begin, rest[0], *said, *rest[1:]))
    async with along(Render(), upstreams={"main": upstream.url}) as lane:
        small, large = await lane.ask(stream=False), await lane.ask(stream=False)
    assert (small.status, small.text) == (200, "hi")
    assert large.error == (
        "upstream_failed",
        "the upstream's answer is too large for a client that does not read a stream",
    )


# ---------------------------------------------------------------- clients that leave


async def test_a_client_that_leaves_takes_the_upstream_along(upstream: ScriptedUpstream) -> None:
    upstream.answers(lines.stream(*answer("hi")[:3]).then(HANG))
    diary: list[str] = []
    witness = Witness(name="a", diary=diary)
    async with along(witness, Render(), upstreams={"main": upstream.url}) as lane:
        begun = lane.begin()
        reply = await begun.run.reply()
        assert not isinstance(reply.body, bytes)
        assert await anext(aiter(reply.body))
        begun.run.close()
        assert await upstream.calls[0].over() == "gone"
        await begun.completed()
    assert diary == ["a.on_request", "a.on_attempt", "a.on_response", "a.on_complete"]
    assert begun.exchange.outcome == "cancelled"
    assert begun.exchange.ended is not None


async def test_so_does_one_that_leaves_before_anything_came(upstream: ScriptedUpstream) -> None:
    upstream.answers(lines.stream(*answer("hi")).first(HANG))
    diary: list[str] = []
    async with along(Witness(name="a", diary=diary), Render(), upstreams={"main": upstream.url}) as lane:
        begun = lane.begin()
        reply = lane.spawn(begun.run.reply(), "reply")
        await upstream.called(1)
        reply.cancel()
        begun.run.close()
        assert await upstream.calls[0].over() == "gone"
        await begun.completed()
        await asyncio.wait({reply})
    assert diary == ["a.on_request", "a.on_attempt", "a.on_complete"]
    assert begun.exchange.outcome == "cancelled"


async def test_a_generator_is_closed_when_its_client_leaves() -> None:
    closed, waiting = asyncio.Event(), asyncio.Event()

    async def generate() -> AsyncIterator[Event]:
        try:
            for event in answer("hi")[:3]:
                yield event
            waiting.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.set()

    step = Witness(name="a", does={"on_request": lambda _: Response(generate())})
    async with along(step, timing=Timing(ping=0.01)) as lane:
        begun = lane.begin()
        reply = await begun.run.reply()
        assert not isinstance(reply.body, bytes)
        body = aiter(reply.body)
        while not waiting.is_set():
            await anext(body)
        begun.run.close()
        async with asyncio.timeout(PATIENCE):
            await closed.wait()
        await begun.completed()


async def test_completion_runs_once_however_often_an_exchange_is_closed() -> None:
    diary: list[str] = []
    async with along(Witness(name="a", diary=diary, does=replies(Response(answer("hi"))))) as lane:
        begun = lane.begin()
        await read(await begun.run.reply())
        begun.run.close()
        begun.run.close()
        await begun.completed()
    assert diary.count("a.on_complete") == 1


async def test_a_client_that_leaves_after_the_last_event_has_got_its_answer() -> None:
    async with along(Witness(name="a", does=replies(Response(answer("hi"))))) as lane:
        begun = lane.begin()
        reply = await begun.run.reply()
        assert not isinstance(reply.body, bytes)
        assert line(Finish()) in await anext(aiter(reply.body))
        begun.run.close()
        await begun.completed()
    assert begun.exchange.outcome == "ok"


# ---------------------------------------------------------------- bytes and events


async def test_nothing_is_lost_when_nobody_listens(upstream: ScriptedUpstream) -> None:
    """Increments that nobody wants are not decoded, and arrive all the same."""
    events = answer(*(f"{n}." for n in range(500)))
    upstream.always(lines.stream(*events).split(97))

    class Meter(Plugin):
        """Hears no increments."""

        heard: list[Event] = []

        @hookimpl
        def on_event(self, event: Usage | Finish) -> None:
            self.heard.append(event)

    class Reader(Plugin):
        """Hears increments."""

        heard: list[Event] = []

        @hookimpl
        def on_event(self, event: Text | BlockStart) -> None:
            self.heard.append(event)

    meter, reader = Meter(), Reader()
    async with along(meter, Render(), upstreams={"main": upstream.url}) as lane:
        assert (await lane.ask()).events == events
    async with along(meter, reader, Render(), upstreams={"main": upstream.url}) as lane:
        assert (await lane.ask()).events == events
    assert meter.heard == [events[-2], events[-1]] * 2
    assert reader.heard == events[1:-3]
