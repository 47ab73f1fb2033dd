"""What has been spent of each budget, in the store: reserved before, settled afterwards."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock import Store, Subject

from .windows import WINDOWS, Calendar, Span, Window

_LATE = 86400.0
"""Seconds for which a sum is kept beyond its window, for answers that end after it."""
_SESSION = 30 * 86400.0
"""Seconds for which the sum of a session is kept, from its first request on."""


class Account(msgspec.Struct, frozen=True):
    """The budget of a subject in one window. `limit` and sums are in nano-dollars; `ttl` is in seconds."""

    subject: Subject
    window: Window
    span: Span
    limit: int
    ttl: float | None

    @property
    def key(self) -> str:
        """Where its sum is in the store."""
        return f"{self.subject.key}\n{self.span.name}"


class State(msgspec.Struct, frozen=True):
    """An account, and what is spent of it: with what is reserved by others who are under way."""

    account: Account
    spent: float

    @property
    def share(self) -> float:
        """How much of the limit is spent: 1.0 for all of it."""
        return self.spent / self.account.limit


class Charge:
    """What an attempt has reserved, on which accounts."""

    __slots__ = ("accounts", "amount", "states")

    def __init__(self, accounts: Sequence[Account], amount: int) -> None:
        self.accounts = accounts
        self.amount = amount
        self.states: list[State] = []


class Purse:
    """The budgets of one step."""

    def __init__(self, store: Store, limits: Mapping[Window, int], calendar: Calendar, *, sessions: bool) -> None:
        """`limits` are in nano-dollars. `sessions`: the subjects are sessions, which end some day."""
        self._store = store
        self._limits: list[tuple[Window, int]] = [(window, limits[window]) for window in WINDOWS if window in limits]
        self._calendar = calendar
        self._total_ttl = _SESSION if sessions else None

    def accounts(self, subject: Subject) -> Iterator[Account]:
        """The accounts that a subject spends from now, that of the longest window first."""
        for window, limit in self._limits:
            span = self._calendar.span(window)
            left = self._calendar.left(span)
            if left is not None:
                yield Account(subject, window, span, limit, left + _LATE)
            elif subject.named:
                yield Account(subject, window, span, limit, self._total_ttl)

    async def states(self, subject: Subject) -> list[State]:
        """What is spent. Raises StoreUnavailable."""
        return [State(account, await self._store.get(account.key, float) or 0.0) for account in self.accounts(subject)]

    async def reserve(self, charge: Charge) -> State | None:
        """Put the amount aside, or give the account that is spent, and then nothing is put aside.

        As long as something is left, whatever amount is granted. Raises StoreUnavailable; `settle` then takes back what
        was put aside until then.
        """
        for account in charge.accounts if charge.amount else ():
            total = await self._store.add(account.key, charge.amount, account.ttl)
            charge.states.append(state := State(account, total - charge.amount))
            if state.spent >= account.limit:
                await self.settle(charge, 0)
                return state
        return None

    async def settle(self, charge: Charge, spent: int) -> list[State]:
        """Replace what was put aside by what was spent; where that leads. Raises StoreUnavailable."""
        reserved, charge.states = charge.states, []
        states: list[State] = []
        for number, account in enumerate(charge.accounts):
            aside = charge.amount if number < len(reserved) else 0
            if owed := spent - aside:
                states.append(State(account, await self._store.add(account.key, owed, account.ttl)))
            elif aside:
                states.append(State(account, reserved[number].spent + aside))
        return states
