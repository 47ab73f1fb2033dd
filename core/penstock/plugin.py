"""What a plugin is: a Struct whose fields are its options and whose marked methods are its hooks."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import msgspec

from penstock.database import Database, Schema
from penstock.exchange import Principal, Upstream
from penstock.money import Prices
from penstock.protocol import Answer
from penstock.store import Store
from penstock.web import HttpClient

T = TypeVar("T")

Fact = Literal["principal", "targets", "prices"]
"""What an exchange lacks at the start and a step can provide: who is asking, where to go, and what tokens cost."""


IfBroken = Literal["fail", "skip", "deny"]
"""What happens if a step breaks, by an exception that is no GatewayError or by taking too long.

`fail`: the exchange fails with Internal. `skip`: it goes on without the step. `deny`: it is refused with Forbidden.
"""


class Clock(Protocol):
    """Tells the time in seconds; it never goes back."""

    def __call__(self) -> float: ...


class Plugin(msgspec.Struct, eq=False, kw_only=True, forbid_unknown_fields=True, dict=True, weakref=True):
    """Base of all plugins. Fields are options, `@hookimpl` methods are hooks, the docstring is the description.

        class Greeting(Plugin):
            text: str = "hello"

            @hookimpl
            def on_response(self, response: Response) -> None:
                response.headers["x-greeting"] = self.text

    One instance serves many exchanges at once: keep the state of one in `exchange.stash`. A ValueError raised in
    `__post_init__` becomes an error at the options' place in the file. Before any hook runs the core sets `step`
    (the step's id), `log`, `store` (keys are private to the step), `clock` (seconds, monotonic) and `folder` (of the
    pipeline file, against which paths in options are resolved).

    A pipeline is refused unless what a step `requires` is what a step above it `provides`. What it `uses` may be
    missing, but must not be provided further down. One with `shared_store` is wrong as soon as each worker has a store
    of its own, as limits are: `penstock check` warns of that.

    `if_broken` says what happens if a hook raises what is no GatewayError: the exchange fails, goes on without the step
    ("skip", for those that only look on), or is refused ("deny"). `on_error` beside the step's name overrules it.
    """

    provides: ClassVar[frozenset[Fact]] = frozenset()
    requires: ClassVar[frozenset[Fact]] = frozenset()
    uses: ClassVar[frozenset[Fact]] = frozenset()
    shared_store: ClassVar[bool] = False
    if_broken: ClassVar[IfBroken] = "fail"

    # Set by the core on the instance; ClassVar keeps them out of the options.
    step: ClassVar[str]
    log: ClassVar[logging.LoggerAdapter[logging.Logger]]
    store: ClassVar[Store]
    clock: ClassVar[Clock]
    folder: ClassVar[Path]


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for an endpoint of a plugin. `path` is the endpoint's own, header names are in lower case.

    `query` has the last value of each name; `peer` is the client's address. `principal` says who is asking, and is None
    only in a pipeline in which nobody has to say it. `prices` know what tokens cost in the pipeline; None if nobody
    does.
    """

    pipeline: str
    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""
    peer: str = ""
    principal: Principal | None = None
    prices: Prices | None = None


Handler = Callable[[EndpointRequest], Awaitable[Answer]]
"""An extra endpoint: gives the answer to a request, or raises a GatewayError, which is answered as JSON."""

Identify = Callable[[EndpointRequest], Principal]
"""Says who is asking at an extra endpoint. Raises Unauthenticated, Forbidden."""


class Gateway(ABC):
    """What a plugin may ask of the gateway in `startup`. `pipeline` is the name of the step's."""

    pipeline: str
    upstreams: Mapping[str, Upstream]

    @abstractmethod
    def serve_protocol(self, name: str) -> None:
        """Serve a client protocol's routes under the pipeline's path. Raises ValueError for an unknown name."""

    @abstractmethod
    def add_route(
        self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",), *, shared: bool = False
    ) -> None:
        """Serve an endpoint under `<pipeline path>/-/<path>`.

        The handler is asked only once every step that says who is asking has done so with its `identify_by`; what that
        principal may do there is for the handler to say.

        Teams may have instances of the step with other options, and each serves the same path. The one of the caller's
        team is asked; an admin of all teams may name another in the query, as `team`. `shared` says that all instances
        give the same answer: then the first of them is asked, whatever the team.

            gateway.add_route("seen", self.tell)  # with `async def tell(self, asked: EndpointRequest) -> Answer`
        """

    @abstractmethod
    def identify_by(self, identify: Identify) -> None:
        """For a step that provides the principal: how to tell who is asking at the endpoints of plugins."""

    @abstractmethod
    def price_by(self, prices: Prices) -> None:
        """For a step that provides the prices: what knows them, for the endpoints of plugins."""

    @abstractmethod
    def read_file(self, path: Path, kind: type[T]) -> T:
        """A YAML or JSON file as a Struct, watched for changes. Raises an error that `startup` should let pass."""

    @abstractmethod
    def database(self, schema: Schema) -> Database:
        """The database of gateway.yaml, for the tables of this schema; `open` it before anything else.

        Raises an error that `startup` should let pass if what it needs is not installed.
        """

    @abstractmethod
    def http(self, allow: Iterable[str] = ()) -> HttpClient:
        """A client for HTTP to other places than upstreams, with time limits and a guard.

        It reaches public addresses only, but for the hosts in `allow`: those that the operator has named in options,
        each as a host or as a url of it. Never allow what a client of the gateway has named.

            self._http = gateway.http(allow=[self.webhook])
        """

    @abstractmethod
    def watch(self, path: Path) -> None:
        """Reload the configuration when this file changes."""

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a background task until it ends or the generation does. A failure is logged, not lost.

        gateway.spawn(self.watch(), f"watch of {self.step}")  # with `async def watch(self) -> None`
        """
