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
from lighthouse_bridge.settings import read_settings
from tests.chart.chart_render import (
    CHART,
    Manifest,
    RefusedError,
    containers,
    helm,
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


def test_waits_and_limits_of_the_chart_are_those_of_the_program(objects: list[Manifest]) -> None:
    container = one(objects, "StatefulSet", "lighthouse-bridge")["spec"]["template"]["spec"]["containers"][0]
    given = read_settings({entry["name"]: entry["value"] for entry in container["env"]})
    names = [
        "agent_per_minute",
        "total_per_second",
        "replicas",
        "validation_wait_seconds",
        "expert_seconds",
        "review_seconds",
        "log_level",
        "auth_secret_file",
        "keys_dir",
        "event_store_path",
    ]
    default = read_settings({})
    assert [getattr(given, name) for name in names] == [getattr(default, name) for name in names]


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
