"""The chart with its default values: one bridge, two agents, one driver."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lighthouse_bridge.credentials import own_key
from tests.chart.chart_render import (
    CHART,
    Manifest,
    RefusedError,
    containers,
    helm,
    helms,
    label,
    one,
    render,
    set_value,
    workloads,
)

if TYPE_CHECKING:
    from pathlib import Path

AGENTS = "lighthouse-agents"
DRIVER = "DaemonSet/lighthouse-fuse-csi"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}


@pytest.fixture(scope="module", params=sorted(helms()))
def program(request: pytest.FixtureRequest) -> Path:
    path = helms()[request.param]
    if path is None and request.param == "helm3":
        pytest.skip("HELM3 names no Helm 3")
    assert path, "Helm is not on PATH; install it or name it in HELM"
    return path


@pytest.fixture(scope="module")
def objects(program: Path) -> list[Manifest]:
    return render(program)


def secret_data(objects: list[Manifest], name: str) -> dict[str, str]:
    data = one(objects, "Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_lint_is_strictly_clean(program: Path) -> None:
    helm(program, "lint", "--strict", CHART)


def test_generated_files_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ci.chart", "--check"],
        cwd=CHART.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr


def test_default_render_is_one_bridge_two_agents_and_a_driver(objects: list[Manifest]) -> None:
    assert sorted(map(label, workloads(objects))) == [
        DRIVER,
        "Deployment/lighthouse-agents-architecture",
        "Deployment/lighthouse-agents-security",
        "StatefulSet/lighthouse-bridge",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "brige",
        "bridge.imge",
        "bridge.image.tga",
        "bridge.resources.limits.cpus",
        "agents.experts.security.replica",
        "agents.fuse.image.registri",
        "agents.affinity.nodeAfinity",
        "fuse-csi.namespace.lables",
        "global.imageRegistri",
        "common.anything",
    ],
)
def test_misspelt_key_is_refused_by_name(program: Path, path: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(program, set_value(path, "x"))
    assert path.rpartition(".")[2] in str(refused.value)


@pytest.mark.parametrize("name", ["bridge", "agents", "fuse-csi"])
def test_misspelt_key_within_a_list_is_refused_by_name(program: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="efect"):
        render(program, {name: {"tolerations": [{"key": "a", "efect": "NoSchedule"}]}})


def test_another_chart_can_depend_on_this_one(program: Path, tmp_path: Path) -> None:
    parent = tmp_path / "platform"
    shutil.copytree(CHART, parent / "charts" / "lighthouse")
    dependency = {"name": "lighthouse", "version": "0.1.0", "condition": "lighthouse.enabled"}
    metadata = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    values = {
        "global": {"theirs": 1, "imageRegistry": "registry.example"},
        "lighthouse": {"enabled": True, "fuse-csi": {"enabled": False}},
    }

    found = render(program, values, chart=parent, release="shop")

    one(found, "StatefulSet", "shop-lighthouse-bridge")
    assert "DaemonSet" not in {each["kind"] for each in found}
    images = {container.spec["image"].partition("/")[0] for container in containers(found)}
    assert images == {"registry.example"}
    with pytest.raises(RefusedError, match="imge"):
        render(program, values | {"lighthouse": {"bridge": {"imge": {}}}}, chart=parent, release="shop")
    with pytest.raises(RefusedError, match=r"Lighthouse needs Kubernetes >=1\.33\.0-0"):
        render(program, values, chart=parent, release="shop", kubernetes="1.32.9")


@pytest.mark.parametrize(
    ("namespace", "level"), [(AGENTS, "restricted"), ("lighthouse-fuse-csi", "privileged")]
)
def test_no_value_changes_the_pod_security_of_a_namespace(program: Path, namespace: str, level: str) -> None:
    component = namespace.removeprefix("lighthouse-")
    evil = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn-version": "latest",
    }
    values: Manifest = {"global": {"commonLabels": evil}, component: {"namespace": {"labels": evil}}}

    labels = one(render(program, values), "Namespace", namespace)["metadata"]["labels"]

    for mode in ("enforce", "warn", "audit"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == level
        assert labels[f"pod-security.kubernetes.io/{mode}-version"] == "v1.33"


def test_every_container_but_the_driver_is_restricted(objects: list[Manifest]) -> None:
    wrong = {
        container.path: container.spec.get("securityContext")
        for container in containers(objects)
        if not container.path.startswith(DRIVER) and container.spec.get("securityContext") != RESTRICTED
    }
    assert not wrong
    for each in workloads(objects):
        pod = each["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False, label(each)
        if label(each) != DRIVER:
            assert pod["securityContext"]["runAsUser"] == 65532, label(each)
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, label(each)


def test_every_container_has_requests_and_limits(objects: list[Manifest]) -> None:
    needed = {"cpu", "memory", "ephemeral-storage"}
    missing = {
        f"{container.path} {kind}": needed - set(container.spec.get("resources", {}).get(kind, {}))
        for container in containers(objects)
        for kind in ("requests", "limits")
    }
    assert missing
    assert not any(missing.values()), missing


def test_every_container_is_probed_with_a_timeout(objects: list[Manifest]) -> None:
    probes = {
        f"{container.path} {name}": container.spec[name].get("timeoutSeconds")
        for container in containers(objects)
        for name in ("startupProbe", "readinessProbe")
    }
    assert all(probes.values()), probes


def test_every_expert_has_a_key_of_its_own_that_the_bridge_of_this_render_knows(
    objects: list[Manifest],
) -> None:
    keys = secret_data(objects, "lighthouse-bridge-keys")
    agent = one(objects, "Secret", "lighthouse-agents-key")

    assert agent["metadata"]["namespace"] == AGENTS
    names = ("architecture", "security")
    own = {name: own_key(keys["expert"], name) for name in names}
    assert secret_data(objects, "lighthouse-agents-key") == own
    assert len(set(keys.values())) == 3
    assert all(len(key) >= 32 for key in keys.values())


def test_pods_of_the_bridge_restart_with_a_new_auth_secret(objects: list[Manifest]) -> None:
    secret = secret_data(objects, "lighthouse-bridge-auth")["auth-secret"]
    template = one(objects, "StatefulSet", "lighthouse-bridge")["spec"]["template"]
    assert template["metadata"]["annotations"]["checksum/auth"] == hashlib.sha256(secret.encode()).hexdigest()


def test_secrets_are_in_secrets_only(objects: list[Manifest]) -> None:
    secrets = [each for each in objects if each["kind"] == "Secret"]
    values = [value for each in secrets for value in each["data"].values()]
    values += [base64.b64decode(value).decode() for value in values]
    assert values

    for each in objects:
        if each["kind"] != "Secret":
            text = json.dumps(each)
            assert not [value for value in values if value in text], label(each)
    for container in containers(objects):
        sources = [source for variable in container.spec["env"] for source in variable.get("valueFrom", ())]
        assert "secretKeyRef" not in sources, container.path
        assert "envFrom" not in container.spec, container.path


def test_each_pod_mounts_only_the_keys_it_needs(objects: list[Manifest]) -> None:
    mounted = {
        (label(each), volume["name"]): ([item["key"] for item in secret["items"]], secret["defaultMode"])
        for each in workloads(objects)
        for volume in each["spec"]["template"]["spec"]["volumes"]
        if (secret := volume.get("secret"))
    }
    assert mounted == {
        ("StatefulSet/lighthouse-bridge", "auth"): (["auth-secret"], 0o440),
        ("StatefulSet/lighthouse-bridge", "keys"): (["expert", "builder", "operator"], 0o440),
        ("Deployment/lighthouse-agents-architecture", "key"): (["architecture"], 0o440),
        ("Deployment/lighthouse-agents-security", "key"): (["security"], 0o440),
    }


def test_existing_secrets_replace_the_generated_ones(program: Path) -> None:
    values: dict[str, Any] = {
        "bridge": {"auth": {"existingSecret": "a"}, "keys": {"existingSecret": "k"}},
        "agents": {"key": {"existingSecret": "e"}},
    }
    assert "Secret" not in {each["kind"] for each in render(program, values)}
    with pytest.raises(RefusedError, match=r"agents\.key\.existingSecret is \"\"; set both"):
        render(program, {"bridge": values["bridge"]})


def test_selectors_hold_whatever_the_labels_say(program: Path) -> None:
    evil = {
        "app.kubernetes.io/name": "evil",
        "app.kubernetes.io/component": "evil",
        "lighthouse.dev/expert": "x",
    }
    values: Manifest = {"global": {"commonLabels": evil}}
    values |= {name: {"podLabels": evil, "extraLabels": evil} for name in ("bridge", "agents", "fuse-csi")}

    found = render(program, values)

    for each in workloads(found):
        wanted = each["spec"]["selector"]["matchLabels"]
        assert wanted["app.kubernetes.io/component"] in each["metadata"]["name"]
        assert wanted.items() <= each["spec"]["template"]["metadata"]["labels"].items(), label(each)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"agents": {"terminationGracePeriodSeconds": 30}},
            "agents.terminationGracePeriodSeconds is 30 but must be longer than fuse-csi.abortAfterSeconds",
        ),
        (
            {"bridge": {"drainSeconds": 45}},
            "bridge.terminationGracePeriodSeconds is 45 but must be longer than bridge.drainSeconds",
        ),
        (
            {"fuse-csi": {"stopDelaySeconds": 45}},
            "fuse-csi.terminationGracePeriodSeconds is 45 but must be longer than fuse-csi.stopDelaySeconds",
        ),
        ({"enabled": False}, "enabled is for charts that depend on this one"),
        ({"bridge": {"enabled": False}}, "agents need the bridge of their own release"),
        (
            {"bridge": {"extraEnv": [{"name": "LIGHTHOUSE_KEYS_DIR", "value": "/x"}]}},
            'bridge.extraEnv repeats the name "LIGHTHOUSE_KEYS_DIR", which the chart sets itself',
        ),
        (
            {"agents": {"extraVolumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]}},
            'agents.extraVolumes repeats the name "a", which an earlier entry has',
        ),
        (
            {"bridge": {"resources": {"requests": {"cpu": 2}}}},
            "bridge.resources.requests.cpu is 2 but must be at most bridge.resources.limits.cpu, which is 1; lower",
        ),
        (
            {"agents": {"resources": {"limits": {"memory": "90M"}}}},
            "agents.resources.requests.memory is 96Mi but must be at most agents.resources.limits.memory, which is 90M",
        ),
        (
            {"agents": {"fuse": {"resources": {"requests": {"ephemeral-storage": "2049Mi"}}}}},
            "agents.fuse.resources.requests.ephemeral-storage is 2049Mi but must be at most",
        ),
        (
            {"fuse-csi": {"resources": {"requests": {"cpu": "0.501"}}}},
            "fuse-csi.resources.requests.cpu is 0.501 but must be at most fuse-csi.resources.limits.cpu, which is 500m",
        ),
        (
            {"bridge": {"replicas": 3}},
            "bridge.replicas is 3 but SQLite has one writer; set bridge.database.host",
        ),
        (
            {"bridge": {"autoscaling": {"enabled": True}}},
            "true but SQLite has one writer; set bridge.database.host",
        ),
        (
            {"bridge": {"redis": {"host": "r"}}},
            'bridge.redis.host is "r" but one bridge on SQLite shares with nobody',
        ),
        (
            {"bridge": {"database": {"host": "p"}}},
            'bridge.database.host is "p" but bridge.database.existingSecret is empty; name the Secret.',
        ),
        (
            {"agents": {"fuse": {"cacheMiB": 1640}}},
            "agents.fuse.resources.limits.ephemeral-storage is 2Gi but must be at least 2050Mi",
        ),
    ],
)
def test_values_that_contradict_fail_in_one_sentence(program: Path, values: Manifest, sentence: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(program, values)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("request_", "limit"),
    [
        ("0.7", "700m"),
        (0.7, "700m"),
        (1, 1),
        ("1000m", 1),
    ],
)
@pytest.mark.parametrize(
    ("size", "bound"),
    [("1Gi", "1024Mi"), ("1.5Ki", 1536), (1073741824, "1Gi"), ("1E", "1000P"), ("999k", "1M")],
)
def test_a_request_may_equal_its_limit_however_both_are_written(
    program: Path, request_: object, limit: object, size: object, bound: object
) -> None:
    amounts = {
        "requests": {"cpu": request_, "memory": size},
        "limits": {"cpu": limit, "memory": bound},
    }
    render(program, {"bridge": {"resources": amounts}})


@pytest.mark.parametrize(
    ("size", "bound"),
    [
        ("1025Mi", "1Gi"),
        (1537, "1.5Ki"),
        ("1Gi", 1073741823),
        ("1E", "999P"),
        ("1Ki", "1k"),
        ("1.1Gi", "1.09Gi"),
    ],
)
def test_a_request_above_its_limit_is_refused_however_both_are_written(
    program: Path, size: object, bound: object
) -> None:
    values = {"bridge": {"resources": {"requests": {"memory": size}, "limits": {"memory": bound}}}}
    with pytest.raises(RefusedError, match=r"bridge\.resources\.requests\.memory is .* but must be at most"):
        render(program, values)


@pytest.mark.parametrize(
    "image", [{"repository": ""}, {"repository": "", "digest": f"sha256:{'a' * 64}"}, {"tag": "a b"}]
)
def test_an_image_that_is_no_reference_is_refused(program: Path, image: Manifest) -> None:
    with pytest.raises(RefusedError, match="image/"):
        render(program, {"bridge": {"image": image}})


@pytest.mark.parametrize("size", ["1K", "1m", "1 Gi", "-1", ""])
def test_a_size_that_kubernetes_does_not_read_is_refused(program: Path, size: str) -> None:
    with pytest.raises(RefusedError, match="tmpSize"):
        render(program, {"bridge": {"tmpSize": size}})


@pytest.mark.parametrize(
    "extra",
    [
        {"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"extraEnv": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"extraVolumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]},
        {"securityContext": {"privileged": True}},
        {"podSecurityContext": {"runAsUser": 0}},
    ],
)
def test_no_value_weakens_the_bridge(program: Path, extra: Manifest) -> None:
    with pytest.raises(RefusedError, match=r"not allowed|must be one of"):
        render(program, {"bridge": extra})


def test_without_persistence_the_bridge_has_an_empty_volume(program: Path) -> None:
    found = render(program, {"bridge": {"persistence": {"enabled": False}}})
    volumes = one(found, "StatefulSet", "lighthouse-bridge")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}} in volumes  # its share of the container's limit
    assert "PersistentVolumeClaim" not in {each["kind"] for each in found}


def test_agents_reach_the_bridge_by_its_service(objects: list[Manifest]) -> None:
    service = one(objects, "Service", "lighthouse-bridge")
    metadata, ports = service["metadata"], {port["name"]: port["port"] for port in service["spec"]["ports"]}
    host = f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local"
    addresses = {
        variable["value"]
        for container in containers(objects)
        for variable in container.spec["env"]
        if variable["name"] == "LIGHTHOUSE_BRIDGE_URL"
    }
    assert addresses == {f"http://{host}:{ports['http']}"}
    assert ports == {"http": 8765, "metrics": 8080}
