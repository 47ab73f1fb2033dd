"""Signatures of models that speak this format and are not Claude: sealed for the client, opened for their maker.

Unsealed, such a signature would look like Claude's, which refuses it: a switch of models would end the session.
"""

import msgspec
from msgspec.structs import replace

from penstock import Exchange, Finish, StashKey, sse

from ..seals import seal, unseal
from .mistakes import BROKEN


class _Carried(msgspec.Struct):
    signature: str


class _Part(msgspec.Struct):
    type: str = ""
    signature: str | None = None
    data: str | None = None


_CARRIED = msgspec.json.Decoder(_Carried)
_PART = msgspec.json.Decoder(_Part)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PLACES = ("content_block", "delta")
_RESEALED = StashKey[bool]()


class Sealer:
    """Seals what one maker signs or redacts."""

    def __init__(self, maker: str) -> None:
        self._maker = maker
        self._used = False

    @staticmethod
    def concerns(data: bytes) -> bool:
        """Whether JSON is worth a look; quick, since all of a stream is asked."""
        return b'"signature"' in data or b'"redacted_thinking"' in data

    def part(self, raw: msgspec.Raw) -> msgspec.Raw:
        """A block or an increment with what is opaque in it sealed; as it came if nothing is, or it cannot be read."""
        try:
            part = _PART.decode(raw)
            member, text = "signature", part.signature
            if part.type == "redacted_thinking":
                member, text = "data", part.data
            elif part.type not in ("thinking", "signature_delta"):
                return raw
            if not text:
                return raw
            self._used = True
            sealed = seal(self._maker, msgspec.json.encode(_Carried(text)))
            return _raw(_MEMBERS.decode(raw) | {member: _raw(sealed)})
        except BROKEN:
            return raw

    def frame(self, frame: sse.Frame) -> sse.Frame:
        """A frame of a stream, written anew if something in it is sealed."""
        if not self.concerns(frame.data):
            return frame
        try:
            members = _MEMBERS.decode(frame.data)
        except BROKEN:
            return frame
        sealed = {name: self.part(members[name]) for name in _PLACES if name in members}
        if all(part is members[name] for name, part in sealed.items()):
            return frame
        data = msgspec.json.encode(members | sealed)
        return sse.Frame(frame.name, data, sse.write(frame.name.decode(errors="replace"), data))

    def note(self, exchange: Exchange) -> None:
        """Remember that a whole answer was changed, if it was."""
        if self._used:
            exchange.stash[_RESEALED] = True


def opened(text: str, maker: str) -> str | None:
    """The signature or the data in a seal, None if another has made it."""
    carried = unseal(text, maker, _CARRIED)
    return carried.signature if carried else None


def resealed(exchange: Exchange, finish: Finish) -> Finish | None:
    """A new end for a whole answer that was changed, so that it is written anew and not relayed; else None."""
    return replace(finish) if exchange.stash.get(_RESEALED) else None


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
