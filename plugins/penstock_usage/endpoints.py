"""`/-/usage` and `/-/analytics`: the ledger of one pipeline as JSON, to each what is theirs."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from penstock import Answer, Database, DatabaseUnavailable, EndpointRequest, InvalidRequest, Overloaded

from .asking import BY, FILTERS, Question, question
from .baseline import check_model
from .report import Report, make_report
from .sums import lines

_TOP = 20  # sessions in the analytics
_AT_ONCE = 2  # questions: keys and records need connections, too
_PATIENCE = 30.0  # seconds for a question, its turn included


class Endpoints:
    """Answers for the steps of a pipeline.

    An admin sees everybody in the pipeline, the admin of a team sees the team, and everybody else themselves. Where
    nobody says who they are only this machine is served, and sees all.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def usage(self, asked: EndpointRequest) -> Answer:
        """The sums by one name; `by`, `since`, `until`, `baseline` and the names to filter by are in the query."""
        by = asked.query.get("by", "day")
        if by not in BY:
            raise InvalidRequest(f"by: expected one of {', '.join(BY)}, got {by!r}")
        return Answer.json((await self._report(asked, by, _question(asked, {"by", "baseline"}))).whole())

    async def analytics(self, asked: EndpointRequest) -> Answer:
        """What a dashboard shows: totals, and the sums by day, model, team, user, upstream and session."""
        wanted = _question(asked, {"baseline"})
        report = await self._report(asked, "day", wanted)
        told = report.whole()
        told["days"] = told.pop("rows")
        del told["by"]
        async with self._turn():
            for by in ("model", "team", "user", "upstream", "session"):
                found = await lines(self._database, by, wanted)
                told[f"{by}s"] = [{by: line.name, **line.about, **line.sums.told()} for line in found[:_TOP]]
        return Answer.json(told)

    async def _report(self, asked: EndpointRequest, by: str, wanted: Question) -> Report:
        model = asked.query.get("baseline", "")
        prices = {asked.pipeline: asked.prices} if asked.prices else {}
        try:
            if model:
                check_model(prices, model)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        async with self._turn():
            await self._database.open()
            return await make_report(self._database, by, wanted, model, prices)

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        """For one question: nobody's may keep the database from those who need it to work. Raises Overloaded."""
        try:
            async with asyncio.timeout(_PATIENCE), self._turns:
                yield
        except TimeoutError:
            raise Overloaded("the ledger takes too long to answer this: ask for fewer days", retry_after=10.0) from None
        except DatabaseUnavailable as error:
            raise Overloaded("the ledger cannot be asked for now: its database is away", detail=str(error)) from error


def _question(asked: EndpointRequest, more: set[str]) -> Question:
    """What the query asks for, within what the principal may see. Raises InvalidRequest."""
    known = {"since", "until", *more, *FILTERS} - {"pipeline"}
    if unknown := sorted(asked.query.keys() - known):
        raise InvalidRequest(f"unknown parameter {unknown[0]!r}; there are: {', '.join(sorted(known))}")
    filters = {name: asked.query.get(name, "") for name in FILTERS}
    try:
        wanted = question(asked.query.get("since", "30d"), asked.query.get("until", "0d"), filters)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    return wanted._replace(filters={**wanted.filters, **_own(asked)})


def _own(asked: EndpointRequest) -> Mapping[str, str]:
    """The filters that keep others' use from whoever asks: they win over those of the query."""
    who, own = asked.principal, {"pipeline": asked.pipeline}
    if who is None or (who.admin and not who.team):
        return own
    return {**own, "team": who.team} if who.admin else {**own, "team": who.team, "user": who.user}
