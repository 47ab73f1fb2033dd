"""The parts of an answer as content blocks, and the signatures on parts as seals beside them."""

from collections.abc import Callable
from typing import Any

import msgspec

from penstock import UpstreamFailed

from ..blocks import Blocks
from ..untyped import members, words
from .grounding import Grounding
from .shapes import NOTHING, FunctionCall, Part
from .signatures import Sealed, sealed


class PartWriter:
    """Takes parts in their order.

    A call's signature closes the thinking in front of it, or leaves before the call. A text's leaves before the text
    if it comes with its beginning; if not, it waits for what follows, and is given up at the end of the answer: it is
    not needed then, and agents look for the model's last words in the last block.
    """

    def __init__(self, blocks: Blocks, maker: str, new_id: Callable[[], str]) -> None:
        """`maker` is the name in the seals; `new_id` makes an id for a call without one."""
        self.calls = 0
        self._blocks = blocks
        self._maker = maker
        self._new_id = new_id
        self._seen: set[tuple[str, str, str]] = set()
        self._waiting = ""  # the signature of the text under way

    def part(self, part: Part) -> None:
        """The next part. Raises UpstreamFailed for a call that names no tool."""
        signature, text = words(part.thought_signature), words(part.text)
        if part.function_call is not None:
            self._call(part.function_call, signature)
        elif text and not part.thought:
            self._text(text, signature)
        elif part.tool_call != NOTHING or part.tool_response != NOTHING:
            self._invocation(part, signature)
        elif part.thought:
            self._let_go()
            if text:
                self._blocks.text("thinking", text)
        else:
            self._text(_mention(part), signature)

    def search(self, grounding: Grounding, id: str) -> None:
        """A search `id` that the server has made."""
        self._let_go()
        self._blocks.place(*grounding.blocks(id))

    def cite(self, grounding: Grounding) -> None:
        """The sources of the text under way."""
        for citation in grounding.citations():
            self._blocks.cite(citation)

    def _call(self, call: FunctionCall, signature: str) -> None:
        name, arguments = call.name or "", _arguments(call.args)
        if not name:
            raise UpstreamFailed("the upstream sent a tool call without the name of a tool")
        known = (call.id or "", name, arguments)
        if call.id and known in self._seen:
            return  # the same once more
        self._seen.add(known)
        self._let_go()
        if signature:
            self._seal(Sealed(call=signature))
        self._blocks.call(self.calls, call.id or self._new_id(), name, arguments)
        self.calls += 1

    def _invocation(self, part: Part, signature: str) -> None:
        """A call that the server made, or its result: it has to come back as it is."""
        self._let_go()
        whole = {"toolCall": part.tool_call, "toolResponse": part.tool_response}
        kept = {name: value for name, value in whole.items() if value != NOTHING}
        if signature:
            kept["thoughtSignature"] = msgspec.Raw(msgspec.json.encode(signature))
        self._seal(Sealed(part=kept))

    def _text(self, text: str, signature: str) -> None:
        if signature:
            self._sign(text, signature)
        if text:
            self._blocks.text("text", text)

    def _sign(self, text: str, signature: str) -> None:
        under_way = self._blocks.under_way
        if under_way == "text" or (not text and under_way != "thinking"):
            self._waiting = signature
        else:
            self._seal(Sealed(text=signature))

    def _let_go(self) -> None:
        if self._waiting:
            self._seal(Sealed(text=self._waiting))
            self._waiting = ""

    def _seal(self, content: Sealed) -> None:
        self._blocks.sealed(sealed(self._maker, content))


def _arguments(raw: msgspec.Raw) -> str:
    """The object of a call's arguments as JSON; some servers send null for none."""
    try:
        text = bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise UpstreamFailed(f"the upstream sent a record that cannot be read: {error}") from None
    return text if text.startswith("{") else "{}"


def _mention(part: Part) -> str:
    """What can be said in words of a part that is none."""
    code, result = members(part.executable_code), members(part.code_execution_result)
    if said := words(code.get("code")):
        return f"\n```{words(code.get('language')).lower()}\n{said}\n```\n"
    if said := words(result.get("output")):
        return f"\n```\n{said}\n```\n"
    kind: Any = members(part.inline_data).get("mimeType")
    return f"[{words(kind)[:100]}]" if words(kind) else ""
