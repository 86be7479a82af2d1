"""Truth cases as data: pods, policies and the expected verdict of every cell."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lighthouse_harness.model import Object, make_object

HERE = Path(__file__).parent
POD_NETWORK = "10.244.0.0/16"
NODE_NETWORK = "172.18.0.0/16"


@dataclass(frozen=True)
class Case:
    """One case of a YAML file."""

    name: str
    document: dict[str, Any]

    @property
    def pods(self) -> dict[str, dict[str, Any]]:
        """Pods by `namespace/name`; a line of names stands for pods as the conformance suite makes them."""
        given = self.document["pods"]
        named = {name: {} for name in given.split()} if isinstance(given, str) else given
        return {
            name: {"labels": {"pod": name.partition("/")[2]}, "ports": CONFORMANCE_PORTS} | pod
            for name, pod in named.items()
        }

    @property
    def peers(self) -> dict[str, str]:
        """Addresses outside the pods, by name; the name `node` is every pod's own node."""
        return dict(self.document.get("peers", {}))

    @property
    def namespaces(self) -> dict[str, dict[str, str]]:
        """Labels of namespaces beyond the automatic one."""
        return dict(self.document.get("namespaces", {}))

    @property
    def policies(self) -> list[dict[str, Any]]:
        """The policies as manifests."""
        return [
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"namespace": policy["namespace"], "name": f"policy-{number}"},
                "spec": policy.get("spec"),
            }
            for number, policy in enumerate(self.document["policies"])
        ]

    @property
    def blocks_select_pods(self) -> bool:
        """Whether ranges admit pods."""
        return bool(self.document.get("blocks_select_pods", True))

    @property
    def loopback(self) -> list[str]:
        """Pods whose connection to themselves is asserted."""
        return list(self.document.get("loopback", []))

    def ports(self) -> list[tuple[int, str]]:
        """The ports about which the case says something."""
        return [(int(port.split("/")[0]), port.split("/")[1]) for port in self.document["expect"]]

    def expected(self, source: str, destination: str, port: int, protocol: str) -> bool:
        """The verdict the case's author wrote down."""
        verdict = True
        for line in self.document["expect"][f"{port}/{protocol}"]:
            word, sender, arrow, receiver = line.split()
            assert (word in ("allow", "deny"), arrow) == (True, "->"), line
            if fnmatchcase(source, sender) and fnmatchcase(destination, receiver):
                verdict = word == "allow"
        return verdict

    def objects(self) -> list[Object]:
        """Everything as objects of a render."""
        manifests = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            for name, labels in self.namespaces.items()
        ]
        manifests += [pod_manifest(name, pod) for name, pod in self.pods.items()]
        return [make_object(manifest) for manifest in manifests + self.policies]


CONFORMANCE_PORTS = [
    f"{port}/{protocol} serve-{port}-{protocol.lower()}"
    for port in (80, 81)
    for protocol in ("TCP", "UDP", "SCTP")
]


def pod_manifest(name: str, pod: dict[str, Any]) -> dict[str, Any]:
    """A Pod; its ports are written `number/protocol name`."""
    namespace, _, own_name = name.partition("/")
    ports = []
    for text in pod["ports"]:
        place, _, port_name = text.partition(" ")
        number, _, protocol = place.partition("/")
        ports.append({"containerPort": int(number), "protocol": protocol, "name": port_name})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": own_name, "labels": pod["labels"]},
        "spec": {
            "hostNetwork": bool(pod.get("hostNetwork")),
            "containers": [{"name": "main", "image": "main", "ports": ports}],
        },
        "status": {"podIP": pod["ip"]} if "ip" in pod else {},
    }


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case of every file here."""
    cases = [
        Case(document["name"], document)
        for path in sorted(HERE.glob("*.yaml"))
        for document in yaml.safe_load(path.read_text())
    ]
    return tuple(cases)
