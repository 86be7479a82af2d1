"""PodSecurity levels, judged as the API server's admission plugin does (Kubernetes 1.25 to 1.37).

Each check has the name that Kubernetes gives it. Versions matter: from 1.34 probes may name no host, from
1.35 a pod in a user namespace (`hostUsers: false`) may run as root, 1.27 to 1.37 each allow more sysctls.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from .documents import EMPTY, MISSING, join, resolve
from .findings import Finding, Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .model import Container, PodTemplate, Render

LATEST: Final = (1, 37)
"""The newest version whose rules are known; newer ones are judged by these, as an API server does."""

OLDEST: Final = (1, 25)


class Level(StrEnum):
    """A PodSecurity level."""

    PRIVILEGED = "privileged"
    BASELINE = "baseline"
    RESTRICTED = "restricted"


Version = tuple[int, int]
Problem = tuple[str, Any, str]
"""Path in the object, observed value, fix."""


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    level: Level
    problems: Callable[[PodTemplate, Version], Iterator[Problem]]
    since: Version = OLDEST
    overrides: str = ""
    """The baseline check that this restricted one replaces."""


def read_version(text: str) -> Version:
    """`1.36`, `v1.36` or `1.36.2` as numbers; `latest` is the newest known.

    Raises `ValueError` for anything else and for versions before 1.25.
    """
    if text == "latest":
        return LATEST
    parts = text.removeprefix("v").split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):
        raise ValueError(f"The PodSecurity version {text!r} is not `latest` or of the form v1.37.")
    version = int(parts[0]), int(parts[1])
    if version < OLDEST:
        raise ValueError(f"The PodSecurity version {text!r} is older than v1.25, the oldest that is judged.")
    return min(version, LATEST)


def _security(holder: Mapping[str, Any], path: str) -> Any:
    return resolve(holder, f"securityContext.{path}")


def _both(pod: PodTemplate, path: str) -> Iterator[tuple[str, Any]]:
    """The field of the pod's and of each container's securityContext, where it is set."""
    places = [(pod.spec_path, pod.spec), *((item.path, item.document) for item in pod.containers)]
    for place, document in places:
        value = _security(document, path)
        if value is not MISSING and value is not None:
            yield f"{join(place, 'securityContext')}.{path}", value


def _windows(pod: PodTemplate) -> bool:
    return bool(resolve(pod.spec, "os.name") == "windows")


def _own_user_namespace(pod: PodTemplate) -> bool:
    return pod.spec.get("hostUsers") is False


_TRUE_FIX: Final = "set it to false or remove it"


def _privileged(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for item in pod.containers:
        if _security(item.document, "privileged") is True:
            yield f"{item.path}.securityContext.privileged", True, _TRUE_FIX


def _host_namespaces(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name) is True:
            yield join(pod.spec_path, name), True, _TRUE_FIX


def _host_paths(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for index, volume in enumerate(pod.spec.get("volumes") or ()):
        if volume.get("hostPath") is not None:
            yield (
                f"{pod.spec_path}.volumes[{index}].hostPath",
                volume["hostPath"],
                "use another kind of volume",
            )


def _host_ports(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for item in pod.containers:
        for index, port in enumerate(item.ports):
            if port.get("hostPort") or (pod.spec.get("hostNetwork") is True and port.get("containerPort")):
                place = f"{item.path}.ports[{index}].hostPort"
                yield (
                    place,
                    port.get("hostPort", "the containerPort (hostNetwork)"),
                    "remove it and use a Service",
                )


def _host_probes(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    handlers = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")
    for item in pod.containers:
        for handler in handlers:
            for kind in ("httpGet", "tcpSocket"):
                host = item.at(f"{handler}.{kind}.host")
                if host:
                    yield (
                        f"{item.path}.{handler}.{kind}.host",
                        host,
                        "remove it: the pod's own address is the default",
                    )


_DEFAULT_CAPABILITIES: Final = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip


def _added(item: Container, allowed: frozenset[str]) -> Iterator[Problem]:
    for index, name in enumerate(_security(item.document, "capabilities.add") or ()):
        if name not in allowed:
            place = f"{item.path}.securityContext.capabilities.add[{index}]"
            yield place, name, f"remove it; allowed: {', '.join(sorted(allowed))}"


def _capabilities(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for item in pod.containers:
        yield from _added(item, _DEFAULT_CAPABILITIES)


def _restricted_capabilities(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    if _windows(pod):
        return
    for item in pod.containers:
        dropped = _security(item.document, "capabilities.drop")
        if "ALL" not in (dropped or ()):
            yield f"{item.path}.securityContext.capabilities.drop", dropped, 'set it to ["ALL"]'
        yield from _added(item, frozenset({"NET_BIND_SERVICE"}))


def _proc_mounts(pod: PodTemplate, version: Version) -> Iterator[Problem]:
    if version < (1, 35) or not _own_user_namespace(pod):
        yield from _restricted_proc_mounts(pod, version)


def _restricted_proc_mounts(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for item in pod.containers:
        value = _security(item.document, "procMount")
        if value is not MISSING and value not in (None, "Default"):
            yield f"{item.path}.securityContext.procMount", value, "remove it"


def _app_armor(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for place, value in _both(pod, "appArmorProfile"):
        if value.get("type") not in {"RuntimeDefault", "Localhost"}:
            yield f"{place}.type", value.get("type"), "set it to RuntimeDefault or Localhost"
    for key, value in pod.annotations.items():
        if key.startswith("container.apparmor.security.beta.kubernetes.io/"):
            allowed = not value or value == "runtime/default" or str(value).startswith("localhost/")
            if not allowed:
                yield (
                    join(f"{pod.path}.metadata.annotations".lstrip("."), key),
                    value,
                    "set it to runtime/default",
                )


def _sysctl_names(version: Version) -> frozenset[str]:
    names = {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    }
    later = {
        (1, 27): "ip_local_reserved_ports",
        (1, 29): "tcp_keepalive_time tcp_fin_timeout tcp_keepalive_intvl tcp_keepalive_probes",
        (1, 32): "tcp_rmem tcp_wmem",
        (1, 37): "tcp_slow_start_after_idle tcp_notsent_lowat",
    }
    for since, added in later.items():
        if version >= since:
            names |= {f"net.ipv4.{name}" for name in added.split()}
    return frozenset(names)


def _sysctls(pod: PodTemplate, version: Version) -> Iterator[Problem]:
    allowed = _sysctl_names(version)
    for index, entry in enumerate(_security(pod.spec, "sysctls") or ()):
        if entry.get("name") not in allowed:
            place = f"{pod.spec_path}.securityContext.sysctls[{index}].name"
            yield place, entry.get("name"), "remove it; only safe sysctls are allowed"


def _se_linux(pod: PodTemplate, version: Version) -> Iterator[Problem]:
    allowed = {"", "container_t", "container_init_t", "container_kvm_t"}
    if version >= (1, 31):
        allowed.add("container_engine_t")
    for place, options in _both(pod, "seLinuxOptions"):
        if (options.get("type") or "") not in allowed:
            yield f"{place}.type", options["type"], f"use one of {', '.join(sorted(allowed - {''}))}"
        for name in ("user", "role"):
            if options.get(name):
                yield f"{place}.{name}", options[name], "remove it"


_SECCOMP: Final = frozenset({"RuntimeDefault", "Localhost"})


def _seccomp(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for place, profile in _both(pod, "seccompProfile"):
        if profile.get("type") not in _SECCOMP:
            yield f"{place}.type", profile.get("type"), "set it to RuntimeDefault"


def _restricted_seccomp(pod: PodTemplate, version: Version) -> Iterator[Problem]:
    if _windows(pod):
        return
    yield from _seccomp(pod, version)
    if resolve(pod.spec, "securityContext.seccompProfile.type") in _SECCOMP:
        return
    for item in pod.containers:
        if not _security(item.document, "seccompProfile"):
            place = f"{item.path}.securityContext.seccompProfile.type"
            yield place, MISSING, "set it to RuntimeDefault, here or in the pod"


def _host_process(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for place, value in _both(pod, "windowsOptions.hostProcess"):
        if value is True:
            yield place, True, _TRUE_FIX


def _privilege_escalation(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    if _windows(pod):
        return
    for item in pod.containers:
        value = _security(item.document, "allowPrivilegeEscalation")
        if value is not False:
            yield f"{item.path}.securityContext.allowPrivilegeEscalation", value, "set it to false"


def _run_as_non_root(pod: PodTemplate, version: Version) -> Iterator[Problem]:
    if version >= (1, 35) and _own_user_namespace(pod):
        return
    for place, value in _both(pod, "runAsNonRoot"):
        if value is False:
            yield place, False, "set it to true"
    if _security(pod.spec, "runAsNonRoot") is True:
        return
    for item in pod.containers:
        if _security(item.document, "runAsNonRoot") in (MISSING, None):
            yield f"{item.path}.securityContext.runAsNonRoot", MISSING, "set it to true, here or in the pod"


def _run_as_user(pod: PodTemplate, version: Version) -> Iterator[Problem]:
    if version >= (1, 35) and _own_user_namespace(pod):
        return
    for place, value in _both(pod, "runAsUser"):
        if value == 0:
            yield place, 0, "use a user id above 0, or set runAsNonRoot and leave it out"


_ALLOWED_VOLUMES: Final = frozenset(
    {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
        "projected", "secret",
    }
)  # fmt: skip


def _volumes(pod: PodTemplate, _: Version) -> Iterator[Problem]:
    for index, volume in enumerate(pod.spec.get("volumes") or ()):
        kinds = {key for key, value in volume.items() if key != "name" and value is not None}
        if kinds and not kinds & _ALLOWED_VOLUMES:
            yield (
                f"{pod.spec_path}.volumes[{index}]",
                sorted(kinds),
                f"use {', '.join(sorted(_ALLOWED_VOLUMES))}",
            )


_CHECKS: Final = (
    _Check("privileged", Level.BASELINE, _privileged),
    _Check("hostNamespaces", Level.BASELINE, _host_namespaces),
    _Check("hostPathVolumes", Level.BASELINE, _host_paths),
    _Check("hostPorts", Level.BASELINE, _host_ports),
    _Check("hostProbesAndHostLifecycle", Level.BASELINE, _host_probes, since=(1, 34)),
    _Check("capabilities_baseline", Level.BASELINE, _capabilities),
    _Check("procMount", Level.BASELINE, _proc_mounts),
    _Check("appArmorProfile", Level.BASELINE, _app_armor),
    _Check("sysctls", Level.BASELINE, _sysctls),
    _Check("seLinuxOptions", Level.BASELINE, _se_linux),
    _Check("seccompProfile_baseline", Level.BASELINE, _seccomp),
    _Check("windowsHostProcess", Level.BASELINE, _host_process),
    _Check("allowPrivilegeEscalation", Level.RESTRICTED, _privilege_escalation),
    _Check(
        "capabilities_restricted",
        Level.RESTRICTED,
        _restricted_capabilities,
        overrides="capabilities_baseline",
    ),
    _Check("procMount_restricted", Level.RESTRICTED, _restricted_proc_mounts, (1, 35), "procMount"),
    _Check("restrictedVolumes", Level.RESTRICTED, _volumes, overrides="hostPathVolumes"),
    _Check("runAsNonRoot", Level.RESTRICTED, _run_as_non_root),
    _Check("runAsUser", Level.RESTRICTED, _run_as_user),
    _Check(
        "seccompProfile_restricted",
        Level.RESTRICTED,
        _restricted_seccomp,
        overrides="seccompProfile_baseline",
    ),
)


def checks(level: Level, version: Version) -> tuple[str, ...]:
    """The names of the checks that make up a level at a version."""
    return tuple(check.name for check in _chosen(level, version))


def _chosen(level: Level, version: Version) -> tuple[_Check, ...]:
    if level is Level.PRIVILEGED:
        return ()
    levels = {Level.BASELINE} if level is Level.BASELINE else {Level.BASELINE, Level.RESTRICTED}
    active = [check for check in _CHECKS if check.level in levels and check.since <= version]
    replaced = {check.overrides for check in active}
    return tuple(check for check in active if check.name not in replaced)


def judge_pod(pod: PodTemplate, level: Level, version: Version) -> tuple[Finding, ...]:
    """Every reason why a PodSecurity admission plugin of that version would refuse this pod."""
    return tuple(
        Finding(f"pod-security/{check.name}", pod.object.ref, path, observed, fix)
        for check in _chosen(level, version)
        for path, observed, fix in check.problems(pod, version)
    )


def pod_security(
    render: Render,
    level: Level = Level.RESTRICTED,
    version: str = "latest",
    namespaces: Mapping[str, Level] = EMPTY,
) -> Verdict:
    """Whether every pod meets `level`, or the level named for its namespace in `namespaces`."""
    number = read_version(version)
    pods = render.workloads()
    found = (
        finding for pod in pods for finding in judge_pod(pod, namespaces.get(pod.namespace, level), number)
    )
    return verdict("pod-security", pods, found)
