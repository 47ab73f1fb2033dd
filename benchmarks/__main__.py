"""Measure the gateway against the floor, in turns, and say whether the bars are met: exit code 1 if one is not."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import codecs, compare, idle, report
from benchmarks.load import Load
from benchmarks.processes import Server, free_port, load, running
from benchmarks.report import Line, Round, Sample
from benchmarks.traffic import WORKLOADS, Workload

_PIPELINE = Path(__file__).with_name("pipeline.yaml")


@contextmanager
def _pair(upstream: Server, folder: str) -> Iterator[tuple[Server, Server]]:
    """Floor and gateway, freshly started."""
    url, floor, gateway = f"http://127.0.0.1:{upstream.port}", free_port(), free_port()
    env = {"BENCH_UPSTREAM": url, "BENCH_LOG": f"{folder}/requests.jsonl", "no_proxy": "127.0.0.1"}
    serve = ("penstock", "serve", str(_PIPELINE), "--bind", f"127.0.0.1:{gateway}")
    with ExitStack() as stack:
        yield (
            stack.enter_context(running(floor, "benchmarks.floor", str(floor), url)),
            stack.enter_context(running(gateway, *serve, env=env)),
        )


def _round(servers: tuple[Server, Server, Server], workload: Workload, count: int, number: int) -> Round:
    """The same load on upstream, floor and gateway; every other round the other way about."""
    turn = 1 if number % 2 else -1
    samples = [_sample(server, workload, count) for server in servers[::turn]]
    return Round(*samples[::turn])


def _sample(server: Server, workload: Workload, count: int) -> Sample:
    before = server.cpu()
    seen = load(Load(port=server.port, model=workload.model, concurrency=workload.concurrency, count=count))
    return Sample((server.cpu() - before) / count, seen.p50, seen.p99, seen.writes)


def _measure(rounds: int, share: float, only: str) -> Iterator[Line]:
    """All lines of the table. `share` scales the number of requests; `only` is a part of the workloads' titles."""
    yield from codecs.lines(rounds, only)
    workloads = {w: max(w.concurrency, round(w.requests * share)) for w in WORKLOADS if only in w.title}
    if not workloads:
        return
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        port = free_port()
        upstream = stack.enter_context(running(port, "benchmarks.upstream", str(port)))
        starts: list[tuple[Server, Server]] = []
        for _ in range(rounds):
            with _pair(upstream, folder) as pair:
                starts.append(pair)
        floor, gateway = stack.enter_context(_pair(upstream, folder))
        found: dict[Workload, list[Round]] = {workload: [] for workload in workloads}
        for number in range(rounds + 1):
            print(f"round {number} of {rounds}", file=sys.stderr)
            for workload, count in workloads.items():
                count = count if number else workload.concurrency  # the first round warms up
                found[workload].append(_round((upstream, floor, gateway), workload, count, number))
        for workload in workloads:
            yield from report.lines(workload, found[workload][1:])
        yield from report.footprint(starts, (floor.memory(), gateway.memory()))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds with fewer requests")
    parser.add_argument("--only", default="", help="workloads with this in their title, such as `paced`")
    options = parser.parse_args()
    rounds, share = (3, 0.25) if options.quick else (5, 1.0)
    found = list(_measure(rounds, share, options.only))
    compared = [*idle.lines(rounds, options.only), *compare.lines(rounds, share, options.only)]
    for head, table in (("floor", "gateway"), found), (("base", "with more"), compared):
        if table:
            print(report.head(*head), *table, sep="\n")
    found += compared
    missed = sum(not line.met for line in found)
    print(f"{missed} bars missed" if missed else "all bars met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
