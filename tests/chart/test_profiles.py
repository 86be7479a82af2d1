"""Every gate holds for every profile, by two Helm majors and for four Kubernetes versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.changes import upgrade
from lighthouse_harness.findings import EmptySelectionError
from lighthouse_harness.gates import GATES, Gate, Settings
from lighthouse_harness.namespaces import enforced_pod_security, namespace_levels
from lighthouse_harness.network_environment import default_environment, workload
from lighthouse_harness.pod_security import Level

from .conftest import profiles, request_for

if TYPE_CHECKING:
    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer
    from lighthouse_harness.tally import Prover
    from lighthouse_harness.waivers import Waivers

DRIVER = "lighthouse-fuse-csi"
OPERATOR = workload("cnpg-system/operator", {"app.kubernetes.io/name": "cloudnative-pg"})
SETTINGS = Settings(
    namespaces=((DRIVER, Level.PRIVILEGED),), environment=default_environment().plus([OPERATOR])
)


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_gate_holds(gate: Gate, renders: tuple[Render, ...], prove: Prover) -> None:
    empty = 0
    for render in renders:
        try:
            prove(gate.judge(render, SETTINGS))
        except EmptySelectionError:
            empty += 1
            assert gate.optional
    assert empty in (0, len(renders))
    if empty:
        pytest.skip(f"the profile renders nothing that {gate.name} looks at")


def test_each_pod_passes_what_its_namespace_enforces(renders: tuple[Render, ...], prove: Prover) -> None:
    prove(*(enforced_pod_security(render) for render in renders))


def test_only_the_driver_has_a_namespace_below_restricted(renders: tuple[Render, ...], prove: Prover) -> None:
    prove(*(namespace_levels(render, dict(SETTINGS.namespaces)) for render in renders))
    for render in renders:
        assert {pod.object.kind for pod in render.pods if pod.namespace == DRIVER} <= {"DaemonSet"}


@pytest.mark.parametrize("field", ["kubernetes", "helm"])
def test_renders_differ_neither_by_helm_nor_by_kubernetes(
    field: str, profile: str, all_renders: dict[str, tuple[Render, ...]]
) -> None:
    renders = all_renders[profile]
    if len({getattr(render.request, field) for render in renders}) < 2:
        pytest.skip("HELM3 names no Helm 3")
    first, *others = renders
    for other in others:
        assert [item.ref for item in other.objects] == [item.ref for item in first.objects]


def test_an_upgrade_to_the_same_values_changes_nothing_immutable(
    profile: str, renderer: Renderer, prove: Prover
) -> None:
    old, new = renderer.prerender([request_for(profile), request_for(profile, upgrade=True)])
    prove(upgrade(old, new))


def test_no_waiver_is_left_over(waivers: Waivers, renderer: Renderer) -> None:
    for render in renderer.prerender(request_for(profile) for profile in profiles()):
        for gate in GATES:
            try:
                waivers.apply(gate.judge(render, SETTINGS))
            except EmptySelectionError:
                continue
    assert waivers.unused() == ()
