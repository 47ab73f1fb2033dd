"""A built-in plugin's folder, copied unchanged under another name, runs: an author begins with it and renames nothing.

A plugin is copied to `plugins/acme_x/` beside a pipeline and used as `acme_x`. What brings protocols, stores or presets
is found by an entry point alone, so a copy of it is a package with entry points of its own. Either way the original
cannot be imported.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from penstock.testing import MakeGateway, ScriptedUpstream, messages
from tests.integration.talk import Said, ask, prompt

ROOT = Path(__file__).parent.parent.parent
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
BUILT_IN = sorted(init.parent.name for init in (ROOT / "plugins").glob("*/__init__.py"))
STEPS = {path.partition(":")[0]: step for step, path in GROUPS["penstock.plugins"].items()}

KEY = "pk-" + "a" * 43
KEYS = f"keys: [{{hash: 'sha256:{sha256(KEY.encode()).hexdigest()}', user: ann}}]"
PIPELINE = """
path: /
upstreams:
  main: {protocol: anthropic, url: "{url}", key: upstream-key}
plugins:
  - logging: {to: log.jsonl}
  - auth: {keys: keys.yaml}
  - prices
  - usage
  - limits: {requests_per_minute: 60}
  - budgets: {daily: 5}
  - cache: {ttl: 1m}
  - simulator
  - models: {routes: {"*": main}}
  - repair
  - translation
"""


class Barred(MetaPathFinder):
    """Finds one package and what is in it nowhere."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] == self._package:
            raise ImportError(f"the copy asks for the original: {fullname}")
        return None


def copied(package: str, folder: Path) -> str:
    """Copy a package into a folder under its new name, which is given."""
    name = package.replace("penstock_", "acme_")
    shutil.copytree(ROOT / "plugins" / package, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return name


@pytest.mark.parametrize("package", sorted(STEPS))
async def test_a_copied_plugin_serves(
    gateway: MakeGateway, upstream: ScriptedUpstream, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = copied(package, tmp_path / "plugins")
    if package != "penstock_translation":  # the protocols stay where the entry points say that they are
        for module in [name for name in sys.modules if name.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "meta_path", [Barred(package), *sys.meta_path])
    upstream.always(messages.whole("hello"))
    pipeline = PIPELINE.replace(f"- {STEPS[package]}", f"- {name}")
    gate = await gateway(pipeline, files={"keys.yaml": KEYS}, url=upstream.url)
    said = await enter(gate.url)
    assert (said.status, said.text) == (200, "hello"), said.body
    (step,) = (step for step in gate.host.current.pipelines[0].file.steps if step.name == name)
    homes = {cls.__module__ for cls in type(step.instance).__mro__ if "acme" in cls.__module__}
    assert homes
    assert all(home.startswith("penstock_local_") for home in homes)


async def enter(url: str) -> Said:
    return await ask(url, prompt(), headers={"x-api-key": KEY})


# ---------------------------------------------------------------- protocols, stores, presets, commands

USE = """
import sys, tempfile
from importlib.metadata import entry_points
from pathlib import Path
from penstock.catalogue import Catalogue

catalogue, group, name = Catalogue(None), sys.argv[1], sys.argv[2]
(point,) = entry_points(group=group, name=name)
if group == "penstock.protocols":
    print(catalogue.upstream_protocol(name).__class__.__module__)
elif group == "penstock.stores":
    address = "state.db" if "sqlite" in name else "//127.0.0.1:6379"
    scheme = name.removeprefix("acme-")
    print(point.load()(f"{scheme}:{address}", Path(tempfile.gettempdir())).__class__.__module__)
elif group == "penstock.presets":
    assert point.load()().is_file()
    print(point.load().__module__)
else:
    print(point.load().callback.__module__)
"""
OTHERS = [
    pytest.param(group, name, path, id=f"{group}:{name}")
    for group in ("penstock.protocols", "penstock.stores", "penstock.presets", "penstock.commands")
    for name, path in GROUPS[group].items()
]


@pytest.mark.parametrize(("group", "name", "path"), OTHERS)
def test_a_copy_is_found_by_entry_points_of_its_own(tmp_path: Path, group: str, name: str, path: str) -> None:
    package = path.partition(".")[0].partition(":")[0]
    new = copied(package, tmp_path)
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise ImportError('the copy asks for the original')")
    information = tmp_path / "acme-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[{group}]\nacme-{name} = {path.replace(package, new)}\n")
    done = subprocess.run(
        [sys.executable, "-c", USE, group, f"acme-{name}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split(".")[0].strip() == new


def test_every_built_in_is_copied_here() -> None:
    others = {param.values[2] for param in OTHERS}
    assert {*STEPS, *(str(path).partition(":")[0].partition(".")[0] for path in others)} == set(BUILT_IN)
