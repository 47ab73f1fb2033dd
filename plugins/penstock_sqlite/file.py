"""The file: made with its tables, or known by its marks; another program's database is never touched."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

MARK = 0x50535452  # "PSTR", as the application id of SQLite's file format
VERSION = 1

# WAL: readers and the writer do not wait for each other. `synchronous = normal` waits for the disk at checkpoints only:
# a crash of the process loses nothing, one of the machine the last moments, and the file is never damaged. `off` saves
# little beyond that and may damage it. The tables that change all the time are clustered by their keys.
_SETTINGS = ("pragma journal_mode = wal", "pragma synchronous = normal")
_TABLES = (
    "create table value (key blob primary key, data blob not null, expires real)",
    "create table bucket (key blob primary key, level real not null, at real not null, expires real not null)"
    " without rowid",
    "create table lease (key blob, holder blob, expires real not null, primary key (key, holder)) without rowid",
    "create index value_expires on value (expires) where expires is not null",
    "create index bucket_expires on bucket (expires)",
    "create index lease_expires on lease (expires)",
)


class ForeignFile(ValueError):
    """A file that holds something else; the message says what to do."""


def open_file(path: Path, patience: float) -> sqlite3.Connection:
    """A connection to the store's file, which is made if there is none; only its owner may read it.

    It waits at most `patience` seconds for another process that is writing.
    Raises ForeignFile if the file is none of ours, OSError or sqlite3.Error if it cannot be opened or written.
    """
    end = time.monotonic() + patience
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    while True:
        try:
            return _prepared(sqlite3.connect(path, timeout=patience, isolation_level=None), path)
        except sqlite3.OperationalError as error:  # several at a new file: SQLite sends some away without a wait
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _prepared(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    try:
        with connection:
            connection.execute("begin")  # what is read belongs together, though another process may be making the file
            new = _is_new(connection, path)
        if new:
            _make(connection, path)
        for setting in _SETTINGS:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    try:
        mark, version, tables = (connection.execute(question).fetchone()[0] for question in _QUESTIONS)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise ForeignFile(f"{path} is no SQLite file: give the store a file of its own") from None
        raise
    if mark == MARK and version == VERSION:
        return False
    if mark == MARK:
        raise ForeignFile(f"{path} has version {version}, this Penstock needs {VERSION}: remove it or use another file")
    if mark or version or tables:
        raise ForeignFile(f"{path} is the database of something else: give the store a file of its own")
    return True


_QUESTIONS = ("pragma application_id", "pragma user_version", "select count(*) from sqlite_master")


def _make(connection: sqlite3.Connection, path: Path) -> None:
    with connection:
        connection.execute("begin immediate")
        if _is_new(connection, path):  # another process may have been quicker
            for table in _TABLES:
                connection.execute(table)
            connection.execute(f"pragma application_id = {MARK}")
            connection.execute(f"pragma user_version = {VERSION}")
