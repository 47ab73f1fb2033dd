"""Tell the operator, once for each threshold and window, how much of a budget is spent: in the log, and by webhook."""

from __future__ import annotations

import asyncio
import http.client
import logging
import urllib.request
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any
from urllib.error import HTTPError

import msgspec

from penstock import DOLLAR, Secret, Store
from penstock_budgets.display import notice
from penstock_budgets.purse import Account, State
from penstock_budgets.windows import Calendar

_DEADLINE = 10.0
"""Seconds that a webhook has."""
_REMEMBERED = 10_000

Spawn = Callable[[Coroutine[Any, Any, None], str], None]


class Webhook:
    """Posts notices as JSON. The address may hold a secret: it is never shown."""

    def __init__(self, url: Secret, spawn: Spawn, log: logging.LoggerAdapter[logging.Logger]) -> None:
        """`spawn` starts a task that somebody owns."""
        self._url = url
        self._spawn = spawn
        self._log = log

    def tell(self, notice: dict[str, object]) -> None:
        """Post it in the background."""
        self._spawn(self._post(msgspec.json.encode(notice)), "budget webhook")

    async def _post(self, body: bytes) -> None:
        try:
            async with asyncio.timeout(_DEADLINE):
                await asyncio.to_thread(self._send, body)
        except HTTPError as error:
            self._log.warning("the webhook refused a notice: status %s", error.code)
            error.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._log.warning("a notice did not reach the webhook: %s", type(error).__name__)

    def _send(self, body: bytes) -> None:
        headers = {"content-type": "application/json", "user-agent": "penstock"}
        request = urllib.request.Request(self._url.reveal(), body, headers, method="POST")
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(request, timeout=_DEADLINE) as answer:
            answer.read(1)


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


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: it might lead anywhere."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None
