"""A Prometheus without the operator, beside the other: it reads what the chart's plain scrape config says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ci.operators.prometheus import NAMESPACE as MONITORING
from ci.settings import NAMESPACE, RELEASE
from tests.monitoring.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.monitoring.conftest import Site

NAME = "plain-prometheus"
FOLDER = "/etc/prometheus"
KEY = "lighthouse.yaml"
OWN = f"scrape_config_files: [{FOLDER}/{KEY}]\n"


@contextlib.contextmanager
def plain_prometheus(site: Site) -> Iterator[Watch]:
    """It runs, with the program and the account of the other; network policies admit both by their label."""
    cluster = site.cluster
    (other,) = cluster.get("pods", "-n", MONITORING, "-l", "prometheus=lighthouse")["items"]
    (image,) = {each["image"] for each in other["spec"]["containers"] if each["name"] == "prometheus"}
    made = cluster.get("configmap", f"{RELEASE}-monitoring-scrape", "-n", NAMESPACE)["data"][KEY]
    try:
        site.apply(
            _object("v1", "ConfigMap", data={"prometheus.yml": OWN, KEY: made}),
            _object("v1", "Service", spec={"selector": {"app": NAME}, "ports": [{"port": 9090}]}),
            _pod(image),
        )
        cluster.kubectl("wait", "-n", MONITORING, "--for=condition=Ready", f"pod/{NAME}", "--timeout=120s")
        watch = Watch(cluster, NAME)
        try:
            yield watch
        finally:
            watch.close()
    finally:
        cluster.kubectl("delete", "pod,service,configmap", NAME, "-n", MONITORING, "--ignore-not-found")


def _object(version: str, kind: str, **content: Any) -> dict[str, Any]:
    labels = {"app": NAME, "app.kubernetes.io/name": "prometheus"}
    metadata = {"name": NAME, "namespace": MONITORING, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _pod(image: str) -> dict[str, Any]:
    container = {
        "name": "prometheus",
        "image": image,
        "args": [f"--config.file={FOLDER}/prometheus.yml", "--storage.tsdb.path=/data"],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 2},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": FOLDER}, {"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "serviceAccountName": "prometheus",
        "containers": [container],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "data", "emptyDir": {"sizeLimit": "256Mi"}},
        ],
    }
    return _object("v1", "Pod", spec=spec)
