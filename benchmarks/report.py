"""From rounds of measurements to lines of a table, each with its bar if it has one."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.processes import Server
from benchmarks.traffic import Workload

_MEMORY = 90.0  # MB
_START = 1.0  # seconds


class Sample(NamedTuple):
    """What one server did in one round: seconds per request, and writes per answer."""

    cpu: float
    p50: float
    p99: float
    writes: float


class Round(NamedTuple):
    """The same load on the upstream itself, on the floor and on the gateway, one after the other."""

    direct: Sample
    floor: Sample
    gateway: Sample


class Line(NamedTuple):
    """A line of the table: two numbers and their ratio. `judged` must not exceed `bar`."""

    title: str
    unit: str
    floor: float
    gateway: float
    ratio: float
    judged: float = 0.0
    bar: float | None = None

    @property
    def met(self) -> bool:
        """Whether there is no bar or it is met."""
        return self.bar is None or self.judged <= self.bar

    def __str__(self) -> str:
        verdict = "" if self.bar is None else f"  {'ok' if self.met else 'MISSED'} (<= {self.bar:g})"
        numbers = f"{self.floor:>9.2f} {self.gateway:>9.2f} {self.ratio:>7.2f}"
        return f"{self.title:<23} {self.unit:<22} {numbers}{verdict}"


def head(base: str, other: str) -> str:
    """What stands above a table."""
    return f"{'':<23} {'':<22} {base:>9} {other:>9} {'ratio':>7}"


def lines(workload: Workload, rounds: Sequence[Round]) -> list[Line]:
    """What the rounds of one workload say: medians, and the median of each round's CPU ratio."""
    title = f"{workload.title} x{workload.concurrency}"
    unit, scale = ("CPU per request, µs", 1e6)
    if workload.events:
        unit, scale = ("CPU/1,000 events, ms", 1e6 / workload.events)
    ratio = median(r.gateway.cpu / r.floor.cpu for r in rounds)
    cpu = (scale * median(r.floor.cpu for r in rounds), scale * median(r.gateway.cpu for r in rounds))
    found = [Line(title, unit, *cpu, ratio, ratio, workload.bar)]
    found.append(_line("added p50, ms", rounds, lambda s, direct: 1e3 * (s.p50 - direct.p50)))
    if workload.requests >= 100:
        found.append(_line("added p99, ms", rounds, lambda s, direct: 1e3 * (s.p99 - direct.p99)))
    if workload.events:
        found.append(_line("writes per answer", rounds, lambda s, _: s.writes))
    return found


def footprint(starts: Sequence[tuple[Server, Server]], memory: tuple[float, float]) -> list[Line]:
    """Starts of floor and gateway, and the resident memory of both in MB after the load."""
    wall = (median(floor.started for floor, _ in starts), median(gateway.started for _, gateway in starts))
    cpu = (median(floor.started_cpu for floor, _ in starts), median(gateway.started_cpu for _, gateway in starts))
    return [
        Line("memory after load", "resident, MB", *memory, memory[1] / memory[0], memory[1], _MEMORY),
        Line("start to first answer", "s", *wall, wall[1] / wall[0], wall[1], _START),
        Line("", "CPU until then, s", *cpu, cpu[1] / cpu[0]),
    ]


def _line(unit: str, rounds: Sequence[Round], value: Callable[[Sample, Sample], float]) -> Line:
    floor = median(value(r.floor, r.direct) for r in rounds)
    gateway = median(value(r.gateway, r.direct) for r in rounds)
    return Line("", unit, floor, gateway, gateway / floor if floor > 0 else float("nan"))
