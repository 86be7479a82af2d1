"""etcd, API server, controller manager and scheduler, on the first node."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import TYPE_CHECKING

from ci.cluster.pki import Authority, signing_key
from ci.cluster.processes import log_file, start, wait_until
from ci.settings import KUBECONFIG, LOGS, POD_NETWORK, ROOT, SERVICE_NETWORK, STATE

if TYPE_CHECKING:
    from pathlib import Path

    from ci.cluster.network import Node

PKI = STATE / "pki"
AUDIT_POLICY = ROOT / "policies" / "audit" / "kube-apiserver.yaml"
AUDIT_LOG = LOGS / "audit.log"


def server(first: Node) -> str:
    """The API server's URL."""
    return f"https://{first.address}:6443"


def _flags(values: dict[str, object]) -> list[str]:
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in values.items()
    ]


def start_etcd(first: Node, programs: Path) -> None:
    """Start etcd; the cluster is thrown away with its data, so nothing waits for the disk."""
    flags: dict[str, object] = {
        "data-dir": STATE / "etcd",
        "listen-client-urls": "http://127.0.0.1:2379",
        "advertise-client-urls": "http://127.0.0.1:2379",
        "listen-peer-urls": "http://127.0.0.1:2380",
        "initial-advertise-peer-urls": "http://127.0.0.1:2380",
        "initial-cluster": "default=http://127.0.0.1:2380",
        "unsafe-no-fsync": True,
    }
    start(first, "etcd", [programs / "etcd", *_flags(flags)])


def start_control_plane(first: Node, programs: Path, authority: Authority) -> None:
    """Write the control plane's certificates and the admin's kubeconfig, and start everything."""
    url = server(first)
    names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ]
    certificate, key = authority.issue(
        "apiserver", "kube-apiserver", names=[*names, first.address, SERVICE_NETWORK[1]]
    )
    kubelet_certificate, kubelet_key = authority.issue(
        "apiserver-kubelet-client", "kube-apiserver", "system:masters"
    )
    front_proxy = Authority(PKI / "front-proxy", "front-proxy-ca")
    proxy_certificate, proxy_key = front_proxy.issue("front-proxy-client", "front-proxy-client")
    account_key, account_public = signing_key(PKI, "service-account")
    authority.kubeconfig(KUBECONFIG, url, "admin", "system:masters")

    apiserver: dict[str, object] = {
        "advertise-address": first.address,
        "allow-privileged": True,
        "audit-log-maxage": 7,
        "audit-log-maxsize": 100,
        "audit-log-path": AUDIT_LOG,
        "audit-policy-file": AUDIT_POLICY,
        "authorization-mode": "Node,RBAC",
        "client-ca-file": authority.certificate,
        "enable-admission-plugins": "NodeRestriction",
        "etcd-servers": "http://127.0.0.1:2379",
        "kubelet-certificate-authority": authority.certificate,
        "kubelet-client-certificate": kubelet_certificate,
        "kubelet-client-key": kubelet_key,
        "kubelet-preferred-address-types": "InternalIP",  # node names are not in any DNS
        "proxy-client-cert-file": proxy_certificate,
        "proxy-client-key-file": proxy_key,
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-client-ca-file": front_proxy.certificate,
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "secure-port": 6443,
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": account_public,
        "service-account-signing-key-file": account_key,
        "service-cluster-ip-range": SERVICE_NETWORK,
        "tls-cert-file": certificate,
        "tls-private-key-file": key,
    }
    start(first, "kube-apiserver", [programs / "kube-apiserver", *_flags(apiserver)])
    manager: dict[str, object] = {
        "allocate-node-cidrs": False,  # each node's range is in its CNI configuration
        "cluster-cidr": POD_NETWORK,
        "cluster-signing-cert-file": authority.certificate,
        "cluster-signing-key-file": authority.key,
        "kubeconfig": authority.kubeconfig(
            PKI / "controller-manager.kubeconfig", url, "system:kube-controller-manager"
        ),
        "leader-elect": False,
        "root-ca-file": authority.certificate,
        "service-account-private-key-file": account_key,
        "use-service-account-credentials": True,
    }
    start(first, "kube-controller-manager", [programs / "kube-controller-manager", *_flags(manager)])
    scheduler: dict[str, object] = {
        "kubeconfig": authority.kubeconfig(PKI / "scheduler.kubeconfig", url, "system:kube-scheduler"),
        "leader-elect": False,
    }
    start(first, "kube-scheduler", [programs / "kube-scheduler", *_flags(scheduler)])


def is_ready(first: Node) -> bool:
    """Whether the API server answers that it is ready."""
    if not (PKI / "kubernetes-ca.crt").exists():
        return False
    context = ssl.create_default_context(cafile=str(PKI / "kubernetes-ca.crt"))
    connection = http.client.HTTPSConnection(str(first.address), 6443, timeout=2, context=context)
    try:
        connection.request("GET", "/readyz")  # open to everyone by the default role system:public-info-viewer
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def wait_ready(first: Node) -> None:
    """Wait for the API server."""
    wait_until(lambda: is_ready(first), 120, "the API server", log_file(first, "kube-apiserver"))


def audit_events() -> list[dict[str, object]]:
    """What the API server has written to its audit log."""
    return [json.loads(line) for line in AUDIT_LOG.read_text().splitlines()]
