"""The audit policy: what happens is recorded, secrets never are; judged by reading it, and by a real API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lighthouse_harness.api_server import ApiServer, find_program
from lighthouse_harness.manifests import load_yaml
from lighthouse_harness.model import make_object
from lighthouse_harness.render import ToolError

POLICY = Path(__file__).resolve().parents[2] / "policies" / "audit" / "kube-apiserver.yaml"
CHANGES = ("create", "update", "patch", "delete", "deletecollection")
READS = ("get", "list", "watch")
AGENT = (
    "system:serviceaccount:lighthouse-agents:agent",
    ("system:serviceaccounts", "system:serviceaccounts:lighthouse-agents"),
)
ORDER = ("None", "Metadata", "Request", "RequestResponse")


def level(
    verb: str, group: str, resource: str, user: str = AGENT[0], groups: tuple[str, ...] = AGENT[1]
) -> str:
    """The level of the first rule that matches, as the API server takes it."""
    for rule in load_yaml(POLICY.read_text(encoding="utf-8"))["rules"]:
        if "nonResourceURLs" in rule or (rule.get("users") and user not in rule["users"]):
            continue
        if rule.get("userGroups") and not set(rule["userGroups"]) & set(groups):
            continue
        if rule.get("verbs") and verb not in rule["verbs"]:
            continue
        if rule.get("resources") and not any(_names(entry, group, resource) for entry in rule["resources"]):
            continue
        return str(rule["level"])
    return "None"


def _names(entry: dict[str, Any], group: str, resource: str) -> bool:
    return entry.get("group", "") == group and (not entry.get("resources") or resource in entry["resources"])


@pytest.mark.parametrize("verb", [*CHANGES, *READS])
@pytest.mark.parametrize("resource", ["secrets", "configmaps", "serviceaccounts/token"])
def test_bodies_that_hold_secrets_are_never_recorded(verb: str, resource: str) -> None:
    assert level(verb, "", resource) == "Metadata"


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize(
    ("group", "resource"),
    [("apps", "deployments"), ("rbac.authorization.k8s.io", "roles"), ("networking.k8s.io", "networkpolicies"), ("", "pods")],
)  # fmt: skip
def test_every_change_is_recorded_with_what_was_asked(verb: str, group: str, resource: str) -> None:
    assert level(verb, group, resource) == "Request"


@pytest.mark.parametrize(
    "resource", ["pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers"]
)
def test_a_way_into_a_pod_is_recorded_even_for_the_clusters_own(resource: str) -> None:
    assert level("create", "", resource) == "Request"
    assert level("create", "", resource, "system:node:a", ("system:nodes",)) == "Request"


def test_nothing_is_recorded_with_answers() -> None:
    rules = load_yaml(POLICY.read_text(encoding="utf-8"))["rules"]
    assert rules
    assert all(ORDER.index(rule["level"]) < ORDER.index("RequestResponse") for rule in rules)


@pytest.mark.heavy
def test_a_real_api_server_records_by_this_policy(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    try:
        programs = find_program("etcd"), find_program("kube-apiserver")
    except ToolError as error:
        pytest.skip(str(error))
    flags = [f"--audit-policy-file={POLICY}", f"--audit-log-path={log}", "--audit-log-mode=blocking"]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "stringData": {"k": "hunter22hunter22"},
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "visible"}}
    with ApiServer(*programs, flags=flags) as server:
        server.add_namespace("audited", {})
        for document in (secret, account):
            answer = server.apply(make_object(document, "audited"), dry_run=False)
            assert answer.accepted, answer.message
        assert server.request("GET", "/api/v1/namespaces/audited/secrets/s").accepted
    text = log.read_text(encoding="utf-8")
    events = [json.loads(line) for line in text.splitlines()]
    recorded = {(event["verb"], event.get("objectRef", {}).get("resource")): event for event in events}
    assert "hunter22" not in text
    assert recorded["get", "secrets"]["level"] == "Metadata"
    assert recorded["patch", "secrets"]["level"] == "Metadata"
    assert recorded["patch", "serviceaccounts"]["level"] == "Request"
    assert recorded["patch", "serviceaccounts"]["requestObject"]["metadata"]["name"] == "visible"
