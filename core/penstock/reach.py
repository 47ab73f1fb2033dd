"""What a file, and a preset, say of an upstream: as plugins see it, and how it is reached."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from penstock.catalogue import Catalogue, CatalogueError, Preset, PresetModel
from penstock.document import Document
from penstock.exchange import Upstream
from penstock.options import Duration, Secret, decode_hook
from penstock.problems import Problem, suggest
from penstock.protocol import AuthForm, UpstreamProtocol
from penstock.typed import convert


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
    model_quirks: dict[str, dict[str, Any]] = {}
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


class Made(NamedTuple):
    """An upstream as plugins see it, and how it is reached."""

    upstream: Upstream
    reach: Reach


def read_upstream(
    document: Document, name: str, catalogue: Catalogue, env: Mapping[str, str]
) -> tuple[Made | None, list[Problem]]:
    """The upstream that `document` describes under `upstreams: <name>:`, or None and all that is wrong with it."""
    options, problems = convert(document, ("upstreams", name), UpstreamFile, decode_hook())
    reader = _Reader(document, name, options or UpstreamFile(), catalogue, env)
    reader.check_name()
    made = None if options is None else reader.read()
    problems += reader.problems
    return (None if problems else made), problems


class _Credential(NamedTuple):
    """An upstream's key, where it came from in words, what is missing if there is none, and the variables for it."""

    key: Secret
    source: str
    missing: str = ""
    variables: tuple[str, ...] = ()


class _Reader:
    """Makes one upstream and collects what is wrong with it."""

    def __init__(
        self, document: Document, name: str, options: UpstreamFile, catalogue: Catalogue, env: Mapping[str, str]
    ) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._name = name
        self._options = options
        self._catalogue = catalogue
        self._env = env
        self._preset = Preset()

    def read(self) -> Made | None:
        """The upstream; what is made with `problems` is of no use."""
        options = self._options
        if not options.preset and not (options.protocol and options.url):
            self._problem("an upstream needs a `preset`, or a `protocol` and a `url`")
            return None
        if options.preset:
            try:
                self._preset = self._catalogue.preset(options.preset)
            except CatalogueError as error:
                self._problem(str(error), "preset")
                return None
        self._check_parameters()
        self._check_ca_file()
        self._check_url()
        protocol, credential = self._protocol(), self._credential()
        if re.search(r"[\x00-\x1f\x7f]", credential.key.reveal()):
            self._problem(f"{credential.source}: a line break, or another character that no header can hold", "key")
        if protocol is None:
            return None
        return Made(self._upstream(protocol, credential), self._reach(protocol, credential.key))

    def _problem(self, message: str, *field: str, at_key: bool = False) -> None:
        self.problems.append(self._document.problem(("upstreams", self._name, *field), message, at_key=at_key))

    # ------------------------------------------------------------ what can be wrong

    def check_name(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self._name):
            self._problem("an upstream's name holds letters, digits, '-', '_' and '.'", at_key=True)

    def _protocol(self) -> UpstreamProtocol | None:
        try:
            return self._catalogue.upstream_protocol(self._options.protocol or self._preset.protocol)
        except CatalogueError as error:
            self._problem(str(error), "protocol")
            return None

    def _check_parameters(self) -> None:
        options, preset = self._options, self._preset
        for name in options.parameters:
            if name not in preset.parameters:
                hint = suggest(name, preset.parameters) or f"; there are: {', '.join(preset.parameters) or 'none'}"
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
            if self._ca_file:
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
        quirks = self._quirks(protocol, {}, "quirks")
        return Upstream(
            name=name,
            protocol=protocol,
            title=title,
            preset=options.preset,
            models=tuple(model.info(name, title) for model in models),
            credential=credential.source,
            missing=credential.missing,
            variables=credential.variables,
            quirks=quirks,
            model_quirks=self._model_quirks(protocol) if quirks is not None else {},
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

    def _quirks(self, protocol: UpstreamProtocol, of_model: Mapping[str, Any], *field: str | int) -> Any:
        merged = {**self._preset.quirks, **self._options.quirks, **of_model}
        at = ("upstreams", self._name, *field)
        value, problems = convert(self._document, at, protocol.quirks, decode_hook(), merged, noun="quirk")
        self.problems += problems
        return value

    def _model_quirks(self, protocol: UpstreamProtocol) -> dict[str, Any]:
        """The quirks by name or pattern of a model, each on top of the upstream's."""
        own, preset = self._options.model_quirks, self._preset.model_quirks
        return {
            pattern: self._quirks(
                protocol, {**preset.get(pattern, {}), **own.get(pattern, {})}, "model_quirks", pattern
            )
            for pattern in {**preset, **own}
        }

    def _credential(self) -> _Credential:
        options, preset = self._options, self._preset
        if options.auth == "client":
            if options.key is not None:
                self._problem("with `auth: client` every client brings a key of its own: leave this one out", "key")
            return _Credential(Secret(""), "the key of each client")
        if options.key is not None:
            return _Credential(options.key, "key in the file", "" if options.key else "its key is empty")
        wanted = () if (options.auth or preset.auth) == "none" else preset.env
        variable = next((name for name in wanted if self._env.get(name)), None)
        if variable is not None:
            return _Credential(Secret(self._env[variable]), variable, "", wanted)
        return _Credential(Secret(""), "", f"set {' or '.join(wanted)}" if wanted else "", wanted)

    def _filled(self, text: str) -> str:
        for name in self._preset.parameters:
            text = text.replace(f"{{{name}}}", self._options.parameters.get(name, ""))
        return text
