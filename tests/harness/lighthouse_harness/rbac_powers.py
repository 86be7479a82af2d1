"""Rights that lead further than they look, and who has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .rbac import EVERYTHING, Access, Grant, PolicyRule, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch")
CHANGE = ("update", "patch")


@dataclass(frozen=True, slots=True)
class Target:
    """A resource of a group; an empty group is the core one."""

    resource: str
    group: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        name = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{name}.{self.group}" if self.group else name


@dataclass(frozen=True, slots=True)
class Power:
    """A dangerous right: verbs on targets, what it leads to, and how to do without."""

    name: str
    verbs: tuple[str, ...]
    targets: tuple[Target, ...]
    leads_to: str
    instead: str
    cluster_scoped: bool = False
    """Its targets belong to no namespace, so that a RoleBinding does not give it."""


RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
CERTIFICATES = "certificates.k8s.io"
ROLES = (Target("roles", RBAC), Target("clusterroles", RBAC))
POWERS = (
    Power(
        "read-secrets",
        READ,
        (Target("secrets"),),
        "reading every secret there",
        "name the secrets in resourceNames with the verb get, in a Role",
    ),
    Power(
        "escalate",
        ("escalate",),
        ROLES,
        "writing roles with any right",
        "leave out the verb escalate",
    ),
    Power(
        "bind",
        ("bind",),
        ROLES,
        "binding any role to itself",
        "name harmless roles in resourceNames",
    ),
    Power(
        "impersonate",
        ("impersonate",),
        (
            Target("users"),
            Target("groups"),
            Target("serviceaccounts"),
            Target("uids", "authentication.k8s.io"),
            Target("userextras", "authentication.k8s.io"),
        ),
        "acting as somebody else",
        "leave out the verb impersonate",
    ),
    Power(
        "run-pods",
        WRITE,
        (
            Target("pods"),
            Target("replicationcontrollers"),
            Target("deployments", "apps"),
            Target("daemonsets", "apps"),
            Target("statefulsets", "apps"),
            Target("replicasets", "apps"),
            Target("jobs", "batch"),
            Target("cronjobs", "batch"),
        ),
        "running pods with any ServiceAccount, secret and volume there",
        "let it run pods in a namespace of its own without other accounts",
    ),
    Power(
        "tokens",
        ("create",),
        (Target("serviceaccounts", subresource="token"),),
        "taking on any ServiceAccount there",
        "name the ServiceAccounts in resourceNames",
    ),
    Power(
        "exec",
        ("create", "get"),
        tuple(Target("pods", subresource=name) for name in ("exec", "attach", "portforward", "proxy")),
        "entering the pods there",
        "leave out the subresource",
    ),
    Power(
        "debug",
        CHANGE,
        (Target("pods", subresource="ephemeralcontainers"),),
        "adding a container to the pods there",
        "leave out the subresource",
    ),
    Power(
        "admission",
        (*WRITE, "delete", "deletecollection"),
        (
            Target("validatingwebhookconfigurations", ADMISSION),
            Target("mutatingwebhookconfigurations", ADMISSION),
            Target("validatingadmissionpolicies", ADMISSION),
            Target("validatingadmissionpolicybindings", ADMISSION),
            Target("mutatingadmissionpolicies", ADMISSION),
            Target("mutatingadmissionpolicybindings", ADMISSION),
        ),
        "reading and changing every request, or lifting policies",
        "name the configurations in resourceNames, without create",
        cluster_scoped=True,
    ),
    Power(
        "definitions",
        WRITE,
        (
            Target("customresourcedefinitions", "apiextensions.k8s.io"),
            Target("apiservices", "apiregistration.k8s.io"),
        ),
        "changing what the API is, and receiving its objects",
        "install definitions with the chart, not at run time",
        cluster_scoped=True,
    ),
    Power(
        "nodes",
        (*WRITE, "delete"),
        (Target("nodes"), Target("nodes", subresource="status"), Target("persistentvolumes")),
        "drawing pods to a node, or mounting a node's disk",
        "leave out the writing verbs",
        cluster_scoped=True,
    ),
    Power(
        "node-proxy",
        ("get", "create"),
        (Target("nodes", subresource="proxy"),),
        "running commands in every pod through kubelet",
        "use nodes/metrics and nodes/stats",
        cluster_scoped=True,
    ),
    Power(
        "certificates",
        ("approve", "sign", *CHANGE),
        (Target("certificatesigningrequests", CERTIFICATES, "approval"), Target("signers", CERTIFICATES)),
        "issuing itself a client certificate",
        "name the signers in resourceNames",
        cluster_scoped=True,
    ),
)
WILDCARD = "wildcard"


@dataclass(frozen=True, slots=True)
class Reach:
    """A power that a subject has, and the grant that gives it."""

    subject: Subject
    power: str
    grant: Grant
    verbs: tuple[str, ...]
    targets: tuple[str, ...]
    names: frozenset[str] = frozenset()
    """The only objects it holds for; empty means all."""

    @property
    def what(self) -> str:
        """The right in words."""
        names = f" named {', '.join(sorted(self.names))}" if self.names else ""
        return f"{', '.join(self.verbs)} {', '.join(self.targets)}{names} {self.grant.scope}"


def reaches(access: Access) -> tuple[Reach, ...]:
    """Every power that the bindings give, in the order of grants."""
    return tuple(reach for grant in access.grants for reach in _of_grant(grant))


def _of_grant(grant: Grant) -> Iterator[Reach]:
    rule = grant.rule
    parts = (rule.verbs, rule.groups, rule.resources)
    has_any_url = EVERYTHING in rule.urls and not grant.namespace
    if (rule.resources and any(EVERYTHING in part for part in parts)) or has_any_url:
        resources = sorted(rule.resources) or sorted(rule.urls)
        of = [f"of {', '.join(sorted(group or 'core' for group in rule.groups))}"] if rule.groups else []
        targets = (" ".join([", ".join(resources), *of]),)
        yield Reach(grant.subject, WILDCARD, grant, tuple(sorted(rule.verbs)), targets, rule.names)
    if rule.is_everything:
        return
    for power in POWERS:
        if not (power.cluster_scoped and grant.namespace) and (found := _matched(rule, power)):
            yield Reach(grant.subject, power.name, grant, *found, rule.names)


def _matched(rule: PolicyRule, power: Power) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    pairs = [
        (verb, target)
        for verb in power.verbs
        for target in power.targets
        if rule.covers(verb, target.group, target.resource, target.subresource)
        and not _never_matches(rule, verb, target)
    ]
    if not pairs:
        return None
    verbs = tuple(dict.fromkeys(verb for verb, _ in pairs))
    return verbs, tuple(dict.fromkeys(str(target) for _, target in pairs))


def _never_matches(rule: PolicyRule, verb: str, target: Target) -> bool:
    """A request that creates an object (not a subresource), or deletes many, has no name to compare."""
    return bool(rule.names) and not target.subresource and verb in ("create", "deletecollection")
