"""Read the files of a gateway: pipelines, gateway.yaml, and what they say of upstreams, steps and teams."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from penstock.catalogue import AuthForm, Catalogue, CatalogueError, Preset, PresetModel, reason
from penstock.document import Document
from penstock.exchange import Upstream
from penstock.options import Duration, Secret, decode_hook
from penstock.plugin import Plugin
from penstock.problems import ConfigError, Problem, suggest
from penstock.protocol import UpstreamProtocol
from penstock.typed import convert

Positive = Annotated[int, msgspec.Meta(ge=1)]
Place = tuple[str | int, ...]
_STEP_WORDS = ("id", "enabled")
_PIPELINE_KEYS = ("path", "upstreams", "plugins", "teams")


class UpstreamFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An upstream in a file: a preset, or a protocol and a url; anything of a preset may be overridden."""

    preset: str = ""
    protocol: str = ""
    url: str = ""
    key: Secret | None = None
    auth: AuthForm | None = None
    headers: dict[str, str] = {}
    parameters: dict[str, str] = {}
    models: list[str | PresetModel] = []
    quirks: dict[str, Any] = {}
    connect_timeout: Duration = 10.0
    first_byte_timeout: Duration = 600.0
    idle_timeout: Duration = 300.0
    timeout: Duration = 3600.0
    max_connections: int = 0
    ca_file: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long an upstream may take, in seconds per phase, and how many connections it gets (0: no bound)."""

    connect: float
    first_byte: float
    idle: float
    total: float
    connections: int


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How an upstream is reached: base URL, header form and value of the credential, further headers, limits."""

    url: str
    auth: AuthForm
    key: Secret
    headers: dict[str, str]
    limits: Limits
    ca_file: str = ""


class TLS(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Certificate and key in PEM files, relative to gateway.yaml."""

    cert: str
    key: str


class GatewayFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What all pipelines of a folder share. Sizes in bytes."""

    bind: str = "127.0.0.1:4000"
    workers: Positive = 1
    store: str = "memory:"
    upstreams: dict[str, UpstreamFile] = {}
    tls: TLS | None = None
    body_limit: Positive = 32 * 1024 * 1024
    graceful_timeout: Duration = 300.0
    ping: Duration = 15.0
    commit_after: Duration = 10.0


class StepFile(msgspec.Struct, kw_only=True):
    """One step as the file has it: the plugin's class, its options as data and as an instance, and where it stands."""

    id: str
    name: str
    origin: str
    plugin: type[Plugin]
    options: dict[str, Any]
    instance: Plugin
    enabled: bool
    at: tuple[str | int, ...]


class TeamFile(msgspec.Struct, kw_only=True):
    """One team's changes, by step id: on or off, and the instance with its own options if it has any."""

    enabled: dict[str, bool]
    instances: dict[str, Plugin]


class PipelineFile(msgspec.Struct, kw_only=True):
    """A pipeline as its file describes it, not yet compiled. `complete` unless a step could not be read."""

    name: str
    file: Path
    path: str
    document: Document
    gateway: GatewayFile
    upstreams: dict[str, Upstream]
    reaches: dict[str, Reach]
    steps: list[StepFile]
    teams: dict[str, TeamFile]
    complete: bool


class Files(msgspec.Struct, kw_only=True):
    """Everything one load of the files gave: with `problems`, it can only be looked at for more of them."""

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
    files = sorted(file for file in place.glob("*.yaml") if file.name != "gateway.yaml")
    if not files:
        raise ConfigError([Problem(str(place), 1, 1, "the folder has no pipeline (a .yaml file)", "")])
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
        self.shared: dict[str, _Made | None] = {}

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

    def problem(self, document: Document, at: Place, message: str, *, at_key: bool = False) -> None:
        """Note a mistake, unless the value could not even be read: then that has been told."""
        if at_key or at not in document.spoiled:
            self.problems.append(document.problem(at, message, at_key=at_key))

    def gateway(self, file: Path) -> GatewayFile:
        if not file.is_file():
            return GatewayFile()
        document = self.gateway_document = self.document(file)
        options, problems = convert(document, (), GatewayFile, decode_hook())
        self.problems += problems
        self.shared = self.upstreams(document)
        if options is None:
            return GatewayFile()
        try:
            self.catalogue.check_store(options.store)
        except CatalogueError as error:
            self.problem(document, ("store",), str(error))
        return options

    def pipeline(self, file: Path, gateway: GatewayFile) -> None:
        known = len(self.problems)
        document = self.document(file)
        if len(self.problems) > known and not document.data:
            return
        PipelineReader(self, document, file, gateway).read()

    def check_paths(self) -> None:
        seen: dict[str, PipelineFile] = {}
        for pipeline in self.pipelines:
            other = seen.setdefault(pipeline.path, pipeline)
            if other is not pipeline:
                path = pipeline.path or "/"
                message = f"the path {path!r} is also that of {other.file}; each pipeline needs its own"
                self.problem(pipeline.document, ("path",), message)

    def upstreams(self, document: Document) -> dict[str, "_Made | None"]:
        """The upstreams of one file; None for one with a mistake, which is no reason to call its name unknown."""
        data = document.data.get("upstreams")
        return {name: self._upstream(document, name) for name in data} if isinstance(data, dict) else {}

    def _upstream(self, document: Document, name: str) -> "_Made | None":
        at = ("upstreams", name)
        if not re.fullmatch(r"[\w.-]+", name):
            self.problem(document, at, "an upstream's name holds letters, digits, '-', '_' and '.'", at_key=True)
        options, problems = convert(document, at, UpstreamFile, decode_hook())
        self.problems += problems
        return None if options is None else _UpstreamReader(self, document, name, options).read()


class PipelineReader:
    """Reads one pipeline file."""

    def __init__(self, files: _FilesReader, document: Document, file: Path, gateway: GatewayFile) -> None:
        self._files = files
        self._document = document
        self._file = file
        self._gateway = gateway
        self._upstreams: dict[str, _Made | None] = {}
        self._step_ids: set[str] = set()

    def read(self) -> None:
        """Add the pipeline, and what is wrong with it, to the files."""
        data = self._document.data
        for key in data:
            if key not in _PIPELINE_KEYS:
                hint = suggest(key, _PIPELINE_KEYS) or f"; there are: {', '.join(_PIPELINE_KEYS)}"
                self._problem((key,), f"unknown key {key!r}{hint}", at_key=True)
        path = self._path(data.get("path", self._default_path))
        if not isinstance(data.get("upstreams"), dict | None):
            self._problem(("upstreams",), "upstreams must be a mapping of names to upstreams")
        self._upstreams = {**self._files.shared, **self._files.upstreams(self._document)}
        entries = data.get("plugins")
        steps = self._steps(entries)
        made = {name: upstream for name, upstream in self._upstreams.items() if upstream is not None}
        self._files.pipelines.append(
            PipelineFile(
                name=self._file.stem,
                file=self._file,
                path=path,
                document=self._document,
                gateway=self._gateway,
                upstreams={name: upstream for name, (upstream, _) in made.items()},
                reaches={name: reach for name, (_, reach) in made.items()},
                steps=steps,
                teams=self._teams(data.get("teams"), steps),
                complete=isinstance(entries, list) and len(steps) == len(entries) > 0,
            )
        )

    def _problem(self, at: Place, message: str, *, at_key: bool = False) -> None:
        self._files.problem(self._document, at, message, at_key=at_key)

    @property
    def _default_path(self) -> str:
        return f"/{self._file.stem}"

    def _path(self, path: object) -> str:
        if isinstance(path, str) and re.fullmatch(r"/([\w.~-]+(/[\w.~-]+)*/?)?", path):
            return path.rstrip("/")
        self._problem(("path",), "path must start with / and hold only letters, digits, '-', '_', '.', '~' and '/'")
        return self._default_path

    # ------------------------------------------------------------ steps

    def _steps(self, data: object) -> list[StepFile]:
        if not isinstance(data, list) or not data:
            self._problem(("plugins",), "a pipeline needs `plugins`: a list of steps, such as `- logging`")
            return []
        steps: list[StepFile] = []
        for number, entry in enumerate(data):
            try:
                step = self._step(entry, ("plugins", number))
            except _FieldError as error:
                self._problem(("plugins", number, *error.field), str(error), at_key=error.at_key)
                continue
            if step is None:
                continue
            if any(other.id == step.id for other in steps):
                self._problem(step.at, f"step {step.id!r} is there twice; give one of them an `id`")
                continue
            steps.append(step)
        return steps

    def _step(self, entry: object, at: Place) -> StepFile | None:
        if isinstance(entry, str):
            entry = {entry: None}
        if not isinstance(entry, dict):
            raise _FieldError("a step is a plugin's name, or a mapping of the name to its options")
        names = [key for key in entry if key not in _STEP_WORDS]
        if len(names) != 1:
            hint = "only `id` and `enabled` may stand beside it" if names else "the plugin's name is missing"
            raise _FieldError(f"a step names one plugin; {hint}; found: {', '.join(entry) or 'nothing'}")
        name, enabled, id_ = names[0], entry.get("enabled", True), entry.get("id", names[0])
        if not isinstance(enabled, bool):
            self._problem((*at, "enabled"), "enabled must be true or false")
        if not isinstance(id_, str) or not re.fullmatch(r"[\w.:-]+", id_):
            raise _FieldError("an id holds letters, digits, '-', '_' and '.'", "id")
        self._step_ids.add(id_)
        try:
            found = self._files.catalogue.plugin(name)
        except CatalogueError as error:
            raise _FieldError(str(error), name, at_key=True) from None
        options = {} if entry[name] is None else entry[name]
        instance = self._instance(found.plugin, (*at, name), options)
        if instance is None:
            return None
        return StepFile(
            id=id_,
            name=name,
            origin=found.origin,
            plugin=found.plugin,
            options=options,
            instance=instance,
            enabled=enabled is not False,
            at=at,
        )

    def _instance(self, plugin: type[Plugin], at: Place, options: object) -> Plugin | None:
        try:
            instance, problems = convert(self._document, at, plugin, decode_hook(self._upstreams), options)
        except Exception as error:  # a mistake of the plugin, not of the file
            self._problem(at, f"{plugin.__name__} cannot take its options: {reason(error)}", at_key=True)
            return None
        self._files.problems += problems
        return instance

    # ------------------------------------------------------------ teams

    def _teams(self, data: object, steps: list[StepFile]) -> dict[str, TeamFile]:
        if data is None:
            return {}
        if not isinstance(data, dict):
            self._problem(("teams",), "teams must be a mapping of team names to changes")
            return {}
        by_id = {step.id: step for step in steps}
        return {name: self._team(name, changes, by_id) for name, changes in data.items()}

    def _team(self, name: str, changes: object, steps: dict[str, StepFile]) -> TeamFile:
        team = TeamFile(enabled={}, instances={})
        if changes is not None and not isinstance(changes, dict):
            self._problem(("teams", name), "a team is a mapping of step ids to true, false or options")
            return team
        for id_, change in (changes or {}).items():
            at = ("teams", name, id_)
            if id_ not in self._step_ids:
                hint = suggest(id_, self._step_ids) or f"; there are: {', '.join(sorted(self._step_ids))}"
                self._problem(at, f"unknown step {id_!r}{hint}", at_key=True)
            elif id_ not in steps:
                continue  # its own mistake has been told
            elif isinstance(change, bool):
                team.enabled[id_] = change
            elif isinstance(change, dict):
                team.enabled[id_] = True
                merged = {**steps[id_].options, **change}
                instance = self._instance(steps[id_].plugin, at, merged)
                if instance is not None:
                    team.instances[id_] = instance
            else:
                self._problem(at, "a team sets a step to true, false or a mapping of options")
        return team


class _FieldError(ValueError):
    """A mistake in one field of a step; the caller knows where the step stands."""

    def __init__(self, message: str, *field: str, at_key: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.at_key = at_key


# ---------------------------------------------------------------- one upstream


class _Made(NamedTuple):
    """An upstream as plugins see it, and how it is reached."""

    upstream: Upstream
    reach: Reach


class _Credential(NamedTuple):
    """An upstream's key, where it came from in words, and what is missing if there is none."""

    key: Secret
    source: str
    missing: str


class _UpstreamReader:
    """Makes one upstream of what a file, and a preset, say of it."""

    def __init__(self, files: _FilesReader, document: Document, name: str, options: UpstreamFile) -> None:
        self._files = files
        self._document = document
        self._name = name
        self._options = options
        self._preset = Preset()

    def read(self) -> _Made | None:
        """The upstream, or its problems to the files."""
        known, options = len(self._files.problems), self._options
        if not options.preset and not (options.protocol and options.url):
            return self._problem("an upstream needs a `preset`, or a `protocol` and a `url`")
        if options.preset:
            try:
                self._preset = self._files.catalogue.preset(options.preset)
            except CatalogueError as error:
                return self._problem(str(error), "preset")
        protocol = self._protocol()
        self._check_parameters()
        self._check_ca_file()
        self._check_url()
        if protocol is None:
            return None
        credential = self._credential()
        made = _Made(self._upstream(protocol, credential), self._reach(protocol, credential.key))
        return made if len(self._files.problems) == known else None

    def _problem(self, message: str, *field: str, at_key: bool = False) -> None:
        self._files.problem(self._document, ("upstreams", self._name, *field), message, at_key=at_key)

    # ------------------------------------------------------------ what can be wrong

    def _protocol(self) -> UpstreamProtocol | None:
        try:
            return self._files.catalogue.upstream_protocol(self._options.protocol or self._preset.protocol)
        except CatalogueError as error:
            self._problem(str(error), "protocol")
            return None

    def _check_parameters(self) -> None:
        options, preset = self._options, self._preset
        for name in options.parameters:
            if name not in preset.parameters:
                takes = ", ".join(preset.parameters) or "none"
                hint = suggest(name, preset.parameters) or f"; there are: {takes}"
                self._problem(f"unknown parameter {name!r}{hint}", "parameters", name, at_key=True)
        texts = " ".join((options.url or preset.url, *preset.headers.values()))
        missing = [name for name in preset.parameters if f"{{{name}}}" in texts and name not in options.parameters]
        if missing:
            needed = ", ".join(f"{name}: ..." for name in missing)
            self._problem(f"preset {options.preset!r} needs `parameters: {{{needed}}}`", "preset")

    def _check_url(self) -> None:
        url = self._options.url
        if url and not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", url):
            self._problem(f"url must be http(s)://host/path, got {url!r}", "url")

    def _check_ca_file(self) -> None:
        try:
            if self._options.ca_file:
                ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:  # so is SSLError
            self._problem(f"no PEM certificates can be read from {self._ca_file}: {error.strerror}", "ca_file")

    # ------------------------------------------------------------ what comes of it

    @property
    def _ca_file(self) -> str:
        """Relative to the file that names it."""
        name = self._options.ca_file
        return str(Path(self._document.name).resolve().parent / name) if name else ""

    def _upstream(self, protocol: UpstreamProtocol, credential: _Credential) -> Upstream:
        name, options, preset = self._name, self._options, self._preset
        models = tuple(PresetModel(id=m) if isinstance(m, str) else m for m in options.models) or preset.models
        title = preset.title or name
        return Upstream(
            name=name,
            protocol=protocol,
            title=title,
            models=tuple(model.info(name, title) for model in models),
            credential=credential.source,
            missing=credential.missing,
            quirks=self._quirks(protocol),
            model_quirks={model.id: self._quirks(protocol, model.quirks) for model in models if model.quirks},
        )

    def _reach(self, protocol: UpstreamProtocol, key: Secret) -> Reach:
        options, preset = self._options, self._preset
        limits = Limits(
            connect=options.connect_timeout,
            first_byte=options.first_byte_timeout,
            idle=options.idle_timeout,
            total=options.timeout,
            connections=options.max_connections,
        )
        headers = {**preset.headers, **options.headers}
        return Reach(
            url=options.url or self._filled(preset.url),
            auth=options.auth or preset.auth or protocol.default_auth,
            key=key,
            headers={name.lower(): self._filled(value) for name, value in headers.items()},
            limits=limits,
            ca_file=self._ca_file,
        )

    def _quirks(self, protocol: UpstreamProtocol, of_model: Mapping[str, Any] | None = None) -> Any:
        merged = {**self._preset.quirks, **self._options.quirks, **(of_model or {})}
        at = ("upstreams", self._name, "quirks")
        value, problems = convert(self._document, at, protocol.quirks, decode_hook(), merged, noun="quirk")
        self._files.problems += problems
        return value

    def _credential(self) -> _Credential:
        options, preset, env = self._options, self._preset, self._files.env
        if options.key is not None:
            return _Credential(options.key, "key in the file", "" if options.key else "its key is empty")
        variable = next((name for name in preset.env if env.get(name)), None)
        if variable is not None:
            return _Credential(Secret(env[variable]), variable, "")
        needed = preset.env and (options.auth or preset.auth) != "none"
        return _Credential(Secret(""), "", f"set {' or '.join(preset.env)}" if needed else "")

    def _filled(self, text: str) -> str:
        for name in self._preset.parameters:
            text = text.replace(f"{{{name}}}", self._options.parameters.get(name, ""))
        return text
