"""Verdicts equal those of a real kube-apiserver, on a sound pod and hundreds of ways to change it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.duplicates import duplicate_keys
from lighthouse_harness.editing import edited
from lighthouse_harness.model import MISSING, Object, Render, make_object, thaw
from lighthouse_harness.pod_security import Level, judge_pod, read_version
from lighthouse_harness.schemas import pinned_crds, schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lighthouse_harness.api_server import Answer, ApiServer

pytestmark = pytest.mark.heavy

LEVELS = [(Level.BASELINE, "latest"), *((Level.RESTRICTED, f"v1.{minor}") for minor in (33, 34, 35, 37))]

REASONS = {
    "allowPrivilegeEscalation != false": "allowPrivilegeEscalation",
    "forbidden AppArmor profile": "appArmorProfile",
    "non-default capabilities": "capabilities_baseline",
    "unrestricted capabilities": "capabilities_restricted",
    "host namespaces": "hostNamespaces",
    "hostPath volumes": "hostPathVolumes",
    "hostPort": "hostPorts",
    "probe or lifecycle host": "hostProbesAndHostLifecycle",
    "privileged": "privileged",
    "procMount": "procMount",
    "restricted volume types": "restrictedVolumes",
    "runAsNonRoot != true": "runAsNonRoot",
    "runAsUser=0": "runAsUser",
    "seLinuxOptions": "seLinuxOptions",
    "seccompProfile": "seccompProfile",
    "forbidden sysctls": "sysctls",
    "hostProcess": "windowsHostProcess",
}
"""What the admission plugin says, and the check that says it."""

POD_EDITS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("spec.hostNetwork", (True, False)),
    ("spec.hostPID", (True,)),
    ("spec.hostIPC", (True,)),
    ("spec.hostUsers", (False, True)),
    ("spec.securityContext", (MISSING, {})),
    ("spec.securityContext.runAsNonRoot", (False, MISSING)),
    ("spec.securityContext.runAsUser", (0, MISSING)),
    ("spec.securityContext.seccompProfile", (MISSING, {"type": "Unconfined"}, {"type": "Localhost", "localhostProfile": "a"})),
    ("spec.securityContext.appArmorProfile", ({"type": "Unconfined"}, {"type": "RuntimeDefault"})),
    ("spec.securityContext.seLinuxOptions", ({"type": "spc_t"}, {"type": "container_engine_t"},
        {"user": "u"}, {"role": "r"}, {"level": "s0"})),
    ("spec.securityContext.sysctls", tuple([{"name": name, "value": "1"}] for name in (
        "kernel.shm_rmid_forced", "net.ipv4.tcp_rmem", "net.ipv4.tcp_notsent_lowat", "net.core.somaxconn", "kernel.msgmax"))),
    ("spec.volumes[0]", (
        {"name": "tmp", "hostPath": {"path": "/"}}, {"name": "tmp", "nfs": {"server": "s", "path": "/"}},
        {"name": "tmp", "csi": {"driver": "d"}}, {"name": "tmp", "downwardAPI": {}}, {"name": "tmp", "emptyDir": {}},
        {"name": "tmp", "projected": {"sources": []}},
        {"name": "tmp", "iscsi": {"targetPortal": "p", "iqn": "iqn.2001-04.com.example:a", "lun": 0}},
        {"name": "tmp", "image": {"reference": "r"}}, {"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}})),
    ("metadata.annotations", ({"container.apparmor.security.beta.kubernetes.io/web": "unconfined"},)),
)  # fmt: skip
CONTAINER_EDITS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("securityContext", (MISSING, {})),
    ("securityContext.privileged", (True,)),
    ("securityContext.allowPrivilegeEscalation", (True, MISSING)),
    ("securityContext.capabilities", (
        MISSING, {"drop": ["NET_RAW"]}, {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, {"drop": ["ALL"], "add": ["CHOWN"]},
        {"drop": ["ALL"], "add": ["SYS_ADMIN"]}, {"drop": ["ALL"], "add": ["NET_RAW", "KILL"]}, {"drop": ["all"]})),
    ("securityContext.runAsNonRoot", (False, True)),
    ("securityContext.runAsUser", (0, 1000)),
    ("securityContext.procMount", ("Unmasked", "Default")),
    ("securityContext.seccompProfile", ({"type": "Unconfined"}, {"type": "RuntimeDefault"})),
    ("securityContext.appArmorProfile", ({"type": "Unconfined"}, {"type": "RuntimeDefault"})),
    ("securityContext.seLinuxOptions", ({"type": "init_t"}, {"type": "container_kvm_t"})),
    ("securityContext.windowsOptions", ({"hostProcess": False}, {"gmsaCredentialSpecName": "g"})),
    ("ports", ([{"containerPort": 80, "hostPort": 80}], [{"containerPort": 80}], [{"containerPort": 80, "hostPort": 0}])),
    ("livenessProbe", ({"httpGet": {"port": 80, "host": "h"}}, {"tcpSocket": {"port": 80, "host": "h"}}, {"httpGet": {"port": 80}})),
    ("lifecycle", ({"preStop": {"httpGet": {"port": 80, "host": "h"}}}, {"preStop": {"tcpSocket": {"port": 80, "host": "h"}}},
                   {"postStart": {"exec": {"command": ["a"]}}})),
)  # fmt: skip
PAIRS = (
    {"spec.hostUsers": False, "spec.securityContext.runAsNonRoot": MISSING},
    {
        "spec.hostUsers": False,
        "spec.securityContext.runAsUser": 0,
        "spec.securityContext.runAsNonRoot": MISSING,
    },
    {"spec.hostUsers": False, "spec.containers[0].securityContext.procMount": "Unmasked"},
    {"spec.hostUsers": False, "spec.containers[0].securityContext.runAsNonRoot": False},
    {"spec.securityContext.runAsNonRoot": MISSING, "spec.containers[0].securityContext.runAsNonRoot": True},
    {"spec.os": {"name": "windows"}, "spec.securityContext": {"runAsNonRoot": True}},
)
SCHEMA_EDITS: tuple[tuple[str, str, Any], ...] = (
    ("Deployment/shop/web", "spec.replica", 3),
    ("Deployment/shop/web", "spec.replicas", "three"),
    ("Deployment/shop/web", "spec.paused", "yes"),
    ("Deployment/shop/web", "spec.selector", MISSING),
    ("Deployment/shop/web", "spec.template.spec.containers", MISSING),
    ("Deployment/shop/web", "spec.template.spec.containers[0].image", 7),
    ("Deployment/shop/web", "spec.template.spec.containers[0].command", "serve"),
    ("Deployment/shop/web", "spec.template.spec.containers[0].env[0].value", 4),
    ("Deployment/shop/web", "spec.template.spec.containers[0].env[0].valeu", "4"),
    ("Deployment/shop/web", "spec.template.spec.containers[0].name", MISSING),
    ("Deployment/shop/web", "spec.template.spec.containers[0].resources.limits.cpu", "one"),
    ("Deployment/shop/web", "spec.template.spec.containers[0].resources.limits.cpu", 2),
    ("Deployment/shop/web", "spec.template.spec.containers[0].resources.limits.cpu", 0.5),
    ("Deployment/shop/web", "spec.template.spec.containers[0].livenessProbe.httpGet.port", "http"),
    ("Deployment/shop/web", "spec.template.spec.containers[0].livenessProbe.httpGet.port", True),
    ("Deployment/shop/web", "spec.template.spec.containers[0].livenessProbe.httpGet.pathh", "/"),
    ("Deployment/shop/web", "spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem", True),
    ("Deployment/shop/web", "spec.template.spec.volumes[0].emptyDir.sizeLimit", "64Mb"),
    ("Deployment/shop/web", "spec.template.spec.nodeSelector", {"a": True}),
    ("Deployment/shop/web", "metadata.labels", {"a": 1}),
    ("Deployment/shop/web", "metadata.labels", ["a"]),
    ("Deployment/shop/web", "metadata.annotation", {"a": "b"}),
    ("Deployment/shop/web", "spec.strategy", None),
    ("Deployment/shop/web", "spec.minReadySeconds", 1.5),
    ("Deployment/shop/web", "spec.minReadySeconds", 10.0),
    ("Service/shop/web", "spec.ports[0].targetPort", [1]),
    ("Service/shop/web", "spec.ports[0].port", "80"),
    ("Service/shop/web", "spec.ports", {"port": 80}),
    ("Service/shop/web", "spec.port", 80),
    ("Service/shop/web", "spec.selector", "web"),
    ("ConfigMap/shop/web", "data", {"a": 1}),
    ("ConfigMap/shop/web", "data", {"a": {"b": "c"}}),
    ("ConfigMap/shop/web", "dat", {"a": "b"}),
    ("ConfigMap/shop/web", "immutable", "true"),
    ("Secret/shop/web", "data", {"a": "not base64!"}),
    ("Secret/shop/web", "data", {"a": "Zm9v"}),
    ("Secret/shop/web", "stringdata", {"a": "b"}),
    ("PodDisruptionBudget/shop/web", "spec.maxUnavailable", 1.5),
    ("PodDisruptionBudget/shop/web", "spec.maxUnavailable", "50%"),
    ("PodDisruptionBudget/shop/web", "spec.minavailable", 1),
    ("HorizontalPodAutoscaler/shop/web", "spec.maxReplicas", MISSING),
    ("HorizontalPodAutoscaler/shop/web", "spec.scaleTargetRef", MISSING),
    ("HorizontalPodAutoscaler/shop/web", "spec.metrics[0].resource.target.averageUtilisation", 70),
    ("ServiceAccount/shop/web", "automountServiceAccountToken", "no"),
    ("ServiceAccount/shop/web", "spec", {}),
)  # fmt: skip
DUPLICATE_EDITS: tuple[tuple[str, Any], ...] = (
    ("spec.template.spec.containers[0].env[1]", {"name": "WORKERS", "value": "5"}),
    ("spec.template.spec.containers[0].ports[1]", {"name": "b", "containerPort": 8080}),
    ("spec.template.spec.containers[0].ports[1]", {"name": "b", "containerPort": 8080, "protocol": "UDP"}),
    ("spec.template.spec.containers[0].volumeMounts[2]", {"name": "tmp", "mountPath": "/tmp"}),
    ("spec.template.spec.containers[0].volumeMounts[2]", {"name": "tmp", "mountPath": "/var"}),
    ("spec.template.spec.volumes[2]", {"name": "tmp", "emptyDir": {}}),
    ("spec.template.spec.initContainers[2]", {"name": "prepare", "image": "a:1"}),
    ("spec.template.spec.imagePullSecrets", [{"name": "a"}, {"name": "a"}]),
    ("spec.template.spec.imagePullSecrets", [{"name": "a"}, {"name": "b"}]),
    ("spec.template.spec.tolerations", [{"operator": "Exists"}, {"operator": "Exists"}]),
)


@pytest.fixture(name="server", scope="module")
def _server(api_server: ApiServer, sound: Render) -> ApiServer:
    """The server with the sound render's namespace and kinds, and a namespace for each level."""
    api_server.add_namespace("shop", {})
    for level, version in LEVELS:
        name = "pod-security.kubernetes.io/enforce"
        api_server.add_namespace(_namespace(level, version), {name: level, f"{name}-version": version})
    api_server.add_crds(pinned_crds(item.kind for item in sound.objects))
    return api_server


def _namespace(level: Level, version: str) -> str:
    return f"{level}-{version.replace('.', '-')}"


def _pod_of(item: Object, namespace: str) -> Object:
    assert item.pod is not None
    template = thaw(item.pod.document)
    metadata = template.get("metadata") or {}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
    return make_object(pod | {"metadata": {**metadata, "name": "probe", "namespace": namespace}}, namespace)


def _variants(pod: Object) -> Iterator[Object]:
    for path, values in POD_EDITS:
        yield from (edited(pod, path, value) for value in values)
    for place in ("containers[0]", "initContainers[0]", "initContainers[1]"):
        for path, values in CONTAINER_EDITS:
            yield from (edited(pod, f"spec.{place}.{path}", value) for value in values)
    for pair in PAIRS:
        changed = pod
        for path, value in pair.items():
            changed = edited(changed, path, value)
        yield changed


def _said(answer: Answer) -> set[str]:
    """The checks that the admission plugin's refusal stands for."""
    message = json.loads(answer.message)["message"].partition("violates PodSecurity")[2]
    return {
        check
        for reason, check in REASONS.items()
        if re.search(rf"(?:: |\), |, ){re.escape(reason)}s? \(", message)
    }


def _found(pod: Object, level: Level, version: str) -> set[str]:
    assert pod.pod is not None
    found = judge_pod(pod.pod, level, read_version(version))
    names = {finding.check.removeprefix("pod-security/") for finding in found}
    shared = {
        "procMount_restricted": "procMount",
        "seccompProfile_baseline": "seccompProfile",
        "seccompProfile_restricted": "seccompProfile",
    }
    return {shared.get(name, name) for name in names}


def test_pod_security_equals_admission_on_every_variant(server: ApiServer, sound: Render) -> None:
    judged, invalid, wrong = 0, 0, []
    for level, version in LEVELS:
        for variant in _variants(_pod_of(sound.find("Deployment/shop/web"), _namespace(level, version))):
            answer = server.create(variant)
            if answer.status == 422:
                invalid += 1
                continue
            judged += 1
            said = _said(answer) if answer.status == 403 else set()
            found = _found(variant, level, version)
            if said != found or (answer.status == 403) != bool(found):
                wrong.append(
                    f"{level} {version}: {sorted(found)} but the server {answer.status} {answer.message[:300]}"
                )
    assert not wrong, "\n".join(wrong)
    assert judged >= 400
    assert invalid < judged / 4


def test_schema_verdicts_equal_strict_server_side_apply(server: ApiServer, sound: Render) -> None:
    wrong = []
    for ref, path, value in SCHEMA_EDITS:
        item = edited(sound.find(ref), path, value)
        answer = server.apply(item)
        findings = schemas(sound.with_objects([item])).findings
        if answer.accepted == bool(findings):
            wrong.append(
                f"{ref} {path} = {value!r}: {[str(x) for x in findings]} but {answer.status} {answer.message[:300]}"
            )
    assert not wrong, "\n".join(wrong)


def test_a_number_that_the_server_would_wrap_around_in_silence_is_found(
    server: ApiServer, sound: Render
) -> None:
    item = edited(sound.find("Deployment/shop/web"), "spec.replicas", 2**40)
    assert server.apply(item).accepted
    assert [finding.check for finding in schemas(sound.with_objects([item])).findings] == ["schema/format"]


def test_duplicate_verdicts_equal_server_side_apply(server: ApiServer, sound: Render) -> None:
    wrong = []
    for path, value in DUPLICATE_EDITS:
        item = edited(sound.find("Deployment/shop/web"), path, value)
        answer = server.apply(item)
        findings = duplicate_keys(sound.with_objects([item])).findings
        if answer.accepted == bool(findings):
            wrong.append(
                f"{path} = {value!r}: {[str(x) for x in findings]} but {answer.status} {answer.message[:300]}"
            )
    assert not wrong, "\n".join(wrong)


def test_the_sound_render_is_accepted(server: ApiServer, sound: Render) -> None:
    answers = {item.ref: server.apply(item) for item in sound.objects}
    assert {ref: answer.message for ref, answer in answers.items() if not answer.accepted} == {}
