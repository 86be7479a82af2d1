"""Attempts to leave an agent's container, with the standard library only: it runs in that container.

    python escapes.py TARGETS

TARGETS is a JSON object of names and [address, port]: what an agent must not reach. Prints one JSON object: for each
attempt whether it was refused, and the answer.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
SYS_INIT_MODULE, SYS_BPF, SYS_OPEN_BY_HANDLE_AT, SYS_KEYCTL = 175, 321, 304, 250
SECONDS = 3
PROJECT = "/mnt/lighthouse/project"


def call(function: str, *arguments: object) -> str:
    """The name of the error that a C function answers, or "done"."""
    ctypes.set_errno(0)
    result = getattr(LIBC, function)(*arguments)
    return "done" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def try_(action: Callable[[], object]) -> str:
    """The name of the error that Python raises, or "done"."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return "done"


def listing(path: str) -> str:
    """What listing a folder answers."""
    return try_(lambda: list(Path(path).iterdir()))


def in_child(action: Callable[[], str]) -> str:
    """What an action answers in a process of its own, which it may spoil."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, action().encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        return answer.read() or "killed"


def _mount() -> str:
    return call("mount", b"none", b"/tmp", b"tmpfs", 0, None)


def _user_namespace() -> str:
    made = call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    return made if made != "done" else _mount()


def privileges() -> dict[str, str]:
    """What only root or a capability may do."""
    null = Path("/tmp/null")
    raw = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return {
        "becoming root": try_(lambda: os.setuid(0)),
        "taking root's group": try_(lambda: os.setgroups([0])),
        "mounting": in_child(_mount),
        "mounting in a namespace of users": in_child(_user_namespace),
        "a namespace of mounts": in_child(lambda: call("unshare", CLONE_NEWNS)),
        "a namespace of processes": in_child(lambda: call("unshare", CLONE_NEWPID)),
        "another root": try_(lambda: os.chroot("/tmp")),
        "a device": try_(lambda: os.mknod(null, 0o020666, os.makedev(1, 3))),
        "the device of FUSE": try_(lambda: os.close(os.open("/dev/fuse", os.O_RDWR))),
        "the memory of the machine": try_(lambda: os.close(os.open("/dev/mem", os.O_RDONLY))),
        "raw packets": try_(lambda: socket.socket(*raw).close()),
        "the host's name": call("sethostname", b"x", 1),
        "the clock": try_(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
        "a kernel module": call("syscall", SYS_INIT_MODULE, b"", 0, b""),
        "a program for the kernel": call("syscall", SYS_BPF, 5, None, 0),
        "a file by its number": call("syscall", SYS_OPEN_BY_HANDLE_AT, -100, None, 0),
        "a kernel setting": try_(lambda: Path("/proc/sys/kernel/core_pattern").write_text("|/x")),
        "a control group": try_(lambda: Path("/sys/fs/cgroup/x").mkdir()),
        "the image's files": try_(lambda: Path("/opt/lighthouse/x").write_text("x")),
        "the root of the file system": try_(lambda: Path("/x").write_text("x")),
    }


def neighbours() -> dict[str, str]:
    """The sidecar and its file system, and the node; control_sockets.py has the sockets."""
    others = [p for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) != os.getpid()]
    strangers = [p for p in others if _is_sidecar(p)]
    return {
        "seeing the sidecar's processes": "done" if strangers else "ENOENT",
        "the folder of control sockets": listing("/run/lighthouse-control"),
        "the sidecar's cache": listing("/var/cache/lighthouse"),
        "the kubelet's folder": listing("/var/lib/kubelet"),
        "the runtime's socket": try_(lambda: _connect("/run/containerd/containerd.sock")),
        "the token of the API server": listing("/var/run/secrets/kubernetes.io"),
        "the bridge's secret": listing("/etc/lighthouse/auth"),
        "the keys of other roles": listing("/etc/lighthouse/keys"),
    }


def _is_sidecar(process: Path) -> bool:
    try:
        return b"lighthouse_fuse_csi" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)


def project() -> dict[str, str]:
    """Writing through the project's file system."""
    current = f"{PROJECT}/current"
    name = next(entry.path for entry in os.scandir(current) if entry.is_file())
    return {
        "writing a project's file": try_(lambda: os.close(os.open(name, os.O_WRONLY))),
        "making a file in the project": try_(lambda: Path(f"{current}/x").write_text("x")),
        "removing a project's file": try_(lambda: Path(name).unlink()),
        "changing its mode": try_(lambda: Path(name).chmod(0o755)),
        "linking it elsewhere": try_(lambda: os.link(name, f"{current}/x")),
        "unmounting the project": call("umount2", PROJECT.encode(), 2),
        "mounting it anew to write": call("mount", b"none", PROJECT.encode(), None, 32, None),
    }


def reach(targets: dict[str, tuple[str, int]]) -> dict[str, str]:
    """Connections that no policy opens."""
    found = {}
    for name, (address, port) in targets.items():
        with socket.socket() as connection:
            connection.settimeout(SECONDS)
            try:
                connection.connect((address, port))
                found[f"reaching {name}"] = "done"
            except ConnectionRefusedError:
                found[f"reaching {name}"] = "done"  # the packet arrived
            except OSError as error:
                found[f"reaching {name}"] = errno.errorcode.get(error.errno or 0, "no answer")
    return found


def main() -> None:
    """Try everything and print what came of it."""
    attempts = privileges() | neighbours() | project() | reach(json.loads(sys.argv[1]))
    print(
        json.dumps(
            {name: {"refused": answer != "done", "answer": answer} for name, answer in attempts.items()}
        )
    )


if __name__ == "__main__":
    main()
