"""What tokens cost in the pipelines of a place, for a command: only the steps that know it are started."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from penstock.exchange import Exchange
from penstock.money import Prices
from penstock.problems import ConfigError
from penstock.protocol import ClientProtocol
from penstock.request import Prompt, Request

if TYPE_CHECKING:
    from penstock.pipelinefile import PipelineFile


async def find_prices(place: Path, env: Mapping[str, str]) -> dict[str, Prices]:
    """The prices of each pipeline that has some, by its name. Mistakes elsewhere in the files do not matter.

    Raises ConfigError if a step that knows prices does not start, or if there are only mistakes where one might be.
    """
    from penstock.config import load
    from penstock.gateway import Host, compile_all  # half a second, which only this command needs
    from penstock.generation import Generation
    from penstock.store import MemoryStore

    files = load(place, env)
    alone = [_alone(file) for file in files.pipelines]
    told = replace(files, pipelines=[file for file in alone if file.steps], problems=[])
    if not told.pipelines and files.problems:
        raise ConfigError(files.problems)
    host = Host(place, env)
    pipelines, problems = compile_all(told, MemoryStore(host.clock), host.clock)
    if problems:
        raise ConfigError(problems)
    generation = Generation(told, pipelines, host)
    await generation.start()
    found: dict[str, Prices] = {}
    for pipeline in pipelines:
        exchange = _question(pipeline.file)
        for call in pipeline.course.plan.on_request:
            result = call.function(exchange)
            if hasattr(result, "__await__"):
                await result
        if exchange.prices is not None:
            found[pipeline.name] = exchange.prices
    generation.replace()
    await host.stop()
    return found


def _alone(file: "PipelineFile") -> "PipelineFile":
    """The pipeline with nothing but the steps that know prices."""
    steps = [step for step in file.steps if step.enabled and "prices" in step.instance.provides]
    return replace(file, steps=steps, teams={}, complete=True)


def _question(file: "PipelineFile") -> Exchange:
    """An exchange that goes nowhere; a step fills in its prices."""
    return Exchange(
        pipeline=file.name,
        protocol=cast(ClientProtocol, None),  # no client speaks here
        operation="generate",
        request=Request(b"{}", lambda _: Prompt(), model=""),
        headers={},
        upstreams=file.upstreams,
        started=0.0,
    )
