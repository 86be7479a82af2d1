"""Whether each value of a chart does anything: change it, render, and compare every leaf.

A key that changes nothing in any of the given circumstances is dead: nobody who sets it gets what it promises.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from .documents import MISSING, resolve, walk
from .manifests import merge
from .render import RenderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .model import Render, Request
    from .render import Renderer
    from .value_sets import Key

Leaves = dict[tuple[str, str], Any]

_AMOUNTS: Final = {"cpu": "3", "memory": "3Gi", "ephemeral-storage": "3Gi"}
_EXPRESSION: Final = {"key": "wx", "operator": "Exists"}
_TERM: Final = {"topologyKey": "wx", "labelSelector": {"matchLabels": {"wx": "v"}}}
SAMPLES: Final[tuple[Any, ...]] = (
    True, False, 7, 77, 700, "wx", "w.x", "/wx", "7Gi", "v1.40", "debug", "Always", f"sha256:{'a' * 64}",
    ["wx"], ["/wx"], [7], ["ReadWriteMany"], {"wx": "v"}, _AMOUNTS, {"requests": _AMOUNTS, "limits": _AMOUNTS},
    [{"name": "wx"}], [{"name": "wx", "value": "v"}], [{"name": "wx", "mountPath": "/wx"}],
    [{"name": "wx", "emptyDir": {}}], [{"name": "wx", "configMap": {"name": "wx"}}], [{"key": "wx", "operator": "Exists"}],
    [{"maxSkew": 1, "topologyKey": "wx", "whenUnsatisfiable": "ScheduleAnyway"}],
    [{"namespaceSelector": {"matchLabels": {"wx": "v"}}}], [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [_EXPRESSION]}]}}},
    {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_TERM]}},
    {"wx": {"type": "wx", "capabilities": ["wx"]}}, None,
    2, 0, 0.5, 7000, "2m", "https://wx/", "always", "never", "standalone", "allkeys-lru",
    "17.2-wx", "s3://wx/", "0 1 2 3 4 5", "2026-11-23T12:00:00Z", "aws", "preferred", ["read"], [{"kind": "Group", "name": "wx"}],
    ["192.0.2.0/24"], ["192.0.2.7"], "any", "own", "vault", "acme", "https://wx", "wx/wx", "/v1/auth/wx", "w@x.example",
    ["w.x"], "gateway", "haproxy", "Issuer", "-----BEGIN CERTIFICATE-----wx-----END CERTIFICATE-----",
)  # fmt: skip
"""Values to try: for each key, those that its schema admits."""

_TRIED: Final = 6


@dataclass(frozen=True, slots=True)
class Effects:
    """What changing each key did."""

    used: frozenset[str]
    unused: tuple[str, ...]
    """Keys that changed nothing."""
    untried: tuple[str, ...]
    """Keys for which no sample is admitted, or only what is the default already."""


def _leaves(render: Render) -> Leaves:
    return {(item.ref, path): leaf for item in render.objects for path, leaf in walk(item.document)}


def _random(renderer: Renderer, request: Request) -> tuple[Leaves, set[tuple[str, str]]]:
    """The request's leaves, and those that differ when it is rendered again under other words."""
    first = _leaves(renderer.render(request))
    again = _leaves(renderer.render(replace(request, overrides=merge(request.overrides, {"global": {}}))))
    return first, {place for place in first if again.get(place, MISSING) != first[place]}


def _changes(renderer: Renderer, request: Request, base: tuple[Leaves, set[tuple[str, str]]]) -> bool:
    try:
        after = _leaves(renderer.render(request))
    except RenderError:
        return True  # the schema admits the value, so a template has looked at it
    before, random = base
    return any(
        before.get(place, MISSING) != after.get(place, MISSING)
        for place in (before.keys() | after.keys()) - random
    )


def effects(renderer: Renderer, requests: Sequence[Request], keys: Iterable[Key]) -> Effects:
    """Which of the keys change the render in at least one of the circumstances that `requests` are.

    Raises `ValueError` when there is no key to try.
    """
    chosen = tuple(keys)
    if not chosen:
        raise ValueError("There is no key whose effect could be seen.")
    bases = [_random(renderer, request) for request in requests]
    defaults: Mapping[str, Any] = renderer.render(requests[0]).values

    def judged(key: Key) -> bool | None:
        now = resolve(defaults, "".join(f'["{name}"]' for name in key.path))
        samples = [value for value in SAMPLES if key.admits(value) and value != now][:_TRIED]
        if not samples:
            return None
        return any(
            _changes(renderer, replace(request, overrides=merge(request.overrides, key.nested(value))), base)
            for value in samples
            for request, base in zip(requests, bases, strict=True)
        )

    with ThreadPoolExecutor(renderer.workers) as pool:
        results = dict(zip((key.dotted for key in chosen), pool.map(judged, chosen), strict=True))
    return Effects(
        frozenset(name for name, result in results.items() if result),
        tuple(name for name, result in results.items() if result is False),
        tuple(name for name, result in results.items() if result is None),
    )
