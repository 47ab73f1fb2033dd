"""What all tests share: an environment without proxies and keys, so that nothing leaves this machine."""

import os

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # how long a machine takes is no result of a test
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and credentials of whoever runs the tests have no say in them."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("ANTHROPIC_", "OPENAI_", "CLAUDE_")):
            monkeypatch.delenv(name)
