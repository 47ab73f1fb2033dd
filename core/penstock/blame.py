"""Where in a plugin's own code an exception arose, however deep in libraries it was raised."""

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from penstock.plugin import Plugin


def place_of(error: BaseException, plugin: Plugin | None = None) -> str:
    """`file:line` of the deepest frame in the plugin's code; without one, of the deepest there is, or just the file.

    A cause counts if the error itself did not pass the plugin, as with a hook that was cut short.
    """
    homes = tuple(_homes(type(plugin))) if plugin is not None else ()
    for each in _chain(error):
        own = [frame for frame in traceback.extract_tb(each.__traceback__) if frame.filename.startswith(homes)]
        if homes and own:
            return f"{own[-1].filename}:{own[-1].lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:  # it was never raised: a wrong return value, say
        return str(getattr(sys.modules.get(type(plugin).__module__), "__file__", "unknown place"))
    return f"{frames[-1].filename}:{frames[-1].lineno}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, the latest first."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _homes(plugin: type) -> Iterator[str]:
    """How the names of a plugin's files begin: its package's folder or its one file, and those of its bases."""
    for kind in plugin.__mro__[: plugin.__mro__.index(Plugin)]:
        package = sys.modules.get(kind.__module__.partition(".")[0])
        folders: list[str] = list(getattr(package, "__path__", ()))
        yield from (f"{Path(folder)}/" for folder in folders)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if file and not folders:
            yield str(file)
