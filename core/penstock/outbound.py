"""The HTTP client of plugins: addresses are looked at when they are connected to, answers bounded in time and size."""

import asyncio
import io
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from penstock.upstream import printable, proxy_for, reason, was_connected
from penstock.web import HttpAnswer, HttpClient, HttpFailed

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HEADERS = {"user-agent": "penstock", "accept-encoding": "identity"}
_EMBEDDING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::ffff:0:0:0/96"))
"""Addresses whose last 32 bits are those of an IPv4 host: NAT64 (RFC 6052), IPv4-translated (RFC 7915)."""
_NOT_PUBLIC = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # for protocols (RFC 6890), and for the metadata of a cloud
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays that are no more (RFC 7526)
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 with an IPv4 address nobody can tell (RFC 8215)
    ipaddress.IPv6Network("fec0::/10"),  # site-local (RFC 3879)
    ipaddress.IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)
"""What older versions of `ipaddress` hold to be public, besides what they know not to be."""


class Outbound(HttpClient):
    """The client of one plugin. `allow` are the hosts, or urls of them, that may have a local address."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allowed = frozenset(_host_of(each) for each in allow)
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        limit: int = 1 << 20,
    ) -> HttpAnswer:
        address, proxy = _parsed(url), proxy_for(url)
        destination = Destination(address.host or "", self._allowed, proxied=bool(proxy))
        told = {name.lower(): value for name, value in (headers or {}).items()}
        if json is not None:
            body, told = msgspec.json.encode(json), {"content-type": "application/json", **told}
        options = {**proxy, "headers": {**_HEADERS, **told}}
        try:
            async with asyncio.timeout(timeout):
                return await _read(await self._sent(method, address, destination, body, options), limit)
        except TimeoutError:
            raise HttpFailed(f"{destination.host} did not answer within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            refused = "" if destination.opened else destination.refused
            raise HttpFailed(refused or f"{destination.host} {reason(error, _what(error))}") from error

    async def _sent(
        self, method: str, url: URL, destination: "Destination", body: bytes, options: dict[str, Any]
    ) -> aiohttp.ClientResponse:
        """The answer's beginning. A kept connection that had just been closed is no failure: it goes out again."""
        while True:
            destination.opened = False
            _DESTINATION.set(destination)
            try:
                data = io.BytesIO(body) if body else None  # plain bytes cause a warning if there are many of them
                return await self._opened().request(method, url, data=data, allow_redirects=False, **options)
            except (aiohttp.ClientError, OSError) as error:
                if destination.opened or not was_connected(error):
                    raise

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    socket_factory=_new_socket, ssl=ssl.create_default_context(), keepalive_timeout=30
                ),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,  # a small body may hold a large one
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class Destination:
    """Where one request may go: to public addresses, and elsewhere only where its host is `allowed`.

    Of an allowed host nothing is accepted that is good for tricks only, such as the link-local addresses of metadata
    services, unless that address itself is what is allowed. If the request is `proxied`, it is the proxy that resolves
    names and says where one may go; then only hosts that are addresses can be looked at.
    """

    def __init__(self, host: str, allowed: frozenset[str], *, proxied: bool = False) -> None:
        """Raises HttpFailed for a host that can be refused before anything is resolved."""
        self.host = host.rstrip(".")
        self.refused = ""
        self.opened = False
        self._named = self.host in allowed
        self._proxied = proxied
        self._written = written = _written_address(self.host)
        if written is not None and not self.accepts(written):
            raise HttpFailed(self._complaint(str(written)))
        if written is None and proxied and not self._named and _is_local_name(self.host):
            raise HttpFailed(self._complaint("of this network"))

    def check(self, address: str) -> None:
        """Look at an address that is about to be connected to. Raises PermissionError, after which another is tried."""
        if not self._proxied and not self.accepts(ipaddress.ip_address(address)):
            self.refused = self._complaint(address)
            raise PermissionError(self.refused)

    def accepts(self, address: _Address) -> bool:
        """Whether a connection to this address is in order."""
        real = _real(address)
        if self._named and address == self._written:
            return True
        if real.is_multicast or real.is_unspecified or real.is_link_local:
            return False
        return self._named or _is_public(real)

    def _complaint(self, address: str) -> str:
        where = "" if address == self.host else f" but {address}"
        return f"{self.host} is not public{where}; the plugin has to name such hosts in `gateway.http(allow=...)`"


_DESTINATION: ContextVar[Destination] = ContextVar("destination")  # of the request under way


def _new_socket(address: tuple[Any, ...]) -> socket.socket:
    """The one place through which every connection goes, with the very address that it goes to."""
    destination = _DESTINATION.get()
    destination.check(address[4][0])
    destination.opened = True
    family, kind, protocol = address[:3]
    return socket.socket(family, kind, protocol)


def _real(address: _Address) -> _Address:
    """The IPv4 address inside an IPv6 one, if there is one."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address


def _is_public(address: _Address) -> bool:
    return address.is_global and not address.is_reserved and not any(address in network for network in _NOT_PUBLIC)


def _written_address(host: str) -> _Address | None:
    """The address that a host name is: also one in the forms that only resolvers know, such as `2130706433`."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host


def _host_of(text: str) -> str:
    """The host of a url, or the host that the text is. Raises ValueError."""
    url = _parsed(text) if "://" in text else URL.build(scheme="http", host=text.strip("[]"))
    if not url.host:
        raise ValueError("what is allowed is a host, or a url with one")
    return url.host.rstrip(".")


def _parsed(url: str) -> URL:
    """Raises ValueError, without the url: it may hold a secret."""
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("a url begins with http:// or https:// and a host")
    return parsed


def _what(error: Exception) -> str:
    return "closed the connection without an answer" if was_connected(error) else "cannot be reached"


async def _read(response: aiohttp.ClientResponse, limit: int) -> HttpAnswer:
    """The whole answer. Raises HttpFailed, and what the library raises."""
    parts, size, host = [], 0, response.url.host
    try:
        if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise HttpFailed(f"{host} compresses its answer, although asked not to")
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > limit:
                raise HttpFailed(f"{host} answered with more than {limit} bytes")
            parts.append(chunk)
    finally:
        response.close()
    headers = {name.lower(): printable(value) for name, value in response.headers.items()}
    return HttpAnswer(response.status, headers, b"".join(parts))
