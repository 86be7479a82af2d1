"""The metrics of PostgreSQL's backups by a small exporter in the place of an instance: no operator of databases runs here.

Names and labels are those of the Barman plugin (ci/monitoring/elsewhere.yaml); what scrapes and judges them, and what lets
Prometheus reach them, is the chart's.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ci.chart.site import OPERATED, SITE
from ci.release import CHART
from ci.settings import NAMESPACE, RELEASE
from tests.live.knocking import restricted_pod
from tests.live.support import PYTHON, Container

if TYPE_CHECKING:
    from ci.release import Cluster

NAME = f"{RELEASE}-postgres"
PORT = 9187
VALUES = {
    "postgres": {
        "enabled": True,
        "backup": {"enabled": True, "destinationPath": "s3://backups/postgres"},
        "podMonitor": {"enabled": True, "interval": "10s"},
    }
}
SERVE = f"""
import http.server, pathlib
class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = pathlib.Path("/tmp/latest")
        latest = told.read_text() if told.exists() else "0"
        text = "cnpg_collector_up 1\\nbarman_cloud_cloudnative_pg_io_last_available_backup_timestamp " + latest + "\\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("", {PORT}), Metrics).serve_forever()
"""
TELL = "import pathlib, sys; pathlib.Path('/tmp/latest').write_text(sys.argv[1])"


class Backups:
    """The exporter, and of the chart's objects those that are about PostgreSQL."""

    def __init__(self, cluster: Cluster, image: str, monitoring: dict[str, Any]) -> None:
        """`monitoring` are the release's values of whom to admit."""
        self.cluster = cluster
        self.objects = [_pod(image), *_of_the_chart(cluster, monitoring)]
        self.container = Container(cluster, NAMESPACE, f"{NAME}-1", "knock")

    def tell(self, age_seconds: float) -> None:
        """From now on the latest backup is of so long ago."""
        self.container.output(PYTHON, "-c", TELL, str(time.time() - age_seconds))


def _pod(image: str) -> dict[str, Any]:
    labels = {"cnpg.io/cluster": NAME, "cnpg.io/podRole": "instance"}
    pod = restricted_pod(f"{NAME}-1", NAMESPACE, image, labels)
    container = pod["spec"]["containers"][0]
    container["command"] = [PYTHON, "-c", SERVE]
    container["ports"] = [{"name": "metrics", "containerPort": PORT}]
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    pod["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}]
    return pod


def _of_the_chart(cluster: Cluster, monitoring: dict[str, Any]) -> list[dict[str, Any]]:
    """PodMonitor, rules and NetworkPolicy of PostgreSQL, as the chart renders them."""
    apis = [word for api in OPERATED for word in ("--api-versions", api)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.json"
        path.write_text(json.dumps({**monitoring, **VALUES}))
        words: list[str | Path] = ["template", RELEASE, CHART, "--namespace", NAMESPACE]
        words += ["--values", SITE, "--values", path]
        text = cluster.helm(*words, *apis, "--api-versions", "monitoring.coreos.com/v1/PrometheusRule")
    names = {
        "PodMonitor": NAME,
        "PrometheusRule": f"{RELEASE}-monitoring-postgres",
        "NetworkPolicy": NAME,
    }
    documents = [found for found in yaml.load_all(text, Loader=yaml.CSafeLoader) if found]
    found = [item for item in documents if names.get(item["kind"]) == item["metadata"]["name"]]
    assert {item["kind"] for item in found} == set(names), [item["kind"] for item in found]
    return found
