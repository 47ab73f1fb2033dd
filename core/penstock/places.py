"""What commands of plugins ask of a place with pipelines: the steps of their plugin, with the options in the files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from penstock.plugin import Plugin
from penstock.problems import ConfigError

if TYPE_CHECKING:
    from penstock.pipelinefile import PipelineFile, StepFile

P = TypeVar("P", bound=Plugin)


class FoundStep(NamedTuple, Generic[P]):
    """A step in the file of a pipeline. Of what the core gives to a plugin it has `step` and `folder`."""

    pipeline: str
    plugin: P


def find_steps(place: Path, env: Mapping[str, str], kind: type[P]) -> list[FoundStep[P]]:
    """The steps of one plugin in a pipeline file, or in a folder of them, whether they are on or off.

    Mistakes elsewhere in the files do not matter: a command may run where the providers' keys are not at hand. Raises
    ConfigError if there are no files, for a step whose options cannot be read, and if there are only mistakes where the
    step might be.
    """
    from penstock.config import load  # here: what reads YAML is not for every plugin to import

    files = load(place, env)
    found = [(p, s, s.instance) for p in files.pipelines for s in p.steps if isinstance(s.instance, kind)]
    if files.problems and (not found or any(_is_spoiled(pipeline, step) for pipeline, step, _ in found)):
        raise ConfigError(files.problems)
    return [FoundStep(pipeline.name, _placed(plugin, step.id, pipeline.file)) for pipeline, step, plugin in found]


def _is_spoiled(pipeline: "PipelineFile", step: "StepFile") -> bool:
    """Whether one of its options could not even be read, as with a variable that is not set."""
    return any(place[: len(step.at)] == step.at for place in pipeline.document.spoiled)


def _placed(plugin: P, step: str, file: Path) -> P:
    for name, value in {"step": step, "folder": file.resolve().parent}.items():
        setattr(plugin, name, value)
    return plugin
