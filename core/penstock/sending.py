"""Send one attempt to its upstream: with whose credential, what a refusal means, and no secret in what it says."""

from collections.abc import Callable
from functools import reduce

from penstock.errors import Forbidden, RawError, Unauthenticated
from penstock.exchange import Attempt, Exchange
from penstock.protocol import UpstreamRequest
from penstock.upstream import Pool, UpstreamAnswer


async def send(exchange: Exchange, attempt: Attempt, request: UpstreamRequest, pool: Pool) -> UpstreamAnswer:
    """The upstream's answer, once its headers are there and say that it is one. Raises GatewayError."""
    answer = await pool.send(request, _own_credential(exchange, attempt, pool), attempt.leave)
    attempt.status = answer.status
    attempt.request_id = answer.headers.get("request-id") or answer.headers.get("x-request-id", "")
    if 200 <= answer.status < 300:
        return answer
    try:
        raise await _refusal(exchange, attempt, answer, pool)
    finally:
        answer.close()


def mask_of(exchange: Exchange, pool: Pool) -> Callable[[str], str]:
    """Takes out of a text what an upstream may quote: its key, or the client's own."""
    own = exchange.client_credentials.values() if pool.by_client else ()
    secrets = [value.split()[-1] for value in own]
    return lambda text: reduce(lambda text, secret: text.replace(secret, "***"), secrets, pool.mask(text))


async def _refusal(exchange: Exchange, attempt: Attempt, answer: UpstreamAnswer, pool: Pool) -> Exception:
    text = (await answer.read_all(30.0, pool.limits.idle)).decode(errors="replace")
    body = mask_of(exchange, pool)(text).encode()
    error = attempt.upstream.protocol.read_error(answer.status, answer.headers, body)
    if not pool.by_client or answer.status not in (401, 403):
        return error
    raw = RawError(attempt.upstream.protocol.name, answer.status, answer.headers, body)
    kind = Unauthenticated if answer.status == 401 else Forbidden  # it is not the gateway that was refused
    return kind(error.message, detail=error.detail, should_retry=False, raw=raw)


def _own_credential(exchange: Exchange, attempt: Attempt, pool: Pool) -> dict[str, str]:
    """What an upstream gets that is used with the client's own credential. Raises Unauthenticated for none."""
    credential = exchange.client_credentials if pool.by_client else {}
    if pool.by_client and not credential:
        header = "in `x-api-key` or `authorization: Bearer ...`, whichever does not hold a key of this gateway"
        wanted = f"upstream {attempt.upstream.name!r} is used with a key of your own: send it {header}"
        raise Unauthenticated(wanted, should_retry=False)
    return credential
