"""Read one pipeline file: its path, its steps with their options, and what each team changes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.catalogue import Catalogue, CatalogueError, reason
from penstock.document import Document
from penstock.exchange import Upstream
from penstock.gatewayfile import GatewayFile
from penstock.options import decode_hook
from penstock.plugin import IfBroken, Plugin
from penstock.problems import Problem, suggest
from penstock.reach import Made, Reach
from penstock.safety import Safety
from penstock.typed import convert

Place = tuple[str | int, ...]
_SAFETY = tuple(field.encode_name for field in msgspec.structs.fields(Safety))
STEP_WORDS = ("id", "enabled", *_SAFETY)
_PIPELINE_KEYS = ("path", "upstreams", "plugins", "teams")


class StepFile(msgspec.Struct, kw_only=True):
    """One step as the file has it: the plugin's class, its options as data and as an instance, and where it stands.

    `safety` holds the words beside its name that say when it takes part and what happens if it breaks.
    """

    id: str
    name: str
    origin: str
    plugin: type[Plugin]
    options: dict[str, Any]
    instance: Plugin
    enabled: bool
    safety: Safety
    at: Place

    @property
    def if_broken(self) -> IfBroken:
        """What happens if it breaks: as the file says, else as the plugin does."""
        return self.safety.on_error or self.instance.if_broken

    @property
    def unsure(self) -> str:
        """The word for which an exchange may go on without this step; empty if none does."""
        if self.safety.when is not None:
            return "when"
        return "on_error" if self.if_broken == "skip" else ""


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


def read_pipeline(
    document: Document, file: Path, gateway: GatewayFile, upstreams: Mapping[str, Made | None], catalogue: Catalogue
) -> tuple[PipelineFile, list[Problem]]:
    """The pipeline that `document` describes, and what is wrong with it but for its upstreams.

    `upstreams` are those it may name: its own and the shared ones, None for one with a mistake.
    """
    reader = _Reader(document, file, gateway, upstreams, catalogue)
    return reader.read(), reader.problems


class _Reader:
    """Makes one pipeline and collects what is wrong with it."""

    def __init__(
        self,
        document: Document,
        file: Path,
        gateway: GatewayFile,
        upstreams: Mapping[str, Made | None],
        catalogue: Catalogue,
    ) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._file = file
        self._gateway = gateway
        self._upstreams = upstreams
        self._catalogue = catalogue
        self._step_ids: set[str] = set()

    def read(self) -> PipelineFile:
        """The pipeline; it is complete unless a step has a mistake."""
        data = self._document.data
        for key in data:
            if key not in _PIPELINE_KEYS:
                hint = suggest(key, _PIPELINE_KEYS) or f"; there are: {', '.join(_PIPELINE_KEYS)}"
                self._problem((key,), f"unknown key {key!r}{hint}", at_key=True)
        path = self._path(data.get("path", self._default_path))
        if not isinstance(data.get("upstreams"), dict | None):
            self._problem(("upstreams",), "upstreams must be a mapping of names to upstreams")
        entries = data.get("plugins")
        steps = self._steps(entries)
        made = {name: upstream for name, upstream in self._upstreams.items() if upstream is not None}
        return PipelineFile(
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

    def _problem(self, at: Place, message: str, *, at_key: bool = False) -> None:
        """Note a mistake, unless the value could not even be read: then that has been told."""
        if at_key or at not in self._document.spoiled:
            self.problems.append(self._document.problem(at, message, at_key=at_key))

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
        names = [key for key in entry if key not in STEP_WORDS]
        if len(names) != 1:
            raise _FieldError(f"a step names one plugin; {_beside(names)}; found: {', '.join(entry) or 'nothing'}")
        name, enabled, id_ = names[0], entry.get("enabled", True), entry.get("id", names[0])
        if not isinstance(enabled, bool):
            self._problem((*at, "enabled"), "enabled must be true or false")
        if not isinstance(id_, str) or not re.fullmatch(r"[\w.:-]+", id_):
            raise _FieldError("an id holds letters, digits, '-', '_' and '.'", "id")
        self._step_ids.add(id_)
        try:
            found = self._catalogue.plugin(name)
        except CatalogueError as error:
            raise _FieldError(str(error), name, at_key=True) from None
        safety = self._safety({word: entry[word] for word in _SAFETY if word in entry}, at)
        given = entry[name]
        options: Any = {} if given is None else given
        instance = self._instance(found.plugin, (*at, name), options)
        if instance is None or safety is None:
            return None
        return StepFile(
            id=id_,
            name=name,
            origin=found.origin,
            plugin=found.plugin,
            options=options,
            instance=instance,
            enabled=enabled is not False,
            safety=safety,
            at=at,
        )

    def _safety(self, words: dict[str, object], at: Place) -> Safety | None:
        safety, problems = convert(self._document, at, Safety, decode_hook(), words, noun="word")
        self.problems += problems
        return safety

    def _instance(self, plugin: type[Plugin], at: Place, options: object) -> Plugin | None:
        misplaced = _misplaced(plugin, options)
        for word in misplaced:
            message = f"{word!r} is no option: it stands beside the plugin's name, for all teams alike"
            self._problem((*at, word), message, at_key=True)
        if misplaced and isinstance(options, dict):
            options = {name: value for name, value in options.items() if name not in misplaced}
        try:
            instance, problems = convert(self._document, at, plugin, decode_hook(self._upstreams), options)
        except Exception as error:  # a mistake of the plugin, not of the file
            self._problem(at, f"{plugin.__name__} cannot take its options: {reason(error)}", at_key=True)
            return None
        self.problems += problems
        return None if misplaced else instance

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


def _misplaced(plugin: type[Plugin], options: object) -> list[str]:
    """The words of a step that stand among its plugin's options, and are none of them."""
    known = {field.encode_name for field in msgspec.structs.fields(plugin)}
    return [word for word in STEP_WORDS if isinstance(options, dict) and word in options and word not in known]


def _beside(names: list[str]) -> str:
    """What is wrong with the names in a step, of which there should be one."""
    if not names:
        return "the plugin's name is missing"
    hints = filter(None, (suggest(name, STEP_WORDS) for name in names))
    return f"only {', '.join(STEP_WORDS)} may stand beside it{next(hints, '')}"


class _FieldError(ValueError):
    """A mistake in one field of a step; the caller knows where the step stands."""

    def __init__(self, message: str, *field: str, at_key: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.at_key = at_key
