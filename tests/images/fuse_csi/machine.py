"""A node in miniature: a mount namespace with kubelet's folder, the real driver, sidecars and agents.

The mounts go with the namespace.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc

from lighthouse_fuse_csi.stubs import csi_pb2 as csi
from lighthouse_fuse_csi.stubs import registration_pb2 as registration
from tests.images.fuse_csi.support import DRIVER, HTTP, USER, Program, environment, eventually
from tests.ports import free_port


class Node:
    """A mount namespace whose kubelet folder is shared, as on a real node, and the driver in it."""

    def __init__(self, folder: Path, *, abort_seconds: float = 20) -> None:
        self.folder = folder
        # As deep as on a node whose kubelet folder lies deep: socket paths pass the limit of 108 bytes.
        self.kubelet = folder / "var-lib-rancher-or-some-other-deep-folder" / "kubelet"
        (self.kubelet / "pods").mkdir(parents=True)
        self.abort_seconds = abort_seconds
        self.metrics_port = free_port()
        # The virtual environment may lie where the sidecar's user cannot go.
        self.venv = folder / "venv"
        self.venv.mkdir()
        script = (
            'mount --make-rprivate / && mount --bind "$2" "$3" && mount --bind "$1" "$1"'
            ' && mount --make-rshared "$1" && exec sleep inf'
        )
        self._space = Program(
            ["unshare", "-m", "sh", "-c", script, "sh", str(self.kubelet), sys.prefix, str(self.venv)],
            {"PATH": os.environ["PATH"]},
            folder / "node.log",
        )
        eventually(lambda: self._mounted(self.kubelet), what="the node's mount namespace")
        self.driver: Program | None = None
        self._channel: grpc.Channel | None = None
        self.start_driver()

    def _mounted(self, path: Path) -> bool:
        return any(line.split(" ")[4] == str(path) for line in self.mount_lines())

    def mount_lines(self) -> list[str]:
        """The node's mount table."""
        return Path(f"/proc/{self._space.pid}/mountinfo").read_text().splitlines()

    def enter(self, arguments: list[str]) -> list[str]:
        """The command line that runs a program in the node's namespace, under the same process number."""
        return ["nsenter", f"--mount=/proc/{self._space.pid}/ns/mnt", *arguments]

    def start_driver(self) -> None:
        """Start the driver, and wait until it answers kubelet."""
        self.driver = Program(
            self.enter([sys.executable, "-m", "lighthouse_fuse_csi", "driver"]),
            environment(
                "fuse-csi",
                {
                    "NODE_NAME": "node-1",
                    "KUBELET_DIR": str(self.kubelet),
                    "LIGHTHOUSE_CSI_ABORT_SECONDS": str(self.abort_seconds),
                    "LIGHTHOUSE_CSI_PORT": str(self.metrics_port),
                },
            ),
            self.folder / "driver.log",
        )
        path = self.kubelet / "plugins_registry" / f"{DRIVER}-reg.sock"
        short = self.folder / "csi"
        short.unlink(missing_ok=True)
        short.symlink_to(path.parent)
        if self._channel is not None:
            self._channel.close()
        self._channel = grpc.insecure_channel(
            f"unix://{short}/{path.name}", options=[("grpc.initial_reconnect_backoff_ms", 100)]
        )
        self.call("csi.v1.Identity/Probe", csi.ProbeRequest(), csi.ProbeResponse, wait=True)

    def call(self, method: str, request: Any, response: Any, *, wait: bool = False) -> Any:
        """One gRPC call, as kubelet makes it."""
        assert self._channel is not None
        call = self._channel.unary_unary(
            f"/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request, timeout=15, wait_for_ready=wait)

    def register(self, refusal: str = "") -> registration.PluginInfo:
        """Registration, as kubelet's plugin watcher does it."""
        info = self.call(
            "pluginregistration.Registration/GetInfo", registration.InfoRequest(), registration.PluginInfo
        )
        self.call(
            "pluginregistration.Registration/NotifyRegistrationStatus",
            registration.RegistrationStatus(plugin_registered=not refusal, error=refusal),
            registration.RegistrationStatusResponse,
        )
        assert isinstance(info, registration.PluginInfo)
        return info

    def inside(self, path: Path) -> Path:
        """The path as seen from here, outside the node's namespace."""
        return Path(f"/proc/{self._space.pid}/root{path}")

    def target(self, uid: str, role: str) -> Path:
        """Where kubelet wants the volume."""
        return self.kubelet / "pods" / uid / "volumes" / "kubernetes.io~csi" / f"lighthouse-{role}" / "mount"

    def publish(self, uid: str, role: str, *, name: str = "", **context: str) -> None:
        """NodePublishVolume with what kubelet sends for an inline volume."""
        target = self.target(uid, name or role)
        target.parent.mkdir(parents=True, exist_ok=True)
        attributes = {
            "csi.storage.k8s.io/ephemeral": "true",
            "csi.storage.k8s.io/pod.uid": uid,
            "csi.storage.k8s.io/pod.name": "agent",
            "csi.storage.k8s.io/pod.namespace": "agents",
            "role": role,
            **context,
        }
        self.call(
            "csi.v1.Node/NodePublishVolume",
            csi.NodePublishVolumeRequest(
                volume_id=f"csi-{uid}-{name or role}",
                target_path=str(target),
                volume_capability=csi.VolumeCapability(mount=csi.VolumeCapability.MountVolume()),
                volume_context=attributes,
            ),
            csi.NodePublishVolumeResponse,
        )

    def unpublish(self, uid: str, role: str) -> None:
        """NodeUnpublishVolume."""
        self.call(
            "csi.v1.Node/NodeUnpublishVolume",
            csi.NodeUnpublishVolumeRequest(
                volume_id=f"csi-{uid}-{role}", target_path=str(self.target(uid, role))
            ),
            csi.NodeUnpublishVolumeResponse,
        )

    def metrics(self) -> str:
        """The driver's metrics."""
        return HTTP.request("GET", f"http://127.0.0.1:{self.metrics_port}/metrics").data.decode()

    def close(self) -> None:
        """End driver and namespace; the mounts go with it."""
        if self._channel is not None:
            self._channel.close()
        if self.driver is not None:
            self.driver.end()
        self._space.end()


class Pod:
    """An agent pod: both volumes, the sidecar as the restricted user, and a container that sees the mount."""

    def __init__(self, node: Node, bridge_url: str, key: Path, **settings: str) -> None:
        self.node = node
        self.uid = secrets.token_hex(8)
        self.folder = node.folder / f"pod-{self.uid}"
        self.cache = self.folder / "cache"
        self.cache.mkdir(parents=True)
        os.chown(self.cache, USER, USER)
        self.key = self.folder / "key"
        shutil.copy(key, self.key)
        self.key.chmod(0o444)
        self.port = free_port()
        self._env = {
            "LIGHTHOUSE_BRIDGE_URL": bridge_url,
            "LIGHTHOUSE_AGENT_ID": f"agent-{self.uid}",
            "LIGHTHOUSE_KEY_FILE": str(self.key),
            "LIGHTHOUSE_CONTROL_DIR": str(self.folder / "control"),
            "LIGHTHOUSE_CACHE_DIR": str(self.cache),
            "LIGHTHOUSE_FUSE_PORT": str(self.port),
            **settings,
        }
        node.publish(self.uid, "control")
        node.publish(self.uid, "data")
        (self.folder / "control").symlink_to(node.target(self.uid, "control"))
        self.sidecar: Program | None = None
        self._container: Program | None = None

    def start_sidecar(self) -> None:
        """Start the sidecar as its container would run it: no root, no capability, no way to gain any."""
        self.sidecar = Program(
            self.node.enter(
                [
                    *(
                        "setpriv",
                        f"--reuid={USER}",
                        f"--regid={USER}",
                        "--clear-groups",
                        "--no-new-privs",
                        "--pdeathsig=KILL",
                    ),
                    *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"),
                    *(str(self.node.venv / "bin" / "python"), "-m", "lighthouse_fuse_csi", "sidecar"),
                ]
            ),
            environment("fuse-csi", self._env),
            self.folder / "sidecar.log",
        )

    def start(self, seconds: float = 20) -> Pod:
        """Start the sidecar, wait for its startup probe, then start the container."""
        self.start_sidecar()
        self.wait_ready(seconds)
        self.start_container()
        return self

    def wait_ready(self, seconds: float = 20) -> None:
        """The startup probe."""
        eventually(lambda: self.get("/ready")[0] == 200, seconds, "the sidecar is ready")

    def start_container(self) -> None:
        """A container with the data volume at /mnt, HostToContainer."""
        script = 'mount --rbind "$1" /mnt && exec sleep inf'
        self._container = Program(
            self.node.enter(
                [
                    "unshare",
                    "-m",
                    "--propagation",
                    "slave",
                    "sh",
                    "-c",
                    script,
                    "sh",
                    str(self.node.target(self.uid, "data")),
                ]
            ),
            {"PATH": os.environ["PATH"]},
            self.folder / "container.log",
        )
        path = Path(f"/proc/{self._container.pid}/mountinfo")
        eventually(lambda: " /mnt " in path.read_text(), what="the agent container")

    def get(self, path: str) -> tuple[int, str]:
        """GET of the sidecar's own HTTP server."""
        response = HTTP.request("GET", f"http://127.0.0.1:{self.port}{path}", timeout=2)
        return response.status, response.data.decode()

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{"))
        )

    @property
    def project(self) -> Path:
        """The mount as the container sees it."""
        assert self._container is not None
        return Path(f"/proc/{self._container.pid}/root/mnt/project")

    def enter(self, arguments: list[str]) -> list[str]:
        """The command line that runs a program in the container's namespace as root."""
        assert self._container is not None
        return ["nsenter", f"--mount=/proc/{self._container.pid}/ns/mnt", *arguments]

    def in_container(self, arguments: list[str]) -> list[str]:
        """The command line that runs a program in the container, as an ordinary user."""
        return self.enter(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", *arguments])

    def run(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the container."""
        return subprocess.run(
            self.in_container(list(arguments)), capture_output=True, timeout=seconds, check=False
        )

    def daemon(self) -> int:
        """The process number of the daemon, the sidecar's child."""
        assert self.sidecar is not None
        text = Path(f"/proc/{self.sidecar.pid}/task/{self.sidecar.pid}/children").read_text()
        return int(text.split()[0])

    def close(self) -> None:
        """End the pod as kubelet does: processes first, then the volumes."""
        for program in (self._container, self.sidecar):
            if program is not None:
                program.end()
        with contextlib.suppress(grpc.RpcError):
            self.node.unpublish(self.uid, "data")
            self.node.unpublish(self.uid, "control")
