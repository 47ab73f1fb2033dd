"""A short pipeline text made whole: what a test does not care about is filled in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock import Plugin

UPSTREAM = "main"
"""The name of the upstream that a short text gets."""

_WITNESS = {"penstock.testing.witness:Witness": None, "id": "witness"}
_LAST = "translation"


def whole(text: str, *, url: str, speaks: str, classes: Mapping[str, type[Plugin]], env: Mapping[str, str]) -> str:
    """The text of a whole pipeline file.

    `path: /`; an upstream `main` at `url` that speaks `speaks`, if the text has no `upstreams`; the step `translation`
    at the end, if no step has that name; the witness on top. Steps named in `classes` are these classes. A text that
    is no pipeline stays as it is, so that the gateway says what is wrong with it, and where.
    """
    from penstock.document import Document  # here and in the modules beside: pytest loads the kit in every run

    document = Document.parse(text, "pipeline", env)
    steps = document.data.get("plugins")
    if document.problems or not isinstance(steps, list):
        return text
    upstream = {"protocol": speaks, "url": url, "key": "upstream-key"}
    entries = [_WITNESS, *(_step(entry, classes) for entry in steps)]
    if not any(_id(entry) == _LAST for entry in steps):
        entries.append(_LAST)
    data = {"path": "/", "upstreams": {UPSTREAM: upstream}, **document.data, "plugins": entries}
    return json.dumps(data, indent=2, ensure_ascii=False).replace("${", "$${")


def _step(entry: Any, classes: Mapping[str, type[Plugin]]) -> Any:
    """The step with its class for its name."""
    fields = {entry: None} if isinstance(entry, str) else entry
    if not isinstance(fields, dict) or not (found := fields.keys() & classes.keys()):
        return entry
    name = found.pop()
    plugin = classes[name]
    return {"id": name, **{_where(plugin) if key == name else key: value for key, value in fields.items()}}


def _id(entry: Any) -> str:
    """What the step is called: its id, else its plugin's name."""
    from penstock.pipelinefile import STEP_WORDS

    if not isinstance(entry, dict):
        return str(entry)
    return str(entry.get("id") or next((key for key in entry if key not in STEP_WORDS), ""))


def _where(plugin: type[Plugin]) -> str:
    """The name by which a pipeline file finds a class. Raises ValueError for one that is made within a function."""
    if "." in plugin.__qualname__:
        raise ValueError(f"{plugin.__qualname__} is made inside a function or class: put it at the top of its module")
    return f"{plugin.__module__}:{plugin.__qualname__}"


def plugin_folder(test: Path, project: Path) -> Path:
    """The folder of local plugins: the one `plugins/` that a test's file stands in, else that of the project."""
    return next((folder for folder in test.parents if folder.name == "plugins"), project / "plugins")


def link_plugins(folder: Path, place: Path) -> None:
    """Make the local plugins of `folder` those of a gateway with the plugin folder `place`."""
    if not folder.is_dir():
        return
    place.mkdir(parents=True, exist_ok=True)
    for found in folder.iterdir():
        link = place / found.name
        if not found.name.startswith((".", "_")) and not link.exists():
            link.symlink_to(found.resolve())
