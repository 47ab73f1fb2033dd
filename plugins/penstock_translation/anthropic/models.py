"""The body that lists models, for agents of this format and for others that look for `object` and `owned_by`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock import ModelInfo

_UNKNOWN_DATE = "1970-01-01T00:00:00Z"  # the format's way to say that the date is not known


def models_body(models: Sequence[ModelInfo]) -> bytes:
    """The models in the order given, on one page."""
    entries = [_entry(model) for model in models]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": entries,
            "has_more": False,
            "first_id": entries[0]["id"] if entries else None,
            "last_id": entries[-1]["id"] if entries else None,
        }
    )


def _entry(model: ModelInfo) -> dict[str, Any]:
    optional = {
        "description": model.description,
        "owned_by": model.upstream,
        "context_window": model.context,
        "max_input_tokens": model.context,
        "max_tokens": model.output,
    }
    return {
        "type": "model",
        "object": "model",
        "id": model.id,
        "display_name": model.name or model.id,
        "created_at": _UNKNOWN_DATE,
        "created": 0,
        **{name: value for name, value in optional.items() if value},
    }
