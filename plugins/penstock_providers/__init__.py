"""Presets of the named providers: base URL, protocol, auth form, models and quirks, all of it data."""

from pathlib import Path

__all__ = ["presets"]


def presets() -> Path:
    """The file that holds the presets; the core reads it and points at the line of a mistake."""
    return Path(__file__).with_name("presets.yaml")
