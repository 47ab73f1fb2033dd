"""What translation itself costs, in this process and without a network: requests and streams of growing size."""

from collections.abc import Callable, Iterator, Mapping
from statistics import median
from time import process_time

import msgspec

from benchmarks.answers import STREAMS
from benchmarks.report import Line
from benchmarks.traffic import session
from penstock import Attempt, Exchange, Target, Upstream, UpstreamProtocol
from penstock.validator import Validator
from penstock_translation.anthropic import Anthropic
from penstock_translation.gemini import Gemini
from penstock_translation.openai_chat import OpenAIChat
from penstock_translation.openai_responses import OpenAIResponses

_CLIENT = Anthropic()
_UPSTREAMS: Mapping[str, UpstreamProtocol] = {
    "messages": _CLIENT,
    "chat": OpenAIChat(),
    "responses": OpenAIResponses(),
    "gemini": Gemini(),
}
_REQUEST = 3.0  # ms of CPU for 200 KB
_GROWTH = 1.5  # times the cost of one unit, for each of 4 or 16
_EVENTS = 300
_CHUNK = 1400  # bytes


def lines(rounds: int, only: str) -> Iterator[Line]:
    """The lines of the table whose titles contain `only`."""
    for name, protocol in _UPSTREAMS.items():
        for kind, make, bar in (("request", _request, _REQUEST), ("events", _events, None)):
            title = f"{name} {kind}"
            if only in title:
                yield from _lines(title, make, protocol, rounds, bar)


def _lines(
    title: str,
    make: Callable[[UpstreamProtocol, int], tuple[Callable[[], object], bytes]],
    protocol: UpstreamProtocol,
    rounds: int,
    bar: float | None,
) -> Iterator[Line]:
    costs = {times: _cost(*make(protocol, times), rounds) for times in (1, 4, 16)}
    one = costs[1]
    yield Line(title, "CPU, ms", one.floor, one.work, one.work / one.floor, one.work, bar)
    for times in (4, 16):
        work, linear = costs[times].work, times * one.work
        yield Line("", f"{times} times that, ms", linear, work, work / linear, work / linear, _GROWTH)


class _Cost(msgspec.Struct):
    """Milliseconds of CPU: to read the same JSON and write it again, and to translate."""

    floor: float
    work: float


def _cost(work: Callable[[], object], data: bytes, rounds: int) -> _Cost:
    runs = [(_once(lambda: _copied(data)), _once(work)) for _ in range(4 * rounds)]
    return _Cost(1e3 * median(floor for floor, _ in runs), 1e3 * median(cost for _, cost in runs))


def _once(work: Callable[[], object]) -> float:
    started = process_time()
    work()
    return process_time() - started


def _copied(data: bytes) -> None:
    """What nobody can do without who looks into JSON."""
    for line in data.split(b"\n"):
        _, _, record = line.rpartition(b"data: ") if line.startswith(b"data: ") else (b"", b"", line)
        if record.startswith(b"{"):
            msgspec.json.encode(msgspec.json.decode(record))


def _exchange(protocol: UpstreamProtocol, body: bytes) -> Exchange:
    upstream = Upstream(name="up", protocol=protocol, quirks=protocol.quirks())
    exchange = Exchange(
        pipeline="bench",
        protocol=_CLIENT,
        operation="generate",
        request=_CLIENT.read(body, {}),
        headers={},
        upstreams={"up": upstream},
        started=0.0,
    )
    exchange.attempts.append(Attempt(1, Target("up", "m"), upstream))
    return exchange


def _request(protocol: UpstreamProtocol, times: int) -> tuple[Callable[[], object], bytes]:
    body, target, quirks = session(times), Target("up", "m"), protocol.quirks()
    return lambda: protocol.render(_exchange(protocol, body), target, quirks), body


def _events(protocol: UpstreamProtocol, times: int) -> tuple[Callable[[], object], bytes]:
    name = next(name for name, known in _UPSTREAMS.items() if known is protocol)
    data = b"".join(STREAMS[name](_EVENTS * times))
    exchange = _exchange(protocol, session())
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]

    def work() -> None:
        decoder = protocol.decoder(exchange, None, protocol.quirks())
        validator, encoder = Validator(), _CLIENT.encoder(exchange)
        for chunk in chunks:
            for piece in decoder.feed(chunk):
                for event in piece.events:
                    b"".join(map(encoder.encode, validator.check(event)))
        decoder.end()

    return work, data
