"""Where the server is, from the url in gateway.yaml. What is printed of it holds no password."""

import math
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock import Secret

DEADLINE = 0.25
"""Seconds after which a verb gives up when the url says nothing."""

# Never quote the url, nor a part of it: a password that is not encoded may end up in any of them.
_FORM = (
    "write redis://[[user]:password@]host[:port][/database][?timeout=seconds], or rediss:// for TLS;"
    " in a password, characters such as / ? # @ : must be written as %2F %3F %23 %40 %3A"
)


class Address(NamedTuple):
    """A server, how to log in there, and for how many seconds to wait for it."""

    tls: bool
    host: str
    port: int
    database: int
    user: str
    password: Secret
    deadline: float

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"


def parse(url: str) -> Address:
    """Raises ValueError with a message that does not repeat anything of the url."""
    try:
        parts = urlsplit(url)
        port = 6379 if parts.port is None else parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        deadline = float(options.pop("timeout", DEADLINE))
    except ValueError:
        raise ValueError(_FORM) from None
    database = re.fullmatch(r"/?(\d{0,9})/?", parts.path)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not database or parts.fragment or options:
        raise ValueError(_FORM)
    if not 0 < deadline < math.inf:
        raise ValueError("the timeout in the store's url must be a number of seconds above 0")
    return Address(
        tls=parts.scheme == "rediss",
        host=unquote(parts.hostname),
        port=port,
        database=int(database[1] or 0),
        user=unquote(parts.username or ""),
        password=Secret(unquote(parts.password or "")),
        deadline=deadline,
    )
