"""Faults of the policies themselves: pods left open, rules that admit nobody, pods without DNS.

Each check raises EmptySelectionError where it finds nothing to examine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import Finding, Render, Verdict, verdict
from .network_checks import Site, site
from .network_flows import matching
from .network_policies import Policy, Rule, parse_policy
from .reachability import POLICY_GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .network_endpoints import Endpoint
    from .network_environment import Environment

DNS = "network/dns"
RULES = "network/rules"
ISOLATION = "network/isolation"
DIRECTIONS = ("ingress", "egress")
UNREAD_KINDS = frozenset(
    {
        "AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "CiliumClusterwideNetworkPolicy",
        "CiliumNetworkPolicy", "ClusterNetworkPolicy", "GlobalNetworkPolicy",
    }
)  # fmt: skip
"""Policies of other APIs, which this evaluation does not read."""


def isolation(render: Render, environment: Environment | None = None) -> Verdict:
    """Whether every pod is isolated for both directions, or at least cannot be (on the host's network)."""
    place = site(render, environment)
    pods = [endpoint for endpoint in place.owned if endpoint.selectable]
    others = {item.kind for item in render.objects} & UNREAD_KINDS
    hint = f" ({', '.join(sorted(others))} is not read here)" if others else ""
    findings = [
        Finding(
            ISOLATION,
            pod.pod.object.ref if pod.pod else pod.name,
            "",
            f"{pod} open for {direction}",
            f"select it by a NetworkPolicy with policyTypes {direction.capitalize()}{hint}",
        )
        for pod in pods
        for direction in DIRECTIONS
        if not place.network.isolates(pod, direction)
    ]
    return verdict(ISOLATION, pods, findings)


def rules(render: Render, environment: Environment | None = None) -> Verdict:
    """Whether every policy selects a pod, every peer admits somebody, and every named port exists.

    A peer that is right but unknown here (a namespace of the cluster, say) belongs in the environment.
    """
    place = site(render, environment)
    findings: list[Finding] = []
    examined = 0
    for item in render.select("NetworkPolicy", may_be_empty=True):
        if item.group != POLICY_GROUP:
            continue
        policy = parse_policy(item)
        examined += 1
        if not place.network.selected(policy):
            pods = str(policy.pods)
            fix = f"select pods of the namespace {policy.namespace} by labels they have"
            findings.append(Finding(RULES, item.ref, "spec.podSelector", pods, fix))
        for direction in DIRECTIONS:
            for rule in policy.rules(direction) or ():
                findings += _faults(place, policy, rule, direction, item.ref)
    return verdict(RULES, range(examined), findings)


def _faults(place: Site, policy: Policy, rule: Rule, direction: str, ref: str) -> Iterator[Finding]:
    field = "from" if direction == "ingress" else "to"
    admitted: tuple[Endpoint, ...] = place.network.endpoints if rule.peers is None else ()
    for number, peer in enumerate(rule.peers or ()):
        found = place.network.admitted(policy, peer)
        admitted += found
        # A range is not expected to hold an endpoint that anybody thought of naming.
        if not found and peer.block is None:
            namespaces = policy.namespace if peer.namespaces is None else f"namespaces with {peer.namespaces}"
            yield Finding(
                RULES,
                ref,
                f"{rule.path}.{field}[{number}]",
                f"pods with {peer.pods} in {namespaces}",
                "admits nobody known; correct the labels or add those pods to the environment",
            )
    destinations = place.network.selected(policy) if direction == "ingress" else admitted
    for number, port in enumerate(rule.ports or ()):
        if port.name and destinations and not any(d.resolve(port.name, port.protocol) for d in destinations):
            yield Finding(
                RULES,
                ref,
                f"{rule.path}.ports[{number}].port",
                port.name,
                f"no destination has a {port.protocol} port of that name; name one or give its number",
            )


def dns(render: Render, environment: Environment | None = None, without: Iterable[str] = ()) -> Verdict:
    """Whether every pod that may open connections can resolve names, over UDP and TCP.

    A pod that may send to nobody needs no DNS, nor one whose dnsPolicy is None or Default; name further
    ones by patterns in `without`.
    """
    place = site(render, environment)
    servers = place.senders(place.environment.dns)
    spared = {endpoint.name for endpoint in matching(place.network.endpoints, without)}
    clients = _clients(place, {server.name for server in servers})
    findings: list[Finding] = []
    examined = 0
    for endpoint in place.owned:
        policy = endpoint.pod.spec.get("dnsPolicy", "ClusterFirst") if endpoint.pod else ""
        is_client = endpoint.selectable and endpoint.name in clients
        if not is_client or endpoint.name in spared or policy in ("None", "Default"):
            continue
        examined += 1
        for server in servers:
            findings += _unresolved(place, endpoint, server)
    return verdict(DNS, range(examined), findings)


def _clients(place: Site, servers: set[str]) -> set[str]:
    """Names of endpoints that may open a connection to something else than DNS."""
    clients = {
        cell.source.name
        for cell in place.network.cells()
        if cell.allowed and cell.destination.name not in servers and cell.source is not cell.destination
    }
    for policy in place.network.policies:
        ranges = any(peer.block for rule in policy.egress or () for peer in rule.peers or ())
        if ranges:
            clients.update(endpoint.name for endpoint in place.network.selected(policy))
    return clients


def _unresolved(place: Site, endpoint: Endpoint, server: Endpoint) -> Iterator[Finding]:
    for port in server.ports:
        is_dns = port.number == 53 or port.name.startswith("dns")
        if is_dns and not place.network.allows(endpoint.name, server.name, port.number, port.protocol):
            decisions = place.network.explain(endpoint.name, server.name, port.number, port.protocol)
            denied = "; ".join(str(decision) for decision in decisions if not decision.allowed)
            yield Finding(
                DNS,
                endpoint.pod.object.ref if endpoint.pod else endpoint.name,
                "",
                f"{endpoint} -> {server} {port} denied",
                f"admit DNS: {denied}",
            )
