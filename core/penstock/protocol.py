"""What a wire protocol offers: reading requests and writing answers for clients, the reverse for upstreams.

A protocol is sans-IO: bytes in, neutral values out, and back. A client protocol brings the routes that its clients
call; an upstream protocol renders requests and decodes answers. One class may be both, as for a format that agents
speak and providers serve.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import msgspec

from penstock.errors import GatewayError
from penstock.events import Event
from penstock.request import Prompt, Request

if TYPE_CHECKING:
    from penstock.exchange import Exchange, ModelInfo, Target

Operation = Literal["generate", "count_tokens", "list_models", "probe"]
"""What a client wants: an answer, a token count, the models on offer, or a sign of life."""

Kind = Literal[
    "main",
    "title",
    "topic",
    "warmup",
    "command",
    "suggestion",
    "classifier",
    "search",
    "compaction",
    "auxiliary",
]
"""What an agent wants an answer for: `main` is its work, all others are requests that it makes on the side.

A `title` for the session, whether the `topic` has changed, a `warmup` that tries the connection or fills a cache, what
a shell `command` does, a `suggestion` of what the user may say next, a `classifier` that judges an action, a web
`search`, a `compaction` of the conversation, or `auxiliary`, of which the agent says no more than that.
"""


AuthForm = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "none", "client"]
"""How a key travels to an upstream: in `authorization`, or in a header of that name.

`client`: there is none, but each client's own credential travels in the header in which it came.
"""


class Route(NamedTuple):
    """An endpoint under the pipeline's path."""

    method: str
    path: str
    operation: Operation


class Answer(NamedTuple):
    """A complete HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def json(cls, value: object, status: int = 200) -> "Answer":
        """An answer of anything that msgspec can encode, which nobody between here and the client may keep."""
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        return cls(status, headers, msgspec.json.encode(value))


class UpstreamRequest(msgspec.Struct):
    """What goes to an upstream: a path below its base URL, headers without the credential, a body.

    `dropped` says in words what the client has asked for and the upstream has no counterpart for.
    """

    path: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"
    dropped: tuple[str, ...] = ()


class Piece(msgspec.Struct, frozen=True):
    """A part of an upstream's stream: its events, and the bytes they came as.

    The bytes leave unchanged if the client speaks the same protocol and no plugin changed an event. A piece without
    events holds frames that nobody wanted to look at.
    """

    events: Sequence[Event]
    raw: bytes


class Decoder(ABC):
    """Turns one upstream stream into events. Never raises on foreign bytes except GatewayError."""

    @abstractmethod
    def feed(self, chunk: bytes) -> list[Piece]:
        """Take bytes as they came, return what became complete. Raises UpstreamFailed on nonsense."""

    @abstractmethod
    def end(self) -> list[Piece]:
        """The upstream closed the stream. Raises UpstreamFailed if the answer is not complete."""


class Encoder(ABC):
    """Turns events into one client's stream."""

    content_type: ClassVar[str] = "text/event-stream"

    @abstractmethod
    def encode(self, event: Event) -> bytes:
        """The event's bytes, possibly none."""

    @abstractmethod
    def ping(self) -> bytes:
        """A sign of life while the upstream is silent."""

    @abstractmethod
    def fail(self, error: GatewayError) -> bytes:
        """The last bytes of a stream that failed after it began."""


class ClientProtocol(ABC):
    """A format that clients speak."""

    name: ClassVar[str]
    routes: ClassVar[tuple[Route, ...]]

    @abstractmethod
    def read(self, body: bytes, headers: Mapping[str, str]) -> Request:
        """A client's request. `headers` have lower-case names. Raises InvalidRequest."""

    @abstractmethod
    def encoder(self, exchange: "Exchange") -> Encoder:
        """A new encoder for one streamed answer."""

    @abstractmethod
    def fold(self, exchange: "Exchange", events: Iterable[Event]) -> bytes:
        """The body of an answer that is not streamed."""

    @abstractmethod
    def error(self, error: GatewayError, request_id: str) -> Answer:
        """An error as this protocol's clients expect it."""

    @abstractmethod
    def models(self, models: Sequence["ModelInfo"], headers: Mapping[str, str]) -> bytes:
        """The body that lists the models on offer."""

    @abstractmethod
    def token_count(self, tokens: int) -> bytes:
        """The body that says how many tokens a prompt has."""

    def compose(self, model: str, prompt: Prompt, headers: Mapping[str, str]) -> Request:
        """A request of the gateway's own, as if a client had sent it. Raises TypeError if prompts cannot be written."""
        request = self.read(msgspec.json.encode({"model": model, "messages": []}), headers)
        request.prompt = prompt
        return request

    def kind(self, request: Request, headers: Mapping[str, str]) -> Kind:
        """What the client wants the answer for. Never raises; what nobody recognises is `main`."""
        return "main"

    def fingerprint(self, request: Request, headers: Mapping[str, str]) -> bytes | None:
        """A digest of all that matters to the answer: equal for two requests that ask for the same.

        None when that cannot be told, as in protocols that do not say what matters; then no answer is used twice.
        """
        return None

    def other_models(self, request: Request) -> tuple[str, ...]:
        """Models that the document names besides the one it asks for, and that a provider may have answer, too.

        Fallbacks of the provider's own are such, and tools in which a second model is asked. Never raises.
        """
        return ()

    def portable(self, exchange: "Exchange", events: Iterable[Event]) -> list[Event]:
        """The events of an exchange's answer, made to say the same to the client of any other exchange.

        What the encoder takes from the exchange, such as the answer's name, is written into them.
        """
        return list(events)

    def how_to_connect(self, url: str, credential: str = "local") -> list[str]:
        """The lines a newcomer types to point this protocol's usual client at `url`; may be empty.

        `credential` is the word to show for the client's key: any will do where nobody has to say who they are.
        """
        return []


class UpstreamProtocol(ABC):
    """A format that upstreams serve."""

    name: ClassVar[str]
    default_auth: ClassVar[AuthForm] = "bearer"
    quirks: ClassVar[type[msgspec.Struct]]
    counts_tokens: ClassVar[bool] = False

    @abstractmethod
    def render(self, exchange: "Exchange", target: "Target", quirks: Any) -> UpstreamRequest:
        """The request for a target, from the client's own bytes where the protocols are the same."""

    @abstractmethod
    def decoder(self, exchange: "Exchange", wanted: frozenset[type] | None, quirks: Any) -> Decoder:
        """A new decoder for one stream.

        `wanted` names the event types somebody listens to when the bytes will be relayed, so that the rest need not
        be decoded; None asks for every event.
        """

    @abstractmethod
    def read_answer(self, exchange: "Exchange", body: bytes, quirks: Any) -> list[Event]:
        """The events of an answer that was not streamed. Raises UpstreamFailed on nonsense."""

    @abstractmethod
    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """An error answer as a kind; keeps the upstream's message. Never raises."""

    def read_token_count(self, body: bytes) -> int:
        """The number in the upstream's own count. Raises UpstreamFailed on nonsense."""
        raise NotImplementedError(f"{self.name} upstreams do not count tokens")
