"""How an upstream has processed a request, which may cost more or less: what vendors call it, in one vocabulary."""

import re

from .untyped import words

_STANDARD = frozenset(
    {"standard", "default", "auto", "on_demand", "unspecified", "traffic_type_unspecified", "standard_only"}
)
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,39}")


def mode_of(*said: object) -> str:
    """The first of these that names another way than the standard one, such as `priority`; "" if none does.

    Google's `ON_DEMAND_PRIORITY` is `priority`, too. What is no name is nothing.
    """
    for each in said:
        name = words(each)[:64].lower().removeprefix("on_demand_")
        if name not in _STANDARD and _NAME.fullmatch(name):
            return name
    return ""
