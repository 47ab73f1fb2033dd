"""What a client presents to say who it is, and how it is told that this will not do."""

from collections.abc import Mapping

from penstock import Unauthenticated

LONGEST = 16 * 1024
"""Characters of a credential; the tokens of a single sign-on with many groups are the longest."""


def presented(headers: Mapping[str, str]) -> dict[str, str]:
    """The credentials of a request by the header that holds each. Raises Unauthenticated for none, and for too long."""
    scheme, _, bearer = headers.get("authorization", "").strip().partition(" ")
    found = {
        "authorization": bearer.strip() if scheme.lower() == "bearer" else "",
        "x-api-key": headers.get("x-api-key", "").strip(),
    }
    if any(len(credential) > LONGEST for credential in found.values()):
        raise refusal(f"this is not an API key: it has more than {LONGEST} characters")
    if not any(found.values()):
        raise refusal("no API key: send it as `authorization: Bearer ...` or `x-api-key`")
    return {header: credential for header, credential in found.items() if credential}


def refusal(message: str) -> Unauthenticated:
    """Without should_retry agents repeat a refused request for minutes before they ask for another key."""
    return Unauthenticated(message, should_retry=False)
