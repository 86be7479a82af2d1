"""Pods and Services that operators make from rendered custom resources, as far as policies see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .model import EMPTY, Object, PodTemplate, freeze, make_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

POSTGRES_GROUP = "postgresql.cnpg.io"
_POSTGRES = {"name": "postgresql", "containerPort": 5432}
_INSTANCE_PORTS = (
    _POSTGRES,
    {"name": "metrics", "containerPort": 9187},
    {"name": "status", "containerPort": 8000},
)
_POOLER_PORTS = ({"name": "pgbouncer", "containerPort": 5432}, {"name": "metrics", "containerPort": 9127})


def operated_pods(objects: Iterable[Object]) -> Iterator[tuple[str, PodTemplate]]:
    """Names and templates of the pods that CloudNativePG makes of Clusters and Poolers.

    A Cluster gives its primary under its own name, `-replicas` if it has more instances, and `-jobs` for
    what creates them.
    """
    for item in objects:
        if item.group != POSTGRES_GROUP:
            continue
        if item.kind == "Cluster":
            inherited = (item.at("spec.inheritedMetadata") or EMPTY).get("labels") or EMPTY
            common = {**inherited, "cnpg.io/cluster": item.name, **_app_labels(item.name, "database")}
            instance = {**common, "cnpg.io/podRole": "instance"}
            yield item.name, _template(item, {**instance, **_role("primary")}, _INSTANCE_PORTS)
            if int(item.at("spec.instances") or 1) > 1:
                yield (
                    f"{item.name}-replicas",
                    _template(item, {**instance, **_role("replica")}, _INSTANCE_PORTS),
                )
            yield f"{item.name}-jobs", _template(item, {**common, "cnpg.io/jobRole": "join"}, ())
        elif item.kind == "Pooler":
            own = item.at("spec.template.metadata.labels") or EMPTY
            cluster = str(item.at("spec.cluster.name") or "")
            labels = {
                **own,
                "cnpg.io/poolerName": item.name,
                "cnpg.io/cluster": cluster,
                "cnpg.io/podRole": "pooler",
                **_app_labels(cluster, "pooler"),
            }
            yield item.name, _template(item, labels, _POOLER_PORTS)


def operated_services(objects: Iterable[Object]) -> Iterator[Object]:
    """The Services that lead to those pods: `-rw`, `-ro` and `-r` of a Cluster, and a Pooler's own."""
    for item in objects:
        if item.group != POSTGRES_GROUP:
            continue
        if item.kind == "Cluster":
            cluster = {"cnpg.io/cluster": item.name}
            yield _service(item, f"{item.name}-rw", {**cluster, "cnpg.io/instanceRole": "primary"})
            yield _service(item, f"{item.name}-ro", {**cluster, "cnpg.io/instanceRole": "replica"})
            yield _service(item, f"{item.name}-r", {**cluster, "cnpg.io/podRole": "instance"})
        elif item.kind == "Pooler":
            yield _service(item, item.name, {"cnpg.io/poolerName": item.name})


def _app_labels(instance: str, component: str) -> dict[str, str]:
    prefix = "app.kubernetes.io"
    return {
        f"{prefix}/name": "postgresql",
        f"{prefix}/instance": instance,
        f"{prefix}/component": component,
        f"{prefix}/managed-by": "cloudnative-pg",
    }


def _role(role: str) -> dict[str, str]:
    return {"cnpg.io/instanceRole": role, "role": role}


def _template(item: Object, labels: dict[str, str], ports: tuple[dict[str, Any], ...]) -> PodTemplate:
    container = {"name": "postgres", "ports": [dict(port) for port in ports]}
    return PodTemplate(
        item, "", freeze({"metadata": {"labels": labels}, "spec": {"containers": [container]}})
    )


def _service(item: Object, name: str, selector: dict[str, str]) -> Object:
    port = {"name": "postgres", "port": 5432, "targetPort": 5432}
    return make_object(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": item.namespace, "labels": {"cnpg.io/cluster": item.name}},
            "spec": {"selector": selector, "ports": [port]},
        }
    )
