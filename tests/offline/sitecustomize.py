"""On the path of a process (PYTHONPATH) this refuses every connection to another machine, and every name."""

import socket
from typing import Any

_connect, _names = socket.socket.connect, socket.getaddrinfo
HERE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)


def _here(host: Any) -> None:
    if host not in HERE:
        raise OSError(f"Sockets are disabled, and {host!r} was asked for: this has to work offline.")


def connect(self: socket.socket, address: Any) -> None:
    if isinstance(address, tuple):
        _here(address[0])
    _connect(self, address)


def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
    _here(host)
    return _names(host, *args, **more)


socket.socket.connect = connect  # type: ignore[method-assign, assignment]
socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]
