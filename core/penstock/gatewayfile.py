"""What gateway.yaml may say: options that all pipelines of a folder share."""

from typing import Annotated

import msgspec

from penstock.options import Duration
from penstock.reach import UpstreamFile

Positive = Annotated[int, msgspec.Meta(ge=1)]


class TLS(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Certificate and key in PEM files, relative to gateway.yaml."""

    cert: str
    key: str


class GatewayFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What all pipelines of a folder share. Sizes in bytes."""

    bind: str = "127.0.0.1:4000"
    workers: Positive = 1
    store: str = "memory:"
    database: str = "sqlite:../data/penstock.db"
    upstreams: dict[str, UpstreamFile] = {}
    tls: TLS | None = None
    trusted_proxies: tuple[str, ...] = ()
    body_limit: Positive = 32 * 1024 * 1024
    graceful_timeout: Duration = 300.0
    ping: Duration = 15.0
    commit_after: Duration = 10.0
    debug: bool = False
