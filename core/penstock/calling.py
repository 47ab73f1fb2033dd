"""Call the steps of one exchange: which of them take part, and what comes of it when one breaks."""

import asyncio
from collections.abc import Mapping
from logging import getLogger
from time import perf_counter_ns
from typing import Any

from penstock.blame import place_of
from penstock.errors import Forbidden, GatewayError, Internal
from penstock.exchange import Exchange
from penstock.plan import Call, Plan
from penstock.safety import CircuitOpen, HookTimedOut

log = getLogger("penstock")

_CONSEQUENCES = {"fail": "", "skip": "; the exchange goes on without it", "deny": "; the exchange is refused"}


class Calling:
    """The steps of one exchange. `plan` holds those that take part, and changes when one of them leaves."""

    def __init__(self, exchange: Exchange, plan: Plan, team_plans: Mapping[str, Plan]) -> None:
        self.plan = plan
        self._exchange = exchange
        self._whole = plan
        self._team_plans = team_plans
        self._absent: frozenset[str] = frozenset()  # they never took part
        self._broken: frozenset[str] = frozenset()

    @property
    def completing(self) -> tuple[Call, ...]:
        """The `on_complete`s: of all steps that have taken part, also of those that broke."""
        return self._whole.without(self._absent).on_complete

    def switch(self, team: str) -> None:
        """Go on along the plan of a team, if it has one of its own."""
        self._whole = self._team_plans.get(team, self._whole)
        self._choose()

    def leave_out(self, call: Call) -> None:
        """Go on without a step that takes no part."""
        call.timer.skip()
        self._absent |= {call.step}
        self._choose()

    async def call(self, call: Call, *arguments: Any) -> Any:
        """Call one implementation, plain or async; None if the step broke and may. Raises GatewayError only."""
        timer, begun = call.timer, perf_counter_ns()
        try:
            result = call.function(*arguments)
            return await result if hasattr(result, "__await__") else result
        except GatewayError:
            timer.refusals += 1
            raise
        except CircuitOpen as error:
            self.leave_out(call)
            if call.if_broken != "skip":
                raise _paused(call, error) from None
        except Exception as error:
            self.broke(call, error)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():  # the exchange has ended
                raise
            mistake = RuntimeError("it awaited something that had been cancelled")
            mistake.__cause__ = error
            self.broke(call, mistake)
        finally:
            timer.note(perf_counter_ns() - begun)

    async def complete(self, call: Call) -> None:
        """Call one `on_complete`, whose errors harm nobody."""
        try:
            await self.call(call, self._exchange)
        except GatewayError as error:
            if error.__cause__ is None:  # else it has been told
                log.error("%s: on_complete of step %r: %s", self._exchange.id, call.step, error.message)

    def broke(self, call: Call, error: Exception) -> None:
        """Go on without a step that has broken. Raises GatewayError if that must not be."""
        failure = self.blame(call, error)
        if call.if_broken != "skip":
            raise failure from error
        self._broken |= {call.step}
        self._choose()

    def blame(self, call: Call, error: Exception) -> GatewayError:
        """What a step has broken with, as an error; the log has the place."""
        call.timer.failures += 1
        call.timer.timeouts += isinstance(error, HookTimedOut)
        plugin = next((step.plugin for step in self._whole.steps if step.id == call.step), None)
        place, what = place_of(error, plugin), "timeout" if isinstance(error, HookTimedOut) else "mistake"
        where, then = f"step {call.step!r}", _CONSEQUENCES[call.if_broken]
        log.error("%s: %s in %s at %s%s", self._exchange.id, what, where, place, then, exc_info=error)
        detail = f"{type(error).__name__}: {error} ({place})"
        if call.if_broken == "deny":
            words = f"{where} could not do its work, and nothing passes without it"
            return Forbidden(f"{words}; the log has request {self._exchange.id}", detail=detail)
        return Internal(f"internal error in {where}; the log has request {self._exchange.id}", detail=detail)

    def mistake(self, error: Exception) -> GatewayError:
        """A mistake of the core as an error; the log has the place."""
        place = place_of(error)
        log.error("%s: mistake in the gateway at %s", self._exchange.id, place, exc_info=error)
        detail = f"{type(error).__name__}: {error} ({place})"
        return Internal(f"internal error in the gateway; the log has request {self._exchange.id}", detail=detail)

    def _choose(self) -> None:
        self.plan = self._whole.without(self._absent | self._broken)


def _paused(call: Call, error: CircuitOpen) -> GatewayError:
    words = f"step {call.step!r} is paused after repeated failures"
    if call.if_broken == "deny":
        return Forbidden(f"{words}, and nothing passes without it")
    return Internal(words, retry_after=error.seconds)
