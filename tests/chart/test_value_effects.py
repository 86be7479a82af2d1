"""Every value of the chart does something."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

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


PUBLIC = {"server": "https://acme.example/directory", "email": "a@example.com"}
VAULT = {"server": "https://vault:8200", "path": "pki/sign/x", "role": "x", "serviceAccount": "x"}
NAMED = {"kind": "existing", "existing": {"name": "ours"}}
CERTIFIED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cert-manager", {}),
    ("own", {}),
    ("existing", {"bridge": {"tls": {"existingSecret": "b"}}, "agents": {"tls": {"existingSecret": "a"}}}),
    ("cert-manager", {"certificates": {"issuer": NAMED}}),
    ("cert-manager", {"certificates": {"issuer": {"kind": "vault", "vault": VAULT}}}),
)
"""Makers of certificates, each with what makes its values matter."""


UNSEEN = {
    "redis.tls.days": "bounds a certificate that is another one at every render",
}
"""Values whose effect no two renders can show, and why."""


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
    parts = ("backup", "podMonitor", "pooler")
    less = replace(plain, overrides=merge(WHOLE, {"postgres": {part: {"enabled": False} for part in parts}}))
    restored = replace(plain, overrides=merge(WHOLE, {"postgres": {"recovery": {"source": "before"}}}))
    single = {"bridge": {"redis": {"cluster": False, "clientCertificate": False}}}
    replicas = replace(request_for("replicas"), overrides=single)
    used = {"bridge": {"database": {"own": True}, "redis": {"own": True, "cluster": True}}}
    own = replace(plain, overrides=merge(WHOLE, used))
    certified = [
        replace(plain, overrides=merge({"global": {"certificates": {"maker": maker}}}, values))
        for maker, values in CERTIFIED
    ]
    edges = [
        replace(plain, overrides=merge(WHOLE, {"edge": edge}))
        for edge in (
            {"tls": {"maker": "issuer", "issuer": {"name": "letsencrypt"}}},
            {"kind": "gateway"},
            {"kind": "gateway", "gateway": {"name": "shared", "namespace": "gateways"}},
        )
    ]
    haproxy = {"edge": {"controller": "haproxy"}, "monitoring": {"edgeMetrics": False}}
    edges += [replace(plain, overrides=merge(WHOLE, haproxy))]
    asked = {"tls": {"maker": "acme", "acme": PUBLIC, "issuer": {"name": ""}}}
    served = [request_for("edge"), request_for("haproxy")]
    served += [replace(served[0], overrides={"edge": asked})]
    # First where most values have an effect: the search for a value's ends with the first that shows it.
    bases = [whole, plain, external, lasting, less, restored, replicas, own, *edges, *served, *certified]
    result = effects(renderer, bases, LEAVES)
    unused = sorted(set(result.unused) - set(UNSEEN))
    assert not unused, "\n".join(unused)
    untried = sorted(set(result.untried) - set(UNSEEN))
    assert not untried, "\n".join(untried)
    assert len(result.used) > 100
