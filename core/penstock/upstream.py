"""Connections to upstreams: the only HTTP client. One pool per upstream, time limits per phase, proxies, CA bundle."""

import asyncio
import socket
import ssl
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from penstock.deadlines import Deadlines
from penstock.errors import GatewayError, TimedOut, UpstreamFailed
from penstock.exchange import Upstream
from penstock.protocol import UpstreamRequest
from penstock.reach import Reach

_OPENED: ContextVar[list[socket.socket]] = ContextVar("opened")  # what the request under way has opened
_DEFAULT_HEADERS = {"accept": "*/*", "content-type": "application/json", "user-agent": "penstock"}
_PIECE = 1 << 20  # bytes that are written at once; more would keep everybody else waiting
_ANSWER_LIMIT = 64 << 20  # a body that is not streamed
_SECRET = 8  # characters from which on a configured header may be one
_CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)


class UpstreamAnswer:
    """An upstream's answer: status, headers with lower-case names, and the body as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse, name: str, deadlines: Deadlines) -> None:
        self._response = response
        self._name = name
        self._deadlines = deadlines
        self.status = response.status
        self.headers = {key.lower(): printable(value) for key, value in response.headers.items()}

    async def read(self, seconds: float) -> bytes:
        """What has arrived, b"" at the end. Raises UpstreamFailed, or TimeoutError, after which no byte is lost."""
        try:
            with self._deadlines.within(seconds):
                return await self._response.content.readany()
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(self._name, error, "broke off its answer") from error

    async def read_all(self, seconds: float, idle: float) -> bytes:
        """The whole body, in `seconds` and with at most `idle` between bytes. Raises UpstreamFailed, TimedOut."""
        content = self._response.content
        if content.is_eof():  # it came with the headers
            return content.read_nowait()
        parts: list[bytes] = []
        size, time = 0, asyncio.get_running_loop().time
        deadline = time() + seconds
        try:
            while chunk := await self.read(min(idle, deadline - time())):
                size += len(chunk)
                if size > _ANSWER_LIMIT:
                    raise UpstreamFailed(f"upstream {self._name!r} answered with more than {_ANSWER_LIMIT} bytes")
                parts.append(chunk)
        except TimeoutError:
            raise TimedOut(f"upstream {self._name!r} did not finish its answer in time") from None
        return b"".join(parts)

    def close(self) -> None:
        """Let go. A connection whose answer was not read to the end is closed at once, which stops the upstream."""
        self._response.close()


class _Body(aiohttp.Payload):
    """A body that says when it leaves; what goes before it leaves with it. A large one leaves piece by piece."""

    def __init__(self, body: bytes, leaves: Callable[[], None]) -> None:
        super().__init__(body)
        self._body = body
        self._leaves = leaves

    @property
    def size(self) -> int:
        return len(self._body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._leaves()
        if self.size <= _PIECE:
            await writer.write(self._body)
            return
        view = memoryview(self._body)
        for begin in range(0, self.size, _PIECE):
            await writer.write(view[begin : begin + _PIECE])
            await asyncio.sleep(0)


class Pool:
    """The connections to one upstream. Opened on first use."""

    def __init__(self, upstream: Upstream, reach: Reach) -> None:
        self.upstream = upstream
        self.limits = reach.limits
        self.by_client = reach.auth == "client"
        self._name = upstream.name
        self._url = reach.url.rstrip("/")
        self._headers = {**reach.headers, **_credential(reach), "accept-encoding": "identity"}
        self._secrets = [reach.key.reveal(), *(value for value in reach.headers.values() if len(value) >= _SECRET)]
        self._ca_file = reach.ca_file
        self._session: aiohttp.ClientSession | None = None
        self._proxy: dict[str, Any] = {}
        self._deadlines = Deadlines()

    async def send(
        self,
        request: UpstreamRequest,
        credential: Mapping[str, str] | None = None,
        leaves: Callable[[], None] = lambda: None,
    ) -> UpstreamAnswer:
        """Send and wait for the headers. Raises UpstreamFailed, TimedOut.

        `credential` are the headers with a client's own, for an upstream that is used `by_client`. `leaves` is called
        when there is a connection and the request is handed over to it.

        A kept connection that the upstream had just closed is no failure: the request goes out again on another.
        """
        try:
            with self._deadlines.within(self.limits.first_byte):
                response = await self._request(request, credential or {}, leaves)
                return UpstreamAnswer(response, self._name, self._deadlines)
        except TimeoutError as error:
            raise self._timed_out(error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            what = "closed the connection without an answer" if was_connected(error) else "cannot be reached"
            raise _failure(self._name, error, what) from error

    async def _request(
        self, request: UpstreamRequest, credential: Mapping[str, str], leaves: Callable[[], None]
    ) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        headers = {**_DEFAULT_HEADERS, **request.headers, **self._headers, **credential}
        while True:
            opened: list[socket.socket] = []
            _OPENED.set(opened)
            try:
                return await session.request(
                    request.method,
                    URL(self._url + request.path, encoded=True),
                    data=_Body(request.body, leaves),
                    headers=headers,
                    allow_redirects=False,
                    **self._proxy,
                )
            except (aiohttp.ClientError, OSError) as error:
                if opened or not was_connected(error):
                    raise

    def mask(self, text: str) -> str:
        """`text` without this upstream's key and its configured headers, should an answer quote them."""
        for secret in filter(None, self._secrets):
            text = text.replace(secret, "***")
        return text

    async def close(self) -> None:
        """Close all connections."""
        self._deadlines.close()
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        secure = self._url.startswith("https:")
        self._proxy = proxy_for(self._url)
        if not secure:  # without a tunnel the request itself tells the proxy who we are
            self._headers |= self._proxy.pop("proxy_headers", {})
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=_new_socket,
                limit=self.limits.connections,
                ssl=ssl.create_default_context(cafile=self._ca_file or None) if secure else True,
                keepalive_timeout=30,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect),
            auto_decompress=True,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

    def _timed_out(self, error: TimeoutError) -> TimedOut:
        if isinstance(error, aiohttp.ClientError):
            return TimedOut(f"upstream {self._name!r} did not accept a connection within {self.limits.connect:g} s")
        return TimedOut(f"upstream {self._name!r} did not answer within {self.limits.first_byte:g} s")


def printable(value: str) -> str:
    """A header's value as text that can be sent and logged; bytes that are not UTF-8 come as lone surrogates."""
    return value.encode(errors="replace").decode()


def _new_socket(address: tuple[Any, ...]) -> socket.socket:
    """Tells a new connection from a kept one; aiohttp's tracing could too, at 12 us a request."""
    family, kind, protocol = address[:3]
    new = socket.socket(family, kind, protocol)
    _OPENED.get().append(new)
    return new


def was_connected(error: Exception) -> bool:
    """Whether there was a connection, which the upstream closed; a host that cannot be reached is another case."""
    return isinstance(error, _CLOSED) and not isinstance(error, aiohttp.ClientConnectorError)


def _credential(reach: Reach) -> dict[str, str]:
    if not reach.key or reach.auth in ("none", "client"):
        return {}
    key = reach.key.reveal()
    return {"authorization": f"Bearer {key}"} if reach.auth == "bearer" else {reach.auth: key}


def _failure(name: str, error: BaseException, what: str) -> GatewayError:
    return UpstreamFailed(f"upstream {name!r} {reason(error, what)}", detail=f"{type(error).__name__}: {error}")


def reason(error: BaseException, what: str) -> str:
    """What a host did, in plain words, or else `what`; addresses and certificates' details stay in the log."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        what = "cannot be reached: its TLS certificate was not accepted (set SSL_CERT_FILE for a private CA)"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        what = "cannot be reached: its host name is unknown"
    elif isinstance(error, ConnectionRefusedError | aiohttp.ClientConnectorError):
        what = "cannot be reached: connection refused" if _refused(error) else what
    return what


def _refused(error: BaseException) -> bool:
    return isinstance(getattr(error, "os_error", error), ConnectionRefusedError)


def proxy_for(url: str) -> dict[str, Any]:
    """The environment's proxy for this address, as aiohttp's arguments. (`trust_env` would also read ~/.netrc.)"""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return {}
    address = URL(proxy if "://" in proxy else f"http://{proxy}")
    if address.user is None:
        return {"proxy": address}
    credential = b64encode(f"{address.user}:{address.password or ''}".encode()).decode()
    return {"proxy": address.with_user(None), "proxy_headers": {"proxy-authorization": f"Basic {credential}"}}
