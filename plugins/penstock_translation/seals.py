"""Seals: what an upstream wants back unread, on its way through the client's history.

Vendors seal a model's thinking: encrypted items, signatures, lists of details. A client keeps the `signature` of
thinking and the `data` of redacted thinking and returns both unchanged, so these two carry whatever it is. A seal
names its maker, since a vendor refuses what another has made: whoever renders a conversation opens the seals of the
target it renders for, and leaves all others out. Nothing is kept in the gateway.
"""

import base64
import binascii
import hashlib
import re
from typing import TypeVar

import msgspec

from penstock import Exchange, Target

T = TypeVar("T")

_SEAL = re.compile(r"penstock1\.([0-9a-f]{12})\.([A-Za-z0-9_-]*)")


def maker_of(exchange: Exchange, target: Target | None = None) -> str:
    """The name in the seals of a target: of one to render for, else of the attempt that is answering."""
    if target is None:
        target = exchange.attempt.target if exchange.attempt else Target("")
    name = f"{target.upstream}\n{target.model or exchange.request.model}"
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def seal(maker: str, content: bytes) -> str:
    """A text that carries `content`, any JSON, to the client and back."""
    return f"penstock1.{maker}.{base64.urlsafe_b64encode(content).decode().rstrip('=')}"


def is_sealed(text: str) -> bool:
    """Whether a signature or redacted data is a seal of this gateway."""
    return text.startswith("penstock1.")


def unseal(text: str, maker: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """What a seal of this maker carries; None for those of others, and for anything else."""
    found = _SEAL.fullmatch(text)
    if found is None or found[1] != maker:
        return None
    try:
        return decoder.decode(base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4)))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # a client has changed it
