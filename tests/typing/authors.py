"""What authors of plugins rely on, as mypy and pyright see it. Nothing here is run; tests/test_typing.py checks it."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import assert_never, assert_type

import msgspec

from penstock import (
    Answer,
    Attempt,
    BlockStart,
    BlockStop,
    Citation,
    Cost,
    Delta,
    Duration,
    EndpointRequest,
    Event,
    Exchange,
    Failed,
    Finish,
    Gateway,
    GatewayError,
    HttpAnswer,
    HttpClient,
    Money,
    Opaque,
    Overloaded,
    Ping,
    Plugin,
    Principal,
    Prompt,
    Response,
    Secret,
    Signature,
    Start,
    StashKey,
    SubAnswer,
    Target,
    Targets,
    Text,
    Thinking,
    ToolInput,
    Usage,
    hookimpl,
)

SEEN: StashKey[int] = StashKey()
NAMES = StashKey[list[str]]()


class Verdict(msgspec.Struct):
    """Something to decode."""

    allowed: bool


class Everything(Plugin):
    """Every hook, with all arguments or some, as functions of both kinds."""

    requires = frozenset({"principal"})

    wait: Duration = 10.0
    budget: Money = 1_000_000_000
    key: Secret | None = None
    to: Targets | None = None
    names: list[str] = []

    @hookimpl
    async def startup(self, gateway: Gateway) -> None:
        assert_type(self.wait, float)
        assert_type(self.budget, int)
        assert_type(self.key.reveal() if self.key else "", str)
        assert_type(list(self.to or ()), list[Target])
        assert_type(self.step, str)
        assert_type(self.clock(), float)
        self._http = gateway.http(allow=["intranet.example"])
        assert_type(self._http, HttpClient)
        gateway.add_route("all", self.told, ("GET", "POST"))
        gateway.spawn(self.work(), "work")

    @hookimpl
    def shutdown(self) -> None: ...

    @hookimpl
    async def on_request(self, exchange: Exchange) -> Response | None:
        assert_type(exchange.principal, Principal | None)
        assert_type(exchange.request.prompt, Prompt)
        assert_type(exchange.cost, Cost | None)
        return Response(self.answer(), headers={"x-by": self.step})

    @hookimpl
    def on_attempt(self, attempt: Attempt) -> None:
        assert_type(attempt.target, Target)

    @hookimpl
    async def on_failure(self, exchange: Exchange, attempt: Attempt, error: GatewayError) -> None:
        assert_type(error.retry_after, float | None)

    @hookimpl
    def on_response(self, response: Response) -> None:
        response.headers["x-by"] = self.step

    @hookimpl
    def on_event(self, event: Text | Usage) -> Event | Iterable[Event] | None:
        if isinstance(event, Usage):
            return None
        assert_type(event, Text)
        return [event, Text(event.index, "!")]

    @hookimpl
    def on_error(self, error: GatewayError) -> GatewayError | Response | None:
        return Overloaded("later", retry_after=5.0) if error.status == 500 else None

    @hookimpl
    def on_complete(self, exchange: Exchange) -> None:
        assert_type(exchange.usage.prompt, int)

    async def answer(self) -> AsyncIterator[Event]:
        yield Start()
        yield Finish()

    async def told(self, asked: EndpointRequest) -> Answer:
        assert_type(asked.query, Mapping[str, str])
        assert_type(asked.principal, Principal | None)
        return Answer(200, {}, asked.body)

    async def work(self) -> None: ...

    async def shared(self) -> None:
        assert_type(await self.store.get("verdict", Verdict), Verdict | None)
        assert_type(await self.store.get("numbers", dict[str, int]), dict[str, int] | None)
        assert_type(await self.store.add("count", 1), float)

    async def outside(self) -> None:
        answer = await self._http.request("POST", "https://example.com", json={"a": 1}, timeout=5.0)
        assert_type(answer, HttpAnswer)
        assert_type(answer.json(Verdict), Verdict)
        assert_type(answer.json(dict[str, int]), dict[str, int])

    async def asks(self, exchange: Exchange) -> None:
        answer = await exchange.ask(self.step, model="small", prompt="Is this allowed?", system="Say yes or no.")
        assert_type(answer, SubAnswer)
        assert_type(answer.text, str)
        assert_type(answer.usage, Usage)
        await exchange.ask(self.step, model="small", prompt=exchange.request.prompt, timeout=3)


def states(exchange: Exchange) -> None:
    """A key says what is behind it."""
    exchange.stash[SEEN] = 1
    assert_type(exchange.stash[SEEN], int)
    assert_type(exchange.stash.get(SEEN), int | None)
    assert_type(exchange.stash.get(SEEN, 0), int)
    assert_type(exchange.stash[NAMES], list[str])
    assert_type(SEEN in exchange.stash, bool)


def every_event(event: Event) -> str:
    """The union narrows, and a checker knows when none is left."""
    match event:
        case Start(model=model):
            return model
        case BlockStart(kind=kind):
            return kind
        case Text(text=text) | Thinking(text=text):
            return text
        case ToolInput(json=json) | Citation(json=json):
            return json
        case Signature(signature=signature):
            return signature
        case BlockStop(index=index):
            return str(index)
        case Usage(output=output):
            return str(output)
        case Finish(reason=reason):
            return reason
        case Failed(error=error):
            return error.message
        case Opaque(frame=frame):
            return frame.decode()
        case Ping():
            return ""
        case _:
            assert_never(event)


def increments(event: Event) -> int:
    """`Delta` is a part of the union."""
    if isinstance(event, Delta):
        return event.index
    assert_type(event, Start | BlockStart | BlockStop | Usage | Finish | Ping | Failed | Opaque)
    return -1
