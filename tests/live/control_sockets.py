"""Attempts to take a mount at the control sockets of pods, with the standard library only: it runs in a container.

    python control_sockets.py OWN OTHERS

OWN is the socket that this container's pod has, or an empty word for none; OTHERS is a JSON list of the sockets of
other pods, by their paths on the node. Prints one JSON object: for each attempt whether it was refused, and the answer.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import sys
from pathlib import Path

SECONDS = 3
# {"type": "hello"} with neither a mount nor a session, as the driver reads it: MessagePack.
HELLO = b"\x83\xa4type\xa5hello\xaageneration\xc0\xa7session\xc0"


def take(path: str) -> str:
    """What asking for the mount at a socket brings: the name of an error, the driver's refusal, or the descriptor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(path)
            connection.sendall(HELLO)
            said, given, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(array.array("i").itemsize))
        except TimeoutError:
            return "no answer"
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, type(error).__name__)
    if given:
        return "a descriptor"
    return "refused" if b"refused" in said else f"answered {said[:40]!r}"


def beyond(path: str) -> list[str]:
    """Ways to the socket of another pod: as the node names it, and through the root of every process in sight."""
    roots = (f"{process}/root" for process in Path("/proc").iterdir() if process.name.isdigit())
    return [path, *(f"{root}{path}" for root in roots)]


def main() -> None:
    """Try everything and print what came of it."""
    own, others = sys.argv[1], json.loads(sys.argv[2])
    found = {}
    if own:
        found["its pod's own control socket, beside its sidecar"] = {"refused"}, take(own)
    for number, path in enumerate(others, 1):
        for way, name in enumerate(beyond(path), 1):
            found[f"another pod's control socket ({number}, way {way})"] = (
                {"ENOENT", "EACCES", "ENAMETOOLONG"},
                _short(name),
            )
    print(
        json.dumps(
            {
                name: {"refused": answer in wanted, "answer": answer}
                for name, (wanted, answer) in found.items()
            }
        )
    )


def _short(path: str) -> str:
    """The same for a path that may be too long for an address of a socket: by its folder's descriptor."""
    try:
        folder = os.open(Path(path).parent, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    try:
        return take(f"/proc/self/fd/{folder}/{Path(path).name}")
    finally:
        os.close(folder)


if __name__ == "__main__":
    main()
