"""FUSE connections as the kernel's control file system shows them: waiting requests, and the way to end one."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import structlog

from lighthouse_fuse_csi import mounts

_log = structlog.get_logger()
_MNT_FORCE = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Connections:
    """The folder of fusectl, mounted when it is not yet (a container sees a bare sysfs)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not mounts.at(folder):
            try:
                mounts.mount("fusectl", folder, "fusectl", mounts.SAFE)
            except OSError as error:
                _log.warning("fusectl is not available; connections end by forced unmount", error=str(error))

    def abort(self, path: Path) -> bool:
        """End the connection mounted at `path`: every waiting and later access fails. False when none is."""
        found = mounts.at(path)
        if not found:
            return False
        try:
            (self._folder / str(found[-1].minor) / "abort").write_text("1")
        except OSError:
            # A forced unmount ends the connection first, whether or not the mount is then busy.
            _libc.umount2(os.fsencode(path), _MNT_FORCE | mounts.UMOUNT_NOFOLLOW)
        return True

    def waiting(self, minors: set[int]) -> int:
        """How many requests wait for an answer on these connections."""
        total = 0
        for minor in minors:
            try:
                total += int((self._folder / str(minor) / "waiting").read_text())
            except (OSError, ValueError):
                continue
        return total

    @staticmethod
    def read_ahead(path: Path, kibibytes: int) -> None:
        """Let the kernel read ahead this far below the mount at `path`; the default of 128 KiB costs round trips."""
        for mount in mounts.at(path)[-1:]:
            try:
                Path(f"/sys/class/bdi/0:{mount.minor}/read_ahead_kb").write_text(str(kibibytes))
            except OSError as error:
                _log.info("read-ahead stays at the kernel's default", path=str(path), error=str(error))
