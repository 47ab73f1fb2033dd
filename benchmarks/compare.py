"""Pipelines against each other: what steps cost beyond the bare pipeline, in the same rounds."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import sleep
from typing import NamedTuple

from benchmarks import pipelines
from benchmarks.load import Load
from benchmarks.processes import Server, free_port, load, running
from benchmarks.report import Line
from benchmarks.traffic import KEY, SMALL

_SETTLED = 1.2  # seconds after which the ledger has written what there was, and carried it to its database
_USERS = ("ann", "ben", "cleo", "dan")


class Comparison(NamedTuple):
    """The same requests to two pipelines. `bar` is the most CPU of the second, in those of the first.

    They come with the keys of a team. Those that are `distinct` have never been asked before: no cache knows them.
    """

    title: str
    base: str
    other: str
    model: str
    requests: int
    bar: float | None
    team: str = "platform"
    distinct: bool = False


def _answers(
    title: str, other: str, bar: float | None, team: str = "platform", distinct: bool = False
) -> tuple[Comparison, ...]:
    """A whole message, a stream of 300 chunks, and one that is translated."""
    kinds = (("message", SMALL, 2000), ("stream", "messages-paced", 32), ("chat", "chat-paced", 32))
    return tuple(
        Comparison(f"{title}, {kind}", "bare", other, model, requests, bar, team, distinct)
        for kind, model, requests in kinds
    )


def _listeners(title: str, base: str, other: str, bar: float | None) -> tuple[Comparison, ...]:
    """A stream of 300 chunks, and one of the same events in 30."""
    return (
        Comparison(f"{title}, paced", base, other, "messages-paced", 32, bar),
        Comparison(f"{title}, burst", base, other, "messages-burst", 160, None),
    )


# A listener to every event has a relayed stream decoded: `one listener` says what that costs. The bar on twenty is on
# what twenty cost in a stream that somebody looks into; those that want usage have nothing decoded beyond that.
COMPARISONS = (
    *_answers("team", "team", 1.3),
    *_answers("team miss", "team", None, "evals", distinct=True),
    *_answers("team hit", "team", None, "evals"),
    *_answers("cache hit", "cached", 1.0),
    *_listeners("one listener", "bare", "one", None),
    *_listeners("20 listeners", "one", "twenty", 1.1),
    *_listeners("20 for usage", "bare", "usage", 1.1),
)
_CONCURRENCY = 16


class _Gateway(NamedTuple):
    """A gateway with its keys, by team."""

    server: Server
    keys: Mapping[str, tuple[str, ...]]


class _Round(NamedTuple):
    """Seconds of CPU per request."""

    base: float
    other: float


def lines(rounds: int, share: float, only: str) -> Iterator[Line]:
    """The lines of the comparisons whose titles contain `only`. `share` scales the number of requests."""
    wanted = {each: max(_CONCURRENCY, round(each.requests * share)) for each in COMPARISONS if only in each.title}
    if not wanted:
        return
    found: dict[Comparison, list[_Round]] = {each: [] for each in wanted}
    with ExitStack() as stack:
        folder, port = Path(stack.enter_context(TemporaryDirectory())), free_port()
        stack.enter_context(running(port, "benchmarks.upstream", str(port)))
        names = dict.fromkeys(name for each in wanted for name in (each.base, each.other))
        gateways = {name: stack.enter_context(_serving(folder, name, f"http://127.0.0.1:{port}")) for name in names}
        for number in range(rounds + 1):
            print(f"comparisons, round {number} of {rounds}", file=sys.stderr)
            for each, count in wanted.items():
                count = count if number else _CONCURRENCY  # the first round warms up
                found[each].append(_round(gateways, each, count, number))
    for each in wanted:
        yield _line(each, found[each][1:])


@contextmanager
def _serving(folder: Path, name: str, upstream: str) -> Iterator[_Gateway]:
    documents = {
        "bare": lambda: pipelines.bare(upstream),
        "cached": lambda: pipelines.bare(upstream, {"cache": {"scope": "pipeline"}}),
        "team": lambda: pipelines.team(upstream),
        "one": lambda: pipelines.listening(upstream, "Everything", 1),
        "twenty": lambda: pipelines.listening(upstream, "Everything", 20),
        "usage": lambda: pipelines.listening(upstream, "UsageOnly", 20),
    }
    file, port = pipelines.write(folder, name, documents[name]()), free_port()
    teams = ("platform", "evals")
    keys = {team: pipelines.make_keys(file, team, _USERS) if name == "team" else (KEY,) for team in teams}
    serve = ("penstock", "serve", str(file), "--bind", f"127.0.0.1:{port}")
    with running(port, *serve, env={"no_proxy": "127.0.0.1"}, key=keys["platform"][0]) as server:
        yield _Gateway(server, keys)


def _round(gateways: Mapping[str, _Gateway], each: Comparison, count: int, number: int) -> _Round:
    """The same load on both; every other round the other way about."""
    turn = 1 if number % 2 else -1
    found = [_cpu(gateways[name], each, count) for name in (each.base, each.other)[::turn]]
    return _Round(*found[::turn])


def _cpu(gateway: _Gateway, each: Comparison, count: int) -> float:
    """Seconds of CPU per request, with what is left to do after the last answer."""
    before = gateway.server.cpu()
    keys = gateway.keys[each.team]
    load(
        Load(
            port=gateway.server.port,
            model=each.model,
            concurrency=_CONCURRENCY,
            count=count,
            keys=keys,
            distinct=each.distinct,
        )
    )
    sleep(_SETTLED)
    return (gateway.server.cpu() - before) / count


def _line(each: Comparison, rounds: Sequence[_Round]) -> Line:
    base, other = (1e6 * median(cpu) for cpu in zip(*rounds, strict=True))
    ratio = median(other / base for base, other in rounds)
    return Line(each.title, "CPU per request, µs", base, other, ratio, ratio, each.bar)
