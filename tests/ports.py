"""Ports for the servers of tests."""

import secrets
import socket
from contextlib import suppress

_given: set[int] = set()


def free_port(beside: int = 0) -> int:
    """A TCP port nobody serves, nor the one that is `beside` higher, both below those of outgoing connections.

    No port is given twice by one process.
    """
    while True:
        # Not from `random`, which hypothesis seeds alike in every process.
        port = 11_000 + secrets.randbelow(21_000 - beside)
        if {port, port + beside} & _given:
            continue
        with socket.socket() as probe, socket.socket() as other, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if beside:
                other.bind(("127.0.0.1", port + beside))
            _given.update({port, port + beside})
            return port
