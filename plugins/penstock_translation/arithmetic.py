"""Tokens as OpenAI's formats count them, and servers that follow them more or less."""

from penstock import Usage


def usage_of(prompt: int, *, read: int, written: int, output: int, reasoning: int) -> Usage | None:
    """The usage, None when it says nothing: some servers put zeros into every record but the last.

    `prompt` includes what came from a cache and what was written to one; cached tokens above it come on top (xAI).
    """
    if not (prompt or output or read):
        return None
    return Usage(
        input=prompt if read > prompt else max(0, prompt - read - written),
        cache_read=read,
        cache_write=written,
        output=output,
        reasoning=reasoning,
    )
