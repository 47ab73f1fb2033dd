"""The server's pepper: a secret that stands in no file with keys and no database, and without which no digest opens."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from penstock import Secret

NAME = "penstock.pepper"
_SHORTEST = 16


def read_pepper(given: Secret | None, folder: Path) -> bytes | None:
    """The pepper of the options, else of the file in `folder`; None if there is neither. Raises ValueError."""
    if given:
        return _checked(given.reveal(), "`pepper`")
    path = folder / NAME
    try:
        return _checked(path.read_text("utf-8").strip(), str(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', 'is not UTF-8')}") from None


def need_pepper(given: Secret | None, folder: Path) -> bytes:
    """The same, made now if there is none: a file that only its owner may read. Raises ValueError."""
    pepper = read_pepper(given, folder)
    if pepper is None:
        _make(folder / NAME)
        pepper = read_pepper(given, folder)
    assert pepper is not None
    return pepper


def _checked(text: str, where: str) -> bytes:
    if len(text) < _SHORTEST:
        raise ValueError(f"{where} is too short for a pepper: it needs {_SHORTEST} characters that nobody can guess")
    return text.encode()


def _make(path: Path) -> None:
    """Several processes may come at once: the first one's file appears with its content, and stays."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{NAME}.") as file:  # readable by its owner
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)
    except OSError as error:
        raise ValueError(f"{path} cannot be made: {error.strerror}; set the option `pepper` instead") from None
