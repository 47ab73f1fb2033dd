"""What a request asked, as far as a simulated model needs to know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from penstock import InvalidRequest, Prompt, Request, TextBlock, ToolResultBlock

from .reply import MARK, Part
from .schema import example

_DIRECTORY = re.compile(r"working directory: *(/[^\n<`]*)", re.IGNORECASE)
_REMINDER = "<system-reminder>"  # Claude Code's notes to the model; not what the user said


class Scene(NamedTuple):
    """One request to a simulated model. `id` is unique, `pause` is the option of that name."""

    request: Request
    id: str
    pause: float

    @property
    def prompt(self) -> Prompt:
        """The neutral prompt. Raises InvalidRequest."""
        return self.request.prompt

    @property
    def user_text(self) -> str:
        """What the user's last turn says, "" if that holds no words."""
        texts = (block.text for block in self._last_turn() if isinstance(block, TextBlock))
        return "\n".join(text for text in texts if not text.lstrip().startswith(_REMINDER)).strip()

    @property
    def results(self) -> list[ToolResultBlock]:
        """The tool results in the last turn."""
        return [block for block in self._last_turn() if isinstance(block, ToolResultBlock)]

    @property
    def directory(self) -> str:
        """The working directory that the conversation names, else /tmp."""
        found = (_DIRECTORY.search(text) for text in self._texts())
        return next((match[1].rstrip(" ./") or "/" for match in found if match), "/tmp")

    def said(self, text: str) -> Part:
        """The text, marked as simulated; or the JSON that the request's output schema wants instead."""
        schema = self.prompt.output_schema
        if schema is None:
            return Part("text", MARK + text)
        return Part("text", json_for(schema, "the output schema"))

    def _last_turn(self) -> tuple[object, ...]:
        turns = (message for message in reversed(self.prompt.messages) if message.role == "user")
        return next((turn.content for turn in turns), ())

    def _texts(self) -> Iterator[str]:
        yield from (block.text for block in self.prompt.system)
        for message in self.prompt.messages:
            yield from (block.text for block in message.content if isinstance(block, TextBlock))


def json_for(schema: msgspec.Raw, what: str, word: str = "simulated") -> str:
    """JSON that the schema accepts. Raises InvalidRequest, which calls the schema `what`."""
    try:
        return msgspec.json.encode(example(msgspec.json.decode(schema), word)).decode()
    except ValueError as error:
        raise InvalidRequest(f"{what} is {error}") from None
