"""The public keys of a sign-on: fetched in the background, again and again, so that no request waits for them."""

import asyncio
import logging
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPMessage
from typing import IO, Any
from urllib.parse import urljoin

import msgspec

DEADLINE = 10.0
"""Seconds for one attempt to fetch the keys."""

_EVERY = 600.0  # seconds between two looks
_AGAIN = 2.0  # seconds after a failure, and at least between two looks that unknown keys have caused
_LARGEST = 1 << 20

Log = logging.LoggerAdapter[logging.Logger]
JWKS = dict[str, Any]


class RemoteKeys:
    """Fetches a key set for ever, and hands each new one to `use`, which raises ValueError for one it cannot."""

    def __init__(self, issuer: str, jwks: str, use: Callable[[JWKS], None], log: Log) -> None:
        """`jwks` is the address of the keys; without one it is found as OpenID Connect Discovery says."""
        self._issuer = issuer
        self._jwks = jwks
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
            async with asyncio.timeout(DEADLINE):
                self._use(await asyncio.to_thread(self._fetch))
        except (OSError, ValueError, TimeoutError) as error:
            if not self._away:
                reason = str(error) or "no answer in time"
                self._log.warning("the keys of the sign-on %s cannot be read: %s", self._issuer, reason)
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

    def _fetch(self) -> JWKS:
        address = self._jwks
        if not address:
            told = _get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if told.get("issuer") != self._issuer:
                raise ValueError(f"it calls itself {told.get('issuer')!r}")
            address = urljoin(self._issuer, str(told.get("jwks_uri", "")))
        return _get(address)


class _NoDetour(urllib.request.HTTPRedirectHandler):
    """An answer from elsewhere is no answer."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _get(address: str) -> JWKS:
    """A JSON object. Raises OSError, ValueError."""
    opener = urllib.request.build_opener(_NoDetour)
    with opener.open(
        urllib.request.Request(address, headers={"accept": "application/json"}), timeout=DEADLINE
    ) as answer:
        body = answer.read(_LARGEST + 1)
    if len(body) > _LARGEST:
        raise ValueError("the answer is too large")
    try:
        return msgspec.json.decode(body, type=JWKS)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("the answer is no JSON object") from None
