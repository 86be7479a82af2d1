"""The pods of this node that have our volumes, and what the driver holds for each of them.

A pod's FUSE mount is *waiting* until a sidecar takes it, *serving* while heartbeats come, *orphaned* after that.
All public methods take the one lock, so gRPC threads and the talk with the sidecars never meet half-way.
"""

from __future__ import annotations

import os
import stat
import time
from threading import RLock
from typing import TYPE_CHECKING, Literal

import structlog

from lighthouse_fuse_csi import mounts, volumes
from lighthouse_fuse_csi.volumes import Records, Volume

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from lighthouse_fuse_csi.connections import Connections
    from lighthouse_fuse_csi.driver_metrics import DriverMetrics
    from lighthouse_fuse_csi.settings import DriverSettings

_log = structlog.get_logger()
State = Literal["waiting", "serving", "orphaned"]


class ConflictError(Exception):
    """The request contradicts what is published already."""


class Pod:
    """What the driver holds for one pod."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.control: Volume | None = None
        self.data: Volume | None = None
        self.listener: socket.socket | None = None
        self.connection: socket.socket | None = None
        self.descriptor: int | None = None
        self.session: bytes | None = None
        self.taken = False
        self.aborted = False
        self.alive_at = time.monotonic()

    def keep(self, descriptor: int | None) -> None:
        """Hold this descriptor in place of the one held."""
        if self.descriptor is not None:
            os.close(self.descriptor)
        self.descriptor = descriptor

    def state(self, now: float) -> State:
        """How the pod's FUSE mount does."""
        if not self.taken:
            return "waiting"
        return "serving" if not self.aborted and now - self.alive_at < 3 else "orphaned"


class Pods:
    """All pods of this node; the only place that mounts, unmounts and remembers."""

    def __init__(self, settings: DriverSettings, connections: Connections, metrics: DriverMetrics) -> None:
        self.lock = RLock()
        self.changed: Callable[[], None] = lambda: None
        self._settings = settings
        self._connections = connections
        self._metrics = metrics
        self._records = Records(settings.folder / "volumes")
        self._pods: dict[str, Pod] = {}
        self._volumes: dict[str, Volume] = {}

    def all(self) -> list[Pod]:
        """The pods known now."""
        return list(self._pods.values())

    def restore(self) -> None:
        """Take up what an earlier run of the driver published; clean up after pods that are gone."""
        with self.lock:
            for volume in self._records.load():
                if (self._settings.kubelet / "pods" / volume.pod_uid).is_dir():
                    self._remember(volume)
                    self._take_up(volume)
                else:
                    _log.info("leftover of a gone pod removed", volume=volume.volume_id, pod=volume.pod_uid)
                    self._forget(volume)

    def _take_up(self, volume: Volume) -> None:
        pod = self._pods[volume.pod_uid]
        try:
            if volume.role == "control":
                if mounts.at(volume.target):
                    pod.listener = volumes.listen(volume)
            elif volumes.has_project(volume):
                pod.taken = True
        except OSError as error:
            _log.warning(
                "volume not taken up; kubelet publishes it again", volume=volume.volume_id, error=str(error)
            )

    def publish(self, volume: Volume) -> None:
        """Make the volume at its target, or do nothing when it is there; raises ConflictError, OSError."""
        with self.lock:
            known = self._volumes.get(volume.volume_id)
            if known is None:
                pod = self._pods.get(volume.pod_uid)
                other = pod and (pod.data if volume.role == "data" else pod.control)
                if other:
                    raise ConflictError(
                        f"Pod {volume.pod_uid} has the {volume.role} volume {other.volume_id} already;"
                        f" declare one volume of role {volume.role}."
                    )
                known = volume
                self._records.save(volume)
                self._remember(volume)
            elif (known.role, known.target, known.pod_uid) != (volume.role, volume.target, volume.pod_uid):
                raise ConflictError(
                    f"Volume {volume.volume_id} is published as role {known.role} at {known.target};"
                    " unpublish it before it is published differently."
                )
            pod = self._pods[known.pod_uid]
            if known.role == "control":
                volumes.mount_control(known)
                if pod.listener is None:
                    pod.listener = volumes.listen(known)
            elif not volumes.has_project(known):
                self._mount(pod, known, whole=True)
                pod.taken = False
            self.changed()

    def unpublish(self, volume_id: str) -> None:
        """Take the volume away, or do nothing when it is unknown; raises OSError."""
        with self.lock:
            volume = self._volumes.get(volume_id)
            if volume is None:
                return
            pod = self._pods[volume.pod_uid]
            if volume.role == "data":
                # Whoever still hangs in the mount gets an error now, so that nothing keeps the pod.
                self._connections.abort(volume.project)
                pod.keep(None)
            self._forget(volume)
            self.changed()

    def renew(self, pod: Pod) -> int:
        """Replace a dead FUSE mount by a fresh one and return its descriptor; raises OSError."""
        data = pod.data
        if data is None:
            raise OSError(f"Pod {pod.uid} has no data volume.")
        self._connections.abort(data.project)
        return self._mount(pod, data, whole=not mounts.at(data.target))

    def abort(self, pod: Pod, reason: str) -> None:
        """End the pod's FUSE connection: hung accesses fail, and a dialling sidecar gets a fresh mount."""
        if pod.data is None:
            return
        pod.aborted = True
        pod.session = None
        self._connections.abort(pod.data.project)
        pod.keep(None)
        self._metrics.aborts.labels(reason).inc()
        _log.warning("FUSE connection ended", pod=pod.uid, reason=reason)

    def adopt(self, pod: Pod, descriptor: int, generation: int | None) -> bool:
        """Keep a descriptor that a sidecar hands back, when it is that of the pod's present mount."""
        data = pod.data
        if data is None or pod.aborted or generation != data.generation or not mounts.at(data.project):
            return False
        if not _is_connection(
            descriptor, mounts.at(data.project)[-1].minor, self._settings.fuse_device.stat().st_rdev
        ):
            return False
        if pod.descriptor is None:
            pod.keep(os.dup(descriptor))
        return True

    def tune(self, pod: Pod) -> None:
        """Set what can be set only after INIT."""
        if pod.data is not None:
            self._connections.read_ahead(pod.data.project, self._settings.read_ahead_kib)

    def _mount(self, pod: Pod, data: Volume, *, whole: bool) -> int:
        make = volumes.mount_data if whole else volumes.mount_project
        pod.keep(None)
        pod.keep(make(data, self._settings.fuse_device))
        pod.session, pod.aborted = None, False
        data.generation += 1
        self._records.save(data)
        assert pod.descriptor is not None  # noqa: S101 (set two lines above; for the type checker)
        return pod.descriptor

    def _remember(self, volume: Volume) -> None:
        self._volumes[volume.volume_id] = volume
        pod = self._pods.setdefault(volume.pod_uid, Pod(volume.pod_uid))
        if volume.role == "control":
            pod.control = volume
        else:
            pod.data = volume

    def _forget(self, volume: Volume) -> None:
        """Close, unmount, and drop the record last, so that a failure is tried again."""
        pod = self._pods.get(volume.pod_uid)
        if pod and volume.role == "control":
            for each in (pod.listener, pod.connection):
                if each is not None:
                    each.close()
            pod.listener = pod.connection = pod.control = None
        elif pod:
            pod.data, pod.taken, pod.session = None, False, None
        try:
            volumes.unmount(volume)
        except OSError as error:
            if pod:
                self._remember(volume)
            raise OSError(
                f"Volume {volume.volume_id} cannot be removed from {volume.target}: {error}"
            ) from error
        self._records.remove(volume.volume_id)
        self._volumes.pop(volume.volume_id, None)
        if pod and pod.control is None and pod.data is None:
            self._pods.pop(pod.uid, None)


def _is_connection(descriptor: int, minor: int, device: int) -> bool:
    """Whether this is /dev/fuse and, where the kernel tells, the connection of the mount with this minor number."""
    status = os.fstat(descriptor)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != device:
        return False
    with open(f"/proc/self/fdinfo/{descriptor}") as file:  # noqa: PTH123 (a pseudo file by number)
        for line in file:
            name, _, value = line.partition(":")
            if name == "fuse_connection":
                return int(value) == minor
    return True
