"""Every value of the chart does something."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.manifests import merge
from lighthouse_harness.value_effects import effects

from .conftest import WHOLE, request_for
from .test_value_sets import KEYS

if TYPE_CHECKING:
    from lighthouse_harness.render import Renderer


LEAVES = [
    key
    for key in KEYS
    if key.path[-1] == "affinity"
    or (
        "affinity" not in key.path
        and not any(other.path[: len(key.path)] == key.path for other in KEYS if other != key)
    )
]
"""Keys without keys of their own below them; affinity is one value, as it is in Kubernetes."""


@pytest.mark.heavy
def test_every_value_has_an_effect(renderer: Renderer) -> None:
    plain = request_for("default")
    external = replace(
        plain,
        overrides={
            "bridge": {"keys": {"existingSecret": "keys"}, "persistence": {"enabled": False}},
            "agents": {"key": {"existingSecret": "keys"}},
        },
    )
    whole = replace(plain, overrides=WHOLE)
    lasting = replace(
        plain, overrides=merge(WHOLE, {"redis": {"mode": "standalone", "persistence": {"enabled": False}}})
    )
    result = effects(renderer, [plain, external, whole, lasting], LEAVES)
    assert result.unused == ()
    assert result.untried == ()
    assert len(result.used) > 100
