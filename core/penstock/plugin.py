"""What a plugin is: a Struct whose fields are its options and whose marked methods are its hooks."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import msgspec

from penstock.exchange import Upstream
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
    """

    provides: ClassVar[frozenset[Fact]] = frozenset()
    requires: ClassVar[frozenset[Fact]] = frozenset()

    # Set by the core on the instance; ClassVar keeps them out of the options.
    step: ClassVar[str]
    log: ClassVar[logging.LoggerAdapter[logging.Logger]]
    store: ClassVar[Store]
    clock: ClassVar[Clock]
    folder: ClassVar[Path]


Handler = Callable[[Mapping[str, str], bytes], Awaitable[Answer]]
"""An extra endpoint: takes the headers (lower-case names) and the body, gives the answer."""


class Gateway(ABC):
    """What a plugin may ask of the gateway in `startup`."""

    upstreams: Mapping[str, Upstream]

    @abstractmethod
    def serve_protocol(self, name: str) -> None:
        """Serve a client protocol's routes under the pipeline's path. Raises ValueError for an unknown name."""

    @abstractmethod
    def add_route(self, path: str, handler: Handler, methods: tuple[str, ...] = ("GET",)) -> None:
        """Serve an endpoint under `<pipeline path>/-/<path>`. The handler checks its own authorisation."""

    @abstractmethod
    def read_file(self, path: Path, kind: type[T]) -> T:
        """A YAML or JSON file as a Struct, watched for changes. Raises an error that `startup` should let pass."""

    @abstractmethod
    def watch(self, path: Path) -> None:
        """Reload the configuration when this file changes."""

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a background task until it ends or the generation does. A failure is logged, not lost."""
