"""Ports that name each other: probes and container ports, Services and the pods behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .documents import EMPTY, MISSING
from .findings import EmptySelectionError, Finding, Verdict, verdict
from .model import Container, ContainerRole, Object, PodTemplate, Render

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS: Final = ("httpGet", "tcpSocket", "grpc")
_SERVING: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})


def _handler(probe: Any) -> tuple[str, Any] | None:
    for name in _HANDLERS:
        if isinstance(probe, Mapping) and probe.get(name):
            return name, probe[name]
    return None


def _port_problem(item: Container, port: Any) -> str:
    numbers = {int(entry.get("containerPort") or 0) for entry in item.ports}
    names = {str(entry["name"]) for entry in item.ports if entry.get("name")}
    if isinstance(port, str) and not port.isdigit():
        return "" if port in names else f"name one of the container's ports: {sorted(names) or 'it has none'}"
    return "" if int(port) in numbers else f"use a declared containerPort: {sorted(numbers) or 'it has none'}"


def probe_ports(render: Render) -> Verdict:
    """Whether every probe and every HTTP or TCP lifecycle hook goes to a port that its container declares."""
    probes, found = [], []
    for item in render.containers():
        for name in (*PROBES, "lifecycle.postStart", "lifecycle.preStop"):
            handler = _handler(item.at(name))
            if handler is None:
                continue
            probes.append(name)
            place, port = f"{item.path}.{name}.{handler[0]}.port", handler[1].get("port", MISSING)
            problem = "name a port" if port is MISSING else _port_problem(item, port)
            if problem:
                found.append(Finding("probe/port", item.pod.object.ref, place, port, problem))
    return verdict("probe/port", probes, found)


def _answers(item: Container, probe: str) -> tuple[str, str, str] | None:
    handler = _handler(item.at(probe))
    if handler is None:
        return None
    return (
        handler[0],
        str(handler[1].get("port")),
        str(handler[1].get("path") or handler[1].get("service") or ""),
    )


def probes(render: Render) -> Verdict:
    """Whether each container that serves a port is probed for liveness and readiness, differently."""
    serving = [
        item
        for item in render.containers()
        if item.pod.object.kind in _SERVING
        and item.role in (ContainerRole.MAIN, ContainerRole.SIDECAR)
        and item.ports
    ]
    found = []
    for item in serving:
        for name in ("livenessProbe", "readinessProbe"):
            if not item.at(name):
                fix = "add one: without it Kubernetes cannot tell that the container is stuck or not ready"
                found.append(
                    Finding("probe/present", item.pod.object.ref, f"{item.path}.{name}", MISSING, fix)
                )
        live, ready = _answers(item, "livenessProbe"), _answers(item, "readinessProbe")
        if live is not None and live == ready and live[0] == "httpGet":
            fix = "give liveness a question of its own: a lost dependency must not restart the pod"
            place = f"{item.path}.livenessProbe.httpGet.path"
            found.append(Finding("probe/separate", item.pod.object.ref, place, live[2], fix))
    return verdict("probe", serving, found)


def selected_pods(render: Render, service: Object) -> tuple[PodTemplate, ...]:
    """The pod templates behind a Service; none for a Service without selector."""
    selector = service.at("spec.selector") or EMPTY
    if not selector:
        return ()
    return tuple(
        pod
        for pod in render.pods
        if pod.namespace == service.namespace and selector.items() <= pod.labels.items()
    )


def _declared(pod: PodTemplate, port: Any) -> bool:
    entries = [entry for item in pod.containers for entry in item.ports]
    if isinstance(port, str) and not port.isdigit():
        return any(entry.get("name") == port for entry in entries)
    return any(entry.get("containerPort") == int(port) for entry in entries)


def _service_problems(render: Render, service: Object) -> Iterator[Finding]:
    pods = selected_pods(render, service)
    if not pods:
        fix = "make it match the labels of a pod template in the same namespace"
        yield Finding("service/selector", service.ref, "spec.selector", service.at("spec.selector"), fix)
    for index, entry in enumerate(service.at("spec.ports") or ()):
        target = entry.get("targetPort", entry.get("port"))
        place = f"spec.ports[{index}].targetPort"
        for pod in pods:
            if not _declared(pod, target):
                fix = f"use a port that {pod.object.ref} declares"
                yield Finding("service/port", service.ref, place, target, fix)


def services(render: Render, operators: tuple[str, ...] = ()) -> Verdict:
    """Whether every Service with a selector has pods in the render, and they declare its target ports.

    `operators` are label keys by which an operator's pods are selected (such as `cnpg.io/cluster`): those
    pods are in no render, so Services that select by them are left out.
    """
    judged = [
        service
        for service in render.select("Service", may_be_empty=True)
        if service.at("spec.selector") and not set(service.at("spec.selector")) & set(operators)
    ]
    if not judged:
        raise EmptySelectionError("service: the render has no Service with a selector to examine.")
    return verdict(
        "service", judged, (finding for item in judged for finding in _service_problems(render, item))
    )
