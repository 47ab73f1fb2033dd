"""Which instance of a step answers at its endpoint: teams have their own, with their own options."""

from penstock.errors import NotFound
from penstock.journey import Course
from penstock.plugin import EndpointRequest, Handler, Plugin
from penstock.protocol import Answer


class Instances:
    """The handlers that the instances of one step have for one path. Itself a handler: it asks the right one."""

    def __init__(self, step: str, course: Course, *, shared: bool) -> None:
        """`shared`: they all say the same, so that the first may answer for every team."""
        self.step = step
        self._course = course
        self._shared = shared
        self._handlers: dict[int, Handler] = {}

    def add(self, instance: Plugin, handler: Handler) -> bool:
        """Take what an instance answers; False if it has said that before."""
        return self._handlers.setdefault(id(instance), handler) is handler

    async def __call__(self, asked: EndpointRequest) -> Answer:
        """What the instance of the team says that is asked about. Raises NotFound if the step is off for it."""
        return await self._handler(team_of(asked))(asked)

    def _handler(self, team: str) -> Handler:
        if self._shared:
            return next(iter(self._handlers.values()))
        plan = self._course.team_plans.get(team, self._course.plan)
        for step in plan.steps:
            if id(step.plugin) in self._handlers:
                return self._handlers[id(step.plugin)]
        whom = f"team {team}" if team in self._course.team_plans else "everybody whose team says nothing of it"
        raise NotFound(f"step {self.step!r} is off for {whom}")


def team_of(asked: EndpointRequest) -> str:
    """The team of whoever asks, or the one that an admin of all teams names as `team` in the query."""
    who = asked.principal
    if who is None or (who.admin and not who.team):
        return asked.query.get("team", "")
    return who.team
