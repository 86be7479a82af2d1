"""The model: addresses, selections, pod templates, and that nothing can be changed or passed vacuously."""

from __future__ import annotations

from pathlib import Path

import pytest

from lighthouse_harness.model import (
    MISSING,
    ContainerRole,
    EmptySelectionError,
    Finding,
    PathError,
    Render,
    Request,
    Verdict,
    join,
    make_object,
    resolve,
    selector_matches,
    thaw,
    verdict,
    walk,
)

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "foo", "labels": {"app.kubernetes.io/name": "foo"}},
    "spec": {
        "replicas": 3,
        "template": {
            "metadata": {"labels": {"app": "foo"}},
            "spec": {
                "initContainers": [
                    {"name": "once", "image": "a:1"},
                    {"name": "beside", "image": "b:1", "restartPolicy": "Always"},
                ],
                "containers": [
                    {"name": "main", "image": "c:1", "resources": {"limits": {"memory": "1Gi"}}},
                ],
            },
        },
    },
}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "agents", "labels": {"a": "b"}}}


@pytest.fixture(name="render")
def _render() -> Render:
    objects = (
        make_object(DEPLOYMENT, "lighthouse", "c/templates/d.yaml"),
        make_object(NAMESPACE, "lighthouse"),
    )
    return Render(Request(Path("chart")), objects)


def test_address_reaches_a_nested_value(render: Render) -> None:
    assert (
        render.at("Deployment/lighthouse/foo spec.template.spec.containers[0].resources.limits.memory")
        == "1Gi"
    )
    assert render.at('Deployment/lighthouse/foo metadata.labels["app.kubernetes.io/name"]') == "foo"
    assert render.at("Deployment/lighthouse/foo spec.template.spec.containers[name=main].image") == "c:1"
    assert render.at("Deployment/lighthouse/foo spec.template.spec.containers[7].image") is MISSING


def test_every_path_that_walk_gives_resolves_to_its_leaf(render: Render) -> None:
    for item in render.objects:
        for path, leaf in walk(item.document):
            assert resolve(item.document, path) == leaf


def test_unreadable_paths_and_unknown_objects_are_refused(render: Render) -> None:
    with pytest.raises(PathError, match="cannot be read at character 4"):
        render.at("Deployment/lighthouse/foo spec.[")
    with pytest.raises(PathError, match="renders no Deployment/lighthouse/bar"):
        render.at("Deployment/lighthouse/bar spec")


def test_containers_know_their_role_and_place(render: Render) -> None:
    seen = [
        (item.role, item.name, render.find("Deployment/lighthouse/foo").at(item.path))
        for item in render.containers()
    ]
    assert [(role, name) for role, name, _ in seen] == [
        (ContainerRole.INIT, "once"),
        (ContainerRole.SIDECAR, "beside"),
        (ContainerRole.MAIN, "main"),
    ]
    assert all(document["name"] == name for _, name, document in seen)


def test_documents_cannot_be_changed(render: Render) -> None:
    document = render.find("Deployment/lighthouse/foo").document
    with pytest.raises(TypeError):
        document["spec"]["replicas"] = 1
    copy = thaw(document)
    copy["spec"]["replicas"] = 1
    assert document["spec"]["replicas"] == 3


def test_cluster_scoped_objects_have_no_namespace(render: Render) -> None:
    assert render.find("Namespace/agents").namespace == ""
    assert render.namespace_labels("agents") == {"a": "b", "kubernetes.io/metadata.name": "agents"}


def test_empty_selections_are_errors_not_passes(render: Render) -> None:
    with pytest.raises(EmptySelectionError, match="renders no StatefulSet"):
        render.select("StatefulSet")
    assert render.select("StatefulSet", may_be_empty=True) == ()
    with pytest.raises(EmptySelectionError):
        verdict("some/check", (), ())
    with pytest.raises(EmptySelectionError):
        Verdict("some/check", 0).require()
    assert not Verdict("some/check", 0).ok


def test_a_verdict_lists_every_finding_with_place_value_and_fix() -> None:
    findings = [Finding("c", "Pod/a/b", f"spec.x{n}", n, "remove it") for n in range(3)]
    with pytest.raises(AssertionError, match=r"(?s)3 finding.*spec\.x0 is 0; remove it.*spec\.x2 is 2"):
        verdict("c", findings, findings).require()


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ({}, {}, True),
        (None, {}, False),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_label_selectors_follow_kubernetes(
    selector: dict[str, object] | None, labels: dict[str, str], matches: bool
) -> None:
    assert selector_matches(selector, labels) is matches


def test_unknown_selector_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="'Near' is not In"):
        selector_matches({"matchExpressions": [{"key": "a", "operator": "Near"}]}, {})


def test_join_quotes_only_what_needs_it() -> None:
    assert join(join("metadata", "annotations"), "a.b/c") == 'metadata.annotations["a.b/c"]'
