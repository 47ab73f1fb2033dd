"""The HTTP application: finds the endpoint, reads the request, runs the exchange, sends the reply."""

import ipaddress
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import msgspec
import quart
from msgspec.structs import replace
from quart import Quart

from penstock import connection
from penstock.deadlines import Deadlines
from penstock.engine import Reply, Run
from penstock.errors import Forbidden, GatewayError, Internal, InvalidRequest, NotFound, TooLarge
from penstock.exchange import Exchange, Principal, new_id
from penstock.gateway import Host
from penstock.generation import Endpoint, Generation
from penstock.pipeline import Pipeline
from penstock.plugin import EndpointRequest
from penstock.protocol import Answer, ClientProtocol
from penstock.request import Prompt, Request
from penstock.timings import server_timing

log = logging.getLogger("penstock")

_JSON = "application/json"
_BODY_SECONDS = 300.0
_PROXIED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})


def make_app(host: Host) -> Quart:
    """The application that serves whatever generation of `host` is current."""
    app = App(host)

    @app.while_serving
    async def watch() -> AsyncGenerator[None]:
        watching = host.spawn(host.watch(), "watch files")
        yield
        watching.cancel()
        await host.stop()

    return app


class App(Quart):
    """Quart as it reads and writes HTTP. Its router is passed by: the endpoints change with the generations."""

    def __init__(self, host: Host) -> None:
        super().__init__("penstock", static_folder=None)
        self._host = host
        self.config["MAX_CONTENT_LENGTH"] = None  # the limit belongs to the generation, see _read_body
        self.config["RESPONSE_TIMEOUT"] = None
        connection.install(self)

    async def handle_request(self, request: quart.Request) -> quart.Response:
        """Answer one request with the generation that is current now; it has to outlive the reading of a slow body."""
        generation = self._host.current
        generation.enter()
        try:
            return await _handle(self._host, generation, cast("connection.Request", request))
        finally:
            generation.leave()


async def _handle(host: Host, generation: Generation, request: connection.Request) -> quart.Response:
    method = request.method
    path = _tidy(request.path)
    headers = _headers(request.scope["headers"])
    if method in ("GET", "HEAD") and _is_health(generation, path):
        return _response(_health(host))
    methods = generation.endpoints.get(path, {})
    endpoint = methods.get(method)
    protocol = endpoint.protocol if endpoint else _protocol_near(generation, path)
    try:
        if endpoint is None:
            raise _no_endpoint(generation, method, path, methods)
        if endpoint.pipeline.open:
            _check_same_machine(headers)
        if endpoint.handler is not None:
            return _response(await _asked(request, generation, endpoint, path, headers))
        assert endpoint.protocol is not None
        if endpoint.operation == "probe":
            return _response(Answer(200, {"content-type": _JSON}, b'{"service":"penstock"}'))
        asked = await _read_request(request, generation, endpoint, headers)
    except Exception as error:
        return _response(_refused(protocol, error, f"{method} {path}"))
    exchange = _exchange(host, endpoint, request, asked, headers, _peer(request, generation, headers))
    exchange.on_ask(generation.askers[endpoint.pipeline.name])
    run = Run(
        exchange,
        endpoint.pipeline.course,
        host.spawn,
        host.clock,
        generation.leave,
    )
    generation.enter()
    request.cleanup.callback(run.close)
    reply = await run.reply()
    if endpoint.pipeline.timers.debug:
        reply.headers["server-timing"] = server_timing(exchange, host.clock())
    return _response(reply)


async def _asked(
    request: quart.Request, generation: Generation, endpoint: Endpoint, path: str, headers: Mapping[str, str]
) -> Answer:
    """What a plugin's endpoint answers. Its body is not even read for those who do not say who they are."""
    pipeline, query = endpoint.pipeline, parse_qsl(request.query_string.decode("latin-1"), keep_blank_values=True)
    asked = EndpointRequest(
        pipeline=pipeline.name,
        method=request.method,
        path=path.removeprefix(pipeline.path).removeprefix("/-/"),
        query=dict(query),
        headers=headers,
        peer=_peer(request, generation, headers),
        prices=pipeline.prices,
    )
    asked = replace(asked, principal=None if pipeline.open else _principal(pipeline, asked))
    body = await _read_body(request, generation.gateway.body_limit, pipeline.course.deadlines)
    assert endpoint.handler is not None
    return await endpoint.handler(replace(asked, body=body))


def _principal(pipeline: Pipeline, asked: EndpointRequest) -> Principal:
    """Who is asking at a plugin's endpoint: as for an exchange, all steps that say it have to agree."""
    if len(pipeline.identifiers) < pipeline.guards:
        raise Forbidden("a step of this pipeline cannot say who is asking here; the step 'auth' could")
    found = list({identify(asked): None for identify in pipeline.identifiers})
    if len(found) > 1:
        raise Forbidden("two steps of the pipeline disagree about who is asking")
    if not isinstance(found[0], Principal):  # None would be the owner of this machine
        raise Forbidden("a step of this pipeline did not say who is asking")
    return found[0]


def _exchange(
    host: Host, endpoint: Endpoint, request: quart.Request, asked: Request, headers: Mapping[str, str], peer: str
) -> Exchange:
    assert endpoint.protocol is not None
    return Exchange(
        pipeline=endpoint.pipeline.name,
        protocol=endpoint.protocol,
        operation=endpoint.operation,
        request=asked,
        headers=headers,
        query=request.query_string.decode("latin-1"),
        peer=peer,
        upstreams=endpoint.pipeline.file.upstreams,
        started=host.clock(),
    )


def _peer(request: quart.Request, generation: Generation, headers: Mapping[str, str]) -> str:
    """The client's address, "" for one without."""
    client = request.scope.get("client")
    return generation.proxies.client(client[0] if client else "", headers)


def _response(reply: Answer | Reply) -> quart.Response:
    response = quart.Response(reply.body, reply.status, reply.headers)
    response.timeout = None  # Quart's default cuts streams
    return response


# ---------------------------------------------------------------- reading


def _tidy(path: str) -> str:
    """The path as of a base URL that does not end in a slash, without what would break the lines of a log."""
    shown = path if path.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in path)
    return re.sub("/{2,}", "/", shown).rstrip("/") or "/"


def _headers(raw: Any) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def _read_request(
    request: quart.Request, generation: Generation, endpoint: Endpoint, headers: Mapping[str, str]
) -> Request:
    assert endpoint.protocol is not None
    if endpoint.operation == "list_models":
        return Request(b"{}", _no_prompt, model="")
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise InvalidRequest(f"content-encoding {encoding!r} is not supported; send the body as it is", status=415)
    return endpoint.protocol.read(
        await _read_body(request, generation.gateway.body_limit, endpoint.pipeline.course.deadlines), headers
    )


async def _read_body(request: quart.Request, limit: int, deadlines: Deadlines) -> bytes:
    """The body. One that is too large is read on for a while, so that the client is there to read the refusal."""
    parts, size = [], 0
    try:
        with deadlines.within(_BODY_SECONDS):
            async for chunk in request.body:
                size += len(chunk)
                if size <= limit:
                    parts.append(chunk)
                elif size > 2 * limit:
                    break
    except TimeoutError:
        raise InvalidRequest(f"the request body did not arrive within {_BODY_SECONDS:g} s", status=408) from None
    if size > limit:
        raise TooLarge(f"the request body is larger than {limit} bytes")
    return b"".join(parts)


def _no_prompt(_body: bytes) -> Prompt:
    return Prompt()


# ---------------------------------------------------------------- refusing


def _check_same_machine(headers: Mapping[str, str]) -> None:
    """A pipeline without auth trusts this machine, but neither its proxies nor every web page in its browsers."""
    if not _PROXIED.isdisjoint(headers):
        raise Forbidden("this pipeline has no login and answers no proxy: add the step 'auth' to serve others")
    try:
        names = [urlsplit(f"//{headers.get('host', '')}").hostname]
        if "origin" in headers:  # it may be `null`, which has no name
            names.append(urlsplit(headers["origin"]).hostname)
    except ValueError:
        names = [None]
    if not all(_is_local_name(name or "") for name in names):
        raise Forbidden("this pipeline has no login and answers only this machine's own programs")


def _is_local_name(name: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost" or name.endswith(".localhost")


def _no_endpoint(generation: Generation, method: str, path: str, methods: Mapping[str, Endpoint]) -> GatewayError:
    if methods:
        return InvalidRequest(f"{method} is not served at {path}; use {' or '.join(methods)}", status=405)
    if "/v1/v1/" in path:
        return NotFound(f"nothing is served at {path}; leave /v1 out of the base URL")
    paths = ", ".join(pipeline.path or "/" for pipeline in generation.pipelines)
    return NotFound(f"nothing is served at {path}; pipelines are at: {paths}")


def _protocol_near(generation: Generation, path: str) -> ClientProtocol | None:
    """The protocol whose words a lost client most likely understands."""
    inside = [p for p in generation.pipelines if path == p.path or path.startswith(p.path + "/")]
    for pipeline in sorted(inside, key=lambda p: -len(p.path)):
        for methods in generation.endpoints.values():
            for endpoint in methods.values():
                if endpoint.pipeline is pipeline and endpoint.protocol is not None:
                    return endpoint.protocol
    return None


def _refused(protocol: ClientProtocol | None, error: Exception, what: str) -> Answer:
    """The answer to a request that came to no exchange."""
    request_id = new_id()
    if not isinstance(error, GatewayError):
        log.error("%s: %s: mistake in the gateway", request_id, what, exc_info=error)
        error = Internal(f"internal error in the gateway; the log has request {request_id}")
    log.warning("%s: %s: %s %s", request_id, what, error.status, error.message)
    if protocol is not None:
        answer = protocol.error(error, request_id)
        return answer._replace(headers={**error.headers, **answer.headers})
    body = msgspec.json.encode({"error": {"type": error.kind, "message": error.message}})
    return Answer(error.status, {**error.headers, "content-type": _JSON, "request-id": request_id}, body)


# ---------------------------------------------------------------- health


def _is_health(generation: Generation, path: str) -> bool:
    return path.endswith("/health") and path[: -len("/health")] in {
        "",
        *(p.path for p in generation.pipelines),
    }


def _health(host: Host) -> Answer:
    state = {
        "live": True,
        "ready": True,
        "generation": host.current.id,
        "reload_failed": bool(host.reload_problem),
    }
    return Answer.json(state)
