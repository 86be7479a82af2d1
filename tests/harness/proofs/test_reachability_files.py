"""A user's own table and environment: read from files, refused with a reason, used by `pytest --chart`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.manifests import read_objects
from lighthouse_harness.network_files import read_environment, read_flows
from lighthouse_harness.network_flows import compare
from lighthouse_harness.reachability import network_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

SOUND = (Path(__file__).parent / "sound.yaml").read_text(encoding="utf-8")
FLOWS = """
- {from: monitoring/prometheus, to: shop/web, port: http, why: scrapes}
- {from: ingress-controller/controller, to: shop/web, port: http, why: customers}
- {from: api-server, to: shop/web, port: http, why: admission of orders}
- {from: shop/web, to: kube-system/coredns, port: 53, protocol: [UDP, TCP], why: names}
- {from: shop/web, to: internet, port: 443, why: payments}
"""
ENVIRONMENT = """
podNetwork: 10.0.0.0/16
nodeNetwork: 192.168.0.0/24
apiServerAddress: 192.168.0.2
dns: kube-system/node-cache
blocksSelectPods: false
namespaces: {monitoring: {purpose: metrics}}
peers: {bank: {addresses: [198.51.100.0/24], ports: [443, 53/UDP]}, internet: {addresses: [203.0.113.9]}}
objects:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: prometheus, namespace: monitoring}
    spec: {template: {metadata: {labels: {app: prometheus}}, spec: {containers: []}}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "given.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_environment_adds_to_the_default_one_and_changes_it(tmp_path: Path) -> None:
    environment = read_environment(written(tmp_path, ENVIRONMENT))
    network = network_of(read_objects(SOUND, "shop"), environment)
    assert environment.dns == "kube-system/node-cache"
    assert not environment.blocks_select_pods
    assert [str(port) for port in network.endpoint("bank").ports] == ["443/TCP", "53/UDP"]
    assert network.endpoint("internet").ports == ()
    assert network.endpoint("monitoring/prometheus").labels == {"app": "prometheus"}
    assert [str(address) for address in network.endpoint("shop/web").addresses] == ["10.0.0.0/16"]
    assert [str(address) for address in network.endpoint("api-server").addresses] == ["192.168.0.2/32"]
    assert network.endpoint("kube-system/coredns").ports


def test_an_unknown_field_of_an_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown field 'pods'"):
        read_environment(written(tmp_path, "pods: 10.0.0.0/16"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no list of flows"),
        ("[]", "has no list"),
        ("- {from: a, to: b, port: 1}", r"given.yaml: Flow 1 lacks"),
    ],
)
def test_a_table_without_flows_or_with_a_wrong_one_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_flows(written(tmp_path, text))


@pytest.fixture(name="chart")
def _chart(tmp_path: Path) -> Path:
    chart = tmp_path / "shop"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: shop, version: 1.0.0}\n", encoding="utf-8")
    (chart / "templates" / "all.yaml").write_text(SOUND, encoding="utf-8")
    return chart


def test_the_table_of_the_sound_chart_is_all_that_is_open(tmp_path: Path) -> None:
    verdict = compare(network_of(read_objects(SOUND, "shop")), read_flows(written(tmp_path, FLOWS)))
    assert verdict.findings == ()


def test_the_gates_hold_a_chart_against_the_users_table(
    chart: Path, tmp_path: Path, run_gates: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    narrower = "\n".join(line for line in FLOWS.splitlines() if "payments" not in line)
    result = run_gates(
        chart, "-k", "flows", "--kubernetes-version=1.37", "--flows", written(tmp_path, narrower)
    )
    assert result.returncode == 1
    assert "1 finding(s) in 1 render(s)" in result.stdout
    assert "'shop/web -> internet 443/TCP open'" in result.stdout
    assert (
        "close it or add it to the table: egress allowed: admitted by shop/web spec.egress[1]"
        in result.stdout
    )
