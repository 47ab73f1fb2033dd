"""What a client sends: a few words, a whole body or a recorded request, as bytes in the client's format."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from penstock import ClientProtocol, Exchange, Operation, Request, UpstreamProtocol
from penstock.testing import messages
from penstock.testing.recordings import Recorded

MODEL = "model-a"
"""The model that is asked for when a test names none."""

Content = str | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Recorded
"""What a test asks: the user's words, the messages, a whole body, or a recorded request."""

_BODIES: Mapping[str, Callable[..., dict[str, Any]]] = {messages.PATH: messages.request}


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How something is asked. What is None or empty stays as the content has it, or gets a default."""

    model: str = ""
    stream: bool | None = None
    system: str = ""
    tools: Sequence[str | Mapping[str, Any]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int = 1024
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> "Asking":
        """As `ask` reads its keywords."""
        known = {name: value for name, value in asked.items() if name in cls.__dataclass_fields__}
        rest = {name: value for name, value in asked.items() if name not in known}
        return cls(**{**known, "headers": known.get("headers") or {}, "fields": rest})

    def body(self, protocol: ClientProtocol, content: Content) -> bytes:
        """The request's body. Raises LookupError for a format in which the kit cannot ask."""
        if isinstance(content, Recorded):
            body = dict(content.body)
        elif isinstance(content, Mapping):
            body = dict(content)
        else:
            body = self._made(protocol, content)
        given = {"model": self.model} if self.model else {}
        streamed = {} if self.stream is None else {"stream": self.stream}
        return json.dumps({**body, **given, **streamed, **self.fields}).encode()

    def all_headers(self, content: Content) -> dict[str, str]:
        """The headers, a recorded request's own among them."""
        recorded = content.headers if isinstance(content, Recorded) else {}
        return {"content-type": "application/json", **recorded, **{n.lower(): v for n, v in self.headers.items()}}

    def _made(self, protocol: ClientProtocol, content: str | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        make = _BODIES.get(route(protocol, "generate"))
        if make is None:
            raise LookupError(f"the kit cannot word a request in {protocol.name!r}; give `ask` the whole body")
        return make(
            content,
            model=self.model or MODEL,
            stream=bool(self.stream),
            system=self.system,
            tools=self.tools,
            max_tokens=self.max_tokens,
        )


def route(protocol: ClientProtocol, operation: Operation) -> str:
    """The path of an operation, "" if the protocol has none."""
    return next((route.path for route in protocol.routes if route.operation == operation), "")


def native() -> ClientProtocol:
    """The format that a test means when it names none: the first by name that clients speak and upstreams serve."""
    from penstock.catalogue import Catalogue, CatalogueError  # here: pytest loads the kit in every run

    catalogue = Catalogue(None)
    for name in sorted(entry_points(group="penstock.protocols").names):
        with suppress(CatalogueError):
            protocol = catalogue.client_protocol(name)
            if isinstance(protocol, UpstreamProtocol):
                return protocol
    raise LookupError("no format is installed that clients speak and upstreams serve")


def reader(protocol: ClientProtocol) -> UpstreamProtocol:
    """What reads this format's answers. Raises LookupError for a format that no upstream has."""
    if not isinstance(protocol, UpstreamProtocol):
        raise LookupError(f"the kit cannot read answers in {protocol.name!r}: no upstream speaks it")
    return protocol


def exchange_with(protocol: ClientProtocol, request: Request, headers: Mapping[str, str]) -> Exchange:
    """An exchange of nobody's, as the client's side of one: what reading an answer needs to know."""
    return Exchange(
        pipeline="client",
        protocol=protocol,
        operation="generate",
        request=request,
        headers=headers,
        upstreams={},
        started=0.0,
    )
