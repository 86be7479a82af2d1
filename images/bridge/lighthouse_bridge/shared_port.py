"""A port that several listening sockets share, of which the newest gets every new connection."""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress

# From Linux's headers; the socket module lacks them.
_SO_ATTACH_REUSEPORT_CBPF = 51
_BPF_RETURN = 0x06


class SharedPort:
    """Sockets of one address, each with a queue of its own: what one has queued or accepted stays with it."""

    def __init__(self, host: str, port: int, backlog: int) -> None:
        self._address = (host, port)
        self._backlog = backlog
        # In the kernel's order: the place of one that closes is taken by the last.
        self._group: list[socket.socket] = []
        self._newest: socket.socket | None = None

    def open(self) -> socket.socket:
        """A further listening socket, which gets all connections from now on; raises OSError."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        self._newest = socket.create_server(
            self._address,
            family=family,
            backlog=self._backlog,
            reuse_port=True,
            dualstack_ipv6=family == socket.AF_INET6,
        )
        # What is accepted inherits it.
        self._newest.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._group.append(self._newest)
        self._prefer_newest()
        return self._newest

    def close(self, one: socket.socket) -> None:
        """Close a socket."""
        place = self._group.index(one)
        one.close()
        last = self._group.pop()
        if last is not one:
            self._group[place] = last
        self._prefer_newest()

    def _prefer_newest(self) -> None:
        if self._newest not in self._group or len(self._group) == 1:
            return
        program = ctypes.create_string_buffer(
            struct.pack("HBBI", _BPF_RETURN, 0, 0, self._group.index(self._newest))
        )
        # A sandbox may not know it: then new connections go to all, and the last of them may be cut off.
        with suppress(OSError):
            self._newest.setsockopt(
                socket.SOL_SOCKET,
                _SO_ATTACH_REUSEPORT_CBPF,
                struct.pack("HP", 1, ctypes.addressof(program)),
            )
