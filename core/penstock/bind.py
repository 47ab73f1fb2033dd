"""Bind addresses as text: host:port, [ipv6]:port or unix:path."""

import ipaddress
import re
from pathlib import Path
from typing import NamedTuple

_FORMS = "write host:port such as 127.0.0.1:4000 or [::1]:4000, or unix:/path/to/socket"
_TCP = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>[0-9]{1,5})")


class Host(NamedTuple):
    """A TCP address as written: a name or IP address, and a port (0: any free one)."""

    name: str
    port: int


def parse_bind(bind: str) -> Host | Path:
    """Read a bind address: a Host, or the Path of a unix socket. Raises ValueError."""
    if bind.startswith("unix:") and len(bind) > len("unix:"):
        return Path(bind.removeprefix("unix:"))
    match = _TCP.fullmatch(bind)
    if match is None or int(match["port"]) > 65535 or not _is_ipv6(match["v6"] or "::"):
        raise ValueError(f"'{bind}' is not an address to listen on: {_FORMS}")
    return Host(match["v6"] or match["host"], int(match["port"]))


def is_loopback(bind: str) -> bool:
    """Whether only this machine can reach a bind address. Raises ValueError if it is not an address."""
    address = parse_bind(bind)
    if isinstance(address, Path) or address.name == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.name).is_loopback
    except ValueError:
        return False  # another name: what it resolves to may change


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
