"""A plugin is a Struct: fields are options, everything else about it stays out of the file."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import Duration, Gateway, Plugin
from penstock.document import Document
from penstock.options import decode_hook, schema_hook
from penstock.typed import convert


class Cache(Plugin):
    """Keeps answers."""

    provides = frozenset({"principal"})
    requires = frozenset({"targets"})

    ttl: Duration = 3600.0
    names: list[str] = []

    def __post_init__(self) -> None:
        if self.ttl > 86400:
            raise ValueError("ttl must not exceed a day")


def read(text: str) -> tuple[Plugin | None, list[str]]:
    document = Document.parse(f"cache:\n  {text}\n", "a.yaml", {})
    plugin, problems = convert(document, ("cache",), Cache, decode_hook())
    return plugin, [f"{problem.line}:{problem.column}: {problem.message}" for problem in problems]


def test_fields_are_options() -> None:
    plugin, problems = read("ttl: 10m")
    assert (repr(plugin), problems) == ("Cache(ttl=600.0, names=[])", [])


@pytest.mark.parametrize("name", ["provides", "requires", "uses", "step", "log", "store", "clock", "folder"])
def test_what_the_core_or_the_author_sets_is_no_option(name: str) -> None:
    assert read(f"{name}: x")[1] == [f"2:3: unknown option '{name}'; allowed: ttl, names"]


def test_what_a_plugin_refuses_is_a_mistake_in_the_file() -> None:
    assert read("ttl: 2d")[1] == ["2:3: ttl must not exceed a day"]


def test_two_steps_with_the_same_options_are_two_plugins() -> None:
    one, two = Cache(), Cache()
    assert one != two
    assert len({one, two}) == 2


def test_defaults_are_not_shared() -> None:
    one, two = Cache(), Cache()
    one.names.append("x")
    assert two.names == []


def test_a_plugin_may_keep_things_for_itself() -> None:
    plugin: Any = Cache()
    plugin.connection = "open"
    plugin.step, plugin.folder = "cache", Path("pipelines")
    assert (plugin.connection, plugin.step, plugin.folder) == ("open", "cache", Path("pipelines"))
    assert repr(plugin) == "Cache(ttl=3600.0, names=[])"


def test_editors_learn_what_a_plugin_does_and_takes() -> None:
    _, schemas = msgspec.json.schema_components([Cache], schema_hook=schema_hook)
    assert schemas["Cache"]["description"] == "Keeps answers."
    assert list(schemas["Cache"]["properties"]) == ["ttl", "names"]
    assert schemas["Cache"]["additionalProperties"] is False


def test_what_a_plugin_may_ask_of_the_gateway() -> None:
    assert Gateway.__abstractmethods__ == {
        *("serve_protocol", "add_route", "identify_by", "price_by", "read_file", "database", "http", "watch", "spawn"),
    }
