"""The errors of an exchange, as kinds named after what happened.

GatewayError
├── InvalidRequest     400  the client's request is wrong
│   └── PromptTooLong  400  ... because it does not fit the model's window
├── Unauthenticated    401  no credential, or one nobody knows
├── Forbidden          403  a known client may not do this
├── NotFound           404  no such model, path or thing
├── TooLarge           413  the body exceeds the size limit
├── RateLimited        429  too fast; retry after a while
│   └── OverBudget     429  the money is spent; retrying does not help
├── Internal           500  a mistake of the gateway or of a plugin
├── UpstreamFailed     502  the upstream answered nonsense, refused the gateway, or broke off
├── Overloaded         503  the upstream has no capacity
└── TimedOut           504  the upstream took too long

A plugin raises kinds; only a protocol knows how a kind looks on the wire.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple


class RawError(NamedTuple):
    """An upstream's own error answer, so that a client of the same protocol receives it unmodified."""

    protocol: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class GatewayError(Exception):
    """A failed exchange or attempt.

    `message` is one short sentence for the person at the client. `retry_after` is in seconds. `detail` is for
    the log only. `status` and `retryable` override the kind's own. `should_retry` tells clients that understand
    it whether repeating the request makes sense. `raw` is the upstream's answer, if that is where it came from.
    `headers`, with lower-case names, go out with the answer beside those of the client's protocol.

        raise RateLimited("ten requests a minute are enough", retry_after=6.0)
    """

    kind: ClassVar[str] = "internal"
    default_status: ClassVar[int] = 500
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        detail: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        should_retry: bool | None = None,
        raw: RawError | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.detail = detail
        self.status = self.default_status if status is None else status
        self.retryable = self.default_retryable if retryable is None else retryable
        self.should_retry = should_retry
        self.raw = raw
        self.headers = dict(headers or {})

    def conceal(self, mask: Callable[[str], str]) -> None:
        """Take secrets out of everything that a client or a log may show."""
        self.message = mask(self.message)
        self.detail = None if self.detail is None else mask(self.detail)
        if self.raw is not None:
            body = mask(self.raw.body.decode(errors="surrogateescape")).encode(errors="surrogateescape")
            headers = {name: mask(value) for name, value in self.raw.headers.items()}
            self.raw = self.raw._replace(body=body, headers=headers)


class InvalidRequest(GatewayError):
    """The client's request is wrong; sending it again unchanged cannot help."""

    kind = "invalid_request"
    default_status = 400


class PromptTooLong(InvalidRequest):
    """The prompt does not fit the model's window; agents compact and go on when they read these words.

    The wording with both numbers is the one every agent version understands.
    """

    kind = "prompt_too_long"

    def __init__(self, tokens: int, maximum: int, **more: object) -> None:
        super().__init__(f"prompt is too long: {tokens} tokens > {maximum} maximum", **more)  # type: ignore[arg-type]
        self.tokens = tokens
        self.maximum = maximum


class Unauthenticated(GatewayError):
    """No credential, or one that nobody knows."""

    kind = "unauthenticated"
    default_status = 401


class Forbidden(GatewayError):
    """The client is known but may not do this."""

    kind = "forbidden"
    default_status = 403


class NotFound(GatewayError):
    """There is no such model, path or thing."""

    kind = "not_found"
    default_status = 404


class TooLarge(GatewayError):
    """The request body exceeds the size limit."""

    kind = "too_large"
    default_status = 413


class RateLimited(GatewayError):
    """Too many requests or tokens for now; `retry_after` says for how long."""

    kind = "rate_limited"
    default_status = 429
    default_retryable = True


class OverBudget(RateLimited):
    """The budget is spent; `retry_after` is the time to its reset and the client should not try earlier."""

    kind = "over_budget"
    default_retryable = False

    def __init__(self, message: str, **more: object) -> None:
        super().__init__(message, **{"should_retry": False, **more})  # type: ignore[arg-type]


class Internal(GatewayError):
    """A mistake inside the gateway or a plugin; the log has the place."""

    kind = "internal"


class UpstreamFailed(GatewayError):
    """The upstream could not be reached, refused the gateway, answered nonsense or broke off."""

    kind = "upstream_failed"
    default_status = 502
    default_retryable = True


class Overloaded(GatewayError):
    """The upstream has no capacity at the moment."""

    kind = "overloaded"
    default_status = 503
    default_retryable = True


class TimedOut(GatewayError):
    """The upstream did not answer in time."""

    kind = "timed_out"
    default_status = 504
    default_retryable = True
