"""Mend what providers refuse of a conversation, so that a session goes on."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from penstock import Exchange, InvalidRequest, Plugin, Prompt, hookimpl

from .blocks import cleaned
from .conversation import settled
from .ends import ended
from .pictures import Album, Limits, too_large, with_pictures
from .thinking import fitted

__all__ = ["Repair"]

_INTERLEAVED = "interleaved-thinking"  # the beta with which a budget may exceed `max_tokens`


class Repair(Plugin):
    """Mend what providers refuse of a conversation, so that a session goes on.

    Put it above `translation`. An intact request passes with the client's own bytes. What is mended is logged once for
    a request, and counted in its log line:

    - `orphan_call`: a tool call without a result gets one that says that it was interrupted.
    - `orphan_result`: a tool result without a call becomes words.
    - `duplicate_result`: of two results of one call the first stays.
    - `moved_result`: a result that stood elsewhere comes directly after its call, before all else of that turn.
    - `moved_system`: system messages come after the user's message, where they may stand.
    - `empty_error`: a failed call that does not say why says at least that.
    - `empty_tool_name`: the call of a tool without a name gets one.
    - `misplaced_block`: a tool call of the user, or a result of the assistant, becomes words.
    - `empty_text`, `empty_turn`: text of nothing but space is left out, and turns of nothing.
    - `first_turn`: a conversation that the user does not begin gets a beginning.
    - `prefill`: the words that the model is to continue lose the space at their end.
    - `image`: a picture that is too large is scaled down; without the extra [images] words take its place.
    - `thinking_budget`: a budget for thinking becomes smaller than `max_tokens`; where that leaves less than 1,024
      tokens, thinking is turned off.

    Two repairs are not made here, since only the translation knows the target: thinking that another model has signed
    is left out for each target, and Claude Code's attribution is sent to Claude only.
    """

    image_bytes: Annotated[int, Meta(ge=1, description="The most bytes of a picture, counted in base64.")] = 5_242_880
    image_edge: Annotated[int, Meta(ge=1, description="The most pixels of a picture's longer edge.")] = 8000
    many_images: Annotated[int, Meta(ge=0, description="More pictures than these in a request are many.")] = 20
    many_images_edge: Annotated[int, Meta(ge=1, description="The same as `image_edge`, where there are many.")] = 2000

    def __post_init__(self) -> None:
        self._album = Album()
        self._thread = ThreadPoolExecutor(1, "pictures")  # one at a time: a picture may take a lot of memory

    @hookimpl
    def shutdown(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    @hookimpl
    async def on_request(self, exchange: Exchange) -> None:
        if exchange.operation not in ("generate", "count_tokens"):
            return
        try:
            prompt = exchange.request.prompt
        except InvalidRequest:  # whoever has to read it will say what is wrong
            return
        repairs: Counter[str] = Counter()
        mended = await self._mended(prompt, repairs, _INTERLEAVED in exchange.headers.get("anthropic-beta", ""))
        if repairs:
            exchange.request.prompt = mended
            self._note(exchange, repairs)

    async def _mended(self, prompt: Prompt, repairs: Counter[str], interleaved: bool) -> Prompt:
        messages = ended(settled(cleaned(prompt.messages, repairs), repairs), repairs)
        large = too_large(messages, self._limits())
        if large:
            repairs["image"] = len(large)
            loop = asyncio.get_running_loop()
            small = await loop.run_in_executor(self._thread, self._album.smaller, large)
            messages = with_pictures(messages, small)
        thinking = fitted(prompt, repairs, interleaved)
        return replace(prompt, messages=messages, thinking=thinking) if repairs else prompt

    def _note(self, exchange: Exchange, repairs: Counter[str]) -> None:
        for name, count in repairs.items():
            exchange.repairs[name] = exchange.repairs.get(name, 0) + count
        said = ", ".join(f"{name} {count}" for name, count in repairs.items())
        self.log.info("%s: mended the conversation: %s", exchange.id, said)

    def _limits(self) -> Limits:
        return Limits(self.image_bytes, self.image_edge, self.many_images, self.many_images_edge)
