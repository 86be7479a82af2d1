"""Every gate passes a sound render, refuses each way of breaking it, and names the place."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.editing import edited, with_value, without
from lighthouse_harness.gates import GATES, Gate, Settings
from lighthouse_harness.model import MISSING, EmptySelectionError, PathError, Render
from lighthouse_harness.secrets import secret_leaks

if TYPE_CHECKING:
    from lighthouse_harness.findings import Finding

POD = "Deployment/shop/web spec.template.spec"
WEB = f"{POD}.containers[0]"
POLICY = "NetworkPolicy/shop/web spec"
ANY_ROLE = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["*"]}

BREAKS: tuple[tuple[str, str, Any], ...] = (
    ("schema/unknown", f"{WEB}.livenesProbe", {"httpGet": {"port": 1}}),
    ("schema/type", "Deployment/shop/web spec.minReadySeconds", "soon"),
    ("schema/required", f"{WEB}.name", MISSING),
    ("schema/kind", "Deployment/shop/web apiVersion", "apps/v1beta1"),
    ("schema/format", f"{WEB}.resources.limits.memory", "1 gigabyte"),
    ("duplicate/list", f"{WEB}.env[1]", {"name": "WORKERS", "value": "5"}),
    ("duplicate/list", f"{WEB}.ports[1]", {"name": "other", "containerPort": 8080, "protocol": "TCP"}),
    ("duplicate/list", f"{POD}.volumes[2]", {"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}),
    ("pod-security/privileged", f"{WEB}.securityContext.privileged", True),
    ("pod-security/runAsNonRoot", f"{POD}.securityContext.runAsNonRoot", False),
    (
        "pod-security/capabilities_restricted",
        f"{POD}.initContainers[1].securityContext.capabilities.add",
        ["SYS_ADMIN"],
    ),
    ("pod-security/restrictedVolumes", f"{POD}.volumes[0]", {"name": "tmp", "hostPath": {"path": "/"}}),
    ("security-context/readOnlyRootFilesystem", f"{WEB}.securityContext.readOnlyRootFilesystem", MISSING),
    ("security-context/allowPrivilegeEscalation", f"{WEB}.securityContext.allowPrivilegeEscalation", True),
    ("security-context/runAsUser", f"{POD}.securityContext.runAsUser", 0),
    ("security-context/seccompProfile", f"{POD}.securityContext.seccompProfile.type", "Unconfined"),
    (
        "security-context/capabilities",
        f"{POD}.initContainers[0].securityContext.capabilities.drop",
        ["NET_RAW"],
    ),
    ("security-context/propagation", f"{WEB}.volumeMounts[0].mountPropagation", "Bidirectional"),
    ("service-account/own", f"{POD}.serviceAccountName", MISSING),
    ("service-account/token", "ServiceAccount/shop/web automountServiceAccountToken", MISSING),
    ("resources/limits", f"{WEB}.resources.limits.memory", MISSING),
    ("resources/requests", f"{POD}.initContainers[0].resources.requests.cpu", MISSING),
    ("resources/limits", f"{POD}.initContainers[1].resources.limits.ephemeral-storage", MISSING),
    ("resources/order", f"{WEB}.resources.requests.memory", "1Gi"),
    ("resources/emptyDir", f"{POD}.volumes[0].emptyDir", {}),
    ("secret/repeated", "ConfigMap/shop/web data.motd", "it is correct-horse-battery!"),
    ("secret/repeated", f"{WEB}.args[1]", "--key=correct-horse-battery"),
    ("secret/pattern", f"{WEB}.env[0].value", "postgres://web:hunter22@db/web"),
    ("secret/pattern", "ConfigMap/shop/web data.key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
    ("secret/pattern", f"{WEB}.args[1]", "--password=hunter22"),
    (
        "secret/repeated",
        "Deployment/shop/web spec.template.metadata.annotations.note",
        "correct-horse-battery",
    ),
    ("secret/name", f"{WEB}.env[0]", {"name": "DB_PASSWORD", "value": "hunter2x"}),
    ("secret/name", "ConfigMap/shop/web data.apiKey", "hunter2x"),
    (
        "secret/entropy",
        'Deployment/shop/web metadata.annotations["example.com/x"]',
        "Zm9vQ2hhbkdl8sJq1LwV0pXzT5u",
    ),
    (
        "secret/environment",
        f"{WEB}.env[0]",
        {"name": "T", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}},
    ),
    ("image/tag", f"{WEB}.image", "registry.example/web"),
    ("image/tag", f"{POD}.initContainers[1].image", "registry.example/cache:latest"),
    ("image/reference", f"{WEB}.image", "registry.example/web:1:2"),
    ("probe/port", f"{WEB}.livenessProbe.httpGet.port", "metrics"),
    ("probe/port", f"{WEB}.readinessProbe.httpGet.port", 9090),
    ("probe/present", f"{WEB}.readinessProbe", MISSING),
    ("probe/separate", f"{WEB}.livenessProbe.httpGet", {"path": "/ready", "port": 8080}),
    ("service/selector", "Service/shop/web spec.selector", {"app": "shop"}),
    ("service/port", "Service/shop/web spec.ports[0].targetPort", "https"),
    ("disruption/blocks", "PodDisruptionBudget/shop/web spec.maxUnavailable", 0),
    ("disruption/blocks", "PodDisruptionBudget/shop/web spec", {"minAvailable": "90%", "selector": {}}),
    ("disruption/selector", "PodDisruptionBudget/shop/web spec.selector.matchLabels", {"app": "shop"}),
    ("disruption/fields", "PodDisruptionBudget/shop/web spec.minAvailable", 1),
    ("autoscaler/replicas", "Deployment/shop/web spec.replicas", 3),
    ("autoscaler/target", "HorizontalPodAutoscaler/shop/web spec.scaleTargetRef.name", "shop"),
    ("autoscaler/range", "HorizontalPodAutoscaler/shop/web spec.maxReplicas", 2),
    ("autoscaler/request", f"{WEB}.resources.requests.cpu", MISSING),
    ("topology/spread", f"{POD}.topologySpreadConstraints", MISSING),
    ("topology/selector", f"{POD}.topologySpreadConstraints[0].labelSelector.matchLabels", {"app": "shop"}),
    ("network/isolation", "NetworkPolicy/shop/web spec.policyTypes", ["Ingress"]),
    ("network/rules", f"{POLICY}.ingress[0].from[0].namespaceSelector.matchLabels", {"name": "monitoring"}),
    ("network/rules", f"{POLICY}.ingress[0].ports[0].port", "https"),
    ("network/scrapes", f"{POLICY}.ingress[0].from[0].namespaceSelector.matchLabels", {"name": "monitoring"}),
    ("network/scrapes", "PodMonitor/shop/web spec.podMetricsEndpoints[0].port", "metrics"),
    ("network/routes", f"{POLICY}.ingress[0].from[1].namespaceSelector.matchLabels", {"name": "edge"}),
    ("network/routes", "Ingress/shop/web spec.rules[0].http.paths[0].backend.service.name", "shop"),
    ("network/webhooks", f"{POLICY}.ingress[0].from[2].ipBlock.cidr", "10.0.0.0/8"),
    ("network/webhooks", "ValidatingWebhookConfiguration/web webhooks[0].clientConfig.service.port", 443),
    ("network/dns", f"{POLICY}.egress[0].ports[0].protocol", "SCTP"),
    ("rbac/read-secrets", "Role/shop/web rules[0].resources", ["secrets"]),
    ("rbac/escalate", "Role/shop/web rules[0]", ANY_ROLE),
    ("rbac/everyone", "RoleBinding/shop/web subjects[0].name", "system:authenticated"),
    ("rbac/bindings", "RoleBinding/shop/web roleRef.name", "shop"),
)


def _findings(render: Render) -> list[Finding]:
    found: list[Finding] = []
    for gate in GATES:
        with suppress(EmptySelectionError):
            found += gate.judge(render, Settings()).findings
    return found


def _refuses(gate: Gate, render: Render) -> bool:
    try:
        return bool(gate.judge(render, Settings()).findings)
    except EmptySelectionError:
        return False


def test_a_sound_render_passes_every_gate(sound: Render) -> None:
    assert [str(finding) for finding in _findings(sound)] == []
    assert all(gate.judge(sound, Settings()).examined for gate in GATES)


@pytest.mark.parametrize(
    ("check", "address", "value"), BREAKS, ids=[f"{c}-{n}" for n, (c, _, _) in enumerate(BREAKS)]
)
def test_each_break_is_found_by_the_check_that_is_named_for_it(
    sound: Render, check: str, address: str, value: Any
) -> None:
    findings = [finding for finding in _findings(with_value(sound, address, value)) if finding.check == check]
    assert findings, f"{address} = {value!r} passes"
    assert all(finding.object and finding.fix for finding in findings)


HARMLESS = (
    ('Deployment/shop/web metadata.annotations["cert-manager.io/inject-ca-from-secret"]', "shop/web-ca"),
    (f"{WEB}.env[1]", {"name": "TOKEN_FILE", "value": "/etc/web/token"}),
    (f"{WEB}.env[1]", {"name": "SECRET_NAME", "value": "web"}),
    (f"{WEB}.env[1]", {"name": "PASSWORD_MIN_LENGTH", "value": "12"}),
    (f"{WEB}.env[1]", {"name": "TOKEN_TTL_SECONDS", "value": "3600"}),
    (f"{WEB}.env[1]", {"name": "DATABASE_URL", "value": "postgres://web:$(PASSWORD)@db/web"}),
    ("ConfigMap/shop/web data.commit", "0f3c9a7b1e5d2846a0b9c8d7e6f5a4b3c2d1e0f9"),
    ("ConfigMap/shop/web data.motto", "thequickbrownfoxjumpsoverthelazydog"),
)


@pytest.mark.parametrize(("address", "value"), HARMLESS)
def test_what_only_sounds_like_a_secret_is_no_finding(sound: Render, address: str, value: Any) -> None:
    assert [str(finding) for finding in secret_leaks(with_value(sound, address, value)).findings] == []


def test_a_container_that_is_broken_twice_is_found_twice(sound: Render) -> None:
    broken = with_value(with_value(sound, f"{WEB}.image", "web"), f"{POD}.initContainers[0].image", "web")
    paths = {finding.path for finding in _findings(broken) if finding.check == "image/tag"}
    assert paths == {f"spec.template.spec.{place}.image" for place in ("containers[0]", "initContainers[0]")}


def test_two_objects_of_one_name_are_found(sound: Render) -> None:
    twice = sound.with_objects([*sound.objects, sound.find("ConfigMap/shop/web")])
    assert {finding.check for finding in _findings(twice)} == {"duplicate/object"}


def test_a_replicated_workload_without_budget_is_found(sound: Render) -> None:
    assert "disruption/budget" in {
        item.check for item in _findings(without(sound, "PodDisruptionBudget/shop/web"))
    }


def test_two_budgets_over_the_same_pods_are_found(sound: Render) -> None:
    budget = edited(sound.find("PodDisruptionBudget/shop/web"), "metadata.name", "again")
    found = _findings(sound.with_objects([*sound.objects, budget]))
    assert [finding.check for finding in found] == ["disruption/overlap"]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_no_gate_passes_an_empty_render(gate: Any, sound: Render) -> None:
    with pytest.raises(EmptySelectionError):
        gate.judge(sound.with_objects([]), Settings())


def test_every_gate_has_a_break_that_it_refuses(sound: Render) -> None:
    refused = set()
    broken = [with_value(sound, address, value) for _, address, value in BREAKS]
    broken.append(sound.with_objects([*sound.objects, sound.objects[0]]))
    broken.append(with_value(sound, f"{POD}.containers", [{"name": "web", "image": "web"}]))
    broken[-1] = with_value(broken[-1], f"{POD}.initContainers", [])
    for render in broken:
        refused |= {gate.name for gate in GATES if _refuses(gate, render)}
    assert refused == {gate.name for gate in GATES}


def test_edits_that_lead_nowhere_are_errors(sound: Render) -> None:
    with pytest.raises(PathError, match=r"has no spec\.ports"):
        with_value(sound, "Service/shop/web spec.ports[7].port", 1)
