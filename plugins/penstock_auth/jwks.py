"""The public keys of a sign-on: fetched in the background, again and again, so that no request waits for them."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

from penstock import HttpClient, HttpFailed

DEADLINE = 10.0
"""Seconds for one fetch."""

_EVERY = 600.0  # seconds between two looks
_AGAIN = 2.0  # seconds after a failure, and at least between two looks that unknown keys have caused

Log = logging.LoggerAdapter[logging.Logger]
JWKS = dict[str, Any]


class RemoteKeys:
    """Fetches a key set for ever, and hands each new one to `use`, which raises ValueError for one it cannot."""

    def __init__(self, issuer: str, jwks: str, client: HttpClient, use: Callable[[JWKS], None], log: Log) -> None:
        """`jwks` is the address of the keys; without one it is found as OpenID Connect Discovery says."""
        self._issuer = issuer
        self._jwks = jwks
        self._client = client
        self._use = use
        self._log = log
        self._wanted = asyncio.Event()
        self._away = False

    def want(self) -> None:
        """Look again soon: somebody has shown a key that is not among those known."""
        self._wanted.set()

    async def look(self) -> bool:
        """Fetch the keys once; whether that was of use. What goes wrong is logged when it begins."""
        try:
            self._use(await self._fetch())
        except (HttpFailed, ValueError) as error:
            if not self._away:
                self._log.warning("the keys of the sign-on %s cannot be read: %s", self._issuer, error)
            self._away = True
            return False
        if self._away:
            self._log.warning("the keys of the sign-on %s can be read again", self._issuer)
        self._away = False
        return True

    async def watch(self) -> None:
        """Keep looking, from the first time on, whether or not that went well."""
        good = not self._away
        while True:
            await asyncio.sleep(_AGAIN)
            if good:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_EVERY):
                        await self._wanted.wait()
            self._wanted.clear()
            good = await self.look()

    async def _fetch(self) -> JWKS:
        """The key set. Raises HttpFailed, ValueError."""
        address = self._jwks
        if not address:
            told = await self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if told.get("issuer") != self._issuer:
                raise ValueError(f"it calls itself {told.get('issuer')!r}")
            address = urljoin(self._issuer, str(told.get("jwks_uri", "")))
        return await self._get(address)

    async def _get(self, address: str) -> JWKS:
        answer = await self._client.request("GET", address, headers={"accept": "application/json"}, timeout=DEADLINE)
        if not answer.ok:
            raise ValueError(f"status {answer.status}")
        return answer.json(JWKS)
