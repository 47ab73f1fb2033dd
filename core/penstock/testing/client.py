"""A client of a gateway under test: it asks over a real socket, in one of the formats that the pipeline serves."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from penstock import (
    ClientProtocol,
    Decoder,
    Event,
    Exchange,
    Failed,
    GatewayError,
    Operation,
    Secret,
    Upstream,
    UpstreamRequest,
)
from penstock.testing.answers import Answer, Failure, failed, kind_of
from penstock.testing.asking import Asking, Content, exchange_with, reader, route
from penstock.testing.recordings import Recorded
from penstock.testing.upstream import PATIENCE
from penstock.testing.witness import MARK

if TYPE_CHECKING:
    from penstock.testing.gateway import RunningGateway
    from penstock.upstream import UpstreamAnswer


class Client:
    """Asks in one format. Made by `gate.client(protocol)`, or by the fixture `client`."""

    def __init__(self, gate: "RunningGateway", protocol: str = "") -> None:
        """`protocol` is its name; "" for the first that the pipeline serves."""
        self._gate = gate
        self._name = protocol

    async def ask(
        self,
        content: Content = "hi",
        /,
        *,
        stream: bool | None = None,
        model: str = "",
        system: str = "",
        tools: Sequence[str | Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        max_tokens: int = 1024,
        **fields: Any,
    ) -> Answer:
        """Ask and read the answer to its end; all steps are through with the exchange when it returns.

        `content` is what the user says, or a list of messages, a whole body, or a recorded request. `fields` are
        further fields of the body. An error is an Answer, too: see its `error`. Raises LookupError for a protocol that
        the pipeline does not serve, ConfigError for a pipeline that cannot start, TimedOut or UpstreamFailed for an
        answer that does not come to its end, TimeoutError for an `on_complete` that doesn't.
        """
        asking = Asking(
            model=model,
            stream=stream,
            system=system,
            tools=tools,
            headers=headers or {},
            max_tokens=max_tokens,
            fields=fields,
        )
        protocol, base = await self._served()
        path = self._path(protocol, content)
        return await self._answer(protocol, base + path, asking.body(protocol, content), asking.all_headers(content))

    async def send(self, body: bytes, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask with these very bytes, right or wrong."""
        protocol, base = await self._served()
        given = {"content-type": "application/json", **{n.lower(): v for n, v in (headers or {}).items()}}
        return await self._answer(protocol, base + route(protocol, "generate"), body, given)

    async def count(self, content: Content = "hi", /, **asked: Any) -> Answer:
        """Have the tokens of a prompt counted; `asked` is as for `ask`. See the answer's `json()`."""
        return await self._other("count_tokens", content, asked)

    async def models(self, headers: Mapping[str, str] | None = None) -> Answer:
        """The models on offer. See the answer's `json()`."""
        return await self._other("list_models", "", {"headers": headers or {}})

    @asynccontextmanager
    async def opened(self, content: Content = "hi", /, **asked: Any) -> AsyncIterator["Opened"]:
        """A streamed answer while it comes; `asked` is as for `ask`. Leaving the block early is leaving the gateway.

        async with gate.client().opened("hi") as stream:
            assert b"message_start" in await stream.read()
        assert (await stream.exchange()).outcome == "cancelled"
        """
        protocol, base = await self._served()
        asking = Asking.of({"stream": True, **asked})
        path, body, mark = base + self._path(protocol, content), asking.body(protocol, content), self._mark()
        headers = {**asking.all_headers(content), MARK: mark}
        async with self._sent(protocol, "POST", path, body, headers) as answer:
            yield Opened(answer, self._gate, mark)

    # ------------------------------------------------------------ how

    async def _served(self) -> tuple[ClientProtocol, str]:
        """The protocol, and the path of the pipeline that serves it."""
        await self._gate.start()
        found: dict[str, tuple[ClientProtocol, str]] = {}
        for methods in self._gate.host.current.endpoints.values():
            for endpoint in methods.values():
                if endpoint.protocol is not None:
                    found.setdefault(endpoint.protocol.name, (endpoint.protocol, endpoint.pipeline.path))
        if not found:
            raise LookupError("the pipeline serves no client: the step 'translation' would")
        if self._name and self._name not in found:
            raise LookupError(f"the pipeline serves no client of {self._name!r}; it serves: {', '.join(found)}")
        return found[self._name] if self._name else next(iter(found.values()))

    def _path(self, protocol: ClientProtocol, content: Content) -> str:
        """The path to ask at. Raises LookupError for a recorded request that belongs elsewhere."""
        path = route(protocol, "generate")
        if not isinstance(content, Recorded):
            return path
        paths = {each.path for each in protocol.routes}
        if content.path.partition("?")[0] not in paths:
            raise LookupError(f"{content.name} was sent to {content.path}, which {protocol.name!r} has not")
        return content.path

    async def _other(self, operation: Operation, content: Content, asked: Mapping[str, Any]) -> Answer:
        protocol, base = await self._served()
        found = next(each for each in protocol.routes if each.operation == operation)
        asking = Asking.of(asked)
        body = b"" if found.method == "GET" else asking.body(protocol, content)
        return await self._answer(protocol, base + found.path, body, asking.all_headers(content), found.method)

    async def _answer(
        self, protocol: ClientProtocol, path: str, body: bytes, headers: Mapping[str, str], method: str = "POST"
    ) -> Answer:
        mark = self._mark()
        async with self._sent(protocol, method, path, body, {**headers, MARK: mark}) as answer:
            content = await answer.read_all(PATIENCE, PATIENCE)
        exchange = await self._gate.ledger.close(mark, PATIENCE)
        events = _events(protocol, answer.headers.get("content-type", ""), answer.status, content)
        error = _error(protocol, answer.status, content, events, exchange)
        return Answer(answer.status, answer.headers, content, events, error, exchange)

    def _mark(self) -> str:
        self._gate.watch()
        return self._gate.ledger.open()

    @asynccontextmanager
    async def _sent(
        self, protocol: ClientProtocol, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator["UpstreamAnswer"]:
        from penstock.reach import Limits, Reach
        from penstock.upstream import Pool

        limits = Limits(connect=PATIENCE, first_byte=PATIENCE, idle=PATIENCE, total=PATIENCE, connections=0)
        reach = Reach(url=self._gate.url, auth="none", key=Secret(""), headers={}, limits=limits)
        pool = Pool(Upstream(name="gateway under test", protocol=reader(protocol)), reach)
        try:
            yield (answer := await pool.send(UpstreamRequest(path, body, dict(headers), method)))
            answer.close()
        finally:
            await pool.close()


class Opened:
    """An answer that is still coming."""

    def __init__(self, answer: "UpstreamAnswer", gate: "RunningGateway", mark: str) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._answer = answer
        self._gate = gate
        self._mark = mark

    async def read(self) -> bytes:
        """What comes next, b"" at the end. Raises TimeoutError, and UpstreamFailed if the answer breaks off."""
        return await self._answer.read(PATIENCE)

    async def exchange(self) -> Exchange:
        """The exchange inside the gateway once all its steps are through with it. Raises TimeoutError, LookupError."""
        exchange = await self._gate.ledger.close(self._mark, PATIENCE)
        if exchange is None:
            raise LookupError("no exchange: the gate was not made by `pipeline`")
        return exchange


# ---------------------------------------------------------------- reading


def _events(protocol: ClientProtocol, kind: str, status: int, body: bytes) -> Sequence[Event]:
    """What an answer says; nothing for an error, a count or a list."""
    if status != 200:
        return ()
    speaks = reader(protocol)
    exchange = exchange_with(protocol, protocol.read(b'{"model":"m","messages":[]}', {}), {})
    if "event-stream" in kind:
        return _streamed(speaks.decoder(exchange, None, speaks.quirks()), body)
    try:
        return speaks.read_answer(exchange, body, speaks.quirks())
    except GatewayError:
        return ()  # a count or a list


def _streamed(decoder: Decoder, body: bytes) -> list[Event]:
    try:
        events = [event for piece in decoder.feed(body) for event in piece.events]
        return events if failed(events) else [*events, *(e for piece in decoder.end() for e in piece.events)]
    except GatewayError as error:
        return [Failed(error)]


def _error(
    protocol: ClientProtocol, status: int, body: bytes, events: Sequence[Event], exchange: Exchange | None
) -> Failure | None:
    """What went wrong: by the exchange, if the test sees it, else by what came."""
    broken = failed(events)
    if status < 400 and broken is None:
        return None
    inside = exchange.error if exchange is not None else None
    if broken is not None:
        error = inside or broken.error
        return Failure(error.kind, status, error.message)
    told = reader(protocol).read_error(status, {}, body)
    kind = inside.kind if inside is not None else kind_of(status) or told.kind
    return Failure(kind, status, _message(body) or told.message)


class _Sentence(msgspec.Struct):
    message: str


class _ErrorBody(msgspec.Struct):
    error: _Sentence


def _message(body: bytes) -> str:
    """The sentence in an error body, which all formats have at the same place; "" if there is none."""
    try:
        return msgspec.json.decode(body, type=_ErrorBody).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
