"""The chart's renders for all tests of this folder: every profile, two Helm majors, four Kubernetes versions."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci.chart.site import OPERATED, SITE
from lighthouse_harness.model import Request
from lighthouse_harness.schemas import kubernetes_versions
from lighthouse_harness.waivers import Waivers, read_waivers
from tests.chart.chart_render import helms

if TYPE_CHECKING:
    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "lighthouse"
HERE = Path(__file__).resolve().parent


def shipped_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the chart."""
    return tuple(path.stem for path in sorted((CHART / "profiles").glob("*.yaml")))


def profiles() -> dict[str, tuple[Path, ...]]:
    """Each profile's name and its values files: the defaults, the shipped profiles, and combinations kept here."""
    shipped = {name: (CHART / "profiles" / f"{name}.yaml", SITE) for name in shipped_profiles()}
    tried = {path.stem: (path,) for path in sorted((HERE / "values").glob("*.yaml"))}
    return {"default": (), **shipped, **tried}


WHOLE: dict[str, Any] = {
    "istio": {"enabled": True},
    "redis": {"enabled": True, "monitoring": {"podMonitor": "always", "rules": "always"}},
    "monitoring": {
        "podMonitors": "always",
        "rules": "always",
        "scrapeConfig": True,
        "certManager": True,
        "edgeMetrics": True,
        "dashboards": {"enabled": True},
    },
    "edge": {"enabled": True, "hosts": ["lighthouse.example.com"]},
    "bridge": {"trustedProxies": ["10.244.0.0/16"]},
    "networkPolicies": {
        "edge": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-controller"}}}
        ],
        "apiServer": {"peers": [{"ipBlock": {"cidr": "172.18.0.2/32"}}]},
        "objectStore": {"peers": [{"ipBlock": {"cidr": "203.0.113.10/32"}}]},
    },
    "postgres": {
        "enabled": True,
        "backup": {
            "enabled": True,
            "destinationPath": "s3://backups/postgres",
            "endpointCA": {"secret": "ca"},
        },
        "podMonitor": {"enabled": True},
        "pooler": {"enabled": True},
    },
}
"""Values that switch on every part that is off by default, so that other values of these parts matter."""


def helm_majors() -> tuple[int, ...]:
    """Helm 4, and Helm 3 where `HELM3` names one."""
    return (3, 4) if os.environ.get("HELM3") else (4,)


def request_for(profile: str, helm: int = 4, kubernetes: str = "1.37", *, upgrade: bool = False) -> Request:
    """The request for one profile, in the release and namespace that users are told to take."""
    return Request(
        CHART,
        profiles()[profile],
        release="lighthouse",
        namespace="lighthouse",
        helm=helm,
        kubernetes=f"{kubernetes}.0",
        api_versions=OPERATED,
        upgrade=upgrade,
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `profile` runs once for each."""
    if "profile" in metafunc.fixturenames:
        metafunc.parametrize("profile", profiles())


@pytest.fixture(scope="session")
def waivers() -> Waivers:
    """The findings that Lighthouse accepts, each with its reason."""
    return read_waivers(HERE / "waivers.yaml", datetime.datetime.now(tz=datetime.UTC).date())


@pytest.fixture(scope="session")
def all_renders(renderer: Renderer) -> dict[str, tuple[Render, ...]]:
    """Every profile by every Helm major for every Kubernetes version, by the profile's name."""
    wanted = {
        profile: [
            request_for(profile, helm, kubernetes)
            for helm in helm_majors()
            for kubernetes in kubernetes_versions()
        ]
        for profile in profiles()
    }
    renders = iter(renderer.prerender(request for requests in wanted.values() for request in requests))
    return {profile: tuple(next(renders) for _ in requests) for profile, requests in wanted.items()}


@pytest.fixture
def renders(profile: str, all_renders: dict[str, tuple[Render, ...]]) -> tuple[Render, ...]:
    """All renders of one profile."""
    return all_renders[profile]


@pytest.fixture(name="program", scope="module", params=sorted(helms()))
def _program(request: pytest.FixtureRequest) -> Path:
    """Each major of Helm."""
    path = helms()[request.param]
    if path is None and request.param == "helm3":
        pytest.skip("HELM3 names no Helm 3")
    assert path, "Helm is not on PATH; install it or name it in HELM"
    return path
