"""What a plugin costs that does nothing, in this process and without a network: per request, and per event."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

from benchmarks.listeners import Idle
from benchmarks.report import Line
from penstock import BlockStart, BlockStop, Event, Finish, Response, Start, Thinking, Usage
from penstock.testing.asking import Asking
from penstock.testing.rig import Rig, Scene, World

_TITLE = "idle plugin"
_PLUGINS = 50  # what one costs is too little to be seen
_REQUESTS = 40  # in a row
_EVENTS = 2000
_PER_REQUEST = 0.2  # µs of CPU
_PER_EVENT = 0.1


def lines(rounds: int, only: str) -> Iterator[Line]:
    """The lines of the table, if their title contains `only`."""
    if only not in _TITLE:
        return
    without, beside = asyncio.run(_measure(4 * rounds))
    for title, unit, base, other, bar in (
        (_TITLE, "CPU per request, µs", without[0], beside[0], _PER_REQUEST),
        ("", "CPU per event, µs", without[1], beside[1], _PER_EVENT),
    ):
        yield Line(title, f"{unit} (x{_PLUGINS})", base, other, other / base, (other - base) / _PLUGINS, bar)


async def _measure(rounds: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Microseconds per request and per event, of the fastest runs: without the plugins, and with them."""
    idle = [(f"idle-{number}", Idle()) for number in range(_PLUGINS)]
    with TemporaryDirectory() as folder:
        without = await Rig.start(Path(folder) / "without", [("world", World())])
        beside = await Rig.start(Path(folder) / "beside", [*idle, ("world", World())])
        found = [(await _costs(without), await _costs(beside)) for _ in range(rounds)]
        for rig in (without, beside):
            await rig.close()
    (requests, events), (more_requests, more_events) = (zip(*costs, strict=True) for costs in zip(*found, strict=True))
    return (min(requests), min(events)), (min(more_requests), min(more_events))


async def _costs(rig: Rig) -> tuple[float, float]:
    requests = await _cost(rig, _answer(1), _REQUESTS) / _REQUESTS
    return requests, (await _cost(rig, _answer(_EVENTS), 1) - requests) / _EVENTS


async def _cost(rig: Rig, answer: list[Event], times: int) -> float:
    """Microseconds for a number of exchanges with an answer."""
    scenes = [Scene(answer=Response(answer)) for _ in range(times)]
    exchanges = [rig.exchange(scene, asking=Asking(stream=True)) for scene in scenes]
    started = process_time()
    for exchange in exchanges:
        await rig.run(exchange)
    return 1e6 * (process_time() - started)


def _answer(count: int) -> list[Event]:
    pieces = [Thinking(0, "jumps over") for _ in range(count)]  # texts that come together leave as one
    return [Start(model="m"), BlockStart(0, "thinking"), *pieces, BlockStop(0), Usage(input=1, output=1), Finish()]
