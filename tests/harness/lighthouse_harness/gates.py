"""The gates that hold for any chart: each a name, what it asks, and the evaluator that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .disruption import autoscalers, disruption_budgets, topology
from .duplicates import duplicate_keys, duplicate_objects
from .images import image_tags
from .network_checks import routes, scrapes, webhooks
from .network_rules import dns, isolation, rules
from .pod_security import Level, pod_security
from .ports import probe_ports, probes, services
from .rbac_builtin import builtin_roles
from .rbac_reach import rbac_bindings, rbac_reach
from .resources import bounded_volumes, quality, resources
from .schemas import Catalog, pins, schemas
from .secrets import secret_leaks
from .security_contexts import security_contexts, service_accounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from .findings import Verdict
    from .model import Object, Render
    from .network_environment import Environment


@dataclass(frozen=True, slots=True)
class Settings:
    """What a gate may depend on besides the render."""

    level: Level = Level.RESTRICTED
    namespaces: tuple[tuple[str, Level], ...] = ()
    catalog: Catalog | None = None
    operators: tuple[str, ...] = ("cnpg.io/cluster", "cnpg.io/poolerName")
    """Label keys of pods that operators make; Services and budgets that select by them are not judged."""
    digests: bool = False
    environment: Environment | None = None
    """What lies around the chart in its cluster; a plain cluster unless given."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One question put to a render."""

    name: str
    question: str
    judge: Callable[[Render, Settings], Verdict]
    optional: bool = False
    """Its subject may be absent from a chart: then the gate is skipped, and says so."""


def _version(render: Render) -> str:
    return ".".join(render.request.kubernetes.split(".")[:2])


def _roles(render: Render) -> tuple[Object, ...]:
    return builtin_roles(pins()["kubernetes"][_version(render)])


GATES: Final = (
    Gate("schema", "Does every object fit its schema?", lambda r, s: schemas(r, s.catalog)),
    Gate("duplicate-objects", "Is every object rendered once?", lambda r, _: duplicate_objects(r)),
    Gate(
        "duplicate-keys",
        "Would server-side apply take every list?",
        lambda r, s: duplicate_keys(r, s.catalog),
    ),
    Gate(
        "pod-security",
        "Does every pod meet the PodSecurity level of its namespace?",
        lambda r, s: pod_security(r, s.level, _version(r), dict(s.namespaces)),
        optional=True,
    ),
    Gate(
        "security-context",
        "Is every container locked down?",
        lambda r, _: security_contexts(r),
        optional=True,
    ),
    Gate(
        "service-account",
        "Has each pod only the token it needs?",
        lambda r, _: service_accounts(r),
        optional=True,
    ),
    Gate("resources", "Has every container requests and limits?", lambda r, _: resources(r), optional=True),
    Gate("bounded-volumes", "Has every emptyDir a limit?", lambda r, _: bounded_volumes(r), optional=True),
    Gate("quality-of-service", "Is no pod BestEffort?", lambda r, _: quality(r), optional=True),
    Gate("secrets", "Does no secret stand where anyone may read it?", lambda r, _: secret_leaks(r)),
    Gate("images", "Is every image fixed?", lambda r, s: image_tags(r, s.digests), optional=True),
    Gate("probes", "Is every serving container probed?", lambda r, _: probes(r), optional=True),
    Gate("probe-ports", "Do probes go to declared ports?", lambda r, _: probe_ports(r), optional=True),
    Gate(
        "services",
        "Do Services lead to pods and ports?",
        lambda r, s: services(r, s.operators),
        optional=True,
    ),
    Gate(
        "disruption",
        "Can nodes be drained, and not all replicas at once?",
        lambda r, s: disruption_budgets(r, s.operators),
        optional=True,
    ),
    Gate("autoscalers", "Do autoscalers own what they scale?", lambda r, _: autoscalers(r), optional=True),
    Gate("topology", "Are replicas spread?", lambda r, _: topology(r), optional=True),
    Gate(
        "isolation",
        "Is every pod isolated by NetworkPolicies, both ways?",
        lambda r, s: isolation(r, s.environment),
        optional=True,
    ),
    Gate(
        "network-rules",
        "Does every NetworkPolicy select and admit somebody?",
        lambda r, s: rules(r, s.environment),
        optional=True,
    ),
    Gate(
        "scrapes",
        "Does Prometheus reach what it scrapes?",
        lambda r, s: scrapes(r, s.environment),
        optional=True,
    ),
    Gate("routes", "Do routes reach their backends?", lambda r, s: routes(r, s.environment), optional=True),
    Gate(
        "webhooks",
        "Does the API server reach the webhooks?",
        lambda r, s: webhooks(r, s.environment),
        optional=True,
    ),
    Gate("dns", "Can every client resolve names?", lambda r, s: dns(r, s.environment), optional=True),
    Gate(
        "rbac",
        "Does RBAC give no power beyond need?",
        lambda r, _: rbac_reach(r, _roles(r)),
        optional=True,
    ),
    Gate(
        "rbac-bindings",
        "Do bindings and rules mean something?",
        lambda r, _: rbac_bindings(r, _roles(r)),
        optional=True,
    ),
)
"""Every gate, in the order of reports."""
