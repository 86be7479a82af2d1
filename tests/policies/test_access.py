"""What people and programs may do, asked of a real API server: roles for people, and accounts that may do nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci.chart.site import OPERATED
from lighthouse_harness.manifests import merge
from lighthouse_harness.model import Request
from tests.chart.conftest import WHOLE
from tests.policies.servers import server_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lighthouse_harness.api_server import ApiServer
    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer

pytestmark = pytest.mark.heavy

CHART = Path(__file__).resolve().parents[2] / "charts" / "lighthouse"
SPACES = ("lighthouse", "lighthouse-agents", "lighthouse-fuse-csi")
ROLES = ("viewer", "operator", "auditor")
RIGHTS = "rbac.authorization.k8s.io"
Question = tuple[str, str, str]
"""Verb, API group, resource with its subresource."""

EVERYBODY_MAY: tuple[Question, ...] = (
    ("list", "", "pods"), ("watch", "", "events"), ("get", "", "services"), ("list", "apps", "deployments"),
    ("get", "apps", "statefulsets"), ("list", "networking.k8s.io", "networkpolicies"),
    ("list", "cert-manager.io", "certificates"), ("get", "postgresql.cnpg.io", "clusters"),
    ("list", "policy", "poddisruptionbudgets"), ("list", "metrics.k8s.io", "pods"),
)  # fmt: skip
ONLY: dict[Question, set[str]] = {
    ("get", "", "pods/log"): {"operator", "auditor"},
    ("delete", "", "pods"): {"operator"},
    ("create", "", "pods/eviction"): {"operator"},
    ("patch", "apps", "deployments/scale"): {"operator"},
    ("update", "apps", "statefulsets/scale"): {"operator"},
    ("create", "postgresql.cnpg.io", "backups"): {"operator"},
    ("list", RIGHTS, "roles"): {"auditor"},
    ("list", RIGHTS, "rolebindings"): {"auditor"},
    ("list", "", "serviceaccounts"): {"auditor"},
}
NOBODY_MAY: tuple[Question, ...] = (
    ("get", "", "secrets"), ("list", "", "secrets"), ("watch", "", "secrets"), ("create", "", "secrets"),
    ("get", "", "configmaps"), ("update", "", "configmaps"),
    ("create", "", "pods"), ("patch", "", "pods"), ("create", "", "pods/exec"), ("get", "", "pods/exec"),
    ("create", "", "pods/attach"), ("create", "", "pods/portforward"), ("patch", "", "pods/ephemeralcontainers"), ("get", "", "pods/proxy"),
    ("get", "", "services/proxy"), ("create", "", "serviceaccounts/token"), ("impersonate", "", "users"),
    ("create", "apps", "deployments"), ("patch", "apps", "deployments"), ("patch", "apps", "statefulsets"),
    ("patch", "apps", "daemonsets"), ("delete", "apps", "statefulsets"), ("create", "batch", "jobs"),
    ("delete", "", "persistentvolumeclaims"), ("delete", "networking.k8s.io", "networkpolicies"),
    ("patch", "networking.k8s.io", "networkpolicies"), ("create", RIGHTS, "roles"),
    ("create", RIGHTS, "rolebindings"), ("escalate", RIGHTS, "roles"), ("bind", RIGHTS, "clusterroles"),
    ("patch", "postgresql.cnpg.io", "clusters"), ("delete", "postgresql.cnpg.io", "clusters"),
    ("create", "cert-manager.io", "certificates"), ("delete", "", "events"), ("patch", "", "namespaces"),
    ("delete", "admissionregistration.k8s.io", "validatingadmissionpolicies"), ("get", "", "nodes/proxy"),
)  # fmt: skip


EVERYTHING = merge(
    WHOLE,
    {
        "bridge": {"database": {"host": "postgres.data", "existingSecret": "a", "existingTlsSecret": "b"}},
        "access": {f"{role}s": [{"kind": "Group", "name": f"people-{role}"}] for role in ROLES},
    },
)
"""Every component is installed, PostgreSQL, Redis and the Job that migrates among them, and each role has somebody."""
ACCOUNTS = {
    ("lighthouse", "lighthouse-bridge"),
    ("lighthouse", "lighthouse-migration"),
    ("lighthouse", "lighthouse-redis"),
    ("lighthouse", "lighthouse-postgres"),
    ("lighthouse", "lighthouse-postgres-pooler"),
    ("lighthouse", "default"),
    ("lighthouse-agents", "lighthouse-agents"),
    ("lighthouse-fuse-csi", "lighthouse-fuse-csi"),
}


def _person(role: str) -> dict[str, str]:
    return {"kind": "Group", "name": f"people-{role}"}


@pytest.fixture(scope="module", name="render")
def _render(renderer: Renderer) -> Render:
    request = Request(
        CHART,
        release="lighthouse",
        namespace="lighthouse",
        overrides=EVERYTHING,
        api_versions=OPERATED,
        upgrade=True,
    )
    return renderer.render(request)


@pytest.fixture(scope="module", name="server")
def _server(render: Render) -> Iterator[ApiServer]:
    """An API server with the chart's namespaces and everything of the chart that gives rights."""
    rights = [item for item in render.objects if item.group == RIGHTS]
    with server_with(("lighthouse",), [*render.select("Namespace"), *rights]) as server:
        yield server


def _may(server: ApiServer, who: dict[str, Any], space: str, question: Question) -> bool:
    verb, group, name = question
    resource, _, subresource = name.partition("/")
    asked = {
        "namespace": space,
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {**who, "resourceAttributes": asked},
    }
    answer = server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    assert answer.accepted, answer.message
    return bool(json.loads(answer.message)["status"]["allowed"])


def _questions() -> dict[Question, set[str]]:
    """Every question, and the roles to which the answer is yes."""
    everybody = {question: set(ROLES) for question in EVERYBODY_MAY}
    return everybody | ONLY | {question: set() for question in NOBODY_MAY}


@pytest.mark.proves(26, level="accepted")
@pytest.mark.parametrize("role", ROLES)
def test_a_person_may_do_what_the_role_says_and_nothing_else(role: str, server: ApiServer) -> None:
    who = {"user": "somebody", "groups": [_person(role)["name"], "system:authenticated"]}
    wrong = [
        f"{role} may{'' if allowed else ' not'} {' '.join(question)} in {space or 'the cluster'}"
        for question, roles in _questions().items()
        for space, expected in [
            *((space, role in roles) for space in SPACES),
            ("elsewhere", False),
            ("", False),
        ]
        if (allowed := _may(server, who, space, question)) is not expected
    ]
    assert wrong == []


def _accounts(render: Render) -> set[tuple[str, str]]:
    """Namespace and name of every account that a pod runs under, those that CloudNativePG makes among them."""
    made = {(item.namespace, item.name) for item in render.objects if item.kind in {"Cluster", "Pooler"}}
    declared = {(item.namespace, item.name) for item in render.select("ServiceAccount")}
    return made | declared | {(pod.namespace, str(pod.spec["serviceAccountName"])) for pod in render.pods}


@pytest.mark.proves(26, level="accepted")
def test_the_accounts_of_components_may_do_nothing(render: Render, server: ApiServer) -> None:
    """By what the chart gives; what CloudNativePG gives to the accounts that it makes is its own."""
    accounts = _accounts(render)
    assert accounts == ACCOUNTS
    allowed = []
    for namespace, account in sorted(accounts):
        name = f"system:serviceaccount:{namespace}:{account}"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        allowed += [
            f"{name} may {' '.join(question)} in {space or 'the cluster'}"
            for question in _questions()
            for space in (*SPACES, "kube-system", "")
            if _may(server, {"user": name, "groups": groups}, space, question)
        ]
    assert allowed == []


@pytest.mark.proves(26, level="rendered")
def test_no_pod_mounts_a_token_of_the_api_server(render: Render) -> None:
    assert {pod.namespace for pod in render.pods} == set(SPACES)
    assert [
        pod.object.ref for pod in render.pods if pod.spec.get("automountServiceAccountToken") is not False
    ] == []


def test_nobody_is_bound_unless_values_name_somebody(renderer: Renderer) -> None:
    render = renderer.render(Request(CHART, release="lighthouse", namespace="lighthouse"))
    assert len(render.select("ClusterRole")) == len(ROLES)
    assert [item.ref for item in render.objects if item.kind.endswith("RoleBinding")] == []
