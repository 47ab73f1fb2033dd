"""Find what files name: plugins beside the pipelines, in entry points or by module path; protocols; presets."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from penstock.document import Document
from penstock.exchange import ModelInfo
from penstock.options import schema_hook
from penstock.plugin import Plugin
from penstock.problems import suggest
from penstock.protocol import AuthForm, ClientProtocol, UpstreamProtocol
from penstock.store import Store
from penstock.typed import convert

MEMORY = ("memory", "memory:")
"""The store that needs no url: the memory of the process."""

_GROUPS = ("penstock.plugins", "penstock.protocols", "penstock.presets", "penstock.stores", "penstock.commands")


class CatalogueError(ValueError):
    """A name that cannot be found or loaded; the message says what would do."""


class PresetModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model worth offering. Sizes in tokens, 0 when unknown."""

    id: str
    name: str = ""
    context: int = 0
    output: int = 0

    def info(self, upstream: str, title: str) -> ModelInfo:
        """The model as plugins see it."""
        name = self.name or self.id
        return ModelInfo(
            id=self.id,
            name=name,
            description=f"served by {title or upstream}",
            upstream=upstream,
            context=self.context,
            output=self.output,
        )


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A provider as data. `retired` replaces everything else and says what to use instead."""

    title: str = ""
    protocol: str = ""
    url: str = ""
    parameters: tuple[str, ...] = ()
    auth: AuthForm | None = None
    env: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    models: tuple[PresetModel, ...] = ()
    quirks: dict[str, Any] = {}
    model_quirks: dict[str, dict[str, Any]] = {}
    docs: str = ""
    notes: str = ""
    retired: str = ""


class Found(msgspec.Struct, frozen=True):
    """A plugin class and where it came from, in words."""

    plugin: type[Plugin]
    origin: str


class Catalogue:
    """Looks names up. Local plugin files are imported anew when their bytes changed; nothing unnamed is imported."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` holds local plugins as `name.py` or `name/`; it need not exist."""
        self.folder = folder
        self._modules: set[str] = set()

    def forget(self, others: Iterable["Catalogue"]) -> None:
        """Let go of the local plugins that this one has found and none of the others: they have been replaced."""
        kept = {module for other in others for module in other._modules}
        for module in self._modules - kept:
            _unload(module)
        self._modules.clear()

    # ------------------------------------------------------------ plugins

    def plugin(self, name: str) -> Found:
        """The plugin a pipeline calls `name`. Raises CatalogueError."""
        if ":" in name:
            return self._from_path(name)
        local, installed = self._local_file(name), self._points("penstock.plugins").get(name)
        if local is not None and installed is not None:
            raise CatalogueError(f"plugin {name!r} is both {local} and installed as {installed.value}; rename the file")
        if local is not None:
            module = _import_file(local)
            self._modules.add(module.__name__)
            return Found(_described(_only_plugin(module)), str(local))
        if installed is None:
            known = self.plugin_names()
            raise CatalogueError(f"unknown plugin {name!r}{suggest(name, known) or '; there are: ' + ', '.join(known)}")
        return Found(_described(_as_plugin(_load(installed), name)), _distribution(installed))

    def plugin_names(self) -> list[str]:
        """All names that `plugin` would find, sorted."""
        return sorted({*self._points("penstock.plugins"), *(path.stem for path in self.local_files())})

    def local_files(self) -> list[Path]:
        """The local plugins: files and packages of the folder that are not the source of an installed plugin."""
        if self.folder is None or not self.folder.is_dir():
            return []
        installed = {point.module.partition(".")[0] for group in _GROUPS for point in self._points(group).values()}
        found = [path for path in self.folder.iterdir() if _is_module(path)]
        return sorted(path for path in found if path.stem.isidentifier() and path.stem not in installed)

    def _local_file(self, name: str) -> Path | None:
        return next((path for path in self.local_files() if path.stem == name), None)

    def _from_path(self, name: str) -> Found:
        module, _, attribute = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise CatalogueError(f"plugin {name!r} cannot be imported: {error}") from error
        except Exception as error:
            raise CatalogueError(f"plugin {name!r} cannot be imported: {reason(error)}") from error
        return Found(_described(_as_plugin(found, name)), module)

    # ------------------------------------------------------------ protocols and presets

    def upstream_protocol(self, name: str) -> UpstreamProtocol:
        """The protocol for an upstream. Raises CatalogueError."""
        protocol = self._instance(name)
        if not isinstance(protocol, UpstreamProtocol):
            raise CatalogueError(f"protocol {name!r} is for clients only")
        return protocol

    def client_protocol(self, name: str) -> ClientProtocol:
        """The protocol for clients. Raises CatalogueError."""
        protocol = self._instance(name)
        if not isinstance(protocol, ClientProtocol):
            raise CatalogueError(f"protocol {name!r} is for upstreams only")
        return protocol

    def _instance(self, name: str) -> Any:
        points = self._points("penstock.protocols")
        if name not in points:
            known = sorted(points)
            raise CatalogueError(
                f"unknown protocol {name!r}{suggest(name, known) or '; there are: ' + ', '.join(known)}"
            )
        return _load(points[name])()

    def check_store(self, url: str, folder: Path) -> None:
        """Whether there is a store for a url, and the url is one it can use. Raises CatalogueError."""
        if url not in MEMORY:
            self.store(url, folder)

    def store(self, url: str, folder: Path) -> Store:
        """The store that a url names by its scheme, not yet opened; paths are below `folder`. Raises CatalogueError.

        What makes it takes both, connects to nothing, and raises ValueError for a url that it cannot use.
        """
        scheme, points = url.partition(":")[0], self._points("penstock.stores")
        if scheme not in points:
            known = sorted(["memory", *points])
            hint = suggest(scheme, known) or f"; there are: {', '.join(known)}"
            raise CatalogueError(f"no store is installed for {scheme!r}{hint}")
        make = _load(points[scheme])
        try:
            store: Store = make(url, folder)
        except ValueError as error:
            raise CatalogueError(f"the store cannot be used: {error}") from None
        except Exception as error:
            raise CatalogueError(f"the store cannot be used: {reason(error)}") from error
        return store

    def preset(self, name: str) -> Preset:
        """The preset of that name. Raises CatalogueError."""
        found = self.presets.get(name)
        if found is None:
            hint = suggest(name, self.presets) or f"; there are: {', '.join(sorted(self.presets))}"
            raise CatalogueError(f"unknown preset {name!r}{hint}")
        if found.retired:
            raise CatalogueError(f"preset {name!r}: {found.retired}")
        return found

    @cached_property
    def presets(self) -> Mapping[str, Preset]:
        """All installed presets by name. Raises CatalogueError for a broken file."""
        presets: dict[str, Preset] = {}
        for point in self._points("penstock.presets").values():
            path: Path = _load(point)()
            document = Document.parse(path.read_text("utf-8"), str(path), {})
            found, problems = convert(document, (), dict[str, Preset])
            if document.problems or found is None:
                raise CatalogueError("\n".join(map(str, document.problems or problems)))
            presets.update(found)
        return presets

    def _points(self, group: str) -> dict[str, EntryPoint]:
        return self._installed[group]

    @cached_property
    def _installed(self) -> Mapping[str, dict[str, EntryPoint]]:
        """Our entry points by group and name; looking for them reads a file of every installed distribution."""
        every = entry_points()
        return {group: {point.name: point for point in every.select(group=group)} for group in _GROUPS}


def _is_module(path: Path) -> bool:
    return not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").is_file())


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise CatalogueError(f"{point.value} cannot be loaded: {reason(error)}") from error


def _import_file(path: Path) -> ModuleType:
    """A local plugin as a module whose name changes with its bytes, so that old and new live side by side."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    contents = (str(path.resolve()).encode(), *(file.read_bytes() for file in files))
    digest = hashlib.sha256(b"\0".join(contents)).hexdigest()[:12]
    name = f"penstock_local_{digest}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    package = path.is_dir()
    file = path / "__init__.py" if package else path
    spec = importlib.util.spec_from_file_location(
        name,
        file,
        loader=_SourceLoader(name, str(file)),
        submodule_search_locations=[str(path)] if package else None,
    )
    if spec is None or spec.loader is None:
        raise CatalogueError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        _unload(name)
        raise CatalogueError(f"{path} cannot be loaded: {reason(error)}") from error
    return module


def _unload(module: str) -> None:
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        del sys.modules[name]


class _SourceLoader(SourceFileLoader):
    """Reads the source and no compiled file: that one is found by size and second, which an edit may not change."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError


def reason(error: Exception) -> str:
    """What went wrong in somebody's code, with file and line."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _only_plugin(module: ModuleType) -> type[Plugin]:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Plugin) and value.__module__.startswith(module.__name__)
    ]
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found) or "none"
        raise CatalogueError(f"{module.__file__} must define one Plugin class; found: {names}")
    return found[0]


def _as_plugin(value: object, name: str) -> type[Plugin]:
    if isinstance(value, type) and issubclass(value, Plugin):
        return value
    raise CatalogueError(f"plugin {name!r} is {value!r}; a class derived from penstock.Plugin is needed")


def _described(plugin: type[Plugin]) -> type[Plugin]:
    """The plugin, if its options have types that files can give and editors can be told of."""
    try:
        msgspec.json.schema_components([plugin], schema_hook=schema_hook)
    except Exception as error:
        why = str(error).splitlines()[-1]
        if "of type Secret" in why:
            why = "a Secret as a default would be in the source; write `Secret | None = None`"
        raise CatalogueError(f"the options of {plugin.__name__} cannot be read from a file: {why}") from error
    return plugin


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
