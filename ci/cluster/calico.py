"""Calico: the pods' network, and what enforces NetworkPolicies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ci.cluster import api
from ci.cluster.control_plane import PKI
from ci.cluster.processes import log_file, node_path, start
from ci.toolchain import CLUSTER_TOOLS

CALICO = next(tool for tool in CLUSTER_TOOLS if tool.name == "calico")

if TYPE_CHECKING:
    from pathlib import Path

    from ci.cluster.network import Node
    from ci.cluster.pki import Authority


# Felix ends itself when it finds that the node's network has changed, for example after its cable was out, and counts
# on being started again: until then no new pod of the node is reached.
_FOR_EVER = 'while :; do "$0"; sleep 1; done'


def define_resources(kubectl: Path, programs: Path) -> None:
    """Create the resources that Calico keeps in the Kubernetes API."""
    api.apply(kubectl, programs / "crds.yaml")
    api.kubectl(kubectl, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    information = {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "ClusterInformation",
        "metadata": {"name": "default"},
        "spec": {"calicoVersion": CALICO.version, "clusterType": "k8s", "datastoreReady": True},
    }
    api.apply(kubectl, json.dumps(information).encode())


def start_calico(node: Node, programs: Path, authority: Authority, server: str) -> None:
    """Configure a node's pod network and start the daemon that enforces policies on it."""
    kubeconfig = authority.kubeconfig(
        PKI / f"calico-{node.name}.kubeconfig", server, "calico", "system:masters"
    )
    network = {
        "cniVersion": "0.3.1",
        "name": "lighthouse",
        "plugins": [
            {
                "type": "calico",
                "datastore_type": "kubernetes",
                "nodename": node.name,
                "nodename_file_optional": True,
                "log_file_path": str(log_file(node, "calico-cni")),
                "ipam": {"type": "host-local", "ranges": [[{"subnet": str(node.pods)}]]},
                "policy": {"type": "k8s"},
                "kubernetes": {"kubeconfig": str(kubeconfig)},
            },
            {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
        ],
    }
    (node_path(node, "/etc/cni/net.d") / "10-lighthouse.conflist").write_text(json.dumps(network))
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "FELIX_DATASTORETYPE": "kubernetes",
        "FELIX_DEFAULTENDPOINTTOHOSTACTION": "ACCEPT",
        "FELIX_FELIXHOSTNAME": node.name,
        "FELIX_IPTABLESBACKEND": "nft",
        "FELIX_IPV6SUPPORT": "false",
        "FELIX_LOGFILEPATH": "none",
        "FELIX_LOGSEVERITYSCREEN": "warning",
        "FELIX_USAGEREPORTINGENABLED": "false",
    }
    start(node, "calico-felix", ["sh", "-c", _FOR_EVER, programs / "calico-felix"], environment)
