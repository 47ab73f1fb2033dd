"""Tell the operator, once for each threshold and window, how much of a budget is spent: in the log, and by webhook."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from penstock import DOLLAR, HttpClient, HttpFailed, Secret, Store

from .display import notice
from .purse import Account, State
from .windows import Calendar

_DEADLINE = 10.0
"""Seconds that a webhook has."""
_REMEMBERED = 10_000

Spawn = Callable[[Coroutine[Any, Any, None], str], None]


class Webhook:
    """Posts notices as JSON. The address may hold a secret: it is never shown."""

    def __init__(
        self, url: Secret, client: HttpClient, spawn: Spawn, log: logging.LoggerAdapter[logging.Logger]
    ) -> None:
        """`spawn` starts a task that somebody owns."""
        self._url = url
        self._client = client
        self._spawn = spawn
        self._log = log

    def tell(self, notice: dict[str, object]) -> None:
        """Post it in the background."""
        self._spawn(self._post(notice), "budget webhook")

    async def _post(self, notice: dict[str, object]) -> None:
        try:
            answer = await self._client.request("POST", self._url.reveal(), json=notice, timeout=_DEADLINE)
        except HttpFailed as error:
            self._log.warning("a notice did not reach the webhook: %s", error)
        else:
            if not answer.ok:
                self._log.warning("the webhook refused a notice: status %s", answer.status)


class Notices:
    """The thresholds of one step, and who is told when they are reached."""

    def __init__(
        self,
        store: Store,
        thresholds: Mapping[float, str],
        calendar: Calendar,
        log: logging.LoggerAdapter[logging.Logger],
        webhook: Webhook | None,
    ) -> None:
        """`thresholds` are shares of a limit, with what follows from them in words."""
        self._store = store
        self._thresholds = thresholds
        self._least = min(thresholds)
        self._calendar = calendar
        self._log = log
        self._webhook = webhook
        self._told: set[str] = set()

    async def look(self, states: Sequence[State]) -> None:
        """Tell what is new. Raises StoreUnavailable."""
        for state in states:
            if state.share < self._least:
                continue
            reached = [threshold for threshold in self._thresholds if state.share >= threshold]
            new = [threshold for threshold in reached if await self._is_new(state.account, threshold)]
            if new:
                self._notify(state, max(new))

    async def _is_new(self, account: Account, threshold: float) -> bool:
        """Whether nobody has told it yet, here or in another process."""
        key = f"{account.key}\n{account.limit} {threshold:g}"
        if key in self._told:
            return False
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told.add(key)
        return await self._store.add(key, 1, account.ttl) == 1

    def _notify(self, state: State, threshold: float) -> None:
        text = notice(state, self._calendar, self._thresholds[threshold])
        self._log.warning("%s", text)
        if self._webhook is not None:
            self._webhook.tell({"text": text, **self._facts(state, threshold)})

    def _facts(self, state: State, threshold: float) -> dict[str, object]:
        account, end = state.account, state.account.span.end
        return {
            "event": "budget_spent" if threshold >= 1 else "budget_warning",
            "subject": account.subject.words,
            "window": account.window,
            "threshold": threshold,
            "spent_usd": round(state.spent) / DOLLAR,
            "limit_usd": account.limit / DOLLAR,
            "resets_at": None if end is None else self._calendar.local(end).isoformat(),
        }
