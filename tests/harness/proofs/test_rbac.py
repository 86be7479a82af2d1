"""RBAC: requests and powers by hand-written cases, the built-in roles, and every finding with its way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lighthouse_harness.manifests import read_objects
from lighthouse_harness.model import EmptySelectionError, Object, Render, Request, Verdict, make_object
from lighthouse_harness.rbac import Access, Subject, parse_subject
from lighthouse_harness.rbac_builtin import builtin_roles
from lighthouse_harness.rbac_powers import reaches
from lighthouse_harness.rbac_reach import powers_of, rbac_bindings, rbac_reach

CASES = yaml.safe_load(Path(__file__).with_name("test_rbac_cases.yaml").read_text(encoding="utf-8"))
GROUP = "rbac.authorization.k8s.io"
KINDS = {"sa": "ServiceAccount", "user": "User", "group": "Group"}
REQUEST = re.compile(
    r"(?P<who>\S+) (?P<verb>\S+) (?P<what>\S+)(?: in (?P<namespace>\S+))?(?: named (?P<name>\S+))?"
)


def entry(text: str) -> dict[str, str]:
    kind, _, name = text.partition(":")
    namespace, slash, own_name = name.rpartition("/")
    found = {"kind": KINDS[kind], "name": own_name if slash else name}
    return found | ({"namespace": namespace} if slash else {})


def subject(text: str) -> Subject:
    found = parse_subject(entry(text))
    assert found is not None
    return found


def role(name: str, content: Any) -> Object:
    namespace, _, own_name = name.rpartition("/")
    given = {"rules": content} if isinstance(content, list) else content
    document: dict[str, Any] = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": {"name": own_name, "labels": given.get("labels", {})},
        "rules": given.get("rules", []),
    }
    if "aggregate" in given:
        selectors = [{"matchLabels": labels} for labels in given["aggregate"]]
        document["aggregationRule"] = {"clusterRoleSelectors": selectors}
    return make_object(document, namespace)


def binding(number: int, given: dict[str, Any]) -> Object:
    namespace, _, name = given["role"].rpartition("/")
    document = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "RoleBinding" if "in" in given else "ClusterRoleBinding",
        "metadata": {"name": f"binding-{number}"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role" if namespace else "ClusterRole", "name": name},
        "subjects": [entry(text) for text in given["to"]],
    }
    return make_object(document, given.get("in", ""))


def access(case: dict[str, Any]) -> Access:
    roles = [role(name, content) for name, content in case["roles"].items()]
    return Access([*roles, *(binding(number, given) for number, given in enumerate(case["bind"]))])


def is_allowed(rights: Access, text: str) -> bool:
    request = REQUEST.fullmatch(text)
    assert request is not None, text
    who, verb, what = subject(request["who"]), request["verb"], request["what"]
    if what.startswith("/"):
        return rights.allows_url(who, verb, what)
    group, _, combined = what.rpartition(":")
    resource, _, subresource = combined.partition("/")
    return rights.allows(
        who,
        verb,
        resource,
        group=group,
        namespace=request["namespace"] or "",
        name=request["name"] or "",
        subresource=subresource,
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_requests_and_powers_are_as_written(case: dict[str, Any]) -> None:
    rights = access(case)
    assert case.get("can") or case.get("cannot") or case.get("powers")
    assert [text for text in case.get("can", []) if not is_allowed(rights, text)] == []
    assert [text for text in case.get("cannot", []) if is_allowed(rights, text)] == []
    if "powers" in case:
        found: dict[str, set[str]] = {}
        for reach in reaches(rights):
            place = f" in {reach.grant.namespace}" if reach.grant.namespace else ""
            names = f" named {', '.join(sorted(reach.names))}" if reach.names else ""
            found.setdefault(str(reach.subject), set()).add(f"{reach.power}{place}{names}")
        assert found == {str(subject(who)): set(powers) for who, powers in case["powers"].items()}


def test_there_are_at_least_thirty_cases_each_with_its_own_name() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) >= 30


def test_who_can_lists_every_subject_with_the_right() -> None:
    case = next(case for case in CASES if case["name"] == "rights of several bindings add up")
    assert access(case).who_can("list", "pods", namespace="other") == (
        Subject("ServiceAccount", "ops", "app"),
        Subject("User", "alice"),
    )
    assert access(case).who_can("delete", "pods", namespace="other") == ()


def render(text: str) -> Render:
    return Render(Request(Path("chart")), read_objects(text, "app"))


def said(verdict: Verdict) -> list[str]:
    return [str(finding) for finding in verdict.findings]


OPERATOR = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: operator, namespace: app}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator, namespace: app}
rules:
  - {verbs: [get, create], apiGroups: [""], resources: [configmaps]}
  - {verbs: [get], apiGroups: [""], resources: [secrets], resourceNames: [tls]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator, namespace: app}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects: [{kind: ServiceAccount, name: operator}]
---
"""


def changed(old: str, new: str) -> Render:
    assert old in OPERATOR
    return render(OPERATOR.replace(old, new))


def test_rights_to_named_secrets_only_pass() -> None:
    verdict = rbac_reach(render(OPERATOR))
    assert verdict.ok
    assert verdict.examined == 2


def test_no_rbac_does_not_pass() -> None:
    for check in (rbac_reach, rbac_bindings):
        with pytest.raises(EmptySelectionError):
            check(render(""))


def test_reading_all_secrets_is_found_with_rule_subject_binding_and_way_out() -> None:
    (line,) = said(rbac_reach(changed(", resourceNames: [tls]", "")))
    assert line == (
        "rbac/read-secrets: Role/app/operator rules[1] is "
        "'ServiceAccount app/operator may get secrets in the namespace app'; "
        "name the secrets in resourceNames with the verb get, in a Role: it allows reading every secret there "
        "(through RoleBinding/app/operator)"
    )


def test_running_pods_names_the_accounts_that_can_be_taken_on() -> None:
    runner = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: runner, namespace: app}
rules: [{verbs: [create], apiGroups: [batch], resources: [jobs]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: runner, namespace: app}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: runner}
subjects: [{kind: ServiceAccount, name: runner}]
---
"""
    powerful = OPERATOR.replace(", resourceNames: [tls]", "")
    found = {finding.check: finding for finding in rbac_reach(render(powerful + runner)).findings}
    assert (
        "ServiceAccount app/runner may create jobs.batch in the namespace app"
        in found["rbac/run-pods"].observed
    )
    assert "among them ServiceAccount app/operator (read-secrets)" in found["rbac/run-pods"].fix


@pytest.mark.parametrize(
    ("names", "is_found"), [("[harmless]", False), ("[cluster-admin]", True), ("[unheard-of]", True)]
)
def test_binding_named_roles_is_found_only_if_they_give_powers(names: str, is_found: bool) -> None:
    rule = f"{{verbs: [bind], apiGroups: [{GROUP}], resources: [clusterroles], resourceNames: {names}}}"
    harmless = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: harmless}
rules: [{verbs: [get], apiGroups: [""], resources: [pods]}]
---
"""
    text = OPERATOR.replace('{verbs: [get, create], apiGroups: [""], resources: [configmaps]}', rule)
    verdict = rbac_reach(render(text + harmless), builtin_roles("v1.37.2"))
    assert ["rbac/bind"] * is_found == [finding.check for finding in verdict.findings]


def test_a_named_token_is_found_only_if_its_account_has_powers() -> None:
    minter = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: minter, namespace: app}
rules: [{verbs: [create], apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [operator]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: minter, namespace: app}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: minter}
subjects: [{kind: ServiceAccount, name: minter}]
---
"""
    harmless = OPERATOR.replace("- {verbs: [get], apiGroups", "- {verbs: [update], apiGroups")
    assert not rbac_reach(render(harmless + minter)).findings
    powerful = OPERATOR.replace(", resourceNames: [tls]", "")
    checks = [finding.check for finding in rbac_reach(render(powerful + minter)).findings]
    assert checks == ["rbac/read-secrets", "rbac/tokens"]


def test_rights_for_everyone_are_found() -> None:
    anyone = changed("{kind: ServiceAccount, name: operator}", "{kind: Group, name: 'system:authenticated'}")
    (line,) = said(rbac_reach(anyone))
    assert "RoleBinding/app/operator subjects[0] is 'Group system:authenticated'" in line


def test_a_role_that_widens_view_gives_its_rights_to_whoever_holds_view() -> None:
    widening = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: extra, labels: {rbac.authorization.k8s.io/aggregate-to-view: "true"}}
rules: [{verbs: [list], apiGroups: [""], resources: [secrets]}]
---
"""
    (line,) = said(rbac_reach(render(widening)))
    assert "Group whoever holds view may list secrets everywhere" in line


@pytest.mark.parametrize(
    ("name", "powers"),
    [
        ("cluster-admin", ("wildcard",)),
        ("admin", ("exec", "impersonate", "read-secrets", "run-pods", "tokens")),
        ("edit", ("exec", "impersonate", "read-secrets", "run-pods", "tokens")),
        ("view", ()),
        ("system:auth-delegator", ()),
    ],
)
def test_a_binding_to_a_role_of_the_cluster_gives_what_kubernetes_says(
    name: str, powers: tuple[str, ...]
) -> None:
    bound = changed("kind: Role, name: operator", f"kind: ClusterRole, name: '{name}'")
    found = powers_of(bound, builtin_roles("v1.37.2"))
    assert found == {Subject("ServiceAccount", "operator", "app"): powers}
    assert rbac_bindings(bound, builtin_roles("v1.37.2")).ok


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kind: Role, name: operator}",
            "kind: Role, name: gone}",
            "roleRef is 'Role/gone'; render that role",
        ),
        (
            "subjects: [{kind: ServiceAccount, name: operator}",
            "subjects: [{kind: ServiceAccount, name: gone}",
            "subjects[0] is 'app/gone'; render that ServiceAccount",
        ),
        ("{verbs: [get], ", "{verbs: [create], ", "rules[1].resourceNames is ['tls']; drop resourceNames"),
        (
            '{verbs: [get, create], apiGroups: [""], resources: [configmaps]}',
            "{verbs: [get], nonResourceURLs: [/metrics]}",
            "rules[0].nonResourceURLs is ['/metrics']; put it into a ClusterRole",
        ),
    ],
)
def test_a_binding_or_rule_that_gives_nothing_is_found(old: str, new: str, message: str) -> None:
    assert rbac_bindings(render(OPERATOR)).ok
    (line,) = said(rbac_bindings(changed(old, new)))
    assert message in line


def test_a_cluster_wide_subject_without_namespace_is_found() -> None:
    text = OPERATOR.replace(
        "kind: RoleBinding\nmetadata: {name: operator, namespace: app}",
        "kind: ClusterRoleBinding\nmetadata: {name: operator}",
    )
    lines = said(
        rbac_bindings(
            render(
                text.replace(
                    "kind: Role\nmetadata: {name: operator, namespace: app}",
                    "kind: ClusterRole\nmetadata: {name: operator}",
                ).replace("kind: Role,", "kind: ClusterRole,")
            )
        )
    )
    assert lines == [
        "rbac/bindings: ClusterRoleBinding/operator subjects[0].namespace is None; "
        "give the ServiceAccount's namespace"
    ]
