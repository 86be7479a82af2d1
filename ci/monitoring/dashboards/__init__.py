"""Dashboards for Grafana: one module each, as JSON that the chart puts into ConfigMaps."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from ci.monitoring.dashboards import (
    bridge,
    capacity,
    edge,
    experts,
    fuse,
    overview,
    postgres,
    redis,
    security,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grafana_foundation_sdk.builders.dashboard import Dashboard

BOARDS: Mapping[str, Callable[[], Dashboard]] = MappingProxyType(
    {
        "overview": overview.board,
        "bridge": bridge.board,
        "experts": experts.board,
        "edge": edge.board,
        "fuse": fuse.board,
        "postgres": postgres.board,
        "redis": redis.board,
        "security": security.board,
        "capacity": capacity.board,
    }
)


def documents() -> dict[str, dict[str, Any]]:
    """Every dashboard by its name, as Grafana reads it; limits are words until the chart is rendered."""
    found = {}
    for name, board in BOARDS.items():
        made = board().build()
        for number, panel in enumerate(made.panels or (), 1):
            panel.id_val = number
        found[name] = json.loads(JSONEncoder().encode(made))
    return found


def text(document: Mapping[str, Any]) -> str:
    """A dashboard as it is kept in a file."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
