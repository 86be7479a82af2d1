"""Who may do what: RBAC manifests read as grants and judged as the API server's authorizer does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .model import EMPTY
from .network_selectors import parse_selector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .model import Object

RBAC_GROUP = "rbac.authorization.k8s.io"
EVERYTHING = "*"
_ACCOUNT_USER = "system:serviceaccount:"
_ACCOUNTS_GROUP = "system:serviceaccounts"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = "system:anonymous"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """A ServiceAccount (with namespace), User or Group."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def identities(self) -> frozenset[Subject]:
        """The subject with every group that its members have by themselves."""
        if self.kind == "ServiceAccount":
            groups = [_ACCOUNTS_GROUP, f"{_ACCOUNTS_GROUP}:{self.namespace}", AUTHENTICATED]
        elif self.kind == "User":
            groups = [UNAUTHENTICATED if self.name == ANONYMOUS else AUTHENTICATED]
        elif self.name == UNAUTHENTICATED:
            groups = []
        elif self.name.startswith(f"{_ACCOUNTS_GROUP}:"):
            groups = [_ACCOUNTS_GROUP, AUTHENTICATED]
        else:
            groups = [AUTHENTICATED]
        return frozenset({self, *(Subject("Group", group) for group in groups)})


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule of a role."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    urls: tuple[str, ...] = ()

    def covers(self, verb: str, group: str, resource: str, subresource: str = "") -> bool:
        """Say whether the rule allows the verb on some object of that resource."""
        combined = f"{resource}/{subresource}" if subresource else resource
        resource_fits = not self.resources.isdisjoint({EVERYTHING, combined}) or (
            bool(subresource) and f"*/{subresource}" in self.resources
        )
        return (
            resource_fits
            and not self.verbs.isdisjoint({EVERYTHING, verb})
            and not self.groups.isdisjoint({EVERYTHING, group})
        )

    def names_fit(self, name: str) -> bool:
        """Say whether the rule reaches the object of that name; requests without a name have an empty one."""
        return not self.names or name in self.names

    def covers_url(self, verb: str, url: str) -> bool:
        """Say whether the rule allows the verb on a path that is no resource."""
        return not self.verbs.isdisjoint({EVERYTHING, verb}) and any(
            known in (EVERYTHING, url) or (known.endswith("*") and url.startswith(known.rstrip("*")))
            for known in self.urls
        )

    @property
    def is_everything(self) -> bool:
        """It allows any verb on any resource."""
        return (
            all(EVERYTHING in part for part in (self.verbs, self.groups, self.resources)) and not self.names
        )


@dataclass(frozen=True, slots=True)
class PlacedRule:
    """A rule and where it is written; an aggregated role has the rules of others."""

    rule: PolicyRule
    role: Object
    path: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A rule that a binding gives to a subject; an empty namespace means everywhere."""

    subject: Subject
    namespace: str
    placed: PlacedRule
    binding: Object

    @property
    def rule(self) -> PolicyRule:
        """The rule itself."""
        return self.placed.rule

    @property
    def scope(self) -> str:
        """Where it holds, in words."""
        return f"in the namespace {self.namespace}" if self.namespace else "everywhere"


class Access:
    """The rights that a set of RBAC objects gives."""

    def __init__(self, objects: Iterable[Object], builtin: Iterable[Object] = ()) -> None:
        """Resolve roles and bindings; `builtin` has the roles that every cluster has."""
        own = [item for item in objects if item.group == RBAC_GROUP]
        known = [*(item for item in builtin if item.group == RBAC_GROUP), *own]
        self.roles = {
            (item.kind, item.namespace, item.name): item
            for item in known
            if item.kind in ("Role", "ClusterRole")
        }
        self.bindings = [item for item in own if item.kind in ("RoleBinding", "ClusterRoleBinding")]
        self.grants = tuple(grant for binding in self.bindings for grant in self._grants(binding))

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Everyone whom a binding names."""
        return tuple(sorted({grant.subject for grant in self.grants}))

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        """What the subject has, by itself or through its groups."""
        identities = subject.identities()
        return tuple(grant for grant in self.grants if grant.subject in identities)

    def allows(
        self,
        subject: Subject,
        verb: str,
        resource: str,
        *,
        group: str = "",
        namespace: str = "",
        name: str = "",
        subresource: str = "",
    ) -> bool:
        """Say whether the request is allowed; an empty namespace asks for all of them, or a cluster's object."""
        return any(
            grant.rule.covers(verb, group, resource, subresource) and grant.rule.names_fit(name)
            for grant in self.grants_of(subject)
            if grant.namespace in ("", namespace)
        )

    def allows_url(self, subject: Subject, verb: str, url: str) -> bool:
        """Say whether a path such as `/metrics` may be asked for; only cluster-wide bindings count."""
        return any(
            grant.rule.covers_url(verb, url) for grant in self.grants_of(subject) if not grant.namespace
        )

    def who_can(
        self,
        verb: str,
        resource: str,
        *,
        group: str = "",
        namespace: str = "",
        name: str = "",
        subresource: str = "",
    ) -> tuple[Subject, ...]:
        """The bound subjects to whom the request is allowed."""
        return tuple(
            subject
            for subject in self.subjects
            if self.allows(
                subject, verb, resource, group=group, namespace=namespace, name=name, subresource=subresource
            )
        )

    def role_of(self, binding: Object) -> Object | None:
        """The role that a binding refers to, if it is known."""
        reference = binding.at("roleRef") or EMPTY
        kind = str(reference.get("kind"))
        namespace = binding.namespace if kind == "Role" else ""
        return self.roles.get((kind, namespace, str(reference.get("name"))))

    def rules_of(self, role: Object) -> tuple[PlacedRule, ...]:
        """The rules of a role; an aggregated ClusterRole has those of the ClusterRoles it selects."""
        return tuple(self._rules(role, frozenset()))

    def _rules(self, role: Object, seen: frozenset[str]) -> Iterator[PlacedRule]:
        aggregation = role.at("aggregationRule")
        if not aggregation:
            for index, rule in enumerate(role.at("rules") or ()):
                yield PlacedRule(parse_rule(rule), role, f"rules[{index}]")
            return
        selectors = [
            parse_selector(selector, f"{role.ref}: aggregationRule")
            for selector in aggregation.get("clusterRoleSelectors") or ()
        ]
        for other in self.roles.values():
            chosen = other.kind == "ClusterRole" and any(
                selector.matches(other.labels) for selector in selectors
            )
            if chosen and other.name not in seen | {role.name}:
                yield from self._rules(other, seen | {role.name})

    def _grants(self, binding: Object) -> Iterator[Grant]:
        role = self.role_of(binding)
        if role is None:
            return
        rules = self.rules_of(role)
        for entry in binding.at("subjects") or ():
            if subject := parse_subject(entry, binding.namespace):
                for placed in rules:
                    yield Grant(subject, binding.namespace, placed, binding)


def parse_rule(rule: Mapping[str, Any]) -> PolicyRule:
    """Read a `PolicyRule`."""
    return PolicyRule(
        verbs=frozenset(rule.get("verbs") or ()),
        groups=frozenset(rule.get("apiGroups") or ()),
        resources=frozenset(rule.get("resources") or ()),
        names=frozenset(rule.get("resourceNames") or ()),
        urls=tuple(rule.get("nonResourceURLs") or ()),
    )


def parse_subject(entry: Mapping[str, Any], namespace: str = "") -> Subject | None:
    """Read a binding's subject; a ServiceAccount without namespace is of the binding's own.

    None for a ServiceAccount without any namespace, which the authorizer never matches.
    """
    kind, name = str(entry.get("kind")), str(entry.get("name"))
    if kind == "User" and name.startswith(_ACCOUNT_USER):
        owner, _, account = name.removeprefix(_ACCOUNT_USER).partition(":")
        return Subject("ServiceAccount", account, owner)
    if kind != "ServiceAccount":
        return Subject(kind, name)
    owner = str(entry.get("namespace") or namespace)
    return Subject(kind, name, owner) if owner else None
