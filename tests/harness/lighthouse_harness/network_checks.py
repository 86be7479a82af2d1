"""Connections that other objects promise, held against the matrix: scrapes, routes and webhooks.

Each check takes a render and its environment (by default `default_environment`) and returns a verdict whose
`examined` counts the promises found. Where there are none it raises EmptySelectionError.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from .model import EMPTY, EmptySelectionError, Finding, Object, Render, Verdict, verdict
from .network_endpoints import Endpoint, EndpointKind, Service
from .network_environment import Environment, default_environment
from .network_flows import matching
from .network_selectors import parse_selector
from .reachability import Network, network_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRAPES = "network/scrapes"
ROUTES = "network/routes"
WEBHOOKS = "network/webhooks"

MONITORING_GROUP = "monitoring.coreos.com"
GATEWAY_GROUP = "gateway.networking.k8s.io"
ROUTE_KINDS = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")


@dataclass(frozen=True)
class Site:
    """A render with its environment and the network they form."""

    render: Render
    environment: Environment

    @cached_property
    def network(self) -> Network:
        """The network of everything."""
        return network_of(self.render.objects, self.environment)

    @property
    def owned(self) -> tuple[Endpoint, ...]:
        """The render's own pods."""
        return tuple(endpoint for endpoint in self.network.endpoints if endpoint.owned)

    def senders(self, pattern: str) -> tuple[Endpoint, ...]:
        """The environment's endpoints of that pattern; raises EmptySelectionError when there is none."""
        found = matching(self.network.endpoints, [pattern])
        if not found:
            raise EmptySelectionError(f"The environment has no endpoint {pattern!r}; add it or name another.")
        return found


@lru_cache(maxsize=16)
def _plain_site(render: Render) -> Site:
    return Site(render, default_environment())


def site(render: Render, environment: Environment | None = None) -> Site:
    """Make the site of a render; with the default environment it is made once."""
    return _plain_site(render) if environment is None else Site(render, environment)


@dataclass(frozen=True, slots=True)
class _Promise:
    """That `senders` (a pattern) reach a port, as some field of an object says."""

    check: str
    object: Object
    path: str
    senders: str


def _reach(
    place: Site, promise: _Promise, targets: list[tuple[Endpoint, int]], protocol: str
) -> Iterator[Finding]:
    for sender in place.senders(promise.senders):
        for target, number in targets:
            if place.network.allows(sender.name, target.name, number, protocol):
                continue
            decisions = place.network.explain(sender.name, target.name, number, protocol)
            denied = "; ".join(str(decision) for decision in decisions if not decision.allowed)
            observed = f"{sender} -> {target} {number}/{protocol} denied"
            yield Finding(promise.check, promise.object.ref, promise.path, observed, f"admit it: {denied}")


def _wrong(promise: _Promise, observed: Any, fix: str) -> Finding:
    return Finding(promise.check, promise.object.ref, promise.path, observed, fix)


def _reach_service(
    place: Site, promise: _Promise, service: Service, port: int | str, target: int | str | None = None
) -> Iterator[Finding]:
    """Follow a Service to its pods; `target` replaces the Service's own target port."""
    found = service.port(port)
    if found is None and target is None:
        known = ", ".join(f"{own.number} {own.name}".strip() for own in service.ports) or "none"
        yield _wrong(promise, port, f"name a port of {service.object.ref}: {known}")
        return
    pods = service.pods(place.network.endpoints)
    if service.selector and not pods:
        labels = ",".join(f"{key}={value}" for key, value in service.selector.items())
        yield _wrong(promise, service.object.ref, f"give its selector {labels} pods to choose")
    protocol = found.protocol if found else "TCP"
    wanted = target if target is not None else (found.target if found else port)
    targets = [(pod, number) for pod in pods for number in pod.resolve(wanted, protocol)]
    for pod in pods:
        if not pod.resolve(wanted, protocol):
            yield _wrong(promise, wanted, f"declare a port of that name on {pod}")
    yield from _reach(place, promise, targets, protocol)


def scrapes(render: Render, environment: Environment | None = None) -> Verdict:
    """Whether Prometheus reaches the port of every ServiceMonitor and PodMonitor, and that port exists."""
    place = site(render, environment)
    findings: list[Finding] = []
    examined = 0
    for monitor in render.select("ServiceMonitor", "PodMonitor", may_be_empty=True):
        if monitor.group != MONITORING_GROUP:
            continue
        is_pods = monitor.kind == "PodMonitor"
        field = "podMetricsEndpoints" if is_pods else "endpoints"
        entries = monitor.at(f"spec.{field}") or ()
        examined += max(len(entries), 1)
        if not entries:
            findings.append(
                Finding(SCRAPES, monitor.ref, f"spec.{field}", entries, "give it an endpoint to scrape")
            )
        for index, entry in enumerate(entries):
            promise = _Promise(SCRAPES, monitor, f"spec.{field}[{index}]", place.environment.prometheus)
            check = _pod_scrape if is_pods else _service_scrape
            findings += check(place, promise, entry)
    return verdict(SCRAPES, range(examined), findings)


def _monitored(monitor: Object, namespace: str) -> bool:
    chosen = monitor.at("spec.namespaceSelector") or EMPTY
    names = chosen.get("matchNames") or (monitor.namespace,)
    return bool(chosen.get("any")) or namespace in names


def _service_scrape(place: Site, promise: _Promise, entry: Any) -> Iterator[Finding]:
    monitor = promise.object
    selector = parse_selector(monitor.at("spec.selector") or None, f"{monitor.ref}: spec.selector")
    services = [
        service
        for service in place.network.services
        if _monitored(monitor, service.object.namespace) and selector.matches(service.object.labels)
    ]
    if not services:
        yield Finding(
            SCRAPES, monitor.ref, "spec.selector", str(selector), "no Service has these labels; correct it"
        )
    port, target = entry.get("port"), entry.get("targetPort")
    if port is None and target is None:
        yield _wrong(promise, port, "name a port of the Service")
        return
    for service in services:
        yield from _reach_service(place, promise, service, port or "", None if port else target)


def _pod_scrape(place: Site, promise: _Promise, entry: Any) -> Iterator[Finding]:
    monitor = promise.object
    selector = parse_selector(monitor.at("spec.selector") or None, f"{monitor.ref}: spec.selector")
    pods = [
        endpoint
        for endpoint in place.network.endpoints
        if endpoint.kind is EndpointKind.POD
        and _monitored(monitor, endpoint.namespace)
        and selector.matches(endpoint.labels)
    ]
    if not pods:
        yield Finding(
            SCRAPES, monitor.ref, "spec.selector", str(selector), "no pod has these labels; correct it"
        )
    port = next(
        (entry[name] for name in ("port", "portNumber", "targetPort") if entry.get(name) is not None), ""
    )
    for pod in pods:
        numbers = pod.resolve(port)
        if not numbers:
            yield _wrong(
                promise, port, f"name a port that {pod} declares: {', '.join(map(str, pod.ports)) or 'none'}"
            )
        yield from _reach(place, promise, [(pod, number) for number in numbers], "TCP")


def routes(render: Render, environment: Environment | None = None) -> Verdict:
    """Whether every backend of an Ingress or route exists and the ingress controller reaches it."""
    place = site(render, environment)
    findings: list[Finding] = []
    backends = [
        (item, *backend)
        for item in render.objects
        for backend in (_ingress_backends(item) if item.kind == "Ingress" else _route_backends(item))
    ]
    for item, path, namespace, name, port in backends:
        promise = _Promise(ROUTES, item, path, place.environment.ingress_controller)
        service = place.network.service(namespace, name)
        if namespace != item.namespace and not _is_granted(render, item, namespace):
            findings.append(_wrong(promise, namespace, f"allow it by a ReferenceGrant in {namespace}"))
        if service is None:
            findings.append(
                _wrong(promise, f"{namespace}/{name}", "render that Service or name one that exists")
            )
        else:
            findings += _reach_service(place, promise, service, port)
    return verdict(ROUTES, backends, findings)


def _ingress_backends(item: Object) -> Iterator[tuple[str, str, str, int | str]]:
    """Yield path, namespace, Service and port of each backend that is a Service."""
    spec = item.document.get("spec") or EMPTY
    places = [("spec.defaultBackend", spec.get("defaultBackend"))]
    for number, rule in enumerate(spec.get("rules") or ()):
        for index, entry in enumerate((rule.get("http") or EMPTY).get("paths") or ()):
            places.append((f"spec.rules[{number}].http.paths[{index}].backend", entry.get("backend")))
    for path, backend in places:
        service = (backend or EMPTY).get("service")
        if service:
            port = service.get("port") or EMPTY
            yield path, item.namespace, str(service.get("name")), port.get("number") or port.get("name") or ""


def _route_backends(item: Object) -> Iterator[tuple[str, str, str, int | str]]:
    if item.kind not in ROUTE_KINDS or item.group != GATEWAY_GROUP:
        return
    for number, rule in enumerate(item.at("spec.rules") or ()):
        places = [
            (f"spec.rules[{number}].backendRefs[{index}]", backend)
            for index, backend in enumerate(rule.get("backendRefs") or ())
        ]
        places += [
            (
                f"spec.rules[{number}].filters[{index}].requestMirror.backendRef",
                mirror["requestMirror"]["backendRef"],
            )
            for index, mirror in enumerate(rule.get("filters") or ())
            if mirror.get("requestMirror")
        ]
        for path, backend in places:
            if backend.get("kind", "Service") == "Service" and not backend.get("group"):
                yield (
                    path,
                    backend.get("namespace") or item.namespace,
                    backend["name"],
                    backend.get("port") or "",
                )


def _is_granted(render: Render, route: Object, namespace: str) -> bool:
    wanted = {"group": GATEWAY_GROUP, "kind": route.kind, "namespace": route.namespace}
    return any(
        any(
            all(source.get(key) == value for key, value in wanted.items())
            for source in grant.at("spec.from") or ()
        )
        and any(target.get("kind") == "Service" for target in grant.at("spec.to") or ())
        for grant in render.select("ReferenceGrant", namespace=namespace, may_be_empty=True)
    )


def webhooks(render: Render, environment: Environment | None = None) -> Verdict:
    """Whether the API server reaches every admission webhook, conversion webhook and aggregated API."""
    place = site(render, environment)
    findings: list[Finding] = []
    examined = 0
    rendered = {endpoint.namespace for endpoint in place.owned}
    for item in render.objects:
        for path, reference in _called_services(item):
            promise = _Promise(WEBHOOKS, item, path, place.environment.api_server)
            namespace, name = str(reference.get("namespace")), str(reference.get("name"))
            service = place.network.service(namespace, name)
            if service is None and namespace not in rendered:
                continue  # served by something that is not part of this render
            examined += 1
            if service is None:
                findings.append(
                    _wrong(promise, f"{namespace}/{name}", "render that Service or name one that exists")
                )
            else:
                findings += _reach_service(place, promise, service, int(reference.get("port") or 443))
    return verdict(WEBHOOKS, range(examined), findings)


def _called_services(item: Object) -> Iterator[tuple[str, Any]]:
    """Yield path and reference of each Service that the API server calls for this object."""
    paths = {
        "APIService": ["spec.service"],
        "CustomResourceDefinition": ["spec.conversion.webhook.clientConfig.service"],
    }.get(item.kind, [])
    if item.kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        count = len(item.document.get("webhooks") or ())
        paths = [f"webhooks[{index}].clientConfig.service" for index in range(count)]
    for path in paths:
        if reference := item.at(path):
            yield path, reference
