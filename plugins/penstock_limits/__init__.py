"""Limit requests, tokens and concurrency: per key, user, team, session, model, upstream or pipeline."""

import asyncio
from fnmatch import fnmatchcase
from typing import Literal

from penstock import (
    Attempt,
    Duration,
    Exchange,
    Gateway,
    Overloaded,
    Per,
    Plugin,
    StashKey,
    StoreUnavailable,
    Subject,
    Target,
    hookimpl,
    model_names,
    subject_of,
)

from .gate import Gate, Pass
from .left import endpoint
from .refusal import Refusal
from .rules import rules_of
from .usage import estimated, used

__all__ = ["Limits"]

_MOST = 10**12
_AGAIN = 5.0
"""Seconds after which a client shall ask again when the store was away."""

_BY_TARGET = frozenset({"model", "upstream"})
"""What is known only when a target is tried."""


class Limits(Plugin):
    """Let so many requests and tokens through, and refuse what is too much with the time after which there is room.

    `per` says what each limit is counted for: a `key`, `user`, `team` or agent `session`, the `pipeline` as a whole,
    an `upstream`, or a `model` of an upstream. The last two count the calls to upstreams, and a target without room is
    passed over for the next one. Where nobody says who is asking, all are counted together. `only` restricts a step to
    models (or `upstream/model`) by shell patterns. Use several steps with an `id` each for limits of different kinds:
    a request passes when all of them let it.

    A limit is a bucket that holds that much and refills evenly. Tokens are reserved by an estimate and settled with
    what was used; what was used beyond the estimate has to refill first. Tokens read from a provider's cache are not
    counted. Refused requests cost nothing. `wait` holds a request back for so long before it is refused. `concurrency`
    is how many are under way at once, `iterations` how many an agent's session may make in all (with `per: session`).
    Only requests for answers count: counting tokens and listing models are free.
    `when_store_fails` says what happens to requests while the store is away.

    Requests: `requests_per_minute`, `requests_per_hour`, `requests_per_day`. Tokens of prompts:
    `input_tokens_per_minute`, `input_tokens_per_hour`, `input_tokens_per_day`; of answers: `output_tokens_per_minute`,
    `output_tokens_per_hour`, `output_tokens_per_day`; of both: `tokens_per_minute`, `tokens_per_hour`,
    `tokens_per_day`.

    `GET <path>/-/<step>` tells how much of each limit the caller has left; admins may ask for a `team`, `user`, `key`.
    """

    uses = frozenset({"principal"})
    shared_store = True

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    requests_per_day: int | None = None
    input_tokens_per_minute: int | None = None
    input_tokens_per_hour: int | None = None
    input_tokens_per_day: int | None = None
    output_tokens_per_minute: int | None = None
    output_tokens_per_hour: int | None = None
    output_tokens_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_hour: int | None = None
    tokens_per_day: int | None = None
    concurrency: int | None = None
    iterations: int | None = None
    per: Per = "key"
    only: list[str] = []
    wait: Duration = 0.0
    when_store_fails: Literal["refuse", "allow"] = "refuse"

    def __post_init__(self) -> None:
        self._rules = rules_of(self)
        numbers = [rule.most for rule in self._rules] + [
            n for n in (self.concurrency, self.iterations) if n is not None
        ]
        if not numbers:
            raise ValueError("set at least one limit, such as `requests_per_minute: 60`")
        if min(numbers) < 1 or max(numbers) > _MOST:
            raise ValueError(f"a limit is a number from 1 to {_MOST:,}; without a limit, leave it out")
        if self.iterations and self.per != "session":
            raise ValueError("`iterations` are those of an agent's session: they need `per: session`")
        self._pass: StashKey[Pass | None] = StashKey()  # of this instance: a pipeline may have several
        self._by_target = self.per in _BY_TARGET
        self._without_store = False

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self._gate = Gate(self.store, self._rules, self.concurrency, self.iterations)
        gateway.add_route(self.step, endpoint(self._gate, self.step, self.per, self.only))
        if self.concurrency:
            gateway.spawn(self._gate.keep(), f"renew the leases of {self.step}")

    @hookimpl
    async def on_request(self, exchange: Exchange) -> None:
        if not self._by_target and self._counts(exchange):
            await self._enter(exchange, subject_of(exchange, self.per), exchange.id)

    @hookimpl
    async def on_attempt(self, exchange: Exchange, attempt: Attempt) -> None:
        target = attempt.target
        if self._by_target and self._counts(exchange, target):
            await self._enter(exchange, subject_of(exchange, self.per, target), f"{exchange.id}/{attempt.number}")

    @hookimpl
    async def on_failure(self, exchange: Exchange) -> None:
        if self._by_target:
            await self._leave(exchange)

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None:
        await self._leave(exchange)

    def _counts(self, exchange: Exchange, target: Target | None = None) -> bool:
        if exchange.operation != "generate" or not self.only:
            return exchange.operation == "generate"
        names = model_names(exchange, target)
        return any(fnmatchcase(name, pattern) for pattern in self.only for name in names)

    async def _enter(self, exchange: Exchange, subject: Subject, holder: str) -> None:
        wanted = Pass(subject, holder, estimated(exchange.request))
        exchange.stash[self._pass] = wanted  # before asking: whatever happens then, it is given back
        try:
            refusal = await self._refusal(wanted)
        except StoreUnavailable as error:
            self._report(error)
            if self.when_store_fails == "refuse":
                words = "the gateway cannot look up its limits at the moment"
                raise Overloaded(words, retry_after=_AGAIN, detail=str(error)) from None
        else:
            self._without_store = False
            if refusal is not None:
                raise refusal.error(subject.words)

    async def _refusal(self, wanted: Pass) -> Refusal | None:
        """Why it cannot enter, not even after waiting as long as it may. Raises StoreUnavailable."""
        deadline = self.clock() + self.wait
        while (refusal := await self._gate.enter(wanted)) is not None:
            if self.clock() + refusal.pause > deadline:
                return refusal
            await asyncio.sleep(refusal.pause)
        return None

    async def _leave(self, exchange: Exchange) -> None:
        held = exchange.stash.get(self._pass)
        if held is None:
            return
        exchange.stash[self._pass] = None
        attempts = exchange.attempts[-1:] if self._by_target else exchange.attempts
        try:
            await self._gate.leave(held, used(exchange, attempts, held.estimate))
        except StoreUnavailable as error:
            self._report(error)

    def _report(self, error: StoreUnavailable) -> None:
        """Once for each time that the store goes away."""
        if not self._without_store:
            self._without_store = True
            consequence = "are refused" if self.when_store_fails == "refuse" else "pass without limits"
            self.log.warning("the store is away, requests %s until it is back: %s", consequence, error)
