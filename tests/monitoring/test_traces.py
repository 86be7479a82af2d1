"""Traces on a cluster: through the NetworkPolicies a bridge tells a collector of the calls whose traces are kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ci.operators.prometheus import NAMESPACE as MONITORING
from ci.settings import NAMESPACE
from tests.live.knocking import restricted_pod
from tests.live.support import Bridge, component, eventually, pods
from tests.monitoring.conftest import COLLECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.monitoring.conftest import Site

TRACE, CALLER = "5bd66ef5095369c7b0d1f8f4bd33716a", "00f067aa0ba902b7"
# Takes spans as a collector does, with OpenTelemetry's schema, and says of each what this test looks at.
PROGRAM = """
import gzip, json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body))
        for resource in request.resource_spans:
            about = {item.key: item.value.string_value for item in resource.resource.attributes}
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                ids = [span.trace_id.hex(), span.parent_span_id.hex(), span.span_id.hex()]
                print(json.dumps([span.name, *ids, about["service.instance.id"]]), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass

ThreadingHTTPServer(("", 4318), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def collector(site: Site) -> Iterator[None]:
    """A collector behind the Service that the release's values name."""
    (bridge,) = pods(site.cluster, NAMESPACE, component("bridge"))
    image = bridge["status"]["containerStatuses"][0]["image"]
    pod = restricted_pod(COLLECTOR, MONITORING, image, {"app": COLLECTOR})
    pod["spec"]["containers"][0]["command"] = ["python3", "-c", PROGRAM]
    spec = {"selector": {"app": COLLECTOR}, "ports": [{"port": 4318}]}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": COLLECTOR, "namespace": MONITORING},
    }
    site.apply(pod, {**service, "spec": spec})
    words = ["wait", "--for=condition=Ready", f"pod/{COLLECTOR}", "-n", MONITORING, "--timeout=60s"]
    site.cluster.kubectl(*words)
    yield
    site.cluster.kubectl("delete", f"pod/{COLLECTOR}", f"service/{COLLECTOR}", "-n", MONITORING)


def test_a_collector_hears_of_calls_whose_traces_are_kept_and_of_no_others(
    site: Site, collector: None
) -> None:
    assert collector is None
    asking = Bridge(site.cluster, "builder", "builder-traced")

    def spans() -> list[list[Any]]:
        said = site.cluster.kubectl("logs", COLLECTOR, "-n", MONITORING)
        return [json.loads(line) for line in said.splitlines()]

    def asked() -> bool:
        """Ask again each time: spans of the time before the collector's address was known are lost."""
        body = {"tool_name": "Bash", "tool_input": {"command": "git status"}, "agent_id": asking.agent_id}
        answer = asking.http.post("/validate", json=body, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
        assert answer.status_code == 200
        return any(span[0] == "store write" for span in spans())

    eventually(asked, 60, "the collector hears of a call")
    asking.close()
    found = spans()
    served = {span[3] for span in found if span[0] == "POST /validate"}
    (pod,) = pods(site.cluster, NAMESPACE, component("bridge"))
    assert {span[1] for span in found} == {TRACE}
    assert {span[2] for span in found if span[0] == "POST /validate"} == {CALLER}
    assert {span[2] for span in found if span[0] == "store write"} <= served
    assert {span[4] for span in found} == {pod["metadata"]["name"]}
