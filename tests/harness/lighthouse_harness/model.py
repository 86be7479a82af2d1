"""The immutable model of a render: what `helm template` said, as typed values.

Every evaluator is a pure function over this model. Documents are deeply read-only (mappings are
`MappingProxyType`, sequences are tuples), so one cached render can be shared by all tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path  # noqa: TC003 - dataclass fields are read at run time by users of `get_type_hints`
from types import MappingProxyType
from typing import Any, Final

from .documents import (
    EMPTY,
    MISSING,
    Document,
    PathError,
    freeze,
    join,
    resolve,
    selector_matches,
    thaw,
    walk,
)
from .findings import EmptySelectionError, Finding, Verdict, report, verdict

__all__ = [
    "CLUSTER_SCOPED", "EMPTY", "MISSING", "POD_SPEC_PATHS", "Container", "ContainerRole", "Document",
    "EmptySelectionError", "Finding", "Object", "PathError", "PodTemplate", "Render", "Request", "Verdict",
    "freeze", "join", "make_object", "report", "resolve", "selector_matches", "thaw", "verdict", "walk",
]  # fmt: skip

CLUSTER_SCOPED: Final = frozenset(
    {
        "APIService", "CertificateSigningRequest", "ClusterIssuer", "ClusterRole", "ClusterRoleBinding",
        "ClusterTrustBundle", "ComponentStatus", "CSIDriver", "CSINode", "CustomResourceDefinition",
        "DeviceClass", "FlowSchema", "GatewayClass", "IngressClass", "IPAddress",
        "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration",
        "Namespace", "Node", "PersistentVolume", "PriorityClass", "PriorityLevelConfiguration",
        "ResourceSlice", "RuntimeClass", "SelfSubjectReview", "ServiceCIDR", "StorageClass",
        "StorageVersion", "StorageVersionMigration", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "VolumeAttachment",
        "VolumeAttributesClass", "ClusterSecretStore", "ClusterExternalSecret", "ClusterImageCatalog",
        "Installation", "GlobalNetworkPolicy", "GlobalNetworkSet", "IPPool", "FelixConfiguration",
        "BGPConfiguration", "ClusterInformation", "CiliumClusterwideNetworkPolicy",
    }
)  # fmt: skip
"""Kinds without a namespace. Any kind that is not here is taken to be namespaced."""

POD_SPEC_PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Pod": "",
        "PodTemplate": "template",
        "Deployment": "spec.template",
        "StatefulSet": "spec.template",
        "DaemonSet": "spec.template",
        "ReplicaSet": "spec.template",
        "ReplicationController": "spec.template",
        "Job": "spec.template",
        "CronJob": "spec.jobTemplate.spec.template",
    }
)
"""Where the pod template is, for each built-in kind that has one."""


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that decides what Helm renders."""

    chart: Path
    values: tuple[Path, ...] = ()
    overrides: Document = field(default_factory=lambda: EMPTY, hash=False)
    """Values laid over the files, as with a last `--values` file."""
    release: str = "release"
    namespace: str = "default"
    helm: int = 4
    """Helm's major version, 3 or 4."""
    kubernetes: str = "1.37.0"
    api_versions: tuple[str, ...] = ()
    """Extra `.Capabilities.APIVersions`, such as `monitoring.coreos.com/v1/PodMonitor`."""
    upgrade: bool = False
    """Render with `.Release.IsUpgrade` in place of `.Release.IsInstall`."""

    @property
    def title(self) -> str:
        """A short name for reports: chart, values files, Helm and Kubernetes version."""
        files = "+".join(path.stem for path in self.values) or "defaults"
        return f"{self.chart.name}:{files} helm{self.helm} k8s{self.kubernetes}"


@dataclass(frozen=True, eq=False)
class Object:
    """One rendered Kubernetes object."""

    document: Document
    namespace: str
    """The namespace it goes to (the release's when the manifest names none); empty if cluster-scoped."""
    source: str = ""
    """The template it came from, as Helm names it."""

    @cached_property
    def kind(self) -> str:
        return str(self.document.get("kind", ""))

    @cached_property
    def api_version(self) -> str:
        return str(self.document.get("apiVersion", ""))

    @cached_property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @cached_property
    def metadata(self) -> Document:
        return self.document.get("metadata") or EMPTY

    @cached_property
    def name(self) -> str:
        return str(self.metadata.get("name", self.metadata.get("generateName", "")))

    @cached_property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.get("labels") or EMPTY

    @cached_property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.get("annotations") or EMPTY

    @cached_property
    def hook(self) -> str:
        """The Helm hook it is, such as `test` or `pre-install`; empty for a part of the release."""
        return str(self.annotations.get("helm.sh/hook", ""))

    @cached_property
    def ref(self) -> str:
        """`Kind/namespace/name`, or `Kind/name` if cluster-scoped."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    @cached_property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it one and the same object in a cluster: group, kind, namespace, name."""
        return self.group, self.kind, self.namespace, self.name

    def at(self, path: str) -> Any:
        """The value at `path`, or `MISSING`."""
        return resolve(self.document, path)

    @cached_property
    def pod(self) -> PodTemplate | None:
        """Its pod template, for the built-in kinds that have one."""
        path = POD_SPEC_PATHS.get(self.kind)
        if path is None or (self.group not in {"", "apps", "batch"}):
            return None
        template = self.at(path) if path else self.document
        return PodTemplate(self, path, template) if isinstance(template, Mapping) else None

    def __repr__(self) -> str:
        return f"<{self.ref}>"


class ContainerRole(StrEnum):
    """What a container is in its pod."""

    MAIN = "container"
    INIT = "init"
    SIDECAR = "sidecar"
    """An init container with `restartPolicy: Always`: it runs as long as the pod."""
    EPHEMERAL = "ephemeral"


@dataclass(frozen=True, eq=False)
class Container:
    """One container of a pod template, with its place in the object."""

    pod: PodTemplate
    role: ContainerRole
    path: str
    document: Document

    @property
    def name(self) -> str:
        return str(self.document.get("name", ""))

    @property
    def image(self) -> str:
        return str(self.document.get("image") or "")

    @cached_property
    def ports(self) -> tuple[Document, ...]:
        return tuple(self.document.get("ports") or ())

    def at(self, path: str) -> Any:
        return resolve(self.document, path)

    def __repr__(self) -> str:
        return f"<{self.pod.object.ref} {self.path} {self.name}>"


@dataclass(frozen=True, eq=False)
class PodTemplate:
    """The pods that an object makes."""

    object: Object
    path: str
    """Path of the template in the object; empty for a Pod."""
    document: Document

    @property
    def namespace(self) -> str:
        return self.object.namespace

    @cached_property
    def labels(self) -> Mapping[str, str]:
        return (self.document.get("metadata") or EMPTY).get("labels") or EMPTY

    @cached_property
    def annotations(self) -> Mapping[str, str]:
        return (self.document.get("metadata") or EMPTY).get("annotations") or EMPTY

    @cached_property
    def spec(self) -> Document:
        return self.document.get("spec") or EMPTY

    @cached_property
    def spec_path(self) -> str:
        return join(self.path, "spec")

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Every container: main, init, sidecar and ephemeral, in that order of fields."""
        return tuple(self._containers())

    def _containers(self) -> Iterator[Container]:
        fields = (
            ("initContainers", ContainerRole.INIT),
            ("containers", ContainerRole.MAIN),
            ("ephemeralContainers", ContainerRole.EPHEMERAL),
        )
        for name, usual in fields:
            for index, document in enumerate(self.spec.get(name) or ()):
                role = usual
                if usual is ContainerRole.INIT and document.get("restartPolicy") == "Always":
                    role = ContainerRole.SIDECAR
                yield Container(self, role, join(join(self.spec_path, name), index), document)

    @cached_property
    def replicas(self) -> int:
        """How many such pods the manifest asks for; 1 where the kind or an autoscaler decides."""
        value = self.object.at("spec.replicas")
        return value if isinstance(value, int) else 1

    def __repr__(self) -> str:
        return f"<pods of {self.object.ref}>"


@dataclass(frozen=True, eq=False)
class Render:
    """All objects of one `helm template`, and what was asked for."""

    request: Request
    objects: tuple[Object, ...]
    values: Document = field(default_factory=lambda: EMPTY)
    """The chart's values with the request's laid over them."""

    def select(
        self,
        *kinds: str,
        name: str | None = None,
        namespace: str | None = None,
        labels: Mapping[str, str] = EMPTY,
        hooks: bool = True,
        may_be_empty: bool = False,
    ) -> tuple[Object, ...]:
        """The objects of these kinds (any, if none is named) with this name, namespace and labels.

        Raises `EmptySelectionError` when there is none, unless `may_be_empty`.
        """
        found = tuple(
            item
            for item in self.objects
            if (not kinds or item.kind in kinds)
            and (name is None or item.name == name)
            and (namespace is None or item.namespace == namespace)
            and (hooks or not item.hook)
            and labels.items() <= item.labels.items()
        )
        if not found and not may_be_empty:
            wanted = ", ".join(kinds) or "object"
            extra = "".join(
                f" with {what} {value!r}"
                for what, value in (("name", name), ("namespace", namespace))
                if value
            )
            extra += f" with labels {dict(labels)}" if labels else ""
            raise EmptySelectionError(f"{self.request.title} renders no {wanted}{extra}.")
        return found

    def one(self, kind: str, name: str | None = None, **selection: Any) -> Object:
        """The only object of that kind (and name). Raises when there is none or more than one."""
        found = self.select(kind, name=name, **selection)
        if len(found) > 1:
            raise PathError(
                f"{self.request.title} renders {len(found)} objects of kind {kind}: {list(found)}."
            )
        return found[0]

    def find(self, ref: str) -> Object:
        """The object that `Kind/namespace/name` names. Raises `PathError` when it is not there."""
        for item in self.objects:
            if item.ref == ref:
                return item
        raise PathError(f"{self.request.title} renders no {ref}.")

    def at(self, address: str) -> Any:
        """The value at an address such as `Deployment/lighthouse/bridge spec.replicas`, or `MISSING`."""
        ref, _, path = address.partition(" ")
        return self.find(ref).at(path)

    @cached_property
    def pods(self) -> tuple[PodTemplate, ...]:
        """Every pod template, hooks included. May be empty: `workloads()` is for checks."""
        return tuple(item.pod for item in self.objects if item.pod is not None)

    def workloads(self) -> tuple[PodTemplate, ...]:
        """Every pod template. Raises `EmptySelectionError` when the render has none."""
        if not self.pods:
            raise EmptySelectionError(f"{self.request.title} renders no workload.")
        return self.pods

    def containers(self) -> tuple[Container, ...]:
        """Every container of every pod template. Raises `EmptySelectionError` when there is none."""
        found = tuple(container for pod in self.workloads() for container in pod.containers)
        if not found:
            raise EmptySelectionError(f"{self.request.title} renders no container.")
        return found

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace as a cluster would show them, automatic label included."""
        rendered = self.select("Namespace", name=namespace, may_be_empty=True)
        labels = dict(rendered[0].labels) if rendered else {}
        return MappingProxyType(labels | {"kubernetes.io/metadata.name": namespace})

    def with_objects(self, objects: Iterable[Object]) -> Render:
        """The same render with other objects; the way to write a counter-example."""
        return Render(self.request, tuple(objects), self.values)


def make_object(document: Mapping[str, Any], namespace: str = "default", source: str = "") -> Object:
    """An `Object` from any mapping; `namespace` is the release's."""
    frozen = freeze(document)
    kind = str(frozen.get("kind", ""))
    own = (frozen.get("metadata") or EMPTY).get("namespace")
    return Object(frozen, "" if kind in CLUSTER_SCOPED else str(own or namespace), source)
