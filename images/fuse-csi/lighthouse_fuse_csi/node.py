"""The gRPC services of the driver: CSI Identity and Node, and kubelet's plugin registration."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.wrappers_pb2 import BoolValue

from lighthouse_fuse_csi import VERSION
from lighthouse_fuse_csi.pods import ConflictError
from lighthouse_fuse_csi.stubs import csi_pb2 as csi
from lighthouse_fuse_csi.stubs import registration_pb2 as registration
from lighthouse_fuse_csi.volumes import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from lighthouse_fuse_csi.driver_metrics import DriverMetrics
    from lighthouse_fuse_csi.pods import Pods
    from lighthouse_fuse_csi.settings import DriverSettings

_log = structlog.get_logger()
_POD = "csi.storage.k8s.io/"


class CallError(Exception):
    """The call is refused with this gRPC code."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Services:
    """What kubelet may call."""

    def __init__(self, settings: DriverSettings, pods: Pods, metrics: DriverMetrics) -> None:
        self._settings = settings
        self._pods = pods
        self._metrics = metrics
        self.refused = ""

    def handlers(self) -> list[Any]:
        """The handlers of all three services, for grpc.Server.add_generic_rpc_handlers."""
        return [
            self._service(
                "csi.v1.Identity",
                {
                    self.get_plugin_info: (csi.GetPluginInfoRequest, "GetPluginInfo"),
                    self.get_plugin_capabilities: (csi.GetPluginCapabilitiesRequest, "GetPluginCapabilities"),
                    self.probe: (csi.ProbeRequest, "Probe"),
                },
            ),
            self._service(
                "csi.v1.Node",
                {
                    self.node_get_info: (csi.NodeGetInfoRequest, "NodeGetInfo"),
                    self.node_get_capabilities: (csi.NodeGetCapabilitiesRequest, "NodeGetCapabilities"),
                    self.node_publish_volume: (csi.NodePublishVolumeRequest, "NodePublishVolume"),
                    self.node_unpublish_volume: (csi.NodeUnpublishVolumeRequest, "NodeUnpublishVolume"),
                },
            ),
            self._service(
                "pluginregistration.Registration",
                {
                    self.get_info: (registration.InfoRequest, "GetInfo"),
                    self.notify: (registration.RegistrationStatus, "NotifyRegistrationStatus"),
                },
            ),
        ]

    def _service(self, name: str, methods: dict[Callable[[Any], Any], tuple[Any, str]]) -> Any:
        return grpc.method_handlers_generic_handler(
            name,
            {
                method: grpc.unary_unary_rpc_method_handler(
                    self._measured(function, method),
                    request_deserializer=request.FromString,
                    response_serializer=lambda response: response.SerializeToString(),
                )
                for function, (request, method) in methods.items()
            },
        )

    def _measured(self, function: Callable[[Any], Any], method: str) -> Callable[[Any, Any], Any]:
        def call(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            code, message, response = grpc.StatusCode.OK, "", None
            try:
                response = function(request)
            except CallError as error:
                code, message = error.code, str(error)
            except ConflictError as error:
                code, message = grpc.StatusCode.ALREADY_EXISTS, str(error)
            except OSError as error:
                code, message = grpc.StatusCode.INTERNAL, str(error)
            self._metrics.duration.labels(method).observe(time.perf_counter() - started)
            self._metrics.operations.labels(method, code.name).inc()
            if code is not grpc.StatusCode.OK:
                _log.warning("call refused", method=method, code=code.name, reason=message)
                context.abort(code, message)
            return response

        return call

    def get_info(self, _: registration.InfoRequest) -> registration.PluginInfo:
        """Tell kubelet what this is; the empty endpoint says that CSI is served on the same socket."""
        return registration.PluginInfo(
            type="CSIPlugin", name=self._settings.name, endpoint="", supported_versions=["1.0.0"]
        )

    def notify(self, status: registration.RegistrationStatus) -> registration.RegistrationStatusResponse:
        """Hear whether kubelet took us; when not, the process ends with the reason."""
        if status.plugin_registered:
            _log.info("registered with kubelet")
        else:
            self.refused = status.error or "no reason given"
        return registration.RegistrationStatusResponse()

    def get_plugin_info(self, _: csi.GetPluginInfoRequest) -> csi.GetPluginInfoResponse:
        """Name and version."""
        return csi.GetPluginInfoResponse(name=self._settings.name, vendor_version=VERSION)

    def get_plugin_capabilities(
        self, _: csi.GetPluginCapabilitiesRequest
    ) -> csi.GetPluginCapabilitiesResponse:
        """None: there is no controller."""
        return csi.GetPluginCapabilitiesResponse()

    def probe(self, _: csi.ProbeRequest) -> csi.ProbeResponse:
        """Ready as soon as it answers."""
        return csi.ProbeResponse(ready=BoolValue(value=True))

    def node_get_info(self, _: csi.NodeGetInfoRequest) -> csi.NodeGetInfoResponse:
        """The node's name."""
        return csi.NodeGetInfoResponse(node_id=self._settings.node)

    def node_get_capabilities(self, _: csi.NodeGetCapabilitiesRequest) -> csi.NodeGetCapabilitiesResponse:
        """None: nothing is staged, expanded or measured."""
        return csi.NodeGetCapabilitiesResponse()

    def node_publish_volume(self, request: csi.NodePublishVolumeRequest) -> csi.NodePublishVolumeResponse:
        """Make the volume; raises CallError, ConflictError, OSError."""
        self._pods.publish(self._volume(request))
        return csi.NodePublishVolumeResponse()

    def node_unpublish_volume(
        self, request: csi.NodeUnpublishVolumeRequest
    ) -> csi.NodeUnpublishVolumeResponse:
        """Take the volume away; raises CallError, OSError."""
        if not request.volume_id or not request.target_path:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, "volume_id and target_path are needed.")
        self._target(request.target_path)
        self._pods.unpublish(request.volume_id)
        return csi.NodeUnpublishVolumeResponse()

    def _target(self, text: str) -> Path:
        """The target path, which must lie in kubelet's folder: the driver is root and mounts nowhere else."""
        path = Path(os.path.normpath(text))
        if str(path) != text.rstrip("/") or not path.is_relative_to(self._settings.kubelet):
            raise CallError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"target_path {text!r} is not below {self._settings.kubelet}; set KUBELET_DIR to kubelet's folder.",
            )
        return path

    def _volume(self, request: csi.NodePublishVolumeRequest) -> Volume:
        context = request.volume_context
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        if not request.volume_id or not request.target_path:
            raise CallError(invalid, "volume_id and target_path are needed.")
        if not request.HasField("volume_capability") or request.volume_capability.HasField("block"):
            raise CallError(invalid, "volume_capability must be a mount; block volumes are not offered.")
        if context.get(_POD + "ephemeral") != "true":
            raise CallError(
                invalid,
                "Only inline ephemeral volumes are offered; declare the volume in the pod as csi, not by claim.",
            )
        uid = context.get(_POD + "pod.uid", "")
        if not uid or "/" in uid or uid.startswith("."):
            raise CallError(
                invalid, f"Pod UID {uid!r} is unusable; set podInfoOnMount: true in the CSIDriver."
            )
        role = context.get("role", "")
        if role not in ("control", "data"):
            raise CallError(invalid, f"Volume attribute role is {role!r}; set it to control or data.")
        return Volume(
            volume_id=request.volume_id,
            role="control" if role == "control" else "data",
            target=self._target(request.target_path),
            pod_uid=uid,
            pod_namespace=context.get(_POD + "pod.namespace", ""),
            pod_name=context.get(_POD + "pod.name", ""),
        )
