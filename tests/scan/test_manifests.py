"""checkov with our own checks: each finds what it is for, and nothing is skipped in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ci import toolchain
from ci.console import Failure, Steps
from ci.scan import canary, targets
from ci.scan.checkov import OWN
from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from ci.scan.checkov import Checkov
    from ci.scan.trivy import Trivy

pytestmark = pytest.mark.scan

LIMITED = {"limits": {"ephemeral-storage": "1Gi"}}


def pod(name: str, resources: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i:1", "resources": LIMITED if resources is None else resources}]
    return workload("Pod", name, {"containers": containers, **spec})


def workload(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "n", **metadata},
        "spec": spec,
    }


def policy(name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": list(rules)}
    return workload("NetworkPolicy", name, spec) | {"apiVersion": "networking.k8s.io/v1"}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    marked = {f"pod-security.kubernetes.io/{key.replace('_', '-')}": value for key, value in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": marked}}


def volume(**source: Any) -> list[dict[str, Any]]:
    return [{"name": "v", **source}]


SOUND = [
    pod("sound", volumes=volume(emptyDir={"sizeLimit": "1Mi"})),
    pod("private", volumes=volume(secret={"secretName": "s", "defaultMode": 0o440})),
    workload(
        "DaemonSet", "host", {"template": {"spec": pod("x", volumes=volume(hostPath={"path": "/"}))["spec"]}}
    )
    | {"apiVersion": "apps/v1"},
    namespace("enforced", enforce="restricted", enforce_version="v1.33"),
    policy("named", {"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]}),
    policy("closed"),
]
UNSOUND = {
    "emptyDir without limit": (1, pod("bad", volumes=volume(emptyDir={}))),
    "ephemeral storage without limit": (2, pod("bad", resources={"limits": {"cpu": "1"}})),
    "host path outside a DaemonSet": (3, pod("bad", volumes=volume(hostPath={"path": "/"}))),
    "namespace without level": (4, namespace("bad")),
    "namespace without version": (4, namespace("bad", enforce="restricted")),
    "rule without peers": (5, policy("bad", {})),
    "empty peer": (5, policy("bad", {"from": [{}]})),
    "empty selector": (5, policy("bad", {"from": [{"namespaceSelector": {}}]})),
    "the whole internet": (5, policy("bad", {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})),
    "secret for everybody": (6, pod("bad", volumes=volume(secret={"secretName": "s"}))),
    "projected secret for everybody": (
        6,
        pod("bad", volumes=volume(projected={"sources": [{"secret": {"name": "s"}}]})),
    ),
}


def write(file: Path, *documents: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump_all(documents))
    return file


def test_each_own_check_finds_what_it_is_for_and_nothing_else(checkov: Checkov, tmp_path: Path) -> None:
    files = {"sound": write(tmp_path / "sound.yaml", *SOUND)}
    files |= {
        name: write(tmp_path / f"{index}.yaml", document)
        for index, (name, (_, document)) in enumerate(UNSOUND.items())
    }
    found = {
        scan.target: {one.check for one in scan.findings if one.check.startswith(OWN)}
        for scan in checkov.manifests(files)
    }
    assert found == {"sound": set()} | {name: {f"{OWN}{number}"} for name, (number, _) in UNSOUND.items()}


def test_check_that_an_annotation_skips_is_refused(checkov: Checkov, tmp_path: Path) -> None:
    skipping = workload("Pod", "p", SOUND[0]["spec"], annotations={"checkov.io/skip1": "CKV_K8S_16=because"})
    with pytest.raises(Failure, match=r"skips CKV_K8S_16 on Pod\.n\.p by an annotation"):
        checkov.manifests({"default": write(tmp_path / "m.yaml", skipping)})


def test_manifests_that_checkov_did_not_look_at_are_refused(checkov: Checkov, tmp_path: Path) -> None:
    sound = write(tmp_path / "sound.yaml", *SOUND)
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing\n")
    with pytest.raises(Failure, match="default was not scanned: checkov"):
        checkov.manifests({"sound": sound, "default": empty})


def test_manifests_that_cannot_be_parsed_are_refused(checkov: Checkov, tmp_path: Path) -> None:
    sound = write(tmp_path / "sound.yaml", *SOUND)
    broken = tmp_path / "broken.yaml"
    broken.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: [\n")
    with pytest.raises(Failure, match="default was not scanned: checkov"):
        checkov.manifests({"sound": sound, "default": broken})


@pytest.mark.parametrize("other", ["checkov", "trivy"])
def test_planted_manifest_is_found_by_both(
    other: str, checkov: Checkov, trivy: Trivy, tmp_path: Path
) -> None:
    file = tmp_path / "canary.yaml"
    file.write_text(canary.MANIFEST)
    (scan,) = checkov.manifests({"canary": file}) if other == "checkov" else [trivy.manifests("canary", file)]
    privileged = {"checkov": "CKV_K8S_16", "trivy": "KSV-0017"}[other]
    assert (privileged, "Pod.canary.canary") in {(one.check, one.subject) for one in scan.findings}


def test_scanners_differ_only_where_it_is_explained(checkov: Checkov, trivy: Trivy, tmp_path: Path) -> None:
    explained = yaml.safe_load((ROOT / "policies" / "scan" / "differences.yaml").read_text())
    renders = targets.render(toolchain.helm_and_kubectl(Steps(quiet=True)) / "helm", tmp_path)
    found: dict[str, dict[str, set[tuple[str, str]]]] = {"trivy": {}, "checkov": {}}
    for scan in (
        *checkov.manifests(renders),
        *(trivy.manifests(name, file) for name, file in renders.items()),
    ):
        for one in scan.findings:
            found[scan.scanner].setdefault(one.check, set()).add((one.target, one.subject))
    both = {
        tuple(pair.values()): (
            found["trivy"].get(pair["trivy"], set()),
            found["checkov"].get(pair["checkov"], set()),
        )
        for pair in explained["same"]
    }
    assert [pair for pair, (first, second) in both.items() if first != second] == [], "other objects"
    assert [pair for pair, (first, _) in both.items() if not first] == [], "found nowhere: take the pair out"
    for scanner in ("trivy", "checkov"):
        alone = set(found[scanner]) - {pair[scanner] for pair in explained["same"]}
        assert alone == set(explained[scanner]), f"what only {scanner} finds"
        assert all(explained[scanner].values())
