"""A certificate by ACME: a real server asks the edge whose host it is, at first and at each renewal."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ci import local
from ci.console import Steps
from ci.images import program_image
from ci.settings import NAMESPACE, RELEASE
from ci.toolchain import PEBBLE, go_tool
from lighthouse_harness.manifests import merge
from tests.live.support import eventually
from tests.production.edge.acme import Pebble, explained, is_ready, reasons, running, wait_until_ready
from tests.production.edge.conftest import SHOWN
from tests.production.edge.load import CLIENTS, Load
from tests.production.edge.outside import HOST
from tests.production.renewals import renew

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.release import Cluster
    from tests.production.edge.conftest import Release
    from tests.production.edge.outside import Outside
    from tests.production.reports import Report

pytestmark = pytest.mark.live

MADE_WITHIN = 240
# The key by which the server knows cert-manager again.
ACCOUNT = f"{RELEASE}-edge-account"
# No name server knows it.
ELSEWHERE = "elsewhere.example.com"


@pytest.fixture(scope="session")
def pebble(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """The ACME server, with an image built here."""
    steps = Steps(quiet=True)
    image = program_image(steps, "pebble", go_tool(PEBBLE, steps) / "pebble")
    local.put_on_nodes(steps, [image])
    with running(cluster, image.reference, tmp_path_factory.mktemp("acme")) as server:
        yield server


@pytest.fixture(scope="module")
def public(edge: Release, pebble: Pebble, outside: Outside, report: Report) -> Iterator[Release]:
    """The release with a certificate by ACME, by Ingress and by Gateway API."""
    usual = edge.values
    begin = time.monotonic()
    try:
        with explained(edge.cluster):
            edge.upgrade(merge(usual, pebble.values), pebble.root, minutes=MADE_WITHIN // 60)
            wait_until_ready(edge.cluster, SHOWN, MADE_WITHIN)
        kind = usual["edge"]["kind"]
        report.row(
            f"Certificate by ACME, by {kind}", f"{time.monotonic() - begin:.0f} s after the upgrade began"
        )
        eventually(outside.is_served, 60, "the bridge through the edge, with ACME's certificate")
        yield edge
    finally:
        # Helm takes over no Secret that it has not made, and cert-manager would make a deleted one anew.
        for kind in ("certificate", "secret"):
            edge.cluster.kubectl("delete", kind, SHOWN, "-n", NAMESPACE, "--ignore-not-found")
        edge.upgrade(usual)
        edge.cluster.kubectl("delete", "secret", ACCOUNT, "-n", NAMESPACE, "--ignore-not-found")
        eventually(outside.is_served, 240, "the bridge through the edge")


@pytest.mark.proves(25, level="running")
def test_an_acme_server_asks_the_edge_and_signs_for_its_host(
    public: Release, pebble: Pebble, outside: Outside
) -> None:
    leaf, *chain = x509.load_pem_x509_certificates(public.secret(SHOWN)["tls.crt"])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]
    assert chain[-1].issuer == x509.load_pem_x509_certificate(pebble.root).subject
    # The client believes Pebble's root alone, and asks for the host.
    assert int(outside.serial(), 16) == leaf.serial_number


@pytest.mark.proves(25, level="survives")
def test_an_acme_certificate_is_renewed_and_loses_no_request(
    public: Release, outside: Outside, report: Report
) -> None:
    before = outside.serial()
    with Load(outside, public.key("operator")) as load:
        eventually(lambda: load.answered > 10 * CLIENTS, 60, "requests before the renewal")
        begin = time.monotonic()
        with explained(public.cluster):
            renew(public.cluster, NAMESPACE, SHOWN, MADE_WITHIN)
        eventually(lambda: outside.serial() != before, 60, "the renewed certificate of the edge")
        shown = time.monotonic() - begin
        eventually(outside.is_served, 60, "the bridge through the edge")
    kind = public.values["edge"]["kind"]
    report.row(
        f"Certificate by ACME, by {kind}, renewed under load",
        f"shown after {shown:.0f} s; {len(load.failures)} of {load.answered} requests lost",
    )
    assert load.failures == []


@pytest.mark.proves(25, level="survives")
def test_a_host_that_leads_elsewhere_gets_none_and_the_edge_goes_on(
    public: Release, outside: Outside
) -> None:
    cluster = public.cluster
    before = outside.serial()

    def ask_for(*hosts: str) -> None:
        patch = json.dumps({"spec": {"dnsNames": hosts}})
        cluster.kubectl("patch", "certificate", SHOWN, "-n", NAMESPACE, "--type=merge", "--patch", patch)

    def is_told() -> bool:
        return any(f"http://{ELSEWHERE}/" in line for line in reasons(cluster))

    ask_for(HOST, ELSEWHERE)
    try:
        with explained(cluster):
            eventually(is_told, 120, f"what is wrong with {ELSEWHERE}")
        assert not is_ready(cluster, SHOWN)
        assert outside.is_served()
        assert outside.serial() == before
    finally:
        ask_for(HOST)
    with explained(cluster):
        wait_until_ready(cluster, SHOWN, MADE_WITHIN)
