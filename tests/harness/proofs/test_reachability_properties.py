"""What holds for any pods and policies: agreement with the naive implementation, monotony, order, denial."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lighthouse_harness.model import make_object
from lighthouse_harness.network_endpoints import outside
from lighthouse_harness.network_environment import Environment
from lighthouse_harness.network_policies import parse_network
from lighthouse_harness.reachability import Network, network_of

from .network_cases.case import NODE_NETWORK, POD_NETWORK, pod_manifest
from .network_cases.naive import Cluster

PEERS = {"site": "203.0.113.9", "api-server": "172.18.0.2", "metadata": "169.254.169.254"}
NAMESPACES = ("x", "y", "z")
PORTS = ["80/TCP web", "53/UDP dns", "8080/TCP admin"]
ASKED = [(80, "TCP"), (53, "UDP"), (53, "TCP"), (8080, "TCP"), (85, "TCP"), (80, "SCTP")]

labels = st.fixed_dictionaries({}, optional={"app": st.sampled_from("abc"), "tier": st.sampled_from("12")})
values = st.lists(st.sampled_from(["a", "b", "1", "2"]), min_size=1, max_size=2)
expressions = st.one_of(
    st.builds(
        lambda key, operator, chosen: {"key": key, "operator": operator, "values": chosen},
        st.sampled_from(["app", "tier"]),
        st.sampled_from(["In", "NotIn"]),
        values,
    ),
    st.builds(
        lambda key, operator: {"key": key, "operator": operator},
        st.sampled_from(["app", "tier"]),
        st.sampled_from(["Exists", "DoesNotExist"]),
    ),
)
selectors = st.fixed_dictionaries(
    {}, optional={"matchLabels": labels, "matchExpressions": st.lists(expressions, max_size=2)}
)
namespace_selectors = st.one_of(
    selectors,
    st.builds(
        lambda name: {"matchLabels": {"kubernetes.io/metadata.name": name}}, st.sampled_from(NAMESPACES)
    ),
)
blocks = st.sampled_from(
    [
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32", "10.0.0.0/8"]},
        {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]},
        {"cidr": "10.244.1.0/24"},
        {"cidr": "172.18.0.2/32"},
        {"cidr": "203.0.113.0/24"},
    ]
)
peers = st.one_of(
    st.builds(lambda chosen: {"podSelector": chosen}, selectors),
    st.builds(lambda chosen: {"namespaceSelector": chosen}, namespace_selectors),
    st.builds(
        lambda pods, namespaces: {"podSelector": pods, "namespaceSelector": namespaces},
        selectors,
        namespace_selectors,
    ),
    st.builds(lambda block: {"ipBlock": block}, blocks),
)
ports = st.sampled_from(
    [
        {"port": 80},
        {"port": "web"},
        {"port": "dns", "protocol": "UDP"},
        {"port": 53, "protocol": "UDP"},
        {"port": 80, "endPort": 90},
        {"protocol": "TCP"},
        {"protocol": "SCTP"},
    ]
)


def rules(field: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={field: st.lists(peers, max_size=2), "ports": st.lists(ports, max_size=2)}
    )


specs = st.fixed_dictionaries(
    {"podSelector": selectors},
    optional={
        "policyTypes": st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"], []]),
        "ingress": st.lists(rules("from"), max_size=2),
        "egress": st.lists(rules("to"), max_size=2),
    },
)
pods = st.lists(
    st.tuples(
        st.sampled_from(NAMESPACES),
        st.fixed_dictionaries(
            {"labels": labels, "ports": st.lists(st.sampled_from(PORTS), unique=True)},
            optional={
                "ip": st.sampled_from(["10.244.1.4", "10.244.2.4"]),
                "hostNetwork": st.sampled_from([False, False, False, True]),
            },
        ),
    ),
    min_size=1,
    max_size=5,
).map(lambda chosen: {f"{namespace}/p{number}": pod for number, (namespace, pod) in enumerate(chosen)})
policies = st.lists(st.tuples(st.sampled_from(NAMESPACES), specs), max_size=5).map(
    lambda chosen: [policy(number, namespace, spec) for number, (namespace, spec) in enumerate(chosen)]
)
namespace_labels = st.fixed_dictionaries(dict.fromkeys(NAMESPACES, labels))


def policy(number: int, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": f"policy-{number}"},
        "spec": spec,
    }


def network(
    pods: dict[str, Any], policies: list[dict[str, Any]], namespaces: dict[str, dict[str, str]] | None = None
) -> Network:
    environment = Environment(
        peers=tuple(outside(name, address) for name, address in PEERS.items()),
        pod_networks=(parse_network(POD_NETWORK, "pods"),),
        node_networks=(parse_network(NODE_NETWORK, "nodes"),),
        namespace_labels=namespaces or {},
    )
    manifests = [*(pod_manifest(name, pod) for name, pod in pods.items()), *policies]
    return network_of([make_object(manifest) for manifest in manifests], environment)


def matrix(network: Network) -> dict[tuple[str, str, int, str], bool]:
    names = [endpoint.name for endpoint in network.endpoints]
    return {
        (source, destination, port, protocol): network.allows(source, destination, port, protocol)
        for source in names
        for destination in names
        for port, protocol in ASKED
    }


@settings(max_examples=150, deadline=None)
@given(pods, policies, namespace_labels)
def test_the_evaluator_agrees_with_the_naive_implementation(
    pods: dict[str, Any], policies: list[dict[str, Any]], namespaces: dict[str, dict[str, str]]
) -> None:
    evaluated = network(pods, policies, namespaces)
    second = Cluster(pods, policies, namespaces, PEERS, pod_network=POD_NETWORK, node_network=NODE_NETWORK)
    for (source, destination, port, protocol), verdict in matrix(evaluated).items():
        assert verdict == second.reaches(source, destination, port, protocol)
        if source != destination:
            decisions = evaluated.explain(source, destination, port, protocol)
            assert verdict == all(decision.allowed for decision in decisions)


@settings(max_examples=60, deadline=None)
@given(pods, policies, st.sampled_from(["ingress", "egress"]), st.data())
def test_one_more_rule_never_takes_reachability_away(
    pods: dict[str, Any], policies: list[dict[str, Any]], direction: str, data: st.DataObject
) -> None:
    isolating = [
        policy(90 + number, name, {"policyTypes": ["Ingress", "Egress"]}) for number, name in enumerate("xyz")
    ]
    rule = data.draw(rules("from" if direction == "ingress" else "to"))
    namespace = data.draw(st.sampled_from(NAMESPACES))
    added = policy(99, namespace, {"policyTypes": [direction.capitalize()], direction: [rule]})
    before = matrix(network(pods, [*policies, *isolating]))
    after = matrix(network(pods, [*policies, *isolating, added]))
    assert not {cell for cell, verdict in before.items() if verdict and not after[cell]}


@settings(max_examples=40, deadline=None)
@given(pods, policies, st.randoms(use_true_random=False))
def test_the_order_of_policies_and_pods_is_irrelevant(
    pods: dict[str, Any], policies: list[Any], random: Any
) -> None:
    shuffled = random.sample(policies, len(policies))
    turned = dict(reversed(pods.items()))
    assert matrix(network(pods, policies)) == matrix(network(turned, shuffled))


@settings(max_examples=30, deadline=None)
@given(pods, namespace_labels)
def test_default_deny_of_every_namespace_leaves_nothing_open(
    pods: dict[str, Any], namespaces: dict[str, dict[str, str]]
) -> None:
    denied = [
        policy(number, name, {"policyTypes": ["Ingress", "Egress"]}) for number, name in enumerate(NAMESPACES)
    ]
    open_cells = {cell[:2] for cell, verdict in matrix(network(pods, denied, namespaces)).items() if verdict}
    governed = {name for name, pod in pods.items() if not pod.get("hostNetwork")}
    assert not {
        (source, target) for source, target in open_cells if source != target and {source, target} & governed
    }
