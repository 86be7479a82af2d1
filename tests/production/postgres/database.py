"""The database as its clients see it: logins from the Secrets, TLS verified, one connection a call."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from ci.console import Failure
from ci.settings import NAMESPACE, RELEASE

if TYPE_CHECKING:
    from pathlib import Path

    from ci.release import Cluster

CLUSTER = f"{RELEASE}-postgres"
STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'quorum'"


@dataclass(frozen=True)
class Database:
    """A PostgreSQL cluster of a release; `authority` is the file with its certificate authority."""

    cluster: Cluster
    name: str
    authority: Path

    def login(self, role: str) -> dict[str, str]:
        """What the Secret of a role says."""
        data = self.cluster.get("secret", f"{self.name}-{role}", "-n", NAMESPACE)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def address(self, service: str = "rw") -> str:
        """The address of one of its Services, which this host reaches."""
        found: str = self.cluster.get("service", f"{self.name}-{service}", "-n", NAMESPACE)["spec"][
            "clusterIP"
        ]
        return found

    def parameters(self, role: str, **changes: Any) -> dict[str, Any]:
        """Connection parameters of a role; `changes` replace or add to them."""
        login = self.login(role)
        return {
            "host": f"{self.name}-rw",
            "hostaddr": self.address(),
            "dbname": "lighthouse",
            "user": login["username"],
            "password": login["password"],
            "sslmode": "verify-full",
            "sslrootcert": str(self.authority),
            "connect_timeout": 2,
            "application_name": f"test-{role}",
        } | changes

    def connect(self, role: str, **changes: Any) -> psycopg.Connection[Any]:
        """A connection in autocommit mode."""
        return psycopg.connect(**self.parameters(role, **changes), autocommit=True)

    def status(self) -> dict[str, Any]:
        """The Cluster's status."""
        found: dict[str, Any] = self.cluster.get("clusters.postgresql.cnpg.io", self.name, "-n", NAMESPACE)[
            "status"
        ]
        return found

    def primary(self) -> str:
        """The pod of the primary."""
        found: str = self.status()["currentPrimary"]
        return found

    def node_of(self, pod: str) -> str:
        """The node that a pod is on."""
        found: str = self.cluster.get("pod", pod, "-n", NAMESPACE)["spec"]["nodeName"]
        return found

    def healthy(self) -> bool:
        """Whether all instances are ready, and every replica follows the primary."""
        status = self.status()
        return (
            status.get("phase") == "Cluster in healthy state"
            and status.get("readyInstances") == status["instances"]
            and status["currentPrimary"] == status["targetPrimary"]
            and self.streaming() == status["instances"] - 1
        )

    def streaming(self) -> int:
        """How many replicas stream and count for the quorum of commits, as the primary sees them."""
        try:
            return int(self.superuser(STREAMING))
        except Failure:  # a primary that is not there yet
            return 0

    def superuser(self, sql: str, pod: str = "") -> str:
        """What the administrator sees from within an instance: a row a line, `|` between its values."""
        words = ["exec", pod or self.primary(), "-n", NAMESPACE, "-c", "postgres", "--"]
        psql = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "lighthouse", "-c", sql]
        return self.cluster.kubectl(*words, *psql).strip()


def write_authority(cluster: Cluster, name: str, folder: Path, kind: str = "ca") -> Path:
    """The file with the authority of a database's certificates, which is in the Secret `<name>-<kind>`."""
    data = cluster.get("secret", f"{name}-{kind}", "-n", NAMESPACE)["data"]
    path = folder / f"{name}-{kind}.crt"
    path.write_bytes(base64.b64decode(data["ca.crt"]))
    return path
