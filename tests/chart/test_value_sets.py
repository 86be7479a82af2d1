"""Whatever values the schema admits, the render is valid and secure; what it refuses is refused by name."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ci.chart.site import OPERATED
from lighthouse_harness.documents import walk
from lighthouse_harness.findings import EmptySelectionError, Verdict
from lighthouse_harness.gates import GATES
from lighthouse_harness.manifests import merge
from lighthouse_harness.model import Request
from lighthouse_harness.render import RenderError
from lighthouse_harness.value_sets import Key, ValueSet, admitted, hostile, keys, refused

from .conftest import CHART, WHOLE, profiles
from .test_profiles import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer
    from lighthouse_harness.tally import Prover

# hypothesis describes a strategy even where it only draws again, and those of whole schemas are long.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

KEYS = tuple(key for key in keys(CHART) if key.path[0] not in {"enabled", "common"})
CHOICES = tuple(key for key in KEYS if len(key.path) > 1)
INVARIANTS = {
    "schema", "duplicate-objects", "duplicate-keys", "pod-security", "security-context", "service-account",
    "resources", "bounded-volumes", "probe-ports", "services",
}  # fmt: skip
"""Gates that no value may break. The others judge what the user chose, such as a tag."""


def _judged(render: Render) -> Iterator[Verdict]:
    for gate in GATES:
        if gate.name in INVARIANTS:
            try:
                yield gate.judge(render, SETTINGS)
            except EmptySelectionError:
                assert gate.optional, gate.name


def _request(values: ValueSet, profile: str = "default") -> Request:
    return Request(
        CHART,
        profiles()[profile],
        overrides=merge(WHOLE, values.values),
        release="lighthouse",
        namespace="lighthouse",
        api_versions=OPERATED,
    )


def _holding(render: Render, text: str) -> int:
    """How many texts of the render hold `text`; generated secrets, which may by chance, are not counted."""
    leaves = [leaf for item in render.objects if item.kind != "Secret" for _, leaf in walk(item.document)]
    return sum(isinstance(leaf, str) and text in leaf for leaf in leaves)


@pytest.fixture(name="holds", scope="session")
def _holds(renderer: Renderer, prove: Prover) -> Callable[[ValueSet], Render | None]:
    """Requires the invariants of what the values render, which it returns, or a refusal that names one of their keys."""

    def holds(values: ValueSet) -> Render | None:
        try:
            render = renderer.render(_request(values))
        except RenderError as error:
            if not any(key in str(error) for key in values.keys):
                pytest.fail(f"The refusal names none of {values.keys}: {error}", pytrace=False)
            return None
        if render.pods:
            prove(*_judged(render))
        return render

    return holds


@pytest.fixture(name="is_refused", scope="session")
def _is_refused(renderer: Renderer) -> Callable[[ValueSet], None]:
    """Requires that Helm refuses the values and names the key."""

    def is_refused(values: ValueSet) -> None:
        name = values.keys[0].split(".")[-1]
        with pytest.raises(RenderError, match=name):
            renderer.render(_request(values))

    return is_refused


def _quick(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )


@_quick(20)
@given(values=admitted(CHOICES))
@example(values=ValueSet({"bridge": {"persistence": {"size": 1}}}, ("bridge.persistence.size",)))
def test_admitted_values_keep_the_invariants(values: ValueSet, holds: Callable[[ValueSet], None]) -> None:
    holds(values)


@pytest.mark.heavy
@_quick(120)
@given(values=admitted(CHOICES, at_most=6))
def test_admitted_values_keep_the_invariants_at_length(
    values: ValueSet, holds: Callable[[ValueSet], None]
) -> None:
    holds(values)


@pytest.mark.heavy
@pytest.mark.timeout(1800)  # some seven hundred sets, each rendered up to three times
def test_text_that_yaml_misreads_is_quoted_or_refused(
    renderer: Renderer, holds: Callable[[ValueSet], Render | None]
) -> None:
    nothing = ValueSet({}, ())
    plain = renderer.render(_request(nothing))
    # Some values matter only to bridges on servers of their own, at a Gateway, or to an issuer of the edge.
    others = {name: renderer.render(_request(nothing, name)) for name in ("replicas", "gateway", "edge")}

    def fault(values: ValueSet) -> str:
        text = next(leaf for _, leaf in walk(values.values))
        try:
            render = holds(values)
        except (AssertionError, pytest.fail.Exception) as error:
            return f"{values.values}: {error}"
        if render is None or _holding(render, text) > _holding(plain, text):
            return ""
        if any(
            _holding(renderer.render(_request(values, profile)), text) > _holding(without, text)
            for profile, without in others.items()
        ):
            return ""
        return f"{values.values}: the render does not hold the text"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = list(pool.map(fault, (values for key in CHOICES for values in hostile(key))))
    assert len(faults) > 100
    wrong = [sentence for sentence in faults if sentence]
    assert not wrong, "\n".join(wrong)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["0123", "1e3", "0x1f"])
def test_names_that_yaml_misreads_are_quoted(name: str, renderer: Renderer, prove: Prover) -> None:
    render = renderer.render(replace(_request(ValueSet({}, ())), release=name, namespace=name))
    prove(*(gate.judge(render, SETTINGS) for gate in GATES if gate.name == "schema"))
    assert {item.namespace for item in render.select("StatefulSet")} == {name}
    assert {item.at("metadata.labels")["app.kubernetes.io/instance"] for item in render.objects} == {name}


@_quick(12)
@given(data=st.data(), key=st.sampled_from([key for key in KEYS if refused(key)]))
def test_refused_values_are_refused_by_name(
    data: st.DataObject, key: Key, is_refused: Callable[[ValueSet], None]
) -> None:
    is_refused(data.draw(st.sampled_from(refused(key))))


@pytest.mark.heavy
def test_every_key_refuses_every_wrong_value_by_name(is_refused: Callable[[ValueSet], None]) -> None:
    sets = [values for key in KEYS for values in refused(key)]
    assert len(sets) > 100
    for values in sets:
        is_refused(values)


def test_every_key_of_the_schema_refuses_something() -> None:
    assert [key.dotted for key in KEYS if not refused(key)] == []
