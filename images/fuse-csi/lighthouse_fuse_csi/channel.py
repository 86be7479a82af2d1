"""The talk between driver and sidecar on the control socket: one message a packet, at most one descriptor.

The sidecar dials and keeps the connection. It says `Hello`, is answered `Grant` (with the descriptor),
`Accepted` (the driver keeps a copy of the one handed back) or `Refused`, then sends `Deposit` once the
kernel's INIT is answered and `Heartbeat` every second while its daemon serves. `Renew` asks for a fresh
mount after the kernel has ended the connection. `Aborted` tells that the driver has ended it.
"""

from __future__ import annotations

import os
import socket

import msgspec

SOCKET_NAME = "control.sock"
HEARTBEAT_SECONDS = 1.0
_PACKET = 1 << 16


class Hello(msgspec.Struct, tag="hello", frozen=True):
    """First word of a supervisor; a held descriptor travels with it, with the mount it belongs to."""

    generation: int | None = None
    session: bytes | None = None


class Grant(msgspec.Struct, tag="grant", frozen=True):
    """The descriptor of mount number `generation`; `session` is set when INIT was already answered."""

    generation: int
    session: bytes | None = None


class Accepted(msgspec.Struct, tag="accepted", frozen=True):
    """The driver has taken a copy of the descriptor that the supervisor holds."""

    generation: int


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """The connection will be closed for this reason."""

    reason: str


class Deposit(msgspec.Struct, tag="deposit", frozen=True):
    """What a successor needs to go on with this mount: the negotiated INIT."""

    generation: int
    session: bytes


class Heartbeat(msgspec.Struct, tag="heartbeat", frozen=True):
    """The daemon of this mount answered lately."""

    generation: int


class Renew(msgspec.Struct, tag="renew", frozen=True):
    """Mount number `generation` is dead; a fresh one is wanted."""

    generation: int


class Aborted(msgspec.Struct, tag="aborted", frozen=True):
    """The driver has ended mount number `generation`, since no heartbeat came."""

    generation: int


Message = Hello | Grant | Accepted | Refused | Deposit | Heartbeat | Renew | Aborted
_decoder = msgspec.msgpack.Decoder(Message)
_encoder = msgspec.msgpack.Encoder()


class ClosedError(Exception):
    """The other side has closed the connection, or said something that is no message."""


def send(connection: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Send one message; raises ClosedError."""
    try:
        socket.send_fds(connection, [_encoder.encode(message)], [] if descriptor is None else [descriptor])
    except OSError as error:
        raise ClosedError(str(error)) from error


def receive(connection: socket.socket) -> tuple[Message, int | None]:
    """Receive one message and the descriptor that came with it; raises ClosedError, BlockingIOError."""
    try:
        data, descriptors, flags, _ = socket.recv_fds(connection, _PACKET, 1)
    except BlockingIOError:
        raise
    except OSError as error:
        raise ClosedError(str(error)) from error
    whole = data and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
    try:
        return _decoder.decode(data if whole else b""), descriptors[0] if descriptors else None
    except msgspec.DecodeError as error:
        for each in descriptors:
            os.close(each)
        raise ClosedError(str(error) if whole else "end of connection") from error
