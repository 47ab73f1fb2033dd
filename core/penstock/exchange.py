"""One client request and everything that happens to it: the exchange, its attempts, its response."""

import secrets
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, overload

import msgspec
from msgspec.structs import replace

from penstock.errors import Forbidden, GatewayError
from penstock.events import Event, Usage
from penstock.money import Cost, Prices
from penstock.protocol import ClientProtocol, Kind, Operation, UpstreamProtocol, UpstreamRequest
from penstock.request import Message, Prompt, Request, TextBlock

T = TypeVar("T")
D = TypeVar("D")

Outcome = Literal["open", "ok", "error", "cancelled"]
"""How an exchange has ended, `open` while it has not."""


_CREDENTIALS = ("authorization", "x-api-key")


def new_id() -> str:
    """A request id that nobody has had."""
    return "req_" + secrets.token_hex(12)


class StashKey(Generic[T]):
    """Names a plugin's own state on an exchange; make one per kind of state, at module level.

    SEEN: StashKey[int] = StashKey()

    exchange.stash[SEEN] = 1
    seen = exchange.stash.get(SEEN, 0)  # an int, for type checkers, too
    """


class Stash:
    """State of one exchange, typed by its keys: `exchange.stash[KEY] = value`."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[object, object] = {}

    def __getitem__(self, key: StashKey[T]) -> T:
        return cast(T, self._values[key])

    def __setitem__(self, key: StashKey[T], value: T) -> None:
        self._values[key] = value

    def __contains__(self, key: StashKey[Any]) -> bool:
        return key in self._values

    @overload
    def get(self, key: StashKey[T]) -> T | None: ...

    @overload
    def get(self, key: StashKey[T], default: D) -> T | D: ...

    def get(self, key: StashKey[T], default: object = None) -> object:
        """The value, or `default` when nothing was stored."""
        return self._values.get(key, default)

    def pop(self, key: StashKey[T]) -> T | None:
        """The value, which is forgotten now; None when nothing was stored."""
        return cast("T | None", self._values.pop(key, None))


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking. `key` is a short public name of the credential, never the credential.

    `user` is never empty: nobody is anonymous. `admin` says whether they may manage keys and see what others do; with
    a `team`, only those of that team. Raises ValueError for an empty user.
    """

    user: str
    team: str = ""
    key: str = ""
    admin: bool = False

    def __post_init__(self) -> None:
        if not self.user.strip():
            raise ValueError("a principal needs a user: nobody is anonymous")


class Target(msgspec.Struct, frozen=True):
    """One place to try: an upstream's name, and the model to ask it for ("" keeps the client's)."""

    upstream: str
    model: str = ""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model on offer. Sizes are in tokens, 0 when unknown."""

    id: str
    name: str = ""
    description: str = ""
    upstream: str = ""
    context: int = 0
    output: int = 0


class Upstream(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Where requests go, as plugins see it.

    `preset` is the preset it was made of, "" if none. `credential` says in words where its key comes from; `missing`
    what it lacks to be usable, "" when nothing.
    `variables` are the environment variables in which a key is looked for. `model_quirks` are by name of a model, or
    by pattern with `*` and `?`.
    """

    name: str
    protocol: UpstreamProtocol
    title: str = ""
    preset: str = ""
    models: tuple[ModelInfo, ...] = ()
    credential: str = ""
    missing: str = ""
    variables: tuple[str, ...] = ()
    quirks: Any = None
    model_quirks: Mapping[str, Any] = {}

    def quirks_of(self, model: str) -> Any:
        """The protocol's quirks for one model: those under its name, else under the longest pattern that fits."""
        if model in self.model_quirks or not self.model_quirks:
            return self.model_quirks.get(model, self.quirks)
        fitting = [pattern for pattern in self.model_quirks if fnmatchcase(model, pattern)]
        return self.model_quirks[max(fitting, key=len)] if fitting else self.quirks


class Response:
    """An answer: events (given by a plugin, or still to come from an upstream), a list of models, or a count.

    return Response([Start(), BlockStart(0), Text(0, "hello"), BlockStop(0), Finish()], headers={"x-by": "me"})
    """

    __slots__ = ("events", "headers", "models", "status", "tokens")

    def __init__(
        self,
        events: Iterable[Event] | AsyncIterable[Event] | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        models: Sequence[ModelInfo] | None = None,
        tokens: int | None = None,
    ) -> None:
        """`headers` have lower-case names. `events` of None means: still to come from the upstream."""
        self.events = events
        self.status = status
        self.headers = dict(headers or {})
        self.models = models
        self.tokens = tokens


class Attempt:
    """One try at one target. Hooks in `on_attempt` fill `request`; the core sends it.

    `sent` says whether something of the request has left for the upstream, which may charge for it from then on.
    `status` and `request_id` are the upstream's own, None and "" while it has not answered or named none.
    """

    __slots__ = ("error", "number", "request", "request_id", "seconds", "sent", "status", "target", "upstream")

    def __init__(self, number: int, target: Target, upstream: Upstream) -> None:
        self.number = number
        self.target = target
        self.upstream = upstream
        self.request: UpstreamRequest | None = None
        self.sent = False
        self.status: int | None = None
        self.request_id = ""
        self.error: GatewayError | None = None
        self.seconds = 0.0

    def leave(self) -> None:
        """For the core: the request leaves now."""
        self.sent = True


class SubAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a sub-request: all text of the answer in one, its events, and what it took.

    `id` is the request id of the exchange that it was. `cost` is None where nobody knows prices.
    """

    text: str
    events: tuple[Event, ...]
    usage: Usage
    cost: Cost | None
    id: str


class Ask(Protocol):
    """For the engine: makes a sub-request of an exchange. Raises GatewayError."""

    async def __call__(
        self, asking: "Exchange", step: str, model: str, prompt: Prompt, timeout: float
    ) -> SubAnswer: ...


class Exchange:
    """One client request and everything that happens to it. Times are seconds of the monotonic clock.

    `cached` says that an earlier answer is given again: `usage` is what that one took, this one takes nothing.
    `asked_by` are the steps that asked, if this is a sub-request, and `parent` is the id of the exchange they asked in;
    both are empty for what a client has sent.
    """

    # As they are at the beginning.
    principal: Principal | None = None
    prices: Prices | None = None
    response: Response | None = None
    status = 0
    error: GatewayError | None = None
    outcome: Outcome = "open"
    usage = Usage()
    served_model = ""
    stop_reason = ""
    muted: frozenset[str] = frozenset()
    simulated = False
    cached = False
    first_event: float | None = None
    ended: float | None = None
    parent = ""
    asked_by: tuple[str, ...] = ()
    _switch: Callable[[str], None] | None = None
    _kind: Kind | None = None
    _ask: Ask | None = None
    _cost: tuple[object, Cost] | None = None

    def __init__(
        self,
        *,
        pipeline: str,
        protocol: ClientProtocol,
        operation: Operation,
        request: Request,
        headers: Mapping[str, str],
        query: str = "",
        peer: str = "",
        upstreams: Mapping[str, Upstream],
        started: float,
    ) -> None:
        self.id = new_id()
        self.pipeline = pipeline
        self.protocol = protocol
        self.operation = operation
        self.request = request
        self.headers = headers
        self.query = query
        self.peer = peer
        self.upstreams = upstreams
        self.targets: list[Target] = []
        self.attempts: list[Attempt] = []
        self.stash = Stash()
        self.repairs: dict[str, int] = {}
        self.started = started
        self._claimed: set[str] = set()

    @property
    def kind(self) -> Kind:
        """What the client wants an answer for: its work, or something on the side. Other operations are `main`.

        A sub-request is `auxiliary`.
        """
        if self._kind is None and self.asked_by:
            self._kind = "auxiliary"
        elif self._kind is None:
            asks = self.operation == "generate"
            self._kind = self.protocol.kind(self.request, self.headers) if asks else "main"
        return self._kind

    @property
    def attempt(self) -> Attempt | None:
        """The attempt under way, or the one that answered."""
        return self.attempts[-1] if self.attempts else None

    @property
    def cost(self) -> Cost | None:
        """What the answer costs by its usage so far; None if nobody knows prices or no upstream has used any tokens."""
        attempt = self.attempt
        if self.prices is None or attempt is None or self.usage == Usage():
            return None
        upstream, model = attempt.target.upstream, attempt.target.model or self.request.model
        asked = self.prices, upstream, model, self.usage, self.served_model
        if self._cost is None or self._cost[0] != asked:  # several steps ask for the cost of the same
            self._cost = asked, self.prices.cost(upstream, model, self.usage, served=self.served_model)
        return self._cost[1]

    def mute(self, step: str) -> None:
        """Call `on_event` of this step no more; what nobody listens to need not be read. To be said in `on_request`."""
        self.muted |= {step}

    @property
    def client_credentials(self) -> dict[str, str]:
        """The headers with the client's own credentials for an upstream: those that nobody here has claimed."""
        found = {name: self.headers.get(name, "") for name in _CREDENTIALS if name not in self._claimed}
        return {name: value for name, value in found.items() if value and _may_travel(name, value)}

    def claim(self, header: str) -> None:
        """Say that a header, by its lower-case name, holds a credential of this gateway: it leaves for no upstream."""
        self._claimed.add(header)

    def identify(self, principal: Principal) -> None:
        """Say who is asking; the rest of the chain is that team's. Raises Forbidden for a second, other principal."""
        if self.principal is not None and self.principal != principal:
            raise Forbidden("two steps of the pipeline disagree about who is asking")
        self.principal = principal
        if self._switch is not None:
            self._switch(principal.team)

    async def ask(
        self,
        step: str,
        *,
        model: str,
        prompt: str | Prompt,
        system: str = "",
        max_tokens: int = 1024,
        timeout: float = 60.0,
    ) -> SubAnswer:
        """Ask a model on behalf of the same client, through all steps of the pipeline, and wait for the whole answer.

        `step` is the step that asks: `self.step`. The sub-request is an exchange of its own with the same principal,
        session and headers: it is limited, paid for and logged like any other, and every step sees it, the asking one,
        too. That one must not ask again:

            if self.step in exchange.asked_by:
                return None
            verdict = await exchange.ask(self.step, model="small", prompt="...", system="Say yes or no.", timeout=10.0)

        `prompt` is what the user says, or a whole Prompt; `system` comes before the one in it, and `max_tokens` counts
        if it sets none. `timeout` is in seconds. When the client leaves, the sub-request ends. Raises a GatewayError of
        the kind that it failed with: let it pass, and the client gets that error. Not after `on_complete`.
        """
        if self._ask is None:
            raise RuntimeError("an exchange can ask only while it runs in a gateway")
        return await self._ask(self, step, model, _asked(prompt, system, max_tokens), timeout)

    def on_ask(self, ask: Ask | None) -> None:
        """For the engine: how sub-requests are made; None when there can be no more."""
        self._ask = ask

    def on_identify(self, switch: Callable[[str], None] | None) -> None:
        """For the engine: call `switch` with the team's name once the principal is known; None lets go of it."""
        self._switch = switch


def _asked(prompt: str | Prompt, system: str, max_tokens: int) -> Prompt:
    """What a sub-request asks, as a whole prompt."""
    if isinstance(prompt, str):
        prompt = Prompt(messages=(Message("user", (TextBlock(prompt),)),))
    before = (TextBlock(system),) if system else ()
    limit = max_tokens if prompt.max_tokens is None else prompt.max_tokens
    return replace(prompt, system=(*before, *prompt.system), max_tokens=limit)


def _may_travel(name: str, value: str) -> bool:
    """A user's name and password are for a gateway or a proxy, and for no provider."""
    return name != "authorization" or value.lstrip().lower().startswith("bearer ")
