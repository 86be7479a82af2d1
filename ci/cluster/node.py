"""A node's container runtime, kubelet and kube-proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ci.cluster import cgroups
from ci.cluster.processes import log_file, node_path, node_state, start, wait_until
from ci.settings import DNS_ADDRESS, POD_NETWORK

if TYPE_CHECKING:
    from ci.cluster.network import Node
    from ci.cluster.pki import Authority

CNI_PROGRAMS = Path("/usr/lib/cni")


def socket(node: Node) -> Path:
    """containerd's socket as the host sees it."""
    return node_path(node, "/run/containerd") / "containerd.sock"


def start_containerd(node: Node, programs: Path, sandbox: str) -> None:
    """Start containerd and wait for its socket; `sandbox` is the image that holds each pod's namespaces."""
    config = node_state(node) / "containerd.toml"
    config.write_text(f"""\
version = 3
[plugins.'io.containerd.nri.v1.nri']
  # Nothing uses it, and its socket is the same for all nodes of the machine.
  disable = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{sandbox}"
[plugins.'io.containerd.cri.v1.runtime']
  # Root here may lack CAP_SYS_RESOURCE, without which no container's OOM score can be lowered.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{CNI_PROGRAMS}", "{programs}"]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "{programs / "runc"}"
  SystemdCgroup = false
""")
    path = f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    start(node, "containerd", [programs / "containerd", "--config", config], {"PATH": path})
    wait_until(socket(node).is_socket, 30, f"containerd on {node.name}", log_file(node, "containerd"))


def start_kubelet(node: Node, programs: Path, authority: Authority, server: str) -> None:
    """Start kubelet and kube-proxy."""
    state = node_state(node)
    certificate, key = authority.issue(
        f"kubelet-server-{node.name}", f"system:node:{node.name}", "system:nodes", [node.name, node.address]
    )
    resolver = state / "resolv.conf"
    resolver.touch()
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": str(authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups.prepare_node(node.name),
        "clusterDNS": [str(DNS_ADDRESS)],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,  # images come by import; one that is collected cannot be pulled again
        "resolvConf": str(resolver),
        "shutdownGracePeriod": "0s",
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
    }
    (state / "kubelet.json").write_text(json.dumps(kubelet, indent=1))
    kubeconfig = authority.kubeconfig(
        state / f"kubelet-{node.name}.kubeconfig", server, f"system:node:{node.name}", "system:nodes"
    )
    flags = [
        f"--config={state / 'kubelet.json'}",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={node.name}",
    ]
    start(
        node,
        "kubelet",
        [programs / "kubelet", *flags, f"--node-ip={node.address}"],
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )

    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": str(POD_NETWORK),
        "clientConnection": {
            "kubeconfig": str(
                authority.kubeconfig(state / f"proxy-{node.name}.kubeconfig", server, "system:kube-proxy")
            )
        },
        "hostnameOverride": node.name,
        "conntrack": {"maxPerCore": 0, "min": 0},  # the host's limits are not ours to change
    }
    (state / "kube-proxy.json").write_text(json.dumps(proxy, indent=1))
    start(node, "kube-proxy", [programs / "kube-proxy", f"--config={state / 'kube-proxy.json'}"])
