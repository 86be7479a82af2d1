"""Metrics over TLS on a cluster: each program shows the certificate of its component, the latest, to who scrapes."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

import pytest

from ci.settings import NAMESPACE, RELEASE
from tests.live.support import AGENTS, PYTHON, Container, agent, component, eventually, pods
from tests.production.certificates.programs import SCRAPE
from tests.production.renewals import renew

if TYPE_CHECKING:
    from tests.production.certificates.conftest import Release
    from tests.production.reports import Report

pytestmark = pytest.mark.live

DRIVERS = f"{NAMESPACE}-fuse-csi"
# By what is scraped: namespace, Secret, host, port, and what the answer holds.
TARGETS = {
    "bridge": (
        NAMESPACE,
        f"{RELEASE}-bridge-tls",
        f"{RELEASE}-bridge.{NAMESPACE}.svc",
        8080,
        "_bridge_rules ",
    ),
    "agent": (AGENTS, f"{RELEASE}-agents-tls", f"{RELEASE}-agents.{AGENTS}", 8083, "_agents_registered "),
    "sidecar": (AGENTS, f"{RELEASE}-agents-tls", f"{RELEASE}-agents.{AGENTS}", 8081, "_fuse_ready "),
    "driver": (DRIVERS, f"{RELEASE}-fuse-csi-tls", f"{RELEASE}-fuse-csi.{DRIVERS}", 8082, "_csi_mounts"),
    "guard": (NAMESPACE, f"{RELEASE}-redis-tls", f"{RELEASE}-redis.{NAMESPACE}.svc", 8085, "_guard_reloads"),
    "exporter": (NAMESPACE, f"{RELEASE}-redis-tls", f"{RELEASE}-redis.{NAMESPACE}.svc", 9121, "redis_up 1"),
}
COMPONENTS = ((NAMESPACE, "bridge"), (AGENTS, "agents"), (DRIVERS, "fuse-csi"), (NAMESPACE, "redis"))
ROUND_SECONDS = 240


@pytest.fixture(scope="module")
def scraped(release: Release) -> dict[str, Container]:
    """Containers in the pods of each program, with Python, of a release whose metrics are over TLS."""
    redis = release.redis(exporter=True)
    release.upgrade("cert-manager", metrics=True, certificates={"hours": 1}, redis=redis)

    def one(namespace: str, name: str, container: str) -> Container:
        pod, *_ = pods(release.cluster, namespace, component(name))
        return Container(release.cluster, namespace, pod["metadata"]["name"], container)

    expert, guard = agent(release.cluster), one(NAMESPACE, "redis", "guard")
    return {
        "bridge": one(NAMESPACE, "bridge", "bridge"),
        "agent": expert,
        "sidecar": expert,
        "driver": one(DRIVERS, "fuse-csi", "driver"),
        "guard": guard,
        "exporter": guard,
    }


def scrape(release: Release, containers: dict[str, Container], name: str) -> tuple[str, str]:
    """The certificate's serial number and the answer of a program; empty while it is not known by its authority."""
    namespace, secret, host, port, _ = TARGETS[name]
    authority = release.cluster.get("secret", secret, "-n", namespace)["data"]["ca.crt"]
    words = (PYTHON, "-c", SCRAPE, str(port), host)
    done = containers[name].run(*words, stdin=base64.b64decode(authority))
    if done.returncode:
        return "", done.stderr.decode()
    serial, version, text = json.loads(done.stdout)
    assert version == "TLSv1.3"
    return serial, text


@pytest.mark.proves(22, level="running")
@pytest.mark.parametrize("name", TARGETS)
def test_each_target_is_over_tls_alone(name: str, release: Release, scraped: dict[str, Container]) -> None:
    serial, text = scrape(release, scraped, name)
    assert serial, text
    assert TARGETS[name][4] in text
    plain = (
        "import sys, urllib.request as u\n"
        "try: print(u.urlopen(f'http://127.0.0.1:{sys.argv[1]}/metrics', timeout=10).status)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert scraped[name].python(plain, str(TARGETS[name][3])).strip() != "200"


@pytest.mark.proves(25, level="running")
def test_renewed_certificates_are_shown_to_scrapers_without_a_restart(
    release: Release, scraped: dict[str, Container], report: Report
) -> None:
    before = {name: scrape(release, scraped, name)[0] for name in TARGETS}
    assert all(before.values()), before
    processes = release.identities(*COMPONENTS)
    begin = time.monotonic()
    for namespace, secret in sorted({target[:2] for target in TARGETS.values()}):
        renew(release.cluster, namespace, secret)
    for name, serial in before.items():
        eventually(
            lambda name=name, serial=serial: scrape(release, scraped, name)[0] not in ("", serial),  # type: ignore[misc]
            ROUND_SECONDS,
            f"the {name} shows its new certificate to scrapers",
        )
    assert release.identities(*COMPONENTS) == processes
    report.row(
        "Metrics: renewed certificates are shown by all programs after, s", f"{time.monotonic() - begin:.0f}"
    )
