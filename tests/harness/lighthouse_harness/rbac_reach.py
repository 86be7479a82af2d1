"""What the RBAC of a render gives away: powers, rights for everyone, and bindings that give nothing.

Each check raises EmptySelectionError where it finds nothing to examine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import Finding, Object, Render, Verdict, verdict
from .rbac import ANONYMOUS, AUTHENTICATED, RBAC_GROUP, UNAUTHENTICATED, Access, Subject
from .rbac_powers import POWERS, WILDCARD, Power, Reach, reaches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REACH = "rbac/reach"
BINDINGS = "rbac/bindings"
EVERYONE = "rbac/everyone"
MASTERS = "system:masters"
_BROAD = frozenset({AUTHENTICATED, UNAUTHENTICATED, ANONYMOUS, MASTERS, "system:serviceaccounts"})
_POWERS = {power.name: power for power in POWERS}
_AGGREGATES = {
    "rbac.authorization.k8s.io/aggregate-to-view": "view",
    "rbac.authorization.k8s.io/aggregate-to-edit": "edit",
    "rbac.authorization.k8s.io/aggregate-to-admin": "admin",
}


def rbac_reach(render: Render, builtin: Iterable[Object] = ()) -> Verdict:
    """Whether no subject gets a power: each `rbac/<power>` finding names the rule, the subject and the way out.

    Rights for named objects only are no finding, unless the names are of roles or accounts with powers.
    Give the cluster's own roles in `builtin`, so that bindings to `admin` and the like are judged.
    `examined` counts the rules that are granted.
    """
    own = tuple(render.objects)
    access = Access((*own, *_holders(own)), builtin)
    found = reaches(access)
    findings = [_finding(access, reach, found) for reach in found if _counts(access, reach, found)]
    findings += _everyone(access)
    return verdict(REACH, access.grants, findings)


def _holders(objects: Iterable[Object]) -> Iterator[Object]:
    """Bindings for whoever holds `view`, `edit` or `admin`, whose rights a labelled ClusterRole widens."""
    for item in objects:
        if item.kind != "ClusterRole" or item.group != RBAC_GROUP:
            continue
        for label, role in _AGGREGATES.items():
            if item.labels.get(label) == "true":
                document = {
                    "apiVersion": f"{RBAC_GROUP}/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": f"aggregate-to-{role}"},
                    "roleRef": {"kind": "ClusterRole", "name": item.name},
                    "subjects": [{"kind": "Group", "name": f"whoever holds {role}"}],
                }
                yield Object(document, "", item.source)


def _counts(access: Access, reach: Reach, found: tuple[Reach, ...]) -> bool:
    if not reach.names or reach.power == "impersonate":
        return True
    if reach.power in ("bind", "escalate"):
        return any(_is_powerful_role(access, name) for name in reach.names)
    if reach.power == "tokens":
        return any(
            other.subject.kind == "ServiceAccount"
            and other.subject.name in reach.names
            and other.subject != reach.subject
            and reach.grant.namespace in ("", other.subject.namespace)
            for other in found
        )
    return False


def _is_powerful_role(access: Access, name: str) -> bool:
    """Whether a role of that name gives a power; one that is not known is taken to."""
    roles = [role for (_, _, known), role in access.roles.items() if known == name]
    for role in roles:
        binding = Object(
            {
                "apiVersion": f"{RBAC_GROUP}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"kind": role.kind, "name": name},
                "subjects": [{"kind": "Group", "name": "anyone"}],
            },
            role.namespace,
        )
        if reaches(Access([*access.roles.values(), binding])):
            return True
    return not roles


def _finding(access: Access, reach: Reach, found: tuple[Reach, ...]) -> Finding:
    power: Power | None = _POWERS.get(reach.power)
    leads_to = power.leads_to if power else "whatever these come to hold"
    instead = power.instead if power else "name the verbs, groups and resources it needs"
    borrowed = _borrowed(reach, found) if reach.power in ("run-pods", "tokens") else ""
    binding = reach.grant.binding
    return Finding(
        check=f"rbac/{reach.power}",
        object=reach.grant.placed.role.ref,
        path=reach.grant.placed.path,
        observed=f"{reach.subject} may {reach.what}",
        fix=f"{instead}: it allows {leads_to}{borrowed} (through {binding.ref})",
    )


def _borrowed(reach: Reach, found: tuple[Reach, ...]) -> str:
    """The powers of other ServiceAccounts that can be taken on where the power holds."""
    others = {
        f"{other.subject} ({other.power})"
        for other in found
        if other.subject.kind == "ServiceAccount"
        and other.subject != reach.subject
        and reach.grant.namespace in ("", other.subject.namespace)
    }
    return f", among them {', '.join(sorted(others))}" if others else ""


def _everyone(access: Access) -> Iterator[Finding]:
    for binding in access.bindings:
        for index, entry in enumerate(binding.at("subjects") or ()):
            if entry.get("name") in _BROAD and entry.get("kind") in ("Group", "User"):
                yield Finding(
                    EVERYONE,
                    binding.ref,
                    f"subjects[{index}]",
                    f"{entry['kind']} {entry['name']}",
                    "bind the subjects that need it",
                )


def rbac_bindings(render: Render, builtin: Iterable[Object] = ()) -> Verdict:
    """Whether every binding has a role and subjects that exist, and every rule can match a request."""
    access = Access(render.objects, builtin)
    own = [item for item in render.objects if item.group == RBAC_GROUP]
    accounts = {(item.namespace, item.name) for item in render.select("ServiceAccount", may_be_empty=True)}
    namespaces = {namespace for namespace, _ in accounts}
    findings: list[Finding] = []
    for binding in access.bindings:
        if access.role_of(binding) is None:
            shown = binding.at("roleRef.kind"), binding.at("roleRef.name")
            fix = "render that role or name one that exists"
            findings.append(Finding(BINDINGS, binding.ref, "roleRef", "/".join(map(str, shown)), fix))
        findings += _lost_subjects(binding, accounts, namespaces)
    for role in own:
        if role.kind in ("Role", "ClusterRole"):
            findings += _idle_rules(access, role)
    return verdict(BINDINGS, own, findings)


def _lost_subjects(
    binding: Object, accounts: set[tuple[str, str]], namespaces: set[str]
) -> Iterator[Finding]:
    for index, entry in enumerate(binding.at("subjects") or ()):
        if entry.get("kind") != "ServiceAccount":
            continue
        namespace, name = str(entry.get("namespace") or binding.namespace), str(entry.get("name"))
        if not namespace:
            fix = "give the ServiceAccount's namespace"
            yield Finding(BINDINGS, binding.ref, f"subjects[{index}].namespace", None, fix)
        elif namespace in namespaces and (namespace, name) not in accounts:
            fix = "render that ServiceAccount or name one that exists"
            yield Finding(BINDINGS, binding.ref, f"subjects[{index}]", f"{namespace}/{name}", fix)


def _idle_rules(access: Access, role: Object) -> Iterator[Finding]:
    for placed in access.rules_of(role):
        rule = placed.rule
        if placed.role is not role:
            continue
        has_subresource = any("/" in resource for resource in rule.resources)
        is_nameless = bool(rule.verbs) and rule.verbs <= {"create", "deletecollection"}
        if rule.names and is_nameless and not has_subresource:
            fix = "drop resourceNames: such a request has no name, so that the rule never matches"
            yield Finding(BINDINGS, role.ref, f"{placed.path}.resourceNames", tuple(sorted(rule.names)), fix)
        if rule.urls and role.kind == "Role":
            fix = "put it into a ClusterRole that a ClusterRoleBinding binds: a Role never reaches a URL"
            yield Finding(BINDINGS, role.ref, f"{placed.path}.nonResourceURLs", rule.urls, fix)


def powers_of(render: Render, builtin: Iterable[Object] = ()) -> dict[Subject, tuple[str, ...]]:
    """Each bound subject with the names of its powers, named objects included; a table for people."""
    access = Access(render.objects, builtin)
    found = reaches(access)
    return {
        subject: tuple(sorted({reach.power for reach in found if reach.subject == subject}))
        for subject in access.subjects
    }


__all__ = ["BINDINGS", "EVERYONE", "REACH", "WILDCARD", "powers_of", "rbac_bindings", "rbac_reach"]
