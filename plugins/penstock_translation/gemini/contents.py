"""The conversation as `contents`: sides in turn, every call answered in the next content, signatures in place."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from penstock import Block, Message, ThinkingBlock, ToolUseBlock

from ..names import ToolNames, wire_id
from ..turns import EMPTY_RESULT, FAILED, NO_RESULT, Answered, Conversation
from ..words import joined
from .parts import Part, Parts, words_of
from .quirks import GeminiQuirks
from .signatures import STAND_IN, Sealed, unsealed

_LONGEST_ID = 64
_BEGIN = "(The conversation begins here.)"
_GO_ON = "(Go on from where you stopped.)"
_ATTACHED = "(The result is attached.)"

Content = dict[str, Any]


def render_contents(
    messages: Iterable[Message], names: ToolNames, maker: str, quirks: GeminiQuirks
) -> tuple[list[Content], tuple[str, ...]]:
    """The `contents` of a request to the target whose seals name `maker`, and what they leave out."""
    conversation = _Conversation(names, maker, quirks)
    conversation.take(messages, system_in_place=False)
    return conversation.close(), tuple(conversation.parts.dropped)


class _Conversation(Conversation):
    """Collects contents; neighbours of one side become one."""

    def __init__(self, names: ToolNames, maker: str, quirks: GeminiQuirks) -> None:
        self.parts = Parts(quirks)
        self._names = names
        self._maker = maker
        self._quirks = quirks
        self._contents: list[Content] = []

    def close(self) -> list[Content]:
        """The contents; the first is the user's, and so is the last."""
        contents = self._contents
        if not contents or contents[0]["role"] == "model":
            contents.insert(0, {"role": "user", "parts": [{"text": _BEGIN}]})
        if contents[-1]["role"] == "model" and not self._quirks.prefill:
            self._add("user", [{"text": _GO_ON}])
        return contents

    def system(self, content: Sequence[Block]) -> None:
        raise AssertionError("system messages are text of the user here")

    def user(self, content: Sequence[Block]) -> None:
        self._add("user", self.parts.all(content))

    def assistant(self, content: Sequence[Block]) -> None:
        turn = _ModelTurn(self._quirks.thought_signatures)
        for block in content:
            if isinstance(block, ThinkingBlock):
                turn.thinking(unsealed(block, self._maker))
            elif isinstance(block, ToolUseBlock):
                turn.call(self._function(block) | {"args": block.input})
            elif (text := words_of(block)).strip():
                turn.words(text)
        self._add("model", turn.close())

    def tool(self, results: Iterable[Answered]) -> None:
        """The results of one turn's calls, one part each; behind them the media they may not hold."""
        responses: list[Part] = []
        moved: list[Part] = []
        for answered in results:
            response = self._function(answered.call)
            media = self._media(answered)
            response["response"] = self._outcome(answered, bool(media))
            if media and self._quirks.media_in_results:
                response["parts"] = media
            elif media:
                id = wire_id(answered.call.id, _LONGEST_ID)
                moved += [{"text": f"[from the result of the tool call {id}, {answered.call.name}]"}, *media]
            responses.append({"functionResponse": response})
        self._add("user", [*responses, *moved])

    def _add(self, role: Literal["user", "model"], parts: list[Part]) -> None:
        if parts and self._contents and self._contents[-1]["role"] == role:
            self._contents[-1]["parts"] += parts
        elif parts:
            self._contents.append({"role": role, "parts": parts})

    def _function(self, call: ToolUseBlock) -> Part:
        """What a call and its result have in common."""
        id = {"id": wire_id(call.id, _LONGEST_ID)} if self._quirks.call_ids else {}
        return {**id, "name": self._names.wire(call.name)}

    def _media(self, answered: Answered) -> list[Part]:
        blocks = answered.result.content if answered.result else ()
        return [part for block in blocks if (part := self.parts.media(block))]

    def _outcome(self, answered: Answered, has_media: bool) -> dict[str, str]:
        result = answered.result
        if result is None:
            return {"error": NO_RESULT}
        text = joined(block for block in result.content if not self.parts.media(block))
        if result.is_error:
            return {"error": text or FAILED}
        return {"output": text or (_ATTACHED if has_media else EMPTY_RESULT)}


class _ModelTurn:
    """Parts of one turn of the model, with the signatures that its thinking has carried."""

    def __init__(self, needs_signature: bool) -> None:
        self._needs_signature = needs_signature
        self._parts: list[Part] = []
        self._text = ""  # the signatures of what is next
        self._call = ""

    def thinking(self, carried: Sealed) -> None:
        self._call = carried.call or self._call
        if carried.part:
            self._parts.append(dict(carried.part))
        last = self._parts[-1] if self._parts else {}
        if carried.text and last.keys() == {"text"}:
            last["thoughtSignature"] = carried.text
        else:
            self._text = carried.text or self._text

    def words(self, text: str) -> None:
        self._parts.append({"text": text, **_signed(self._text)})
        self._text = ""

    def call(self, function: Part) -> None:
        self._let_go()
        stand_in = STAND_IN if self._needs_signature else ""
        self._parts.append({"functionCall": function, **_signed(self._call or stand_in)})
        self._call, self._needs_signature = "", False  # only the first of parallel calls is signed

    def close(self) -> list[Part]:
        if self._parts:
            self._let_go()
        return self._parts

    def _let_go(self) -> None:
        """A text's signature without a text goes on an empty one, which is how it has come."""
        if self._text:
            self.words("")


def _signed(signature: str) -> Part:
    return {"thoughtSignature": signature} if signature else {}
