"""Read the files of a gateway: pipelines, gateway.yaml, and what they say of upstreams, steps and teams."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from penstock.catalogue import AuthForm, Catalogue, CatalogueError, Preset, PresetModel
from penstock.document import Document
from penstock.exchange import Upstream
from penstock.options import Duration, Secret, decode_hook
from penstock.plugin import Plugin
from penstock.problems import ConfigError, Problem, suggest
from penstock.typed import convert

Positive = Annotated[int, msgspec.Meta(ge=1)]
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
    """A pipeline as its file describes it, checked but not yet compiled."""

    name: str
    file: Path
    path: str
    document: Document
    gateway: GatewayFile
    upstreams: dict[str, Upstream]
    reaches: dict[str, Reach]
    steps: list[StepFile]
    teams: dict[str, TeamFile]


class Files(msgspec.Struct, kw_only=True):
    """Everything one load of the files gave."""

    gateway: GatewayFile
    pipelines: list[PipelineFile]
    catalogue: Catalogue
    read: dict[Path, bytes]
    env: Mapping[str, str]


def load(place: Path, env: Mapping[str, str]) -> Files:
    """Read a pipeline file, or a folder of them. Raises ConfigError with every mistake of all files."""
    folder = place if place.is_dir() else place.parent
    reader = _FilesReader(Catalogue(plugin_folder(place)), env)
    gateway = reader.gateway(folder / "gateway.yaml")
    for file in _pipeline_files(place):
        reader.pipeline(file, gateway)
    reader.check_paths()
    if reader.problems:
        raise ConfigError(reader.problems)
    return Files(gateway=gateway, pipelines=reader.pipelines, catalogue=reader.catalogue, read=reader.read, env=env)


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

    def gateway(self, file: Path) -> GatewayFile:
        if not file.is_file():
            return GatewayFile()
        options, problems = convert(self.document(file), (), GatewayFile, decode_hook())
        self.problems += problems
        return options or GatewayFile()

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
                message = f"the path {pipeline.path!r} is also that of {other.file}; each pipeline needs its own"
                self.problems.append(pipeline.document.problem(("path",), message))


class PipelineReader:
    """Reads one pipeline file."""

    def __init__(self, files: _FilesReader, document: Document, file: Path, gateway: GatewayFile) -> None:
        self._files = files
        self._document = document
        self._file = file
        self._gateway = gateway
        self._upstream_names: set[str] = set(gateway.upstreams)  # those with mistakes too, so that one is told once
        self._step_ids: set[str] = set()
        self._upstreams: dict[str, Upstream] = {}
        self._reaches: dict[str, Reach] = {}

    def read(self) -> None:
        """Add the pipeline, or its problems, to the files."""
        data = self._document.data
        for key in data:
            if key not in _PIPELINE_KEYS:
                hint = suggest(key, _PIPELINE_KEYS) or f"; there are: {', '.join(_PIPELINE_KEYS)}"
                self._problem((key,), f"unknown key {key!r}{hint}", at_key=True)
        path = self._path(data.get("path", f"/{self._file.stem}"))
        self._read_upstreams(data.get("upstreams"))
        steps = self._steps(data.get("plugins"))
        teams = self._teams(data.get("teams"), steps)
        self._files.pipelines.append(
            PipelineFile(
                name=self._file.stem,
                file=self._file,
                path=path,
                document=self._document,
                gateway=self._gateway,
                upstreams=self._upstreams,
                reaches=self._reaches,
                steps=steps,
                teams=teams,
            )
        )

    def _problem(self, at: tuple[str | int, ...], message: str, *, at_key: bool = False) -> None:
        self._files.problems.append(self._document.problem(at, message, at_key=at_key))

    def _path(self, path: object) -> str:
        if isinstance(path, str) and re.fullmatch(r"/([\w.~-]+(/[\w.~-]+)*/?)?", path):
            return path.rstrip("/")
        self._problem(("path",), "path must start with / and hold only letters, digits, '-', '_', '.', '~' and '/'")
        return ""

    # ------------------------------------------------------------ upstreams

    def _read_upstreams(self, data: object) -> None:
        for name, options in self._gateway.upstreams.items():
            self._add_upstream(name, options, ("upstreams",))
        if not isinstance(data, dict | None):
            self._problem(("upstreams",), "upstreams must be a mapping of names to upstreams")
            return
        for name in data or {}:
            at = ("upstreams", name)
            self._upstream_names.add(name)
            if not re.fullmatch(r"[\w.-]+", name):
                self._problem(at, "an upstream's name holds letters, digits, '-', '_' and '.'", at_key=True)
            own, problems = convert(self._document, at, UpstreamFile, decode_hook())
            self._files.problems += problems
            if own is not None:
                self._add_upstream(name, own, at)

    def _add_upstream(self, name: str, options: UpstreamFile, at: tuple[str | int, ...]) -> None:
        try:
            preset = self._files.catalogue.preset(options.preset) if options.preset else Preset()
        except CatalogueError as error:
            return self._problem((*at, "preset"), str(error))
        try:
            self._upstreams[name], self._reaches[name] = make_upstream(name, options, preset, self._files)
        except _FieldError as error:
            self._problem((*at, *error.field), str(error))

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
            steps.append(step)
        return steps

    def _step(self, entry: object, at: tuple[str | int, ...]) -> StepFile | None:
        if isinstance(entry, str):
            entry = {entry: None}
        if not isinstance(entry, dict):
            raise _FieldError("a step is a plugin's name, or a mapping of the name to its options")
        names = [key for key in entry if key not in _STEP_WORDS]
        if len(names) != 1:
            hint = "only `id` and `enabled` may stand beside it" if names else "the plugin's name is missing"
            raise _FieldError(f"a step names one plugin; {hint}; found: {', '.join(entry)}")
        name, enabled, id_ = names[0], entry.get("enabled", True), entry.get("id", names[0])
        if not isinstance(enabled, bool):
            raise _FieldError("enabled must be true or false", "enabled")
        if not isinstance(id_, str) or not re.fullmatch(r"[\w.:-]+", id_):
            raise _FieldError("an id holds letters, digits, '-', '_' and '.'", "id")
        self._step_ids.add(id_)
        try:
            found = self._files.catalogue.plugin(name)
        except CatalogueError as error:
            raise _FieldError(str(error), name, at_key=True) from None
        options = entry[name] or {}
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
            enabled=enabled,
            at=at,
        )

    def _instance(self, plugin: type[Plugin], at: tuple[str | int, ...], options: object) -> Plugin | None:
        instance, problems = convert(self._document, at, plugin, decode_hook(self._upstream_names), options)
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


# ---------------------------------------------------------------- one upstream


class _FieldError(ValueError):
    """A mistake in one field; the caller knows where the field stands."""

    def __init__(self, message: str, *field: str, at_key: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.at_key = at_key


def make_upstream(name: str, options: UpstreamFile, preset: Preset, files: _FilesReader) -> tuple[Upstream, Reach]:
    """The upstream and how it is reached, from its options over its preset. Raises _FieldError."""
    protocol_name = options.protocol or preset.protocol
    if not protocol_name:
        raise _FieldError("an upstream needs a `preset`, or a `protocol` and a `url`")
    try:
        protocol = files.catalogue.upstream_protocol(protocol_name)
    except CatalogueError as error:
        raise _FieldError(str(error), "protocol") from None
    key, source, missing = _credential(options, preset, files.env)
    models = tuple(PresetModel(id=m) if isinstance(m, str) else m for m in options.models) or preset.models
    title = preset.title or name

    def quirks(*layers: dict[str, Any]) -> Any:
        merged = {key: value for layer in layers for key, value in layer.items()}
        try:
            return msgspec.convert(merged, protocol.quirks)
        except msgspec.ValidationError as error:
            raise _FieldError(f"quirks of protocol {protocol_name!r}: {error}", "quirks") from None

    base = (preset.quirks, options.quirks)
    upstream = Upstream(
        name=name,
        protocol=protocol,
        title=title,
        models=tuple(model.info(name, title) for model in models),
        credential=source,
        missing=missing,
        quirks=quirks(*base),
        model_quirks={model.id: quirks(*base, model.quirks) for model in models if model.quirks},
    )
    limits = Limits(
        connect=options.connect_timeout,
        first_byte=options.first_byte_timeout,
        idle=options.idle_timeout,
        total=options.timeout,
        connections=options.max_connections,
    )
    headers = {**preset.headers, **options.headers}
    reach = Reach(
        url=_url(options, preset),
        auth=options.auth or preset.auth or protocol.default_auth,
        key=key,
        headers={k.lower(): _filled(v, preset, options, "headers") for k, v in headers.items()},
        limits=limits,
        ca_file=options.ca_file,
    )
    return upstream, reach


class _Credential(NamedTuple):
    """An upstream's key, where it came from in words, and what is missing if there is none."""

    key: Secret
    source: str
    missing: str


def _credential(options: UpstreamFile, preset: Preset, env: Mapping[str, str]) -> _Credential:
    if options.key is not None:
        return _Credential(options.key, "key in the file", "" if options.key else "its key is empty")
    variable = next((name for name in preset.env if env.get(name)), None)
    if variable is not None:
        return _Credential(Secret(env[variable]), variable, "")
    needed = preset.env and (options.auth or preset.auth) != "none"
    return _Credential(Secret(""), "", f"set {' or '.join(preset.env)}" if needed else "")


def _url(options: UpstreamFile, preset: Preset) -> str:
    url = options.url or _filled(preset.url, preset, options, "url")
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", url):
        raise _FieldError(f"url must be http(s)://host/path, got {url!r}", "url")
    return url


def _filled(text: str, preset: Preset, options: UpstreamFile, field: str) -> str:
    for name in preset.parameters:
        if "{" + name + "}" in text and name not in options.parameters:
            raise _FieldError(f"preset {options.preset!r} needs `parameters: {{{name}: ...}}`", "preset")
        text = text.replace("{" + name + "}", options.parameters.get(name, ""))
    return text
