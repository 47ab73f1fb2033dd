"""Keep spending within budgets: per key, user, team, session, model or pipeline, by the hour, day, week or month."""

import math
import time
from collections.abc import Sequence
from datetime import UTC, tzinfo
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from msgspec import Meta

from penstock import (
    Attempt,
    Exchange,
    Gateway,
    Internal,
    Money,
    Overloaded,
    Plugin,
    Response,
    Secret,
    StashKey,
    StoreUnavailable,
    hookimpl,
    model_names,
    subject_of,
)

from .costs import estimated, spent
from .display import UNIFIED, headers, over_budget
from .left import endpoint
from .notices import Notices, Webhook
from .purse import Charge, Purse
from .windows import WINDOWS, Calendar, Window

__all__ = ["Budgets"]

Share = Annotated[float, Meta(gt=0, le=1)]

SHOWN: StashKey[float] = StashKey()
"""The share of the budget that the headers of an answer show: of several steps, that of the one nearest to its end."""

_AGAIN = 5.0
"""Seconds after which a client shall ask again when the store was away."""


class Budgets(Plugin):
    """Stop when the money is spent, warn before, or have cheaper models answer.

    `per` says whose budget it is: that of each `key`, `user`, `team` or agent `session`, of each `model` of an
    upstream, or of the `pipeline` as a whole. `hourly`, `daily`, `weekly` and `monthly` budgets are those of the
    calendar in the `timezone`; `total` never starts anew. `only` counts some models (or `upstream/model`) by shell
    patterns. Use several steps with an `id` each for budgets of different kinds.

    Each call to an upstream reserves an estimate and is settled with what it has cost. While anything is left, a call
    goes out, so that the last ones may go beyond the limit. Models that cost nothing, and answers that no upstream has
    given, are never refused. At each share of `warn_at` the log and the `webhook` are told, and so is Claude Code.
    From `downgrade_at` on, `downgrade` replaces models, by shell patterns; the step then stands above `models`.
    `advice` ends the message of a refusal. `when_store_fails` says what happens to requests while the store is away.

    `GET <path>/-/<step>` tells how much of each budget the caller has left; admins may ask for a `team`, `user`, `key`.
    """

    requires = frozenset({"prices"})
    uses = frozenset({"principal"})
    shared_store = True

    hourly: Money | None = None
    daily: Money | None = None
    weekly: Money | None = None
    monthly: Money | None = None
    total: Money | None = None
    per: Literal["key", "user", "team", "session", "model", "pipeline"] = "key"
    only: list[str] = []
    timezone: str = "UTC"
    warn_at: tuple[Share, ...] = (0.75, 0.95)
    webhook: Secret | None = None
    downgrade: dict[str, str] = {}
    downgrade_at: Share = 0.8
    advice: str | None = None
    when_store_fails: Literal["refuse", "allow"] = "refuse"

    def __post_init__(self) -> None:
        self._calendar = Calendar(_zone(self.timezone), time.time)
        self._limits = _limits(self)
        if self.downgrade and self.per == "model":
            raise ValueError("`downgrade` replaces models before it is known whose budget that is: not `per: model`")
        if self.webhook is not None and not _is_address(self.webhook):
            raise ValueError("`webhook` must be an address that begins with https:// or http://")
        self._charge: StashKey[Charge | None] = StashKey()  # of this instance: a pipeline may have several
        self._cheaper: StashKey[str] = StashKey()
        self._first_warning = min(self.warn_at, default=math.inf)
        self._without_store = False

    @hookimpl
    def startup(self, gateway: Gateway) -> None:
        self._purse = Purse(self.store, self._limits, self._calendar, sessions=self.per == "session")
        gateway.add_route(self.step, endpoint(self._purse, self._calendar, self.step, self.per, self.only))
        self._notices = Notices(self.store, self._thresholds(), self._calendar, self.log, self._teller(gateway))

    @hookimpl
    async def on_request(self, exchange: Exchange) -> None:
        if not self.downgrade or exchange.operation != "generate":
            return
        if exchange.targets:
            raise Internal(f"step {self.step!r} cannot replace models: move it above the step that chooses targets")
        model = exchange.request.model
        names = model_names(exchange)
        cheaper = next((to for pattern, to in self.downgrade.items() if _fits(pattern, names)), "")
        if cheaper and self._counts(names) and await self._nearly_spent(exchange):
            exchange.request.model = cheaper
            exchange.stash[self._cheaper] = cheaper
            self.log.info("%s: asks for %r and gets %r", exchange.id, model, cheaper)

    @hookimpl
    async def on_attempt(self, exchange: Exchange, attempt: Attempt) -> None:
        target = attempt.target
        if exchange.operation != "generate" or not self._counts(model_names(exchange, target)):
            return
        accounts = list(self._purse.accounts(subject_of(exchange, self.per, target)))
        charge = Charge(accounts, estimated(exchange, target))
        exchange.stash[self._charge] = charge  # before asking: whatever happens then, it is settled
        try:
            state = await self._purse.reserve(charge)
        except StoreUnavailable as error:
            self._do_without(error)
        else:
            self._without_store = False
            if state is not None:
                unified = exchange.protocol.name == "anthropic"
                raise over_budget(state, self._calendar, self._advice(), unified=unified)

    @hookimpl
    async def on_failure(self, exchange: Exchange, attempt: Attempt) -> None:
        await self._settle(exchange, attempt)

    @hookimpl
    def on_response(self, exchange: Exchange, response: Response) -> None:
        if (cheaper := exchange.stash.get(self._cheaper)) is not None:
            response.headers["x-penstock-downgraded"] = cheaper
        charge = exchange.stash.get(self._charge)
        if charge is None or not charge.states or exchange.protocol.name != "anthropic":
            return
        worst = max(charge.states, key=lambda state: state.share)
        if worst.share >= max(exchange.stash.get(SHOWN, 0.0), self._first_warning):
            exchange.stash[SHOWN] = worst.share
            others = {name: value for name, value in response.headers.items() if not name.startswith(UNIFIED)}
            response.headers = others | headers(worst, self.warn_at)

    @hookimpl
    async def on_complete(self, exchange: Exchange) -> None:
        if exchange.attempt is not None:
            await self._settle(exchange, exchange.attempt)

    def _teller(self, gateway: Gateway) -> Webhook | None:
        if not self.webhook:
            return None
        client = gateway.http(allow=[self.webhook.reveal()])  # the operator's own choice, often in the own network
        return Webhook(self.webhook, client, gateway.spawn, self.log)

    def _counts(self, names: Sequence[str]) -> bool:
        return not self.only or any(_fits(pattern, names) for pattern in self.only)

    async def _nearly_spent(self, exchange: Exchange) -> bool:
        try:
            states = await self._purse.states(subject_of(exchange, self.per))
        except StoreUnavailable as error:
            self._do_without(error)
            return False
        return any(state.share >= self.downgrade_at for state in states)

    async def _settle(self, exchange: Exchange, attempt: Attempt) -> None:
        charge = exchange.stash.get(self._charge)
        if charge is None:
            return
        exchange.stash[self._charge] = None
        try:
            states = await self._purse.settle(charge, spent(exchange, attempt, charge.amount))
            await self._notices.look(states)
        except StoreUnavailable as error:
            self._report(error)

    def _do_without(self, error: StoreUnavailable) -> None:
        self._report(error)
        if self.when_store_fails == "refuse":
            words = "the gateway cannot look up its budgets at the moment"
            raise Overloaded(words, retry_after=_AGAIN, detail=str(error)) from None

    def _report(self, error: StoreUnavailable) -> None:
        """Once for each time that the store goes away."""
        if not self._without_store:
            self._without_store = True
            consequence = "are refused" if self.when_store_fails == "refuse" else "pass without budgets"
            self.log.warning("the store is away, requests %s until it is back: %s", consequence, error)

    def _thresholds(self) -> dict[float, str]:
        """The shares at which something is told, with what follows from them."""
        told = dict.fromkeys(self.warn_at, "")
        if self.downgrade:
            told[self.downgrade_at] = f"; from now on cheaper models answer for {', '.join(self.downgrade)}"
        return {**told, 1.0: "; from now on requests are refused"}

    def _advice(self) -> str:
        if self.advice is not None:
            return self.advice
        return "start a new session" if self.per == "session" else "for more, ask whoever runs this gateway"


def _fits(pattern: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _limits(options: Budgets) -> dict[Window, int]:
    """The budgets that are set, by window. Raises ValueError."""
    found: dict[Window, int | None] = {window: getattr(options, window) for window in WINDOWS}
    limits: dict[Window, int] = {window: limit for window, limit in found.items() if limit is not None}
    if not limits:
        raise ValueError("set at least one budget, such as `daily: $20`")
    if not all(limits.values()):
        raise ValueError("a budget is more than nothing; `models` says who may use what")
    return limits


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)  # the one is known everywhere, the others not
    except (KeyError, ValueError, OSError):
        raise ValueError(f"`timezone`: {name!r} is not known; write it like Europe/Berlin") from None


def _is_address(url: Secret) -> bool:
    parts = urlsplit(url.reveal())
    return parts.scheme in ("https", "http") and bool(parts.hostname)
