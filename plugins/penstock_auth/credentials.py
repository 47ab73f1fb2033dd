"""What a client presents to say who it is, and how it is told that this will not do."""

from collections.abc import Mapping

from penstock import Unauthenticated

LONGEST = 16 * 1024
"""Characters of a credential; the tokens of a single sign-on with many groups are the longest."""


def presented(headers: Mapping[str, str]) -> dict[str, str]:
    """The credentials of a request by the header that holds each. Raises Unauthenticated for none, and for too long."""
    found: dict[str, str] = {}
    scheme, _, bearer = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and (bearer := bearer.strip()):
        found["authorization"] = bearer
    if key := headers.get("x-api-key", "").strip():
        found["x-api-key"] = key
    if not found:
        raise refusal("no API key: send it as `authorization: Bearer ...` or `x-api-key`")
    if max(map(len, found.values())) > LONGEST:
        raise refusal(f"this is not an API key: it has more than {LONGEST} characters")
    return found


def refusal(message: str) -> Unauthenticated:
    """Without should_retry agents repeat a refused request for minutes before they ask for another key."""
    return Unauthenticated(message, should_retry=False)
