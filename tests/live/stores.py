"""A plain PostgreSQL and a plain Redis on the cluster, with TLS and passwords, for the tests alone."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from ci.cluster.pki import Authority
from tests.images.bridge.redis_servers import ACL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAMESPACE = "stores"
PORTS = {"postgres": 5432, "redis": 6379}
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}
# PostgreSQL needs a user that the image's passwd knows and a key that is its own.
_COMMANDS = {
    "postgres": """
export PATH=/usr/lib/postgresql/15/bin:$PATH
initdb --no-sync --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --username=lighthouse \
    --pwfile=/secret/password -D /data/db
echo 'hostssl all all 0.0.0.0/0 scram-sha-256' > /data/db/pg_hba.conf
install -m 600 /secret/tls.key /data/tls.key
exec postgres -D /data/db -c listen_addresses='*' -c unix_socket_directories=/data -c max_connections=100 \
    -c ssl=on -c ssl_cert_file=/secret/tls.crt -c ssl_key_file=/data/tls.key
""",
    "redis": """
exec redis-server --dir /data --save '' --port 0 --tls-port 6379 --tls-auth-clients no --aclfile /secret/users.acl \
    --tls-cert-file /secret/tls.crt --tls-key-file /secret/tls.key --tls-ca-cert-file /secret/ca.crt
""",
}
_USER = {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534}


def store_objects(
    image: str, folder: Path, bridges: str, names: Iterable[str] = tuple(PORTS)
) -> list[dict[str, Any]]:
    """Everything that the named servers need, and the Secrets by which bridges in the namespace `bridges` reach them."""
    authority = Authority(folder, "stores")
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    ]
    for name in names:
        password = secrets.token_hex(16)
        certificate, key = authority.issue(name, name, names=[host(name)])
        files = {
            "password": password,
            "users.acl": f"user default off\nuser lighthouse on >{password} {ACL}\n",
            "ca.crt": authority.certificate.read_text(),
            "tls.crt": certificate.read_text(),
            "tls.key": key.read_text(),
        }
        objects += [
            _secret(NAMESPACE, name, files),
            _secret(bridges, f"bridge-{name}", {"username": "lighthouse", "password": password}),
            _secret(bridges, f"bridge-{name}-tls", {"ca.crt": files["ca.crt"]}),
            _deployment(image, name),
            _service(name),
        ]
    return objects


def host(name: str) -> str:
    """The name of a store's Service."""
    return f"{name}.{NAMESPACE}.svc.cluster.local"


def bridge_values(replicas: int) -> dict[str, Any]:
    """Values of a release whose bridges use both stores."""
    return {
        "bridge": {"replicas": replicas, "database": database_value(), "redis": _service_value("redis")},
        "networkPolicies": {"database": {"peers": [PEER]}, "redis": {"peers": [PEER]}},
    }


def database_value() -> dict[str, Any]:
    """The value by which bridges use the PostgreSQL."""
    return {**_service_value("postgres"), "name": "postgres"}


def _service_value(name: str) -> dict[str, Any]:
    return {
        "host": host(name),
        "existingSecret": f"bridge-{name}",
        "existingTlsSecret": f"bridge-{name}-tls",
    }


def _secret(namespace: str, name: str, files: dict[str, str]) -> dict[str, Any]:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in files.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def _deployment(image: str, name: str) -> dict[str, Any]:
    container = {
        "name": name,
        "image": image,
        "command": ["/bin/sh", "-euc", _COMMANDS[name]],
        "ports": [{"containerPort": PORTS[name]}],
        "readinessProbe": {"tcpSocket": {"port": PORTS[name]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "secret", "mountPath": "/secret"}],
    }
    volumes = [
        {"name": "data", "emptyDir": {}},
        {"name": "secret", "secret": {"secretName": name, "defaultMode": 0o440}},
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"securityContext": _USER, "containers": [container], "volumes": volumes},
            },
        },
    }


def _service(name: str) -> dict[str, Any]:
    port = {"port": PORTS[name], "targetPort": PORTS[name]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": name}, "ports": [port]},
    }
