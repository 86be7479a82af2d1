"""PodSecurity verdicts equal Kubernetes' own fixtures, at both levels and at every version judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lighthouse_harness.go_modules import module_folder
from lighthouse_harness.manifests import load_yaml
from lighthouse_harness.model import EmptySelectionError, Render, Request, make_object
from lighthouse_harness.namespaces import enforced_pod_security
from lighthouse_harness.pod_security import Level, judge_pod, pod_security, read_version

REPLACED_BY = {
    "capabilities_baseline": "capabilities_restricted",
    "hostpathvolumes": "restrictedvolumes",
    "procmount": "procmount_restricted",
    "seccompprofile_baseline": "seccompprofile_restricted",
}
"""The check that stands for a baseline one at the restricted level."""


def _findings(document: dict[str, Any], level: Level, version: str) -> set[str]:
    pod = make_object(document).pod
    assert pod is not None
    return {finding.check.split("/")[1].lower() for finding in judge_pod(pod, level, read_version(version))}


@pytest.mark.parametrize("level", [Level.BASELINE, Level.RESTRICTED])
@pytest.mark.parametrize("version", [f"v1.{minor}" for minor in range(25, 38)])
def test_verdicts_equal_kubernetes_fixtures(level: Level, version: str) -> None:
    module = module_folder("k8s.io/pod-security-admission", "v0.37.2")
    folder = module / "test" / "testdata" / level / version
    wrong, seen = [], 0
    for path in sorted(folder.glob("*/*.yaml")):
        seen += 1
        found = _findings(load_yaml(path.read_text(encoding="utf-8")), level, version)
        subject = path.stem.rstrip("0123456789")
        subjects = {subject, REPLACED_BY.get(subject, subject)}
        right = bool(subjects & found) if path.parent.name == "fail" else not found
        if not right:
            wrong.append(f"{path.relative_to(folder)}: {sorted(found)}")
    assert seen >= 40
    assert not wrong


def _pod(**spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i:1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [container]} | spec,
    }


def test_every_offender_is_named_with_its_path() -> None:
    containers = [{"name": name, "image": "i:1", "securityContext": {"privileged": True}} for name in "ab"]
    render = Render(Request(Path("c")), (make_object(_pod(containers=containers)),))
    paths = {finding.path for finding in pod_security(render, Level.BASELINE).findings}
    assert paths == {f"spec.containers[{n}].securityContext.privileged" for n in (0, 1)}


def test_a_namespace_may_have_its_own_level() -> None:
    render = Render(Request(Path("c")), (make_object(_pod(), "driver"),))
    assert not pod_security(render).ok
    assert pod_security(render, namespaces={"driver": Level.PRIVILEGED}).ok


def test_what_a_rendered_namespace_enforces_is_read_from_its_labels() -> None:
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "v1.34",
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": labels}}
    render = Render(Request(Path("c")), (make_object(namespace), make_object(_pod(), "a")))
    assert not enforced_pod_security(render).ok
    with pytest.raises(EmptySelectionError):
        enforced_pod_security(render.with_objects([make_object(_pod(), "elsewhere")]))


@pytest.mark.parametrize("text", ["1", "new", "v1.24"])
def test_unknown_versions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"PodSecurity version '{text}'"):
        read_version(text)


def test_a_render_without_pods_is_not_a_pass() -> None:
    config = make_object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    with pytest.raises(EmptySelectionError):
        pod_security(Render(Request(Path("c")), (config,)))
