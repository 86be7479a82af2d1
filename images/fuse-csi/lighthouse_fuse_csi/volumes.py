"""Volumes as the node knows them: what they are, their record on disk, and the mounts that make them."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from lighthouse_fuse_csi import mounts
from lighthouse_fuse_csi.channel import SOCKET_NAME

_log = structlog.get_logger()
PROJECT = "project"


class Volume(msgspec.Struct, kw_only=True):
    """One published volume; `generation` counts the FUSE mounts that a data volume has had."""

    volume_id: str
    role: Literal["control", "data"]
    target: Path
    pod_uid: str
    pod_namespace: str = ""
    pod_name: str = ""
    generation: int = 0

    @property
    def project(self) -> Path:
        """Where the FUSE mount of a data volume lies."""
        return self.target / PROJECT


class Records:
    """One JSON file a volume, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)

    def _path(self, volume_id: str) -> Path:
        return self._folder / (hashlib.sha256(volume_id.encode()).hexdigest()[:32] + ".json")

    def load(self) -> list[Volume]:
        """Every readable record; one that is not is reported and removed."""
        volumes = []
        for path in sorted(self._folder.iterdir()):
            try:
                volumes.append(msgspec.json.decode(path.read_bytes(), type=Volume, dec_hook=_path))
            except (OSError, msgspec.DecodeError) as error:
                _log.warning("unreadable volume record removed", path=str(path), error=str(error))
                path.unlink(missing_ok=True)
        return volumes

    def save(self, volume: Volume) -> None:
        """Keep the volume's record through a crash of the driver or the node."""
        path = self._path(volume.volume_id)
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(volume, enc_hook=str))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def remove(self, volume_id: str) -> None:
        """Forget the volume."""
        self._path(volume_id).unlink(missing_ok=True)


def _path(kind: type, value: str) -> Path:
    """Paths are strings in a record."""
    if kind is not Path:
        raise NotImplementedError(kind)
    return Path(value)


def mount_control(volume: Volume) -> None:
    """A small tmpfs that only root may write; does nothing when it is there."""
    if mounts.at(volume.target):
        return
    volume.target.mkdir(parents=True, exist_ok=True)
    mounts.mount("lighthouse-control", volume.target, "tmpfs", mounts.SAFE, "size=64k,nr_inodes=16,mode=0755")


def listen(volume: Volume) -> socket.socket:
    """Bind the control socket anew. Kubelet's paths pass the limit of 108 bytes, hence the way through /proc."""
    folder = os.open(volume.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path = Path(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        # The folder's tmpfs is mounted by the sidecar alone, whose user the driver does not know.
        path.chmod(0o666)
        listener.listen(4)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(folder)
    return listener


def has_project(volume: Volume) -> bool:
    """Whether both layers of a data volume are mounted."""
    paths = {mount.path for mount in mounts.table()}
    return str(volume.target) in paths and str(volume.project) in paths


def mount_data(volume: Volume, device: Path) -> int:
    """Lay the tmpfs, mount FUSE in it, make the tmpfs read-only; returns the descriptor of the connection.

    Container runtimes look at the tmpfs only, so that a container starts even while nobody serves the files,
    and a fresh FUSE mount inside it reaches containers that run already.
    """
    mounts.detach(volume.project)
    mounts.detach(volume.target)
    volume.target.mkdir(parents=True, exist_ok=True)
    options = "size=4k,nr_inodes=8,mode=0755"
    mounts.mount("lighthouse", volume.target, "tmpfs", mounts.SAFE, options)
    try:
        volume.project.mkdir(mode=0o555)
        descriptor = mount_project(volume, device)
        mounts.mount(
            "lighthouse", volume.target, "tmpfs", mounts.SAFE | mounts.MS_REMOUNT | mounts.MS_RDONLY, options
        )
    except BaseException:
        mounts.detach(volume.target)
        raise
    return descriptor


def mount_project(volume: Volume, device: Path) -> int:
    """Mount FUSE at the project's folder in place of whatever lies there; returns the descriptor."""
    mounts.detach(volume.project)
    descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        mounts.mount(
            "lighthouse",
            volume.project,
            "fuse.lighthouse",
            mounts.SAFE | mounts.MS_RDONLY,
            f"fd={descriptor},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
        )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unmount(volume: Volume) -> None:
    """Take the volume's mounts and its folder away; does nothing when they are gone."""
    if volume.role == "data":
        mounts.detach(volume.project)
    mounts.detach(volume.target)
    try:
        volume.target.rmdir()
    except FileNotFoundError:
        return
