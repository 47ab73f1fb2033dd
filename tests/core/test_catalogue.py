"""Names to plugins, protocols, presets and stores: where each is looked for, and what is said when it is not there."""

import os
import sys
from pathlib import Path

import pytest

from penstock.catalogue import Catalogue, CatalogueError
from penstock.store import MemoryStore
from tests.core.places import PLUGINS, install, mistakes, write

GUARD = '"""Guard."""\nfrom penstock import Plugin\nclass Guard(Plugin):\n    """Guards, {0}."""\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one local plugin, `guard.py`."""
    write(tmp_path, {"plugins/guard.py": GUARD})
    return tmp_path / "plugins"


def refused(catalogue: Catalogue, name: str) -> str:
    with pytest.raises(CatalogueError) as caught:
        catalogue.plugin(name)
    return str(caught.value)


# ---------------------------------------------------------------- plugins


def test_a_file_beside_the_pipelines_is_a_plugin(folder: Path) -> None:
    found = Catalogue(folder).plugin("guard")
    assert (found.plugin.__name__, found.origin) == ("Guard", f"{folder}/guard.py")


def test_so_is_a_package_with_modules_of_its_own(folder: Path) -> None:
    init = "from .rules import WORDS\nfrom penstock import Plugin\nclass Acme(Plugin):\n    words: str = WORDS\n"
    write(folder, {"acme_guard/__init__.py": init, "acme_guard/rules.py": 'WORDS = "no"\n'})
    assert repr(Catalogue(folder).plugin("acme_guard").plugin()) == "Acme(words='no')"


def test_the_code_of_a_plugin_stays_for_as_long_as_a_catalogue_uses_it(folder: Path) -> None:
    write(folder, {"acme/__init__.py": GUARD.replace('"""Guard."""', "from . import rules"), "acme/rules.py": ""})
    first, second = Catalogue(folder), Catalogue(folder)
    module = first.plugin("acme").plugin.__module__
    assert second.plugin("acme").plugin.__module__ == module
    first.forget([second])
    assert {module, f"{module}.rules"} <= set(sys.modules)
    second.forget([first])
    assert not {module, f"{module}.rules"} & set(sys.modules)


def test_an_installed_plugin_is_found_by_its_entry_point() -> None:
    found = Catalogue(None).plugin("models")
    assert found.plugin.__module__ == "penstock_models"
    assert found.origin.startswith("penstock ")


def test_a_plugin_can_be_named_by_module_and_class() -> None:
    assert Catalogue(None).plugin("penstock_models:Models").plugin is Catalogue(None).plugin("models").plugin


def test_what_nobody_names_is_not_imported(folder: Path) -> None:
    write(folder, {"trap.py": 'raise SystemExit("imported")'})
    assert "trap" in Catalogue(folder).plugin_names()
    assert Catalogue(folder).plugin("guard").plugin.__name__ == "Guard"


def test_names_that_could_be_meant(folder: Path) -> None:
    write(folder, {"_private.py": "", "two words.py": "", "notes.txt": "", "empty/notes.txt": ""})
    names = Catalogue(folder).plugin_names()
    assert {"guard", "auth", "models", "translation"} <= set(names)
    assert not {"_private", "two words", "notes", "empty"} & set(names)
    assert names == sorted(names)


def test_a_plugin_that_is_not_there(folder: Path) -> None:
    assert refused(Catalogue(folder), "gaurd") == "unknown plugin 'gaurd'; did you mean 'guard'?"
    message = refused(Catalogue(folder), "wizardry")
    assert message == f"unknown plugin 'wizardry'; there are: {', '.join(Catalogue(folder).plugin_names())}"


def test_a_file_does_not_hide_an_installed_plugin(folder: Path) -> None:
    write(folder, {"auth.py": GUARD})
    message = f"plugin 'auth' is both {folder}/auth.py and installed as penstock_auth:Auth; rename the file"
    assert refused(Catalogue(folder), "auth") == message


def test_the_sources_of_installed_plugins_are_no_local_plugins() -> None:
    root = Path(__file__).parent.parent.parent
    assert Catalogue(root / "plugins").local_files() == []


BROKEN = {
    "def x(:\n": "{0}:1: invalid syntax",
    "\nimport not_to_be_found\n": "ModuleNotFoundError: No module named 'not_to_be_found' ({0}:2)",
    "\n\n1 / 0\n": "ZeroDivisionError: division by zero ({0}:3)",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_cannot_be_loaded_is_located(folder: Path, text: str) -> None:
    write(folder, {"broken.py": text})
    path = f"{folder}/broken.py"
    assert refused(Catalogue(folder), "broken") == f"{path} cannot be loaded: {BROKEN[text].format(path)}"
    assert not [name for name in sys.modules if name.endswith("_broken")]


@pytest.mark.parametrize(("classes", "found"), [("", "none"), ("class A(Plugin): ...\nclass B(Plugin): ...\n", "A, B")])
def test_a_file_defines_one_plugin(folder: Path, classes: str, found: str) -> None:
    write(folder, {"many.py": f"from penstock import Plugin\n{classes}"})
    assert refused(Catalogue(folder), "many") == f"{folder}/many.py must define one Plugin class; found: {found}"


def test_a_plugin_of_the_library_that_a_file_imports_is_not_its_own(folder: Path) -> None:
    write(folder, {"mine.py": "from penstock_models import Models\nclass Mine(Models): ...\n"})
    assert Catalogue(folder).plugin("mine").plugin.__name__ == "Mine"


OPTIONS = {
    "place: Path | None = None": f"type {Path!r} is not supported",
    "place: 'Nowhere' = None": "name 'Nowhere' is not defined",
    "place: str | Secret = ''": "Type unions containing a custom type may not contain any additional types",
    "place: Secret = Secret('x')": "a Secret as a default would be in the source; write `Secret | None = None`",
}


@pytest.mark.parametrize("field", OPTIONS)
def test_options_that_no_file_could_give_are_refused_at_once(folder: Path, field: str) -> None:
    head = "from pathlib import Path\nfrom penstock import Plugin, Secret\nclass Odd(Plugin):\n"
    write(folder, {"odd.py": f"{head}    {field}\n"})
    message = f"the options of Odd cannot be read from a file: {OPTIONS[field]}"
    assert refused(Catalogue(folder), "odd").startswith(message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("penstock_models:Nope", "module 'penstock_models' has no attribute 'Nope'"),
        ("not_to_be_found:X", "No module named 'not_to_be_found'"),
        ("json:dumps", "a class derived from penstock.Plugin is needed"),
        ("penstock:Response", "a class derived from penstock.Plugin is needed"),
        (":", "cannot be imported"),
    ],
)
def test_a_module_path_that_leads_nowhere(name: str, message: str) -> None:
    told = refused(Catalogue(None), name)
    assert told.startswith(f"plugin {name!r} ")
    assert message in told


def test_a_module_that_breaks_is_located(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, {"penstock_test_broken.py": "\nopen()\n"})
    monkeypatch.syspath_prepend(folder)
    told = refused(Catalogue(None), "penstock_test_broken:X")
    assert told.endswith(f"({folder}/penstock_test_broken.py:2)")


def test_an_edited_file_is_loaded_anew_and_the_old_class_lives_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when neither its size nor the second of its last change differ, which Python's own cache goes by."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write(folder, {"guard.py": GUARD.replace("{0}", "one")})
    os.utime(folder / "guard.py", (1e9, 1e9))
    one = Catalogue(folder).plugin("guard").plugin
    write(folder, {"guard.py": GUARD.replace("{0}", "two")})
    os.utime(folder / "guard.py", (1e9, 1e9))
    two = Catalogue(folder).plugin("guard").plugin
    assert [one.__doc__, two.__doc__] == ["Guards, one.", "Guards, two."]
    assert Catalogue(folder).plugin("guard").plugin is two


def test_the_same_file_in_two_folders_is_two_plugins(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", {"guard.py": GUARD})
    found = [Catalogue(place).plugin("guard").plugin for place in (folder, tmp_path / "other")]
    assert found[0] is not found[1]
    assert [sys.modules[plugin.__module__].__file__ for plugin in found] == [
        f"{folder}/guard.py",
        f"{tmp_path}/other/guard.py",
    ]


def test_a_broken_local_plugin_is_told_at_the_step_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, {**PLUGINS, "plugins/guard.py": "def x(:\n"})
    assert mistakes(tmp_path, {"pipelines/a.yaml": "plugins:\n- knobs\n- guard\n"}) == [
        "pipelines/a.yaml:3:3: plugins/guard.py cannot be loaded: plugins/guard.py:1: invalid syntax"
    ]


# ---------------------------------------------------------------- protocols, presets, stores


def test_protocols_are_found_by_name_and_side() -> None:
    catalogue = Catalogue(None)
    assert catalogue.upstream_protocol("openai-chat").name == "openai-chat"
    assert catalogue.client_protocol("anthropic").name == "anthropic"
    with pytest.raises(CatalogueError, match="protocol 'openai-chat' is for upstreams only"):
        catalogue.client_protocol("openai-chat")
    with pytest.raises(CatalogueError, match="unknown protocol 'anthropics'; did you mean 'anthropic'"):
        catalogue.upstream_protocol("anthropics")
    with pytest.raises(CatalogueError, match="unknown protocol 'smtp'; there are: anthropic, "):
        catalogue.upstream_protocol("smtp")


def test_presets_that_are_not_there_or_gone() -> None:
    catalogue = Catalogue(None)
    assert catalogue.preset("anthropic").protocol == "anthropic"
    with pytest.raises(CatalogueError, match="unknown preset 'openruter'; did you mean 'openrouter'"):
        catalogue.preset("openruter")
    with pytest.raises(CatalogueError, match=r"unknown preset 'xyzzy'; there are: .*anthropic, .*zai"):
        catalogue.preset("xyzzy")
    with pytest.raises(CatalogueError, match=r"preset 'iflow': \w+"):
        catalogue.preset("iflow")


def test_stores_are_found_by_scheme() -> None:
    catalogue = Catalogue(None)
    here = Path()
    catalogue.check_store("memory:", here)
    catalogue.check_store("memory", here)
    for ask in (catalogue.check_store, catalogue.store):
        with pytest.raises(
            CatalogueError, match="no store is installed for 'nosuch'; there are: memory, redis, rediss"
        ):
            ask("nosuch://host/0", here)
        with pytest.raises(CatalogueError, match=r"no store is installed for 'sqlit'; did you mean 'sqlite'\?"):
            ask("sqlit:state.db", here)


ACME = """[penstock.stores]
shelf = acme_shelf:open_shelf
drawer = acme_shelf:open_drawer
[penstock.plugins]
ghost = acme_ghost:Ghost
[penstock.protocols]
smoke = acme_ghost:Smoke
[penstock.presets]
acme = acme_shelf:presets
"""
SHELF = '''
"""A store."""
from pathlib import Path
from penstock.store import MemoryStore

def open_shelf(url, folder):
    if folder.name != "pipelines":
        raise ValueError("write shelf://host")
    return MemoryStore(lambda: 0.0)

def open_drawer(url, folder):
    raise OSError("it is stuck")

def presets():
    return Path(__file__).with_name("presets.yaml")
'''


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A catalogue with a distribution in which some things are broken."""
    write(tmp_path, {"acme_shelf.py": SHELF, "presets.yaml": "acme: {protocol: anthropic, ulr: 'http://h'}\n"})
    install(tmp_path, monkeypatch, ACME)
    monkeypatch.delitem(sys.modules, "acme_shelf", raising=False)
    return Catalogue(None)


def test_an_installed_store_is_opened(acme: Catalogue) -> None:
    assert isinstance(acme.store("shelf://host/0", Path("pipelines")), MemoryStore)


def test_a_store_that_cannot_be_opened_says_why(acme: Catalogue) -> None:
    with pytest.raises(CatalogueError, match=r"the store cannot be used: OSError: it is stuck \(.*acme_shelf.py:12\)"):
        acme.store("drawer://host/0", Path())
    with pytest.raises(CatalogueError, match=r"^the store cannot be used: write shelf://host$"):
        acme.store("shelf://host/0", Path())


def test_an_installed_thing_whose_module_is_missing_is_named(acme: Catalogue) -> None:
    assert refused(acme, "ghost").startswith("acme_ghost:Ghost cannot be loaded: ModuleNotFoundError: ")
    with pytest.raises(CatalogueError, match="acme_ghost:Smoke cannot be loaded: ModuleNotFoundError: "):
        acme.upstream_protocol("smoke")


def test_a_broken_file_of_presets_is_located(acme: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError) as caught:
        acme.preset("anthropic")
    assert str(caught.value).startswith(f"{tmp_path}/presets.yaml:1:29: unknown option 'ulr'; did you mean 'url'?")
