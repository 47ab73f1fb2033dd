"""Takes the names of the operator's accounts out of what an upstream says: they are no business of the client."""

import re

_ACCOUNTS = re.compile(
    r"\barn:[\w-]+:[^\s\"',]+"  # Amazon
    r"|\baccount (?:id )?:? ?\d{12}\b"
    r"|\b(?:projects|subscriptions|organizations)/[\w.:-]+"  # Google, Azure
    r"|\bproject(?:_number:|[ =])\d{3,}"
    r"|\b(?:org-|proj_|wrkspc_|acct_)\w{8,}",  # OpenAI, Anthropic
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text with `***` for each of them."""
    return _ACCOUNTS.sub("***", text)
