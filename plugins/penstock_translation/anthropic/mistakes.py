"""The complaints of the JSON reader as one clear sentence that says where and what."""

from typing import TypeVar

import msgspec

from penstock import UpstreamFailed

T = TypeVar("T")

BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the reader raises for bytes that are not JSON, or not the JSON that is expected."""


def located(error: Exception, where: str = "") -> str:
    """`messages[3].content[0].text: expected str, got int`, for a value that stands at `where` of the document."""
    problem, _, path = str(error).partition(" - at `$")
    place = (where + path.removesuffix("`")).removeprefix(".")
    problem = problem[:1].lower() + problem[1:].replace("`", "")
    return f"{place}: {problem}" if place else problem


def read_upstream(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw, what: str) -> T:
    """JSON of an upstream. Raises UpstreamFailed that names `what` is broken."""
    try:
        return decoder.decode(data)
    except BROKEN as error:
        raise UpstreamFailed(f"the upstream sent a broken {what}", detail=str(error)) from None
