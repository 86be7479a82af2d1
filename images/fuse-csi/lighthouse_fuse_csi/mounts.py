"""Mount calls and the mount table. Nothing here touches what lies below a FUSE mount: that could hang."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

import msgspec

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
SAFE = MS_NOSUID | MS_NODEV | MS_NOEXEC

_libc = ctypes.CDLL(None, use_errno=True)
_escape = re.compile(r"\\([0-7]{3})")


class Mount(msgspec.Struct, frozen=True):
    """One line of the mount table; `minor` is the device's minor number, for FUSE that of its connection."""

    path: str
    kind: str
    minor: int


def table() -> list[Mount]:
    """All mounts of this process's mount namespace, in the order of the kernel (a later one lies on top)."""
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        path = _escape.sub(lambda match: chr(int(match[1], 8)), fields[4])
        mounts.append(Mount(path, after.split(" ")[0], int(fields[2].split(":")[1])))
    return mounts


def at(path: Path) -> list[Mount]:
    """The mounts stacked at exactly `path`, the visible one last."""
    return [mount for mount in table() if mount.path == str(path)]


def mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    """mount(2); raises OSError with the target."""
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(target))


def detach(path: Path) -> bool:
    """Take every mount off `path` without waiting for its users; tells whether there was one."""
    found = False
    while _libc.umount2(os.fsencode(path), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        found = True
    return found
