"""What a plugin is: a Struct whose fields are its options and whose marked methods are its hooks."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import msgspec

from penstock.database import Database, Schema
from penstock.exchange import Principal, Upstream
from penstock.protocol import Answer
from penstock.store import Store

T = TypeVar("T")

Fact = Literal["principal", "targets", "prices"]
"""What an exchange lacks at the start and a step can provide: who is asking, where to go, and what tokens cost."""


class Clock(Protocol):
    """Tells the time in seconds; it never goes back."""

    def __call__(self) -> float: ...


class Plugin(msgspec.Struct, eq=False, kw_only=True, forbid_unknown_fields=True, dict=True, weakref=True):
    """Base of all plugins. Fields are options, `@hookimpl` methods are hooks, the docstring is the description.

    One instance serves many exchanges at once: keep the state of one in `exchange.stash`. A ValueError raised in
    `__post_init__` becomes an error at the options' place in the file. Before any hook runs the core sets `step`
    (the step's id), `log`, `store` (keys are private to the step), `clock` (seconds, monotonic) and `folder` (of the
    pipeline file, against which paths in options are resolved).

    A pipeline is refused unless what a step `requires` is provided above it. What it `uses` may be missing, but must
    not be provided further down.
    """

    provides: ClassVar[frozenset[Fact]] = frozenset()
    requires: ClassVar[frozenset[Fact]] = frozenset()
    uses: ClassVar[frozenset[Fact]] = frozenset()

    # Set by the core on the instance; ClassVar keeps them out of the options.
    step: ClassVar[str]
    log: ClassVar[logging.LoggerAdapter[logging.Logger]]
    store: ClassVar[Store]
    clock: ClassVar[Clock]
    folder: ClassVar[Path]


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for an endpoint of a plugin. `path` is the endpoint's own, header names are in lower case.

    `query` has the last value of each name; `peer` is the client's address. `principal` says who is asking, and is None
    only in a pipeline in which nobody has to say it.
    """

    pipeline: str
    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""
    peer: str = ""
    principal: Principal | None = None


Handler = Callable[[EndpointRequest], Awaitable[Answer]]
"""An extra endpoint: gives the answer to a request, or raises a GatewayError, which is answered as JSON."""

Identify = Callable[[EndpointRequest], Principal]
"""Says who is asking at an extra endpoint. Raises Unauthenticated, Forbidden."""


class Gateway(ABC):
    """What a plugin may ask of the gateway in `startup`."""

    upstreams: Mapping[str, Upstream]

    @abstractmethod
    def serve_protocol(self, name: str) -> None:
        """Serve a client protocol's routes under the pipeline's path. Raises ValueError for an unknown name."""

    @abstractmethod
    def add_route(self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",)) -> None:
        """Serve an endpoint under `<pipeline path>/-/<path>`.

        The handler is asked only once every step that says who is asking has done so with its `identify_by`; what that
        principal may do there is for the handler to say.
        """

    @abstractmethod
    def identify_by(self, identify: Identify) -> None:
        """For a step that provides the principal: how to tell who is asking at the endpoints of plugins."""

    @abstractmethod
    def read_file(self, path: Path, kind: type[T]) -> T:
        """A YAML or JSON file as a Struct, watched for changes. Raises an error that `startup` should let pass."""

    @abstractmethod
    def database(self, schema: Schema) -> Database:
        """The database of gateway.yaml, for the tables of this schema; `open` it before anything else.

        Raises an error that `startup` should let pass if what it needs is not installed.
        """

    @abstractmethod
    def watch(self, path: Path) -> None:
        """Reload the configuration when this file changes."""

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a background task until it ends or the generation does. A failure is logged, not lost."""
