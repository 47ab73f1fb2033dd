"""What a key may be used for: models, addresses, routes and pipelines; and whether one scope lies within another."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

import msgspec

Network = IPv4Network | IPv6Network


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a key may be used for. Each list holds alternatives, and an empty one restricts nothing.

    Models, routes and pipelines are names or patterns with `*` and `?`; `from` holds addresses and networks. Raises
    ValueError for an entry that can never match.
    """

    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = msgspec.field(default=(), name="from")
    routes: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.models, *self.routes, *self.pipelines):
            if not name.strip() or name != name.strip():
                raise ValueError(f"{name!r} is no name of a model, a route or a pipeline")
        for network in self.networks:
            _network(network)

    def within(self, other: "Scope") -> bool:
        """Whether everything that this allows is allowed by the other, too."""
        return (
            _names_within(self.models, other.models)
            and _names_within(self.routes, other.routes)
            and _names_within(self.pipelines, other.pipelines)
            and _networks_within(self.networks, other.networks)
        )


class Asked(NamedTuple):
    """What somebody wants: in which pipeline, from which address, which route, and which model, None if of no model.

    The route is an operation, such as `generate`, or `-/` and the path of a plugin's endpoint.
    """

    pipeline: str
    peer: str
    route: str
    model: str | None = None


class Guard:
    """A scope, made ready to be asked."""

    def __init__(self, scope: Scope) -> None:
        self._models = _patterns(scope.models)
        self._routes = _patterns(scope.routes)
        self._pipelines = _patterns(scope.pipelines)
        self._networks = [_network(network) for network in scope.networks]

    def refused(self, asked: Asked) -> str:
        """What of it is not allowed: `pipeline`, `address`, `route`, `model`, or nothing."""
        if self._pipelines and not self._pipelines.fullmatch(asked.pipeline):
            return "pipeline"
        if self._networks and not _is_inside(asked.peer, self._networks):
            return "address"
        if self._routes and not self._routes.fullmatch(asked.route):
            return "route"
        return "" if asked.model is None or self.offers(asked.model) else "model"

    @property
    def offers_all(self) -> bool:
        """Whether any model may be asked for."""
        return self._models is None

    def offers(self, model: str) -> bool:
        """Whether the model may be asked for."""
        return self._models is None or self._models.fullmatch(model) is not None


def _patterns(names: Iterable[str]) -> re.Pattern[str] | None:
    signs = {"*": ".*", "?": "."}
    texts = ["".join(signs.get(sign) or re.escape(sign) for sign in name) for name in names]
    return re.compile("|".join(texts), re.DOTALL) if texts else None


def _names_within(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    return not outer or (bool(inner) and all(any(_is_wider(wide, name) for wide in outer) for name in inner))


def _is_wider(wide: str, name: str) -> bool:
    """Whether a pattern takes all that another takes: its `*` may stand for any signs of the other, `?` for one."""
    signs = {"*": ".*", "?": "[^*]"}
    return re.fullmatch("".join(signs.get(sign) or re.escape(sign) for sign in wide), name, re.DOTALL) is not None


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no address and no network, such as 10.0.0.7 or 10.0.0.0/8") from None


def _networks_within(inner: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    wide = [_network(network) for network in outer]
    return not outer or (bool(inner) and all(any(_holds(one, _network(name)) for one in wide) for name in inner))


def _holds(wide: Network, narrow: Network) -> bool:
    if isinstance(wide, IPv4Network):
        return isinstance(narrow, IPv4Network) and narrow.subnet_of(wide)
    return isinstance(narrow, IPv6Network) and narrow.subnet_of(wide)


def _is_inside(peer: str, networks: Iterable[Network]) -> bool:
    """An address that nobody can read, such as that of a Unix socket, is in no network."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
