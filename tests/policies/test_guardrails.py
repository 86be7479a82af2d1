"""The admission policies on a real API server: what they refuse, what they let in, and what they say."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.editing import edited
from lighthouse_harness.model import MISSING, Request, make_object, thaw
from tests.policies.servers import server_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lighthouse_harness.api_server import ApiServer
    from lighthouse_harness.model import Object, Render
    from lighthouse_harness.render import Renderer

pytestmark = pytest.mark.heavy

CHART = Path(__file__).resolve().parents[2] / "charts" / "lighthouse"
SPACE = "lighthouse"
AGENTS = "lighthouse-agents"
DRIVER = "lighthouse-fuse-csi"
POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
START_SECONDS = 30
CONTAINER = "spec.containers[0]"
CONTEXT = f"{CONTAINER}.securityContext"
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SIDECAR = {
    "name": "helper",
    "image": "localhost/lighthouse/bridge:0.1.0",
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    "securityContext": CONFINED,
}
DIGEST = "sha256:" + "0" * 64

BAD_PODS: tuple[tuple[str, str, Any], ...] = (
    ("host-namespaces", "spec.hostNetwork", True),
    ("host-namespaces", "spec.hostPID", True),
    ("host-namespaces", "spec.hostIPC", True),
    ("volume-types", "spec.volumes[+]", {"name": "x", "hostPath": {"path": "/"}}),
    ("volume-types", "spec.volumes[+]", {"name": "x", "nfs": {"server": "192.0.2.1", "path": "/"}}),
    ("volume-types", "spec.volumes[+]", {"name": "x", "image": {"reference": "localhost/x:1"}}),
    ("csi-drivers", "spec.volumes[+]", {"name": "x", "csi": {"driver": "other.example.com"}}),
    ("host-ports", f"{CONTAINER}.ports", [{"containerPort": 80, "hostPort": 80}]),
    ("sysctls", "spec.securityContext.sysctls", [{"name": "kernel.shm_rmid_forced", "value": "1"}]),
    ("privilege-escalation", f"{CONTEXT}.allowPrivilegeEscalation", MISSING),
    ("privilege-escalation", f"{CONTEXT}.allowPrivilegeEscalation", True),
    ("capabilities", f"{CONTEXT}.capabilities", MISSING),
    ("capabilities", f"{CONTEXT}.capabilities.drop", ["NET_RAW"]),
    ("capabilities", f"{CONTEXT}.capabilities.add", ["NET_BIND_SERVICE"]),
    ("capabilities", f"{CONTEXT}.capabilities.add", ["SYS_ADMIN"]),
    ("root", f"{CONTEXT}.runAsNonRoot", False),
    ("root", f"{CONTEXT}.runAsUser", 0),
    ("root", "spec.securityContext.runAsUser", 0),
    ("seccomp", "spec.securityContext.seccompProfile", MISSING),
    ("seccomp", f"{CONTEXT}.seccompProfile", {"type": "Unconfined"}),
    ("kernel-isolation", f"{CONTEXT}.appArmorProfile", {"type": "Unconfined"}),
    ("kernel-isolation", "spec.securityContext.seLinuxOptions", {"type": "spc_t"}),
    ("kernel-isolation", f"{CONTEXT}.seLinuxOptions", {"user": "system_u"}),
    ("root-file-system", f"{CONTEXT}.readOnlyRootFilesystem", False),
    ("root-file-system", f"{CONTEXT}.readOnlyRootFilesystem", MISSING),
    ("limits", f"{CONTAINER}.resources.limits.memory", MISSING),
    ("limits", f"{CONTAINER}.resources.limits.cpu", MISSING),
    ("limits", f"{CONTAINER}.resources", {}),
    ("registries", f"{CONTAINER}.image", "lighthouse/bridge:0.1.0"),
    ("registries", f"{CONTAINER}.image", "busybox:1.36"),
    ("registries", f"{CONTAINER}.image", "registry.example.com/lighthouse/bridge:0.1.0"),
    ("registries", f"{CONTAINER}.image", f"localhost.example.com/bridge@{DIGEST}"),
    ("tags", f"{CONTAINER}.image", "localhost/lighthouse/bridge"),
    ("tags", f"{CONTAINER}.image", "localhost/lighthouse/bridge:latest"),
    ("capabilities", "spec.initContainers", [SIDECAR | {"securityContext": CONFINED | {"capabilities": {}}}]),
    ("registries", "spec.initContainers", [SIDECAR | {"image": "docker.io/library/busybox:1"}]),
    ("limits", "spec.initContainers", [SIDECAR | {"resources": {}}]),
    ("root-file-system", "spec.initContainers", [SIDECAR | {"securityContext": CONFINED | {"readOnlyRootFilesystem": False}}]),
)  # fmt: skip
GOOD_PODS: tuple[tuple[str, Any], ...] = (
    ("metadata.labels", {"anything": "else"}),
    ("spec.securityContext.runAsUser", 1000),
    (f"{CONTAINER}.image", f"localhost/lighthouse/bridge@{DIGEST}"),
    (f"{CONTAINER}.image", f"localhost/lighthouse/bridge:0.1.0@{DIGEST}"),
    ("spec.initContainers", [SIDECAR]),
    ("spec.initContainers", [SIDECAR | {"restartPolicy": "Always"}]),
    (f"{CONTEXT}.seccompProfile", {"type": "Localhost", "localhostProfile": "x.json"}),
    ("spec.volumes[+]", {"name": "x", "csi": {"driver": "fuse.csi.lighthouse.dev"}}),
    ("spec.hostUsers", False),
)


def _rights(kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}, **fields}


def _role(
    groups: list[str], resources: list[str], verbs: list[str], names: list[str] | None = None
) -> dict[str, Any]:
    rule = {"apiGroups": groups, "resources": resources, "verbs": verbs}
    return _rights("Role", rules=[rule | ({"resourceNames": names} if names else {})])


def _binding(kind: str, role: str, subject: dict[str, str]) -> dict[str, Any]:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    return _rights(kind, roleRef=ref, subjects=[subject])


def _account(namespace: str) -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": "x", "namespace": namespace}


def _group(name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}


def _service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x"},
        "spec": {"ports": [{"port": 80}], **spec},
    }


BAD_OBJECTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("wildcards", SPACE, _role(["*"], ["pods"], ["get"])),
    ("wildcards", AGENTS, _role([""], ["*"], ["get"])),
    ("wildcards", DRIVER, _role([""], ["pods"], ["*"])),
    ("escalation", SPACE, _role(["rbac.authorization.k8s.io"], ["roles"], ["escalate"])),
    ("escalation", SPACE, _role([""], ["serviceaccounts"], ["impersonate"])),
    ("into-pods", AGENTS, _role([""], ["pods/exec"], ["create"])),
    ("into-pods", SPACE, _role([""], ["serviceaccounts/token"], ["create"])),
    ("into-pods", SPACE, _role([""], ["pods/portforward"], ["create"])),
    ("secrets", SPACE, _role([""], ["secrets"], ["get"])),
    ("secrets", SPACE, _role([""], ["configmaps", "secrets"], ["list"])),
    ("broad-roles", SPACE, _binding("RoleBinding", "admin", _account(SPACE))),
    ("broad-roles", AGENTS, _binding("RoleBinding", "edit", _group("system:serviceaccounts:x"))),
    ("everybody", SPACE, _binding("RoleBinding", "view", _group("system:authenticated"))),
    ("accounts", "", _binding("ClusterRoleBinding", "view", _account(AGENTS))),
    ("accounts", "", _binding("ClusterRoleBinding", "cluster-admin", _account(SPACE))),
    ("accounts", "", _binding("ClusterRoleBinding", "view", _group(f"system:serviceaccounts:{DRIVER}"))),
    ("external-addresses", SPACE, _service(externalIPs=["192.0.2.1"])),
    ("external-names", AGENTS, _service(type="ExternalName", externalName="example.com")),
    ("exposed-agents", AGENTS, _service(type="NodePort")),
    ("exposed-agents", DRIVER, _service(type="LoadBalancer")),
)  # fmt: skip
GOOD_OBJECTS: tuple[tuple[str, dict[str, Any]], ...] = (
    (SPACE, _role([""], ["pods"], ["get"])),
    (SPACE, _role([""], ["secrets"], ["get", "watch"], ["one"])),
    (AGENTS, _binding("RoleBinding", "view", _group("people"))),
    (SPACE, _binding("RoleBinding", "admin", _group("platform"))),
    ("", _binding("ClusterRoleBinding", "view", _account("elsewhere"))),
    (SPACE, _service()),
    (SPACE, _service(type="LoadBalancer")),
    ("elsewhere", _role(["*"], ["*"], ["*"])),
    ("elsewhere", _service(externalIPs=["192.0.2.1"])),
)


@pytest.fixture(scope="module", name="render")
def _render(renderer: Renderer) -> Render:
    return renderer.render(Request(CHART, release=SPACE, namespace=SPACE))


@pytest.fixture(scope="module", name="server")
def _server(render: Render) -> Iterator[ApiServer]:
    """An API server with the chart's namespaces and policies, and without its quotas and defaults."""
    policies = [item for item in render.objects if item.kind in POLICIES]
    with server_with((SPACE, "elsewhere"), [*render.select("Namespace"), *policies]) as server:
        canary = make_object(_service(externalIPs=["192.0.2.1"]), SPACE)
        _eventually(lambda: not server.create(canary).accepted)
        yield server


def _eventually(check: Callable[[], bool]) -> None:
    """The API server hears of new policies, defaults and quotas a moment after it has stored them."""
    deadline = time.monotonic() + START_SECONDS
    while not check():
        assert time.monotonic() < deadline, f"not within {START_SECONDS} s"
        time.sleep(0.1)


def _pod(render: Render, ref: str) -> Object:
    template = render.find(ref).pod
    assert template is not None
    spec = thaw(template.spec) | {"serviceAccountName": "default"}
    metadata = {"name": "probe", "namespace": template.namespace, "labels": thaw(template.labels)}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return make_object(document, template.namespace)


@pytest.fixture(scope="module", name="sound")
def _sound(render: Render) -> Object:
    return _pod(render, "StatefulSet/lighthouse/lighthouse-bridge")


def _changed(item: Object, path: str, value: Any) -> Object:
    """The object with `value` at `path`, where [+] is the place after a list's last member."""
    holder, more, _ = path.partition("[+]")
    return edited(item, f"{holder}[{len(item.at(holder))}]" if more else path, value)


def _message(text: str) -> str:
    return str(json.loads(text)["message"])


def _told(server: ApiServer, item: Object) -> str:
    answer = server.create(item)
    return "" if answer.accepted else _message(answer.message)


def test_every_pod_of_the_chart_is_let_in(render: Render, server: ApiServer) -> None:
    told = {}
    for template in render.workloads():
        pod = _pod(render, template.object.ref)
        if template.namespace == DRIVER:
            owner = {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "name": DRIVER,
                "uid": "x",
                "controller": True,
            }
            pod = edited(edited(pod, "metadata.ownerReferences", [owner]), "spec.serviceAccountName", DRIVER)
        told[template.object.ref] = _told(server, pod)
    assert len(told) >= 4
    assert not any(told.values()), "\n".join(told.values())


@pytest.mark.parametrize(("path", "value"), GOOD_PODS, ids=str)
def test_a_harmless_pod_is_let_in(path: str, value: Any, sound: Object, server: ApiServer) -> None:
    assert _told(server, _changed(sound, path, value)) == ""


@pytest.mark.parametrize(("rule", "path", "value"), BAD_PODS, ids=str)
def test_a_dangerous_pod_is_refused(
    rule: str, path: str, value: Any, sound: Object, server: ApiServer
) -> None:
    told = _told(server, _changed(sound, path, value))
    assert "ValidatingAdmissionPolicy 'lighthouse-pods'" in told
    assert f"denied request: {rule}: " in told


def test_the_refusal_names_the_offender_and_the_way_out(sound: Object, server: ApiServer) -> None:
    told = _told(server, edited(sound, f"{CONTEXT}.readOnlyRootFilesystem", False))
    assert told.endswith(
        "root-file-system: bridge can write to its image's files; "
        "set readOnlyRootFilesystem to true and mount an emptyDir where it writes."
    )


def test_a_privileged_pod_is_refused(sound: Object, server: ApiServer) -> None:
    bad = edited(edited(sound, f"{CONTEXT}.privileged", True), f"{CONTEXT}.allowPrivilegeEscalation", True)
    assert "denied request: privilege-escalation: bridge is privileged" in _told(server, bad)


@pytest.mark.parametrize(("rule", "namespace", "document"), BAD_OBJECTS, ids=str)
def test_a_dangerous_object_is_refused(
    rule: str, namespace: str, document: dict[str, Any], server: ApiServer
) -> None:
    assert f"denied request: {rule}: " in _told(server, make_object(document, namespace))


@pytest.mark.parametrize(("namespace", "document"), GOOD_OBJECTS, ids=str)
def test_a_harmless_object_is_let_in(namespace: str, document: dict[str, Any], server: ApiServer) -> None:
    assert _told(server, make_object(document, namespace)) == ""


def test_an_agent_gets_no_token_for_the_api_server(render: Render, server: ApiServer) -> None:
    pod = _pod(render, "Deployment/lighthouse-agents/lighthouse-agents-security")
    for audience, refused in (({}, True), ({"audience": "vault"}, False)):
        source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, **audience}}
        volume = {"name": "identity", "projected": {"sources": [source]}}
        told = _told(server, _changed(pod, "spec.volumes[+]", volume))
        assert ("denied request: tokens: identity" in told) is refused, told


@pytest.mark.parametrize(
    ("rule", "path", "value"),
    [
        ("stranger", "metadata.ownerReferences", MISSING),
        ("stranger", "spec.serviceAccountName", "default"),
        ("containers", "spec.containers[0].name", "shell"),
        ("host-paths", "spec.volumes[0].hostPath.path", "/etc"),
        ("host-namespaces", "spec.hostPID", True),
        ("registries", "spec.containers[0].image", "docker.io/library/busybox:1"),
        ("tags", "spec.containers[0].image", "localhost/lighthouse/fuse-csi:latest"),
    ],
)
def test_beside_the_driver_nothing_runs_in_its_namespace(
    rule: str, path: str, value: Any, render: Render, server: ApiServer
) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": DRIVER, "uid": "x", "controller": True}
    pod = _pod(render, f"DaemonSet/{DRIVER}/{DRIVER}")
    pod = edited(edited(pod, "metadata.ownerReferences", [owner]), "spec.serviceAccountName", DRIVER)
    assert _told(server, pod) == ""
    assert f"denied request: {rule}: " in _told(server, edited(pod, path, value))


@pytest.mark.parametrize("level", ["privileged", "baseline", MISSING], ids=str)
def test_the_namespace_of_agents_keeps_its_level(level: Any, render: Render, server: ApiServer) -> None:
    space = render.find(f"Namespace/{AGENTS}")
    bad = edited(space, 'metadata.labels["pod-security.kubernetes.io/enforce"]', level)
    answer = server.request("PUT", f"/api/v1/namespaces/{AGENTS}?dryRun=All", thaw(bad.document))
    assert not answer.accepted
    assert "denied request: pod-security: " in _message(answer.message)


def test_debugging_adds_no_container_that_could_not_have_been_there(sound: Object, server: ApiServer) -> None:
    path = f"/api/v1/namespaces/{SPACE}/pods"
    made = server.request("POST", path, thaw(sound.document))
    assert made.accepted, made.message
    try:
        for image, context, rule in (
            ("docker.io/library/busybox:1", CONFINED, "registries"),
            (SIDECAR["image"], CONFINED | {"allowPrivilegeEscalation": True}, "privilege-escalation"),
            (SIDECAR["image"], CONFINED, ""),
        ):
            pod = thaw(sound.document)
            pod["spec"]["ephemeralContainers"] = [
                {"name": "debug", "image": image, "securityContext": context}
            ]
            patch = {"spec": {"ephemeralContainers": pod["spec"]["ephemeralContainers"]}}
            answer = server.request(
                "PATCH", f"{path}/probe/ephemeralcontainers?dryRun=All", patch, "strategic-merge-patch+json"
            )
            if rule:
                assert f"denied request: {rule}: " in _message(answer.message)
            else:
                assert answer.accepted, answer.message
    finally:
        server.request("DELETE", f"{path}/probe?gracePeriodSeconds=0")


def test_containers_of_operators_get_the_namespaces_defaults(
    render: Render, sound: Object, server: ApiServer
) -> None:
    bare = edited(sound, f"{CONTAINER}.resources", {})
    assert "denied request: limits: " in _told(server, bare)
    defaults = render.find(f"LimitRange/{SPACE}/lighthouse")
    server.apply(defaults, dry_run=False)
    path = f"/api/v1/namespaces/{SPACE}/limitranges/{defaults.name}"
    try:
        _eventually(lambda: _told(server, bare) == "")
    finally:
        server.request("DELETE", path)
        _eventually(lambda: _told(server, bare) != "")


def test_the_quota_of_agents_ends_a_flood(render: Render, server: ApiServer) -> None:
    """No controller counts here, so the quota is set to nothing left."""
    quota = render.find(f"ResourceQuota/{AGENTS}/lighthouse")
    assert quota.at("spec.hard.pods") == 100
    server.apply(edited(quota, "spec.hard.pods", 0), dry_run=False)
    path = f"/api/v1/namespaces/{AGENTS}/resourcequotas/{quota.name}"
    status = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}
    server.request("PATCH", f"{path}/status", status, "merge-patch+json")
    pod = _pod(render, "Deployment/lighthouse-agents/lighthouse-agents-security")
    try:
        _eventually(lambda: "exceeded quota: lighthouse" in _told(server, pod))
    finally:
        server.request("DELETE", path)
        _eventually(lambda: _told(server, pod) == "")
