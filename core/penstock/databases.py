"""The database of a configuration: for its gateway, and for commands, which use it without serving."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.database import Database, Schema
from penstock.problems import ConfigError

if TYPE_CHECKING:
    from penstock.sql import Engine


class Databases:
    """The database that a gateway file names. What it needs is imported when the first plugin asks for it."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._engine: Engine | None = None

    def database(self, schema: Schema) -> Database:
        """The database as the plugin with this schema sees it. Raises ValueError if something is not installed."""
        if self._engine is None:
            try:
                from penstock.sql import Engine
            except ModuleNotFoundError as error:
                missing = f"a database needs what is not installed ({error.name}): pip install 'penstock[database]'"
                raise ValueError(missing) from None
            self._engine = Engine(self._url, self._folder)
        return self._engine.database(schema)

    async def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            await self._engine.close()


@asynccontextmanager
async def open_database(place: Path, env: Mapping[str, str], schema: Schema, url: str = "") -> AsyncGenerator[Database]:
    """The opened database of a pipeline file or a folder of them, for a command; or that of `url`.

    Mistakes in pipelines do not matter here. Raises ConfigError for one in gateway.yaml, and what `Database.open` does.
    """
    from penstock.config import load  # here: what reads YAML is not for every plugin to import

    files = load(place, env)
    if mistakes := [problem for problem in files.problems if problem.path == files.gateway_document.name]:
        raise ConfigError(mistakes)
    databases = Databases(url, Path()) if url else Databases(files.gateway.database, files.folder)
    try:
        database = databases.database(schema)
        await database.open()
        yield database
    finally:
        await databases.close()
