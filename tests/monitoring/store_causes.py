"""Causes of alerts about stores, each a context that ends with the cause."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

from ci.settings import NAMESPACE, RELEASE
from tests.live.support import eventually
from tests.production.postgres import runbook
from tests.production.postgres.database import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.monitoring.conftest import Site

STALE_SECONDS = 2 * 86400
DATABASE = ("clusters.postgresql.cnpg.io", CLUSTER, "-n", NAMESPACE)
KEEPER = ("deployment", f"{RELEASE}-redis-keeper", "-n", NAMESPACE)


def back_up(site: Site) -> None:
    """Make a backup by the command of docs/backup.md."""
    runbook.run("backup", site.cluster.tools, {"NAMESPACE": NAMESPACE, "DATABASE": CLUSTER})


@contextlib.contextmanager
def stale_backup(site: Site) -> Iterator[None]:
    """The marker of the latest backup, which the Barman plugin keeps and its metric tells, is two days old until there
    is a new backup."""
    archive = site.cluster.get("objectstores.barmancloud.cnpg.io", CLUSTER, "-n", NAMESPACE)
    (server,) = archive["status"]["serverRecoveryWindow"]
    stale = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - STALE_SECONDS))
    window = {"serverRecoveryWindow": {server: {"lastSuccessfulBackupTime": stale}}}
    words = ["patch", "objectstores.barmancloud.cnpg.io", CLUSTER, "-n", NAMESPACE, "--subresource=status"]
    site.cluster.kubectl(*words, "--type=merge", "-p", json.dumps({"status": window}))
    try:
        yield
    finally:
        back_up(site)


@contextlib.contextmanager
def fenced_replicas(site: Site) -> Iterator[None]:
    """PostgreSQL stopped on both replicas, so that no commit is acknowledged."""
    status = site.cluster.get(*DATABASE)["status"]
    replicas = [name for name in status["instanceNames"] if name != status["currentPrimary"]]
    assert len(replicas) == 2, status["instanceNames"]
    _fence(site, f"cnpg.io/fencedInstances={json.dumps(replicas)}")
    try:
        yield
    finally:
        _fence(site, "cnpg.io/fencedInstances-")


def _fence(site: Site, annotation: str) -> None:
    site.cluster.kubectl("annotate", "--overwrite", *DATABASE, annotation)


@contextlib.contextmanager
def missing_keeper(site: Site) -> Iterator[None]:
    """Redis without its keeper."""
    wanted = site.cluster.get(*KEEPER)["spec"]["replicas"]
    _scale(site, 0)
    try:
        yield
    finally:
        _scale(site, wanted)
        eventually(
            lambda: site.cluster.get(*KEEPER)["status"].get("readyReplicas") == wanted, 120, "a keeper"
        )


def _scale(site: Site, replicas: int) -> None:
    site.cluster.kubectl("scale", *KEEPER, f"--replicas={replicas}")
