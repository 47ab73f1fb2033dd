"""Whose address a request comes from, also behind reverse proxies that are trusted to tell it."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

UNIX = "unix"
"""What stands for whoever connects to a socket in the file system, who has no address."""

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


class Proxies:
    """Reverse proxies that tell the truth about whom they stand for."""

    def __init__(self, trusted: Iterable[str]) -> None:
        """`trusted` are addresses, networks and `unix`. Raises ValueError for anything else."""
        names = list(trusted)
        self._networks = [_network(name) for name in names if name != UNIX]
        self._unix = UNIX in names

    def client(self, peer: str, headers: Mapping[str, str]) -> str:
        """The client's address. `peer` is that of the connection, "" for a socket in the file system.

        Each proxy adds to `x-forwarded-for` who has asked it. Only what trusted ones have added counts: the last one
        who is not trusted is the client. Where there is no address the proxy itself is.
        """
        if not self._trusts(peer):
            return peer
        client = peer
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            address = _address(hop)
            if address is None:
                break
            client = str(address)
            if not self._trusts(client):
                break
        return client

    def _trusts(self, peer: str) -> bool:
        if not peer:
            return self._unix
        address = _address(peer) if self._networks else None
        return address is not None and any(address in network for network in self._networks)


def _network(text: str) -> _Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        expected = f"an address or a network such as 10.0.0.7 or 10.0.0.0/8, or {UNIX!r}"
        raise ValueError(f"expected {expected}, got {text!r}") from None


def _address(text: str) -> _Address | None:
    """An address, perhaps with a port or a zone, None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
