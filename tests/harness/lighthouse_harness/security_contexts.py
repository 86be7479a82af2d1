"""What a careful security context says beyond the PodSecurity levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .documents import MISSING, resolve
from .findings import Finding, Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import Container, PodTemplate, Render

_DEFAULT_ACCOUNT: Final = "default"
_LOWEST_USER: Final = 1000


def _effective(item: Container, path: str) -> Any:
    """A container's own setting, or the pod's that it inherits."""
    own = item.at(f"securityContext.{path}")
    return own if own is not MISSING else resolve(item.pod.spec, f"securityContext.{path}")


def _container_problems(item: Container) -> Iterator[tuple[str, str, Any, str]]:
    if item.at("securityContext.readOnlyRootFilesystem") is not True:
        observed = item.at("securityContext.readOnlyRootFilesystem")
        yield (
            "readOnlyRootFilesystem",
            "readOnlyRootFilesystem",
            observed,
            "set it to true, with an emptyDir to write in",
        )
    if item.at("securityContext.privileged") is True:
        yield "privileged", "privileged", True, "remove it"
    if item.at("securityContext.allowPrivilegeEscalation") is not False:
        observed = item.at("securityContext.allowPrivilegeEscalation")
        yield "allowPrivilegeEscalation", "allowPrivilegeEscalation", observed, "set it to false"
    dropped = item.at("securityContext.capabilities.drop")
    if "ALL" not in (dropped or ()):
        yield "capabilities", "capabilities.drop", dropped, 'set it to ["ALL"]'
    for name in ("runAsUser", "runAsGroup"):
        value = _effective(item, name)
        if not isinstance(value, int) or value < _LOWEST_USER:
            yield name, name, value, f"set it, here or in the pod, to a number of at least {_LOWEST_USER}"
    if _effective(item, "runAsNonRoot") is not True:
        yield (
            "runAsNonRoot",
            "runAsNonRoot",
            _effective(item, "runAsNonRoot"),
            "set it to true, here or in the pod",
        )
    if _effective(item, "seccompProfile.type") not in ("RuntimeDefault", "Localhost"):
        observed = _effective(item, "seccompProfile.type")
        yield (
            "seccompProfile",
            "seccompProfile.type",
            observed,
            "set it to RuntimeDefault, here or in the pod",
        )


def _propagation_problems(item: Container) -> Iterator[Finding]:
    privileged = item.at("securityContext.privileged") is True
    for index, mount in enumerate(item.at("volumeMounts") or ()):
        if mount.get("mountPropagation") == "Bidirectional" and not privileged:
            place = f"{item.path}.volumeMounts[{index}].mountPropagation"
            fix = "use HostToContainer: the API server refuses Bidirectional without privileged"
            yield Finding("security-context/propagation", item.pod.object.ref, place, "Bidirectional", fix)


def security_contexts(render: Render) -> Verdict:
    """Whether every container has a read-only root, a numeric user, no capability and no way to gain any."""
    containers = render.containers()
    found = []
    for item in containers:
        for check, path, observed, fix in _container_problems(item):
            place = f"{item.path}.securityContext.{path}"
            found.append(Finding(f"security-context/{check}", item.pod.object.ref, place, observed, fix))
        found += _propagation_problems(item)
    return verdict("security-context", containers, found)


def _token_mounted(render: Render, pod: PodTemplate) -> bool:
    own = pod.spec.get("automountServiceAccountToken")
    if own is not None:
        return bool(own)
    name = pod.spec.get("serviceAccountName") or _DEFAULT_ACCOUNT
    for account in render.select("ServiceAccount", name=name, namespace=pod.namespace, may_be_empty=True):
        return account.at("automountServiceAccountToken") is not False
    return True


def _has_rights(render: Render, pod: PodTemplate) -> bool:
    name = pod.spec.get("serviceAccountName") or _DEFAULT_ACCOUNT
    for binding in render.select("RoleBinding", "ClusterRoleBinding", may_be_empty=True):
        for subject in binding.at("subjects") or ():
            home = subject.get("namespace") or binding.namespace
            if (subject.get("kind"), subject.get("name"), home) == ("ServiceAccount", name, pod.namespace):
                return True
    return False


def service_accounts(render: Render) -> Verdict:
    """Whether each pod has an account of its own, and a token only if that account has any rights."""
    found, pods = [], render.workloads()
    for pod in pods:
        ref, name = pod.object.ref, pod.spec.get("serviceAccountName") or _DEFAULT_ACCOUNT
        if name == _DEFAULT_ACCOUNT:
            place = f"{pod.spec_path}.serviceAccountName"
            found.append(
                Finding("service-account/own", ref, place, name, "give the workload an account of its own")
            )
        if _token_mounted(render, pod) and not _has_rights(render, pod):
            place = f"{pod.spec_path}.automountServiceAccountToken"
            observed = pod.spec.get("automountServiceAccountToken", MISSING)
            fix = f"set it to false: the account {name} has no rights to use a token for"
            found.append(Finding("service-account/token", ref, place, observed, fix))
    return verdict("service-account", pods, found)
