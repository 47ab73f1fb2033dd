"""Sub-requests: what a step asks the pipeline that it stands in, each as an exchange of its own."""

from collections.abc import Callable

from penstock.engine import Run
from penstock.errors import GatewayError, Internal
from penstock.events import Text
from penstock.exchange import Exchange, SubAnswer
from penstock.journey import Course
from penstock.request import Prompt
from penstock.sources import Spawn

_DEEPEST = 3
"""How many steps may ask within each other's sub-requests."""


class Asker:
    """Makes the sub-requests of a pipeline."""

    def __init__(
        self,
        course: Course,
        spawn: Spawn,
        clock: Callable[[], float],
        enter: Callable[[], None],
        leave: Callable[[], None],
    ) -> None:
        """`enter` and `leave` are called when an exchange begins and when the last of it has ended."""
        self._course = course
        self._spawn = spawn
        self._clock = clock
        self._enter = enter
        self._leave = leave

    async def __call__(self, asking: Exchange, step: str, model: str, prompt: Prompt, timeout: float) -> SubAnswer:
        """Ask on behalf of whoever `asking` is for, and wait for the whole answer. Raises GatewayError."""
        _check_depth(asking, step)
        exchange = self._exchange(asking, step, model, prompt)
        run = Run(exchange, self._course, self._spawn, self._clock, self._leave)
        self._enter()
        try:
            if asking.principal is not None:
                exchange.identify(asking.principal)  # from now on nobody else, and in that team's pipeline
            events = await run.events(timeout)
        except GatewayError as error:
            raise _told(error, f"step {step!r} asked {model!r}: {error.message}") from error
        finally:
            run.close()
        text = "".join(event.text for event in events if isinstance(event, Text))
        return SubAnswer(text=text, events=tuple(events), usage=exchange.usage, cost=exchange.cost, id=exchange.id)

    def _exchange(self, asking: Exchange, step: str, model: str, prompt: Prompt) -> Exchange:
        request = asking.protocol.compose(model, prompt, asking.headers)
        request.session = asking.request.session
        exchange = Exchange(
            pipeline=asking.pipeline,
            protocol=asking.protocol,
            operation="generate",
            request=request,
            headers=asking.headers,
            peer=asking.peer,
            upstreams=asking.upstreams,
            started=self._clock(),
        )
        exchange.parent, exchange.asked_by = asking.id, (*asking.asked_by, step)
        exchange.on_ask(self)
        return exchange


def _check_depth(asking: Exchange, step: str) -> None:
    """Raises Internal where steps would ask for ever."""
    if step in asking.asked_by:
        way_out = "begin the hook with `if self.step in exchange.asked_by: return None`"
        raise Internal(f"step {step!r} asks within its own sub-request", detail=way_out)
    if len(asking.asked_by) >= _DEEPEST:
        chain = " > ".join((*asking.asked_by, step))
        raise Internal(f"steps ask within each other's sub-requests too deeply: {chain}")


def _told(error: GatewayError, message: str) -> GatewayError:
    """The same error with a message of its own, and without the upstream's: this is not what the client has asked."""
    told = type(error).__new__(type(error), message)
    told.__dict__.update(error.__dict__, message=message, raw=None)
    return told
