"""`penstock schema`: the JSON Schema of a pipeline file, with the options of every plugin that can be named."""

from pathlib import Path
from typing import Any

import msgspec

from penstock.catalogue import Catalogue, CatalogueError
from penstock.config import plugin_folder
from penstock.options import schema_hook
from penstock.plugin import Plugin
from penstock.reach import UpstreamFile
from penstock.safety import Safety


def pipeline_schema(place: Path) -> str:
    """Draft 2020-12, as JSON text."""
    catalogue = Catalogue(plugin_folder(place))
    plugins = _plugins(catalogue)
    schemas, definitions = msgspec.json.schema_components(
        [UpstreamFile, Safety, *plugins.values()], schema_hook=schema_hook, ref_template="#/$defs/{name}"
    )
    upstream, _, *options = schemas
    words = definitions.pop("Safety")["properties"]
    steps = [_step(name, own, words) for name, own in zip(plugins, options, strict=True)]
    step = {"anyOf": [{"enum": list(plugins)}, *steps]}
    return msgspec.json.format(msgspec.json.encode(_pipeline(upstream, step, definitions)), indent=2).decode()


def _plugins(catalogue: Catalogue) -> dict[str, type[Plugin]]:
    found: dict[str, type[Plugin]] = {}
    for name in catalogue.plugin_names():
        try:
            found[name] = catalogue.plugin(name).plugin
        except CatalogueError:
            continue  # `penstock plugins` shows it with the reason
    return found


def _step(name: str, options: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            name: {"anyOf": [options, {"type": "null"}]},
            "id": {"type": "string"},
            "enabled": {"type": "boolean"},
            **words,
        },
        "required": [name],
        "additionalProperties": False,
    }


def _pipeline(upstream: dict[str, Any], step: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    change = {"anyOf": [{"type": "boolean"}, {"type": "object"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Penstock pipeline",
        "type": "object",
        "properties": {
            "path": {"type": "string", "pattern": "^/", "description": "Where clients point their base URL."},
            "upstreams": {
                "type": "object",
                "additionalProperties": upstream,
                "description": "Where requests go.",
            },
            "plugins": {"type": "array", "items": step, "minItems": 1, "description": "The steps, in order."},
            "teams": {
                "type": "object",
                "additionalProperties": {"type": ["object", "null"], "additionalProperties": change},
                "description": "Changes per team, by step id.",
            },
        },
        "required": ["plugins"],
        "additionalProperties": False,
        "$defs": definitions,
    }
