"""Single hooks of one plugin, played without a socket by the real engine: what they return, raise and change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock import (
    Attempt,
    BlockStart,
    BlockStop,
    Event,
    Exchange,
    Finish,
    GatewayError,
    Operation,
    Plugin,
    Principal,
    Response,
    Signature,
    Start,
    Text,
    Thinking,
    ToolInput,
    UpstreamFailed,
    Usage,
)
from penstock.testing.answers import events_of, joined, tool_calls
from penstock.testing.asking import Asking, Content
from penstock.testing.parts import ToolCall
from penstock.testing.rig import NOBODY, Ear, Mistakes, Rig, Scene, Stage, World


@dataclass(frozen=True)
class Played:
    """What came of a scene.

    `passed` says whether the request came to the steps below the plugin. `response` and `events` are what leaves the
    plugin upwards, without the events that the kit had to add and nobody changed. `error` is what the client would be
    told, None if there is an answer. `exchange` has the request as it is now, the stash, targets and the outcome.
    """

    exchange: Exchange
    passed: bool
    response: Response | None
    events: Sequence[Event]
    error: GatewayError | None
    attempt: Attempt | None

    @property
    def text(self) -> str:
        """The text of the events."""
        return joined(self.events, Text)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls of tools in the events."""
        return tool_calls(self.events)


class Playbook:
    """Plays scenes to one plugin: exchanges in which everything above and below it is scripted.

        async def test_it_shouts(playbook):
            play = playbook(Shout(sign="!"))
            assert (await play.event(Text(0, "hi"))).text == "HI!"
            assert (await play.request("x" * 9999)).error.kind == "invalid_request"

    Each scene is an exchange of its own, from the request to `on_complete`: hooks before the one a scene is named for
    run, too. The keywords of all scenes are those of `ask`, with `operation` and the `principal` who asks. A mistake,
    that is any exception of a hook but a GatewayError, is raised here as it is. `startup` runs before the first scene,
    `shutdown` after the test. What the plugin asks itself is answered with "hello". There is no database here, and no
    attempt ever reaches an upstream.
    """

    def __init__(
        self,
        plugin: Plugin,
        folder: Path,
        *,
        principal: Principal | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`folder` is an empty one for the files of a gateway; `plugin.folder` becomes its `pipelines/`."""
        self.plugin = plugin
        self._folder = folder
        self._principal = principal or NOBODY
        self._clock = clock
        self._rig: Rig | None = None

    async def request(self, content: Content = "hi", /, **asked: Any) -> Played:
        """`on_request`: the steps below would answer "hello". See `passed`, `response`, `error`, `exchange.request`."""
        return await self._play(Scene(answer=Response(events_of("hello"))), content, asked)

    async def event(self, *events: Event, content: Content = "hi", **asked: Any) -> Played:
        """`on_event`: these events come up; what an answer needs around them is added. See `events`, `text`."""
        whole = _completed(events)
        played = await self._play(Scene(answer=Response(whole)), content, asked)
        added = {id(event) for event in whole} - {id(event) for event in events}
        left = tuple(event for event in played.events if id(event) not in added)
        return Played(**{**vars(played), "events": left})

    async def response(self, response: Response | None = None, /, *, content: Content = "hi", **asked: Any) -> Played:
        """`on_response`: this answer comes up; one without events says "hello". See `response`."""
        given = response or Response()
        given.events = events_of("hello") if given.events is None else given.events
        return await self._play(Scene(answer=given), content, asked)

    async def attempt(self, content: Content = "hi", /, **asked: Any) -> Played:
        """`on_attempt`: a target is tried, and the attempt ends before it is sent. See `attempt`."""
        return await self.failure(
            UpstreamFailed("the playbook sends nothing", retryable=False), content=content, **asked
        )

    async def failure(self, error: GatewayError, *, content: Content = "hi", **asked: Any) -> Played:
        """`on_failure`: the upstream refuses with this error, which then meets `on_error`. See `error`, `attempt`."""
        return await self._play(Scene(failure=error), content, asked)

    async def error(self, error: GatewayError, *, content: Content = "hi", **asked: Any) -> Played:
        """`on_error`: a step below fails with this error. See `error`, or `response` if it was mended."""
        return await self._play(Scene(refusal=error), content, asked)

    async def complete(self, content: Content = "hi", /, **asked: Any) -> Played:
        """`on_complete`: a good answer, to its end. See `exchange`, and what the plugin has done."""
        return await self.request(content, **asked)

    async def start(self) -> None:
        """Run `startup`, unless that is done. Raises ConfigError if the plugin refuses to start, or cannot."""
        if self._rig is None:
            step = type(self.plugin).__name__.lower()
            steps = [("stage", Stage()), ("ear", Ear()), (step, self.plugin), ("world", World())]
            self._rig = await Rig.start(self._folder, steps, self._clock)

    async def close(self) -> None:
        """Run `shutdown`."""
        if self._rig is not None:
            await self._rig.close()
            self._rig = None

    async def _play(self, scene: Scene, content: Content, asked: Mapping[str, Any]) -> Played:
        await self.start()
        assert self._rig is not None
        operation: Operation = asked.get("operation", "generate")
        scene.principal = asked.get("principal") or self._principal
        asking = Asking.of({name: value for name, value in asked.items() if name not in ("operation", "principal")})
        if operation == "count_tokens":
            scene.answer = Response(tokens=11)
        elif operation == "list_models":
            scene.answer = Response(models=())
        exchange = self._rig.exchange(scene, content, asking, operation)
        with Mistakes() as mistakes:
            await self._rig.run(exchange)
        if mistakes.found:
            raise mistakes.found[0]
        return Played(exchange, scene.passed, scene.response, tuple(scene.events), exchange.error, scene.attempt)


def _completed(events: Sequence[Event]) -> list[Event]:
    """A complete answer with these events in it."""
    out: list[Event] = [] if any(isinstance(event, Start) for event in events) else [Start(model="model-a", id="msg_1")]
    opened: dict[int, Event] = {}
    for event in events:
        if isinstance(event, Text | Thinking | Signature | ToolInput) and event.index not in opened:
            out.append(opened.setdefault(event.index, _opening(event)))
        elif isinstance(event, BlockStart):
            opened[event.index] = event
        elif isinstance(event, BlockStop):
            opened.pop(event.index, None)
        elif isinstance(event, Finish):
            out += _closed(opened)
        out.append(event)
    if not any(isinstance(event, Finish) for event in events):
        calls = any(isinstance(event, BlockStart) and event.kind == "tool_use" for event in out)
        out += [*_closed(opened), Usage(input=11, output=7), Finish("tool_use" if calls else "end_turn")]
    return out


def _opening(event: Text | Thinking | Signature | ToolInput) -> BlockStart:
    if isinstance(event, ToolInput):
        return BlockStart(event.index, "tool_use", name="Tool", id="call_1")
    return BlockStart(event.index, "text" if isinstance(event, Text) else "thinking")


def _closed(opened: dict[int, Event]) -> list[Event]:
    stops: list[Event] = [BlockStop(index) for index in opened]
    opened.clear()
    return stops
