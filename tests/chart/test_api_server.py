"""Level "accepted": a real kube-apiserver takes every object of every profile, and agrees on every pod."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.editing import edited
from lighthouse_harness.model import make_object, thaw
from lighthouse_harness.namespaces import enforced_level
from lighthouse_harness.pod_security import judge_pod
from lighthouse_harness.schemas import pinned_crds

from .conftest import request_for

if TYPE_CHECKING:
    from lighthouse_harness.api_server import ApiServer
    from lighthouse_harness.model import Object, PodTemplate, Render
    from lighthouse_harness.render import Renderer

pytestmark = pytest.mark.heavy


@pytest.fixture(name="render")
def _render(profile: str, renderer: Renderer, api_server: ApiServer) -> Render:
    """A profile, and a server in which its namespaces and custom kinds exist."""
    render = renderer.render(request_for(profile))
    answer = api_server.request("GET", "/api/v1/namespaces/lighthouse")
    if not answer.accepted:
        api_server.add_namespace("lighthouse", {})
    for namespace in render.select("Namespace", may_be_empty=True):
        applied = api_server.apply(namespace, dry_run=False)
        assert applied.accepted, applied.message
    for name in {item.namespace for item in render.objects} - {""}:
        if not api_server.request("GET", f"/api/v1/namespaces/{name}").accepted:
            api_server.add_namespace(name, {})
    rendered = {item.name for item in render.select("CustomResourceDefinition", may_be_empty=True)}
    kinds = [item.kind for item in render.objects if "." in item.group]
    api_server.add_crds(crd for crd in pinned_crds(kinds) if crd.name not in rendered)
    return render


def test_every_object_is_accepted_by_strict_server_side_apply(render: Render, api_server: ApiServer) -> None:
    refused = {}
    for item in render.objects:
        answer = api_server.apply(item)
        if not answer.accepted:
            refused[item.ref] = answer.message
    assert render.objects
    assert refused == {}


def test_the_server_warns_of_nothing(render: Render, api_server: ApiServer) -> None:
    """Deprecated APIs and fields, and pods that the namespace would not admit, come as warnings."""
    told = {item.ref: answer for item in render.objects if (answer := api_server.apply(item).warnings)}
    assert told == {}


def _pod(template: PodTemplate) -> Object:
    document = thaw(template.document)
    metadata = {**(document.get("metadata") or {}), "name": "probe"}
    spec = document["spec"] | {"serviceAccountName": "default"}
    return make_object(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, template.namespace
    )


EDITS: tuple[tuple[str, Any], ...] = (
    ("spec.hostNetwork", True),
    ("spec.containers[0].securityContext", {}),
    ("spec.containers[0].securityContext.capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    ("spec.containers[0].securityContext.allowPrivilegeEscalation", True),
    ("spec.securityContext", {}),
    ("spec.volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
)


def test_admission_agrees_on_every_pod_and_on_what_breaks_it(render: Render, api_server: ApiServer) -> None:
    judged, wrong = 0, []
    for template in render.workloads():
        enforced = enforced_level(render, template.namespace)
        whole = _pod(template)
        for pod in (whole, *(edited(whole, path, value) for path, value in EDITS)):
            answer = api_server.create(pod)
            if answer.status == 422:
                continue
            judged += 1
            assert pod.pod is not None
            found = judge_pod(pod.pod, *enforced) if enforced else ()
            refused = answer.status == 403 and "violates PodSecurity" in json.loads(answer.message)["message"]
            if refused != bool(found):
                wrong.append(
                    f"{template.object.ref}: {[str(item) for item in found]} but {answer.message[:300]}"
                )
    assert judged > len(render.pods)
    assert not wrong, "\n".join(wrong)
