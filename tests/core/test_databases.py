"""The database of a configuration: where it is, and what a command may ask of it."""

import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from penstock import open_database
from penstock.databases import Databases
from penstock.problems import ConfigError
from tests.core.test_sql import FIRST, THING

PIPELINE = "plugins: [translation]\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/a.yaml").write_text(PIPELINE)
    return tmp_path / "pipelines"


async def test_it_is_beside_the_pipelines_unless_told_otherwise(place: Path) -> None:
    async with open_database(place, {}, FIRST) as database, database.begin() as connection:
        await connection.execute(sa.insert(THING), [{"name": "a", "size": 1}])
    assert (place.parent / "data/penstock.db").is_file()
    async with open_database(place / "a.yaml", {}, FIRST) as database, database.read() as connection:
        assert (await connection.execute(sa.select(THING.c.name))).scalar() == "a"


async def test_gateway_yaml_names_it(place: Path) -> None:
    (place / "gateway.yaml").write_text("database: ${DATABASE_URL}\n")
    async with open_database(place, {"DATABASE_URL": "sqlite:here.db"}, FIRST):
        assert (place / "here.db").is_file()


async def test_a_command_may_name_another(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_database(place, {}, FIRST, "sqlite:other.db"):
        assert (tmp_path / "other.db").is_file()


async def test_only_mistakes_in_gateway_yaml_matter(place: Path) -> None:
    (place / "a.yaml").write_text("plugins: [nobody-has-this]\nupstreams: ${UNSET}\n")
    async with open_database(place, {}, FIRST):
        pass
    (place / "gateway.yaml").write_text("database: mysql://host/db\n")
    with pytest.raises(ConfigError, match=r"gateway\.yaml:1:11: expected sqlite: and the path of a file"):
        async with open_database(place, {}, FIRST):
            pass
    (place / "gateway.yaml").write_text("database: ${UNSET}\n")
    with pytest.raises(ConfigError, match="UNSET"):
        async with open_database(place, {}, FIRST):
            pass


@pytest.mark.parametrize(
    ("library", "url", "message"),
    [
        ("sqlalchemy", "sqlite:a.db", r"not installed \(sqlalchemy\): pip install 'penstock\[database\]'"),
        ("aiosqlite", "sqlite:a.db", r"installed \(aiosqlite\): pip install 'penstock\[database\]'"),
        ("asyncpg", "postgresql://h/d", r"PostgreSQL needs .* \(asyncpg\): pip install 'penstock\[postgres\]'"),
    ],
)
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, url: str, message: str
) -> None:
    if library == "sqlalchemy":
        monkeypatch.delitem(sys.modules, "penstock.sql")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=message):
        Databases(url, tmp_path).database(FIRST)
