"""Where the server listens: listening sockets and TLS, with errors that say what to do."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path
from typing import Any

from penstock.bind import Host, parse_bind


class ServerError(Exception):
    """The server cannot start or cannot go on; the message says why and what would help."""


def listen(bind: str, backlog: int) -> socket.socket:
    """Open the listening socket of a bind address, non-blocking. Raises ServerError.

    A name is resolved and its first address taken, IPv4 before IPv6. The file that an earlier run left at the
    path of a unix socket is replaced.
    """
    try:
        address = parse_bind(bind)
    except ValueError as error:
        raise ServerError(str(error)) from None
    try:
        if isinstance(address, Path):
            _remove_stale(address)
            return _open(socket.AF_UNIX, str(address), backlog)
        return _open(*_resolve(address), backlog)
    except (OSError, UnicodeError) as error:
        raise _refused(bind, error) from error


def url(sock: socket.socket, tls: bool) -> str:
    """The address of a listening socket as one would type it: http://127.0.0.1:4000, unix:/path."""
    name = sock.getsockname()
    if sock.family == socket.AF_INET:
        host = name[0]
    elif sock.family == socket.AF_INET6:
        host = f"[{name[0]}]"
    else:
        return f"unix:{name}"
    return f"{'https' if tls else 'http'}://{host}:{name[1]}"


def tls_context(certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    """TLS from a certificate chain and its key, both PEM; None when neither is given. Raises ServerError."""
    if certfile is None and keyfile is None:
        return None
    if certfile is None or keyfile is None:
        given, missing = ("certificate", "key") if certfile else ("key", "certificate")
        raise ServerError(f"TLS needs both: a {given} is given, but no {missing}")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        for name in (certfile, keyfile):
            Path(name).read_bytes()
        context.load_cert_chain(certfile, keyfile, password="")  # without one OpenSSL would ask the terminal
    except ssl.SSLError as error:
        raise ServerError(_not_a_pair(certfile, keyfile, error)) from error
    except OSError as error:
        raise ServerError(f"cannot read {error.filename}, needed for TLS: {error.strerror}") from error
    return context


def _resolve(host: Host) -> tuple[int, Any]:
    found = socket.getaddrinfo(*host, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, sockaddr = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, sockaddr


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on any more; refuse to touch anything else."""
    if not path.exists():
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        code = probe.connect_ex(str(path)) or errno.EADDRINUSE
    if code != errno.ECONNREFUSED:
        raise OSError(code, os.strerror(code))
    path.unlink()


def _open(family: int, sockaddr: Any, backlog: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off, which costs a stream 40 ms per event, only where the protocol is named.
    protocol = socket.IPPROTO_TCP if family in (socket.AF_INET, socket.AF_INET6) else 0
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        if os.name == "posix":  # elsewhere the option would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(sockaddr)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _refused(bind: str, error: OSError | UnicodeError) -> ServerError:
    if not isinstance(error, OSError):
        return ServerError(f"cannot listen on {bind}: that is not a host name")
    if error.errno == errno.EADDRINUSE:
        advice = "stop that process or choose another address (--bind 127.0.0.1:0 takes any free port)"
        return ServerError(f"cannot listen on {bind}, another process does already: {advice}")
    return ServerError(f"cannot listen on {bind}: {error.strerror or error}")


def _not_a_pair(certfile: str, keyfile: str, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key in {keyfile} does not belong to the certificate in {certfile}"
    return f"{certfile} and {keyfile} must hold a certificate chain and its plain key in PEM form ({error})"
