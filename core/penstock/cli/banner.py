"""What a newcomer reads when the server is up: address, providers, models, and how to connect."""

from collections.abc import Iterator

from penstock.engine import Run
from penstock.exchange import Exchange, ModelInfo
from penstock.gateway import Host
from penstock.generation import Endpoint
from penstock.pipeline import Pipeline
from penstock.request import Prompt, Request
from penstock.tally import Tally

_SHOWN = 12  # models; the list endpoint has the rest


async def banner(host: Host, address: str) -> list[str]:
    """The lines, for every pipeline of the current generation. Names of variables only, never a key."""
    lines = [f"penstock serves at {address}"]
    if any(pipeline.timers.debug for pipeline in host.current.pipelines):
        lines.append("debug is ON: clients are told which steps and upstreams took how long")
    for pipeline in host.current.pipelines:
        lines += ["", f"pipeline {pipeline.name} at {address}{pipeline.path}"]
        lines += _providers(pipeline)
        lines += _models(await _offered(host, pipeline)) if pipeline.open else ["  models      for holders of a key"]
        lines += _connect(host, pipeline, address)
    return lines


def brief(pipelines: list[Pipeline], address: str, workers: int) -> Iterator[str]:
    """What the parent of several workers can say, which runs no pipeline itself."""
    yield f"penstock serves at {address} with {workers} workers"
    for pipeline in pipelines:
        yield from ("", f"pipeline {pipeline.name} at {address}{pipeline.path}", *_providers(pipeline))


def _providers(pipeline: Pipeline) -> Iterator[str]:
    upstreams = pipeline.file.upstreams.values()
    ready = [f"{u.name} ({u.credential})" if u.credential else u.name for u in upstreams if not u.missing]
    if ready:
        yield f"  providers   {', '.join(ready)}"
        return
    wanted = ", ".join(" or ".join(u.variables) for u in upstreams if u.variables)
    if any(step.name == "simulator" and step.enabled for step in pipeline.file.steps):
        yield "  providers   none: answers are SIMULATED, no model is asked and nothing is charged"
    else:
        yield "  providers   none: requests will be refused"
    if wanted:
        yield f"  to switch   set one of these and start again: {wanted}"
    else:
        yield "  to switch   name a provider under `upstreams` in the file"


def _models(models: list[ModelInfo]) -> Iterator[str]:
    names = [model.id for model in models]
    more = f" and {len(names) - _SHOWN} more (GET /v1/models)" if len(names) > _SHOWN else ""
    yield f"  models      {', '.join(names[:_SHOWN]) or 'whatever the client names'}{more}"


def _connect(host: Host, pipeline: Pipeline, address: str) -> Iterator[str]:
    credential = "local" if pipeline.open else "'<your key>'"
    for endpoint in _endpoints(host, pipeline, "generate"):
        lines = endpoint.protocol.how_to_connect(address + pipeline.path, credential) if endpoint.protocol else []
        if lines:
            yield "  connect     in another terminal:"
        yield from (f"      {line}" for line in lines)


def _endpoints(host: Host, pipeline: Pipeline, operation: str) -> Iterator[Endpoint]:
    for methods in host.current.endpoints.values():
        for endpoint in methods.values():
            if endpoint.pipeline is pipeline and endpoint.operation == operation and endpoint.protocol is not None:
                yield endpoint


async def _offered(host: Host, pipeline: Pipeline) -> list[ModelInfo]:
    """The models, asked for along the pipeline as a client would."""
    endpoint = next(_endpoints(host, pipeline, "list_models"), None)
    if endpoint is None or endpoint.protocol is None:
        return []
    exchange = Exchange(
        pipeline=pipeline.name,
        protocol=endpoint.protocol,
        operation="list_models",
        request=Request(b"{}", lambda _: Prompt(), model=""),
        headers={},
        upstreams=pipeline.file.upstreams,
        started=host.clock(),
    )
    host.current.enter()
    course = pipeline.course._replace(tally=Tally())  # what the gateway itself asks is no request
    run = Run(exchange, course, host.spawn, host.clock, host.current.leave)
    try:
        await run.reply()
    finally:
        run.close()
    return list(exchange.response.models or ()) if exchange.response else []
