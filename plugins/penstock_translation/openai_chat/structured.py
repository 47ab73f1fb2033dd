"""An answer in a form that the client has asked for: demanded by a parameter, in words, or both."""

from typing import Any, NamedTuple

import msgspec

from penstock import InvalidRequest, Prompt

from ..schemas import is_strict
from .quirks import ChatQuirks
from .schema import adapted


class Form(NamedTuple):
    """The parameters that demand a form, and what the system prompt has to say of it."""

    fields: dict[str, Any] = {}
    words: str = ""


def answer_form(prompt: Prompt, demanded: bool, quirks: ChatQuirks) -> Form:
    """How to ask for the form that a prompt wants. Unless it can be `demanded`, words have to do.

    Raises InvalidRequest if the client's schema is none.
    """
    if prompt.output_schema is None:
        return Form()
    try:
        wanted = msgspec.json.decode(prompt.output_schema, type=dict[str, Any])
    except msgspec.ValidationError:
        raise InvalidRequest("the schema of the answer must be a JSON object") from None
    schema = adapted(wanted, quirks)
    how = quirks.structured_output if demanded and "response_format" not in quirks.drop else "none"
    if how == "json_schema":
        named = {"name": "answer", "schema": schema, "strict": is_strict(schema)}
        return Form({"response_format": {"type": "json_schema", "json_schema": named}})
    text = msgspec.json.encode(schema).decode()
    words = f"Answer with a JSON object and nothing else. It has to fit this JSON schema:\n{text}"
    return Form({"response_format": {"type": "json_object"}} if how == "json_object" else {}, words)
