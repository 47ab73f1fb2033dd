"""Exchanges of an Anthropic client, made without a pipeline, for tests of the protocols alone."""

import json
from collections.abc import Mapping
from typing import Any

from penstock import Attempt, Exchange, Operation, Target, Upstream, UpstreamProtocol
from penstock_translation.anthropic import Anthropic

PROTOCOL = Anthropic()


def exchange(
    body: Mapping[str, Any] | bytes = b'{"model":"claude-opus-5-5","messages":[]}',
    *,
    headers: Mapping[str, str] | None = None,
    query: str = "",
    operation: Operation = "generate",
    upstream: UpstreamProtocol | None = None,
) -> Exchange:
    """An exchange that `upstream`, if given, is answering."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = dict(headers or {})
    upstreams = {} if upstream is None else {"up": Upstream(name="up", protocol=upstream)}
    made = Exchange(
        pipeline="test",
        protocol=PROTOCOL,
        operation=operation,
        request=PROTOCOL.read(sent, given),
        headers=given,
        query=query,
        upstreams=upstreams,
        started=0.0,
    )
    made.attempts += [Attempt(1, Target(name), upstreams[name]) for name in upstreams]
    return made
