"""Where a mistake is said to be: in the plugin's own code, however deep in a library it came to light."""

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.blame import place_of
from penstock.catalogue import Catalogue

PACKAGE = {
    "plugins/acme/__init__.py": (
        "from penstock import Plugin\nfrom .deep import parse\n\n\nclass Acme(Plugin):\n"
        "    def go(self, text):\n        return parse(text)\n"
    ),
    "plugins/acme/deep.py": "import json\n\n\ndef parse(text):\n    return json.loads(text)\n",
    "plugins/single.py": (
        "import json\nfrom penstock import Plugin\n\n\nclass Single(Plugin):\n"
        "    def go(self, text):\n        return json.loads(text)\n"
    ),
}


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return Catalogue(tmp_path / "plugins")


def raised(function: Any, *arguments: Any) -> Exception:
    try:
        function(*arguments)
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(("name", "place"), [("acme", "acme/deep.py:5"), ("single", "single.py:7")])
def test_the_deepest_line_of_the_plugins_own_code(tmp_path: Path, catalogue: Catalogue, name: str, place: str) -> None:
    plugin: Any = catalogue.plugin(name).plugin()
    assert place_of(raised(plugin.go, "{"), plugin) == f"{tmp_path}/plugins/{place}"


def test_a_plugin_made_of_another_is_blamed_for_what_it_has_taken_over(tmp_path: Path, catalogue: Catalogue) -> None:
    acme: Any = catalogue.plugin("acme").plugin
    heir: Any = type("Heir", (acme,), {"__module__": __name__})()
    assert place_of(raised(heir.go, "{"), heir) == f"{tmp_path}/plugins/acme/deep.py:5"


def test_without_the_plugins_code_it_is_the_deepest_line_there_is() -> None:
    assert "/json/decoder.py:" in place_of(raised(json.loads, "{"))
    assert place_of(ValueError("never raised")) == "unknown place"


async def test_a_cause_counts_where_the_error_itself_did_not_pass_the_plugin(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    plugin: Any = catalogue.plugin("acme").plugin()
    cause = raised(plugin.go, "{")
    late = TimeoutError()
    late.__cause__, cause.__cause__ = cause, late  # a circle ends, too
    assert place_of(late, plugin) == f"{tmp_path}/plugins/acme/deep.py:5"
