"""Where pieces come from: streams with their time limits, whole bodies, generators of plugins."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest

from penstock import (
    Event,
    Failed,
    Finish,
    GatewayError,
    Internal,
    Overloaded,
    Piece,
    TimedOut,
    Upstream,
    UpstreamRequest,
)
from penstock.sources import SILENCE, Generated, Source, UpstreamStream, Whole
from penstock.testing import CUT, HANG, PATIENCE, Reply, ScriptedUpstream
from penstock.upstream import Pool
from tests.core import lines
from tests.core.lane import answer, ended_well, reach
from tests.core.lines import Lines, LinesDecoder, spaced

Spawned = Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]


@pytest.fixture
async def spawn() -> AsyncIterator[Spawned]:
    """Starts tasks; they have to end well."""
    tasks: list[asyncio.Task[Any]] = []

    def start(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        tasks.append(asyncio.get_running_loop().create_task(work, name=name))
        return tasks[-1]

    yield start
    await ended_well(tasks)


def blame(error: Exception) -> GatewayError:
    return Internal(f"the plugin's mistake: {error!r}")


async def rest(source: Source) -> list[Event]:
    """All events to the end."""
    found: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        while (pieces := await source.read(PATIENCE)) is not None:
            found += events(pieces)
    return found


def events(pieces: Sequence[Piece]) -> list[Event]:
    return [event for piece in pieces for event in piece.events]


# ---------------------------------------------------------------- an upstream's stream


class Opened:
    """A stream from a scripted upstream."""

    def __init__(self, url: str) -> None:
        self.pool = Pool(Upstream(name="main", protocol=Lines()), reach(url))
        self.streams: list[UpstreamStream] = []

    async def stream(self, idle: float = PATIENCE, total: float = PATIENCE) -> UpstreamStream:
        sent = await self.pool.send(UpstreamRequest("/ask", b"{}", {}))
        self.streams.append(UpstreamStream(sent, LinesDecoder(None), "main", idle, total, time.monotonic))
        return self.streams[-1]


@pytest.fixture
async def opened(upstream: ScriptedUpstream) -> AsyncIterator[Opened]:
    made = Opened(upstream.url)
    yield made
    for stream in made.streams:
        stream.close()
    await made.pool.close()


async def test_a_stream_is_read_to_its_end(upstream: ScriptedUpstream, opened: Opened) -> None:
    upstream.answers(lines.stream(*answer("a", "b")).split(5))
    assert await rest(await opened.stream()) == answer("a", "b")


async def test_waiting_for_the_beginning_loses_nothing(
    upstream: ScriptedUpstream, opened: Opened, spawn: Spawned
) -> None:
    go_on = asyncio.Event()
    came = [spaced(event) for event in answer("a")]
    upstream.answers(lines.stream(*answer("a")[:1]).then(go_on, *came[1:]))
    stream = await opened.stream()
    waiting = spawn(stream.prefetch(), "prefetch")
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done
    go_on.set()
    await waiting
    assert await rest(stream) == answer("a")


async def test_silence_is_told_and_harms_nothing(upstream: ScriptedUpstream, opened: Opened) -> None:
    go_on = asyncio.Event()
    came = [spaced(event) for event in answer("a")]
    upstream.answers(lines.stream(*answer("a")[:3]).then(go_on, *came[3:]))
    stream = await opened.stream()
    found: list[Event] = []
    while (pieces := await stream.read(0.01)) is not SILENCE or len(found) < 3:
        found += events(pieces or ())
    go_on.set()
    assert [*found, *await rest(stream)] == answer("a")


LIMITS: dict[str, tuple[dict[str, float], Reply, str]] = {
    "silent": ({"idle": 0.05}, lines.stream(*answer("a")[:3]).then(HANG), "upstream 'main' was silent for 0.05 s"),
    "slow": (
        {"idle": 5.0, "total": 0.05},
        lines.stream(*answer("a")[:3]).then(HANG),
        "upstream 'main' did not finish its answer in time",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_an_upstream_has_its_time_and_no_more(upstream: ScriptedUpstream, opened: Opened, name: str) -> None:
    limits, reply, message = LIMITS[name]
    upstream.answers(reply)
    stream = await opened.stream(**limits)
    with pytest.raises(TimedOut, match=message):
        await rest(stream)


async def test_signs_of_life_do_not_extend_an_upstreams_time(upstream: ScriptedUpstream, opened: Opened) -> None:
    upstream.answers(lines.stream().then(HANG))
    stream = await opened.stream(idle=0.1)

    async def wait() -> None:
        while await stream.read(0.01) is SILENCE:
            pass

    with pytest.raises(TimedOut, match=r"silent for 0\.1 s"):
        await asyncio.wait_for(wait(), PATIENCE)


async def test_bytes_that_come_slowly_are_no_silence(upstream: ScriptedUpstream, opened: Opened) -> None:
    came = [spaced(event) for event in answer(*"abcdefgh")]
    upstream.answers(lines.stream().then(*(part for frame in came for part in (0.03, frame))))
    assert await rest(await opened.stream(idle=0.2)) == answer(*"abcdefgh")


async def test_a_stream_that_is_cut_is_an_error(upstream: ScriptedUpstream, opened: Opened) -> None:
    upstream.answers(lines.stream(*answer("a")[:3]).then(CUT))
    with pytest.raises(GatewayError, match="upstream 'main' broke off its answer"):
        await rest(await opened.stream())


async def test_closing_a_stream_closes_its_connection_now(upstream: ScriptedUpstream, opened: Opened) -> None:
    upstream.answers(lines.stream(*answer("a")[:3]).then(HANG))
    stream = await opened.stream()
    await stream.prefetch()
    stream.close()
    assert await upstream.calls[0].over() == "gone"


async def test_a_failure_in_place_of_a_beginning_is_raised(spawn: Spawned) -> None:
    source = Generated(made(*answer("a")[:1], Failed(Overloaded("busy"))), spawn, blame)
    with pytest.raises(Overloaded, match="busy"):
        await source.prefetch()


# ---------------------------------------------------------------- a whole body


async def test_a_whole_answer_comes_in_one_piece() -> None:
    body = Piece(tuple(answer("a")), b"the body")
    source = Whole([body])
    await source.prefetch()
    assert await source.read(0.0) == [body]
    assert await source.read(0.0) is None


# ---------------------------------------------------------------- a plugin's own events


async def made(*parts: Event | float | Exception) -> AsyncGenerator[Event, None]:
    for part in parts:
        if isinstance(part, Exception):
            raise part
        if isinstance(part, float):
            await asyncio.sleep(part)
        else:
            yield part


async def test_generated_events_come_as_they_are_made(spawn: Spawned) -> None:
    source = Generated(made(*answer("a")), spawn, blame)
    await source.prefetch()
    assert await rest(source) == answer("a")


async def test_a_slow_generator_is_waited_for_with_signs_of_life(spawn: Spawned) -> None:
    source = Generated(made(0.05, *answer("a")), spawn, blame)
    assert await source.read(0.0) is SILENCE
    assert await source.read(0.0) is SILENCE
    assert await rest(source) == answer("a")


async def test_whoever_is_no_generator_may_give_events_too(spawn: Spawned) -> None:
    class Countdown:
        """Gives an answer, by hand."""

        def __init__(self) -> None:
            self._left = answer("a")

        def __aiter__(self) -> AsyncIterator[Event]:
            return self

        async def __anext__(self) -> Event:
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop(0)

    source = Generated(Countdown(), spawn, blame)
    assert await rest(source) == answer("a")
    source.close()


@pytest.mark.parametrize(
    ("raised", "told"), [(Overloaded("busy"), "busy"), (KeyError("x"), "the plugin's mistake: KeyError")]
)
async def test_what_a_generator_raises(raised: Exception, told: str, spawn: Spawned) -> None:
    source = Generated(made(answer("a")[0], raised), spawn, blame)
    with pytest.raises(GatewayError, match=told):
        await source.prefetch()


@pytest.mark.parametrize("state", ["fresh", "between two", "in the middle", "just done", "at its end"])
async def test_a_generator_is_closed_whatever_it_was_doing(state: str, spawn: Spawned) -> None:
    closed, waiting, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def generate() -> AsyncIterator[Event]:
        try:
            yield Finish()
            waiting.set()
            await go_on.wait()
            yield Finish()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            closed.set()

    source = Generated(generate(), spawn, blame)
    if state != "fresh":
        await source.read(PATIENCE)
    if state in ("in the middle", "just done", "at its end"):
        assert await source.read(0.01) is SILENCE
        await waiting.wait()
    if state == "just done":
        go_on.set()
        await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name() == "next event"])
    if state == "at its end":
        go_on.set()
        await rest(source)
    source.close()
    if state == "fresh":
        assert not closed.is_set()  # nothing was begun, so there is nothing to end
        return
    async with asyncio.timeout(PATIENCE):
        await closed.wait()
