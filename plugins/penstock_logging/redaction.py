"""Take credentials out of texts that others wrote, such as the error messages of an upstream."""

import re

REDACTED = "[redacted]"
READ = 4000
SHOWN = 1000

_SCHEME = re.compile(r"\b(bearer|basic)\s+[\w.*~+/=-]{8,}", re.IGNORECASE)
# Prefixes by which providers, code hosts and this gateway mark their keys; a JSON web token begins with `eyJ`.
_MARKED = re.compile(r"\b(?:(?:sk|pk|rk|gsk|xai|hf|ghp|gho|glpat|xox[abp])[-_]|AIza|AKIA|ASIA|eyJ)[\w.*~+/=-]{8,}")
# `"token": "..."`, `key=...`, and `x-api-key: ...` if what follows is long enough for a key.
_NAMED = re.compile(
    r"((?:key|token|secret|password)(?:[\"']\s*:\s*[\"']|\s*=\s*[\"']?|:\s*(?=[^\s\"'&,;]{16})))[^\s\"'&,;]+",
    re.IGNORECASE,
)
_LONG = re.compile(r"[\w+/=-]{32,}", re.ASCII)


def redact(text: str) -> str:
    """The text without anything that looks like a credential, cut to 1,000 characters."""
    text = _SCHEME.sub(rf"\1 {REDACTED}", text[:READ])
    text = _MARKED.sub(REDACTED, text)
    text = _NAMED.sub(rf"\1{REDACTED}", text)
    return _LONG.sub(_unless_words, text)[:SHOWN]


def _unless_words(found: re.Match[str]) -> str:
    """A long run of mixed characters is a key or data; one of words, such as a path or an identifier, stays."""
    run = found[0]
    mixed = any(map(str.isupper, run)) and any(map(str.islower, run))
    random = any(map(str.isdigit, run)) and (mixed or run.rstrip("=").isalnum())
    return REDACTED if random else run
