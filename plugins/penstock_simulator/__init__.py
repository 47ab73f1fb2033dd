"""Simulated models: an upstream without a key, for first steps, demos and tests."""

import asyncio
import re
from collections.abc import Iterable

from penstock import Duration, Exchange, Gateway, GatewayError, ModelInfo, Plugin, Response, Upstream, hookimpl

from .models import MODELS, echo, play
from .reply import MARK, Reply, perform
from .scene import Scene
from .script import Script, read_script

__all__ = ["Simulator"]

_HEADERS = {"x-penstock-simulated": "1"}  # of every answer, so that none is taken for a real one
_NAME = re.compile(r"(?:sim/|claude-sim-)(.+)")
_LISTED = 3  # upstreams in a sentence


class Simulator(Plugin):
    """Answer as a model would, without one: `sim/echo`, `sim/tools`, `sim/thinking`, `sim/slow`, `sim/429` and more.

    Stands above `models`, whose list it completes. Any other model name is answered, like `sim/echo`, only while the
    pipeline has no usable upstream; the first usable one ends that. Every simulated text begins with `[simulated]`,
    except JSON that has to fit the request's output schema; every answer, refusals included, carries
    `x-penstock-simulated: 1`.

    `pause` is how long `sim/slow` waits before each word. `script` names a JSON file, from the pipeline file's folder:
    a list of `{match, model, times, answer, stop_reason, usage, delay, error}`, of which the first that fits answers
    instead. `match` is a regular expression for the user's last words, `model` a shell pattern, `times` how often it
    may answer, `answer` blocks as in the Messages API, `delay` in seconds, `error` a `{kind, message, retry_after}`.
    """

    pause: Duration = 1.0
    script: str = ""

    def __post_init__(self) -> None:
        self._script = Script([])

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        if self.script:
            path = self.folder / self.script
            gateway.watch(path)
            self._script = read_script(path)

    @hookimpl
    async def on_request(self, exchange: Exchange) -> Response | None:
        if exchange.operation not in ("generate", "count_tokens"):
            return None
        model = exchange.request.model
        named = _NAME.fullmatch(model)
        if named is None and any(not upstream.missing for upstream in exchange.upstreams.values()):
            return None
        exchange.simulated = True
        exchange.served_model = f"sim/{named[1]}" if named else "sim/echo"
        try:
            return await self._answer(exchange, f"sim/{named[1]}" if named else model)
        except GatewayError as error:
            error.headers |= _HEADERS
            raise

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        if response.models is not None:
            # Claude Code, which names the version of its API, drops ids that do not begin with `claude`.
            prefix = "claude-sim-" if "anthropic-version" in exchange.headers else "sim/"
            response.models = [*response.models, *(_info(prefix, name) for name in MODELS)]

    async def _answer(self, exchange: Exchange, model: str) -> Response:
        tokens = _tokens(exchange)
        if exchange.operation == "count_tokens":
            return Response(tokens=tokens, headers=_HEADERS)
        reply = self._reply(exchange, model)
        if reply.failure is not None and not reply.parts:
            await asyncio.sleep(reply.delay)
            raise reply.failure
        events = perform(reply, exchange.served_model, exchange.id.replace("req_", "msg_"), tokens)
        return Response(events, headers=_HEADERS)

    def _reply(self, exchange: Exchange, model: str) -> Reply:
        scene = Scene(exchange.request, exchange.id.removeprefix("req_"), self.pause)
        if entry := self._script.take(model, scene.user_text):
            return entry.reply(scene.id, "" if scene.prompt.output_schema else MARK)
        if model.startswith("sim/"):
            return play(model.removeprefix("sim/"), scene)
        return echo(scene, _nobody_is_there(exchange.upstreams.values()))


def _tokens(exchange: Exchange) -> int:
    """About four bytes to a token."""
    return max(1, len(exchange.request.body) // 4)


def _info(prefix: str, name: str) -> ModelInfo:
    return ModelInfo(
        id=prefix + name,
        name=f"Simulator: {name}",
        description=MODELS[name].description,
        upstream="simulator",
    )


def _nobody_is_there(upstreams: Iterable[Upstream]) -> str:
    """Why the answer is simulated, and what would change that."""
    needs = [f"{upstream.name} ({upstream.missing})" for upstream in upstreams]
    if not needs:
        return "No provider is configured: add an upstream to the pipeline."
    more = f" and {len(needs) - _LISTED} more" if len(needs) > _LISTED else ""
    return f"No provider is configured yet: {', '.join(needs[:_LISTED])}{more}. Set up one of them and start again."
