"""What is known about a database that does not become healthy, for the failure that says so."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from ci.console import Failure
from ci.settings import NAMESPACE
from tests.live.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.production.postgres.database import Database

OPERATOR = ("-n", "cnpg-system", "-l", "app.kubernetes.io/name=cloudnative-pg")
LINES = 80
REPLICATION = "SELECT application_name, state, sync_state, sent_lsn, flush_lsn, replay_lsn, reply_time FROM pg_stat_replication"


def wait_healthy(database: Database, seconds: float) -> None:
    """Wait until all instances are ready and follow; the failure holds what the cluster says about itself."""
    try:
        eventually(database.healthy, seconds, "the database is healthy")
    except (AssertionError, Failure) as error:
        raise AssertionError(f"{error}\n{described(database)}") from None


def described(database: Database) -> str:
    """Status of the Cluster, its pods, replication as each instance sees it, and the ends of the logs."""
    kubectl = database.cluster.kubectl
    selector = ("-n", NAMESPACE, "-l", f"cnpg.io/cluster={database.name},cnpg.io/podRole=instance")
    parts: dict[str, Callable[[], str]] = {
        "status of the Cluster": lambda: json.dumps(database.status(), indent=1),
        "pods": lambda: kubectl("get", "pods", *selector, "-o", "wide"),
        "log of the operator": lambda: kubectl("logs", *OPERATOR, "--prefix", f"--tail={LINES}"),
    }
    for pod in _instances(database, selector):
        parts[f"replication as {pod} sees it"] = partial(database.superuser, REPLICATION, pod)
        parts[f"log of {pod}"] = partial(
            kubectl, "logs", pod, "-n", NAMESPACE, "-c", "postgres", f"--tail={LINES}"
        )
    return "\n".join(f"--- {title}:\n{_told(ask)}" for title, ask in parts.items())


def _instances(database: Database, selector: tuple[str, ...]) -> list[str]:
    try:
        found = database.cluster.get("pods", *selector)["items"]
    except Failure:
        return []
    return [pod["metadata"]["name"] for pod in found]


def _told(ask: Callable[[], str]) -> str:
    """What is said, or why nothing is: what is asked may be as broken as the rest."""
    try:
        return ask()
    except Failure as failure:
        return f"(not known: {failure})"
