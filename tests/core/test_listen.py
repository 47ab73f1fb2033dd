"""Listening sockets and TLS files: what is accepted, and what the errors say."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from penstock.listen import ServerError, listen, tls_context, url


def test_port_0_takes_a_free_port_and_the_url_names_it() -> None:
    with listen("127.0.0.1:0", 8) as sock:
        assert url(sock, tls=False) == f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert url(sock, tls=True).startswith("https://127.0.0.1:")
        socket.create_connection(sock.getsockname()).close()


def test_localhost_is_ipv4() -> None:
    with listen("localhost:0", 8) as sock:
        assert url(sock, tls=False).startswith("http://127.")


def test_a_port_in_use() -> None:
    with listen("127.0.0.1:0", 8) as taken:
        port = taken.getsockname()[1]
        message = rf"cannot listen on 127\.0\.0\.1:{port}, another process does already: .*--bind 127\.0\.0\.1:0"
        with pytest.raises(ServerError, match=message):
            listen(f"127.0.0.1:{port}", 8)


@pytest.mark.parametrize(
    "bind", ["192.0.2.1:4000", "no-such-host.invalid:4000", f"{'long' * 20}.invalid:1", "unix:/no/such/folder/x"]
)
def test_an_address_that_this_machine_has_not(bind: str) -> None:
    with pytest.raises(ServerError, match="cannot listen on") as refused:
        listen(bind, 8)
    assert bind in str(refused.value)


def test_the_socket_file_of_an_earlier_run_is_replaced(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    listen(bind, 8).close()
    with listen(bind, 8) as sock, socket.socket(socket.AF_UNIX) as client:
        assert url(sock, tls=False) == bind
        client.connect(f"{tmp_path}/s")


def test_a_socket_that_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/s"
    with listen(bind, 8), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(ServerError, match="another process does already"):
            listen(bind, 8)
        client.connect(f"{tmp_path}/s")


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ServerError, match="exists and is not a socket"):
        listen(f"unix:{tmp_path}/s", 8)
    assert (tmp_path / "s").read_text() == "precious"


@pytest.fixture
def pems(tmp_path: Path) -> Path:
    """A folder with two self-signed certificates, a.crt and b.crt, and their keys; a.locked is an encrypted key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in "ab":
        _openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{tmp_path}/{name}.key", "-out", f"{tmp_path}/{name}.crt")
    _openssl("ec", "-aes128", "-passout", "pass:x", "-in", f"{tmp_path}/a.key", "-out", f"{tmp_path}/a.locked")
    (tmp_path / "no.pem").write_text("nothing of the kind")
    return tmp_path


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def test_tls_is_off_without_files() -> None:
    assert tls_context(None, None) is None


def test_a_certificate_and_its_key(pems: Path) -> None:
    assert tls_context(f"{pems}/a.crt", f"{pems}/a.key") is not None


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        ("a.crt", None, "a certificate is given, but no key"),
        (None, "a.key", "a key is given, but no certificate"),
        ("a.crt", "b.key", r"the key in .*b\.key does not belong to the certificate in .*a\.crt"),
        ("a.crt", "missing.key", r"cannot read .*missing\.key, needed for TLS: No such file"),
        ("missing.crt", "a.key", r"cannot read .*missing\.crt, needed for TLS: No such file"),
        ("no.pem", "a.key", r"no\.pem and .*a\.key must hold a certificate chain and its plain key in PEM"),
        ("a.crt", "a.locked", r"must hold a certificate chain and its plain key in PEM"),
    ],
)
def test_wrong_tls_files(pems: Path, certificate: str | None, key: str | None, message: str) -> None:
    with pytest.raises(ServerError, match=message):
        tls_context(certificate and f"{pems}/{certificate}", key and f"{pems}/{key}")
