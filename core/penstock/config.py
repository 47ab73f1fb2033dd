"""Read the files of a gateway: gateway.yaml, the pipelines beside it, and what both say of upstreams."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.bind import parse_bind
from penstock.catalogue import Catalogue, CatalogueError
from penstock.database import check_url
from penstock.document import Document
from penstock.gatewayfile import GatewayFile
from penstock.options import decode_hook
from penstock.pipelinefile import PipelineFile, read_pipeline
from penstock.problems import ConfigError, Problem
from penstock.proxies import Proxies
from penstock.reach import Made, read_upstream
from penstock.typed import convert
from penstock.watching import yaml_files


class Files(msgspec.Struct, kw_only=True):
    """Everything one load of the files gave: with `problems`, it can only be looked at for more of them."""

    folder: Path
    gateway: GatewayFile
    gateway_document: Document
    pipelines: list[PipelineFile]
    problems: list[Problem]
    catalogue: Catalogue
    read: dict[Path, bytes]
    env: Mapping[str, str]


def load(place: Path, env: Mapping[str, str]) -> Files:
    """Read a pipeline file, or a folder of them, and what is wrong with them. Raises ConfigError for no file at all."""
    folder = place if place.is_dir() else place.parent
    reader = _FilesReader(Catalogue(plugin_folder(place)), env)
    paths = _pipeline_files(place)
    gateway = reader.gateway(folder / "gateway.yaml")
    for path in paths:
        reader.pipeline(path, gateway)
    reader.check_paths()
    return Files(
        folder=folder,
        gateway=gateway,
        gateway_document=reader.gateway_document,
        pipelines=reader.pipelines,
        problems=reader.problems,
        catalogue=reader.catalogue,
        read=reader.read,
        env=env,
    )


def plugin_folder(place: Path) -> Path:
    """Where local plugins live: `plugins/` beside the folder of the pipelines."""
    return (place if place.is_dir() else place.parent).resolve().parent / "plugins"


def _pipeline_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise ConfigError([Problem(str(place), 1, 1, "no such file or folder", "")])
    files = [file for file in yaml_files(place) if file.stem != "gateway"]
    if not files:
        raise ConfigError([Problem(str(place), 1, 1, "the folder has no pipeline (a .yaml or .yml file)", "")])
    return files


class _FilesReader:
    """Reads one set of files and collects what is wrong with them."""

    def __init__(self, catalogue: Catalogue, env: Mapping[str, str]) -> None:
        self.catalogue = catalogue
        self.env = env
        self.problems: list[Problem] = []
        self.pipelines: list[PipelineFile] = []
        self.read: dict[Path, bytes] = {}
        self.gateway_document = Document.parse("", "gateway.yaml", {})
        self.shared: dict[str, Made | None] = {}

    def document(self, file: Path) -> Document:
        try:
            content = self.read[file] = file.read_bytes()
            text = content.decode()
        except OSError as error:
            self.problems.append(Problem(str(file), 1, 1, f"cannot be read: {error.strerror}", ""))
            text = ""
        except UnicodeDecodeError as error:
            self.problems.append(Problem(str(file), 1, 1, f"is not UTF-8: {error.reason} at byte {error.start}", ""))
            text = ""
        document = Document.parse(text, str(file), self.env)
        self.problems += document.problems
        return document

    def problem(self, document: Document, at: tuple[str, ...], message: str) -> None:
        """Note a mistake, unless the value could not even be read: then that has been told."""
        if at not in document.spoiled:
            self.problems.append(document.problem(at, message))

    def gateway(self, file: Path) -> GatewayFile:
        if (misnamed := file.with_suffix(".yml")).is_file():
            self.problems.append(Problem(str(misnamed), 1, 1, f"is not read: rename it to {file.name}", ""))
        if not file.is_file():
            return GatewayFile()
        document = self.gateway_document = self.document(file)
        options, problems = convert(document, (), GatewayFile, decode_hook())
        self.problems += problems
        self.shared = self.upstreams(document)
        if options is None:
            return GatewayFile()
        try:
            self.catalogue.check_store(options.store, file.parent)
        except CatalogueError as error:
            self.problem(document, ("store",), str(error))
        try:
            check_url(options.database)
        except ValueError as error:
            self.problem(document, ("database",), str(error))
        try:
            Proxies(options.trusted_proxies)
        except ValueError as error:
            self.problem(document, ("trusted_proxies",), str(error))
        try:
            parse_bind(options.bind)
        except ValueError as error:
            self.problem(document, ("bind",), str(error))
        return options

    def pipeline(self, file: Path, gateway: GatewayFile) -> None:
        known = len(self.problems)
        document = self.document(file)
        if len(self.problems) > known and not document.data:
            return
        pipeline, problems = read_pipeline(
            document, file, gateway, {**self.shared, **self.upstreams(document)}, self.catalogue
        )
        self.pipelines.append(pipeline)
        self.problems += problems

    def check_paths(self) -> None:
        seen: dict[str, PipelineFile] = {}
        names: dict[str, Path] = {}
        for pipeline in self.pipelines:
            if (same := names.setdefault(pipeline.name, pipeline.file)) is not pipeline.file:
                message = f"the name {pipeline.name!r} is also that of {same}; each pipeline needs its own"
                self.problem(pipeline.document, (), message)
                continue
            other = seen.setdefault(pipeline.path, pipeline)
            if other is not pipeline:
                path = pipeline.path or "/"
                message = f"the path {path!r} is also that of {other.file}; each pipeline needs its own"
                self.problem(pipeline.document, ("path",), message)

    def upstreams(self, document: Document) -> dict[str, Made | None]:
        """The upstreams of one file; None for one with a mistake, which is no reason to call its name unknown."""
        data = document.data.get("upstreams")
        return {name: self._upstream(document, name) for name in data} if isinstance(data, dict) else {}

    def _upstream(self, document: Document, name: str) -> Made | None:
        made, problems = read_upstream(document, name, self.catalogue, self.env)
        self.problems += problems
        return made
