"""The many wordings of "this does not fit", as data, and the one wording that every agent understands.

An agent that reads `prompt is too long: A tokens > B maximum` compacts its conversation and goes on. If the prompt
fits and only the room asked for the answer does not, the words are those after which Claude Code asks for less.
"""

import re

from penstock import GatewayError, InvalidRequest, PromptTooLong

from .complaint import Complaint

_NAMES = ("context_length_exceeded", "exceed_context_size_error", "context_window_exceeded")

_PHRASES = (
    "prompt is too long",
    "input is too long",
    "maximum context length",
    "context_length_exceeded",
    "exceeds the context window",
    "contextwindowexceedederror",
    "longer than the maximum model length",
    "longer than the model's context length",
    "exceeds the available context size",
    "exceeds the maximum number of tokens allowed",
    "exceeded model token limit",
    "input token length too long",
    "input tokens exceed the configured limit",
    "maximum context limit",
    "maximum prompt length",
    "prompt exceeds max length",
    "tokens in request more than max tokens allowed",
    "range of input length should be",
    "context window exceeds limit",
    "but model only supports up to",
    "reduce the length of the messages",
    "exceed context limit",
    "prompt token count",
    "context length is only",
    "context length of only",
    "greater than the context length",
    "while limit is",
    "`max_new_tokens` must be",
    "`inputs` must have less than",
)

_TEMPLATES = (
    # Anthropic, and gateways that use its words
    "<tokens> tokens > <maximum> maximum",
    r"exceed context limit: <prompt> \+ <completion> > <maximum>",
    # vLLM
    r"too large: <completion>\b.* maximum context length is <maximum> tokens and your request has <prompt> input",
    r"passed <prompt> input tokens and requested <completion> output tokens.* context length is only <maximum>",
    r"\(length <tokens>\) is longer than the maximum model length of <maximum>",
    # OpenAI, DeepSeek, OpenRouter, SGLang
    r"maximum context length is <maximum> tokens.* requested (?:about )?<tokens> tokens \(.*?"
    r"<completion> in the (?:completion|output)",
    r"maximum context length of <maximum> tokens.* total of <tokens> tokens: .* and <completion> tokens for the",
    r"maximum context length is <maximum> tokens.* (?:resulted in|requested(?: about)?) <tokens> tokens",
    r"configured limit of <maximum> tokens.* resulted in <tokens> tokens",
    r"\(<tokens> tokens\) is longer than the model's context length \(<maximum> tokens",
    # llama.cpp, LM Studio
    r"request \(<tokens> tokens\) exceeds the available context size \(<maximum> tokens",
    r"n_keep: <tokens>\s*>= n_ctx: <maximum>",
    r"first <tokens> tokens when .* context length of only <maximum>",
    # Mistral, Moonshot, xAI, Cerebras, Gemini, Copilot, TGI
    r"contains <tokens> tokens .* model with <maximum> maximum context",
    r"token limit: <maximum> \(requested: <tokens>\)",
    r"maximum prompt length is <maximum> but the request contains <tokens>",
    r"current length is <tokens> while limit is <maximum>",
    r"token count \(<tokens>\) exceeds the maximum number of tokens allowed \(<maximum>\)",
    r"token count is <tokens> but model only supports up to <maximum>",
    r"token count of <tokens> exceeds the limit of <maximum>",
    r"must be <= <maximum>\. given: <prompt> `inputs` tokens and <completion> `max_new_tokens`",
    r"must have less than <maximum> tokens\. given: <tokens>",
    # only the limit
    r"maximum context length (?:is|of) <maximum>",
    r"input length should be \[\d+, ?<maximum>\]",
    r"(?:only supports up to|context length is only|configured limit of) <maximum>",
)

_PATTERNS = tuple(
    re.compile(re.sub(r"<(\w+)>", r"(?P<\1>\\d[\\d,_]*)", template), re.IGNORECASE | re.DOTALL)
    for template in _TEMPLATES
)

_PREFIX = "prompt is too long: "
_USEFUL_ROOM = 4000  # tokens left for an answer; with less it is time to compact


def too_long(complaint: Complaint) -> GatewayError | None:
    """The error to raise for a complaint about length, None if it is about something else."""
    text = complaint.text.lower()
    if not any(phrase in text for phrase in _PHRASES) and not any(name in complaint.names for name in _NAMES):
        return None
    numbers = _numbers(complaint)
    maximum, completion = numbers.get("maximum", 0), numbers.get("completion", 0)
    if not maximum:
        return InvalidRequest(f"{_PREFIX}{complaint.text.removeprefix(_PREFIX)}")
    tokens = numbers.get("tokens") or numbers.get("prompt", 0) + completion
    prompt = numbers.get("prompt") or tokens - completion
    if completion and prompt + _USEFUL_ROOM <= maximum:
        return InvalidRequest(
            f"input length and `max_tokens` exceed context limit: {prompt} + {completion} > {maximum}, "
            "decrease input length or `max_tokens` and try again"
        )
    return PromptTooLong(max(tokens, maximum + 1), maximum)


def _numbers(complaint: Complaint) -> dict[str, int]:
    if complaint.tokens and complaint.maximum:
        return {"tokens": complaint.tokens, "maximum": complaint.maximum}
    for pattern in _PATTERNS:
        if found := pattern.search(complaint.text):
            return {name: int(re.sub(r"\D", "", digits)) for name, digits in found.groupdict().items()}
    return {}
