"""The address on which `vidseg annotate` listens."""

from __future__ import annotations

import errno
import socket

from vidseg.errors import InputError, OutputError, told

_OF_THE_PORT = {errno.EADDRINUSE, errno.EACCES}


def check_port(port: int) -> None:
    """Raise InputError for a number that no port has."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}", hint="a port is from 0 to 65535; 0 takes any that is free")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: there is no such port.
        OutputError: the port is taken, or the host is not one of this machine.
    """
    check_port(port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # so that a page that is opened before the server runs waits for it
    except (OSError, ValueError) as error:  # a name that is none is a ValueError
        listening.close()
        is_of_port = isinstance(error, OSError) and error.errno in _OF_THE_PORT
        raise OutputError(
            f"the server cannot listen on {host}, port {port} ({told(error)})",
            hint="choose another --port, or none for one that is free"
            if is_of_port
            else "choose another --host: an address of this machine, such as 127.0.0.1",
        ) from None
    return listening


def own_addresses() -> list[str]:
    """The addresses of this machine in its networks."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
    except OSError:
        return []
    return sorted({str(item[4][0]) for item in found})
