"""Bind addresses: which texts are one, and which of them only this machine can reach."""

from pathlib import Path

import pytest

from penstock.bind import Host, is_loopback, parse_bind


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:4000", Host("127.0.0.1", 4000)),
        ("0.0.0.0:0", Host("0.0.0.0", 0)),
        ("gateway.example:65535", Host("gateway.example", 65535)),
        ("[::1]:4000", Host("::1", 4000)),
        ("unix:/run/penstock.sock", Path("/run/penstock.sock")),
        ("unix:relative.sock", Path("relative.sock")),
    ],
)
def test_addresses(bind: str, address: Host | Path) -> None:
    assert parse_bind(bind) == address


@pytest.mark.parametrize(
    "bind",
    [
        *("", "4000", ":4000", "localhost", "localhost:", "localhost:http", "localhost:65536", "127.0.0.1:-1"),
        *("::1:4000", "[::1]", "[::1:4000", "[localhost]:4000", "unix:", "http://localhost:4000", "a b:1"),
    ],
)
def test_what_is_not_an_address_is_answered_with_the_forms(bind: str) -> None:
    with pytest.raises(ValueError, match="is not an address") as refused:
        parse_bind(bind)
    assert str(refused.value) == (
        f"'{bind}' is not an address to listen on: "
        "write host:port such as 127.0.0.1:4000 or [::1]:4000, or unix:/path/to/socket"
    )


@pytest.mark.parametrize(
    ("bind", "loopback"),
    [
        ("127.0.0.1:4000", True),
        ("127.8.9.10:4000", True),
        ("localhost:4000", True),
        ("[::1]:4000", True),
        ("unix:/run/penstock.sock", True),
        ("0.0.0.0:4000", False),
        ("[::]:4000", False),
        ("192.168.1.2:4000", False),
        ("localhost.example:4000", False),
        ("127.0.0.1.example:4000", False),
    ],
)
def test_is_loopback(bind: str, loopback: bool) -> None:
    assert is_loopback(bind) is loopback
