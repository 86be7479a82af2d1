"""The commands behind the Makefile: the local cluster, the images and the release on it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ci import images as image_builds
from ci import preflight, proofs, release, rollout, toolchain
from ci.cache import locked
from ci.cluster import addons, cgroups, lifecycle
from ci.cluster import node as nodes_module
from ci.console import Failure, Steps, background, fail, interrupt_on_sigterm, stop_children
from ci.operators import install as operator_installs
from ci.settings import CACHE, KUBECONFIG, LOCK, LOGS, NAMESPACE, RELEASE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci.cluster.network import Node

PRODUCTION = ROOT / "tests" / "production"


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Failures become one sentence and exit code 1, an interruption ends what runs and exit code 130."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except Failure as failure:
            stop_children()
            fail(str(failure))
        except KeyboardInterrupt:
            stop_children()
            click.echo(
                "interrupted: run the command again to go on, or 'make down' to remove everything.", err=True
            )
            os._exit(130)

    return wrapper


@click.group()
def main() -> None:
    """Lighthouse on a local Kubernetes cluster."""
    interrupt_on_sigterm()


@main.command()
@click.option("--nodes", type=int, default=1, show_default=True, help="How many nodes the cluster has.")
@click.option("--project", type=click.Path(path_type=Path), default=ROOT, help="The source tree to load.")
@click.option("--bare", is_flag=True, help="Only Kubernetes with DNS and storage, without Lighthouse.")
@_guarded
def up(nodes: int, project: Path, bare: bool) -> None:
    """Start the cluster, install the chart with default values and load a source tree."""
    wanted = lifecycle.nodes_of(nodes)
    release.check_project(project)
    preflight.check_machine()
    with locked(LOCK), Steps() as steps:
        cluster, product_images = _start(steps, wanted, () if bare else tuple(image_builds.PRODUCT))
        if bare:
            return
        with steps.step("helm install lighthouse"):
            release.install(cluster, RELEASE, NAMESPACE, release.local_values(product_images))
    _load(cluster, project)
    click.echo(
        _what_next(release.service_url(release.bridge_service(cluster, RELEASE, NAMESPACE)), cluster.tools)
    )


def _start(
    steps: Steps, wanted: list[Node], names: tuple[str, ...] = tuple(image_builds.PRODUCT)
) -> tuple[release.Cluster, list[image_builds.Image]]:
    """Start the cluster with DNS and storage unless it runs; returns it, and the named images on its nodes."""
    preflight.install_packages(steps)
    with background() as pool:  # Debian and Python packages come while Go compiles
        tools = pool.submit(toolchain.helm_and_kubectl, steps)
        base = pool.submit(image_builds.base_image, steps)
        product = [pool.submit(_product, steps, name, base) for name in names]
        built = {tool.name: toolchain.go_tool(tool, steps) for tool in toolchain.CLUSTER_TOOLS}
        pause = image_builds.pause_image(steps)
        coredns = image_builds.program_image(steps, "coredns", built["coredns"] / "coredns")
        local_path = image_builds.program_image(
            steps, "local-path-provisioner", built["local-path"] / "local-path-provisioner"
        )
        product_images = [image.result() for image in product]
    programs = toolchain.bin_folder(built.values())
    if not lifecycle.is_healthy(wanted, programs):
        with steps.step("remove what an earlier cluster left") as step:
            step.note(", ".join(lifecycle.remove()) or "nothing")
        with steps.step(f"Kubernetes with {len(wanted)} node{'s' if len(wanted) > 1 else ''}"):
            lifecycle.start(wanted, programs, tools.result() / "kubectl", pause.reference)
    cluster = release.Cluster(tools.result(), KUBECONFIG)
    kubectl = cluster.tools / "kubectl"
    with steps.step("load images into the nodes") as step:
        archives = [pause, coredns, local_path, base.result(), *product_images]
        loaded = [
            image_builds.import_into(programs / "ctr", nodes_module.socket(node), archives) for node in wanted
        ]
        step.note(f"{sum(loaded)} new")
    with steps.step("DNS and storage"):
        addons.apply(kubectl, coredns=coredns, local_path=local_path, base=base.result())
        addons.wait(kubectl)
    return cluster, product_images


def _product(steps: Steps, name: str, base: Any) -> image_builds.Image:
    return image_builds.product_image(steps, name, base.result())


def _what_next(url: str, tools: Path) -> str:
    return f"""
Lighthouse runs. Try:
  curl -s {url}/health
  export KUBECONFIG={KUBECONFIG} PATH={tools}:$PATH
  kubectl get pods --all-namespaces
  kubectl -n {NAMESPACE}-agents exec deploy/{RELEASE}-agents-security -c agent -- ls /mnt/lighthouse/project/current
  make status    what runs
  make test      all proofs
  make down      remove everything"""


@main.command()
@_guarded
def down() -> None:
    """Remove the cluster without a trace; built programs stay in the cache."""
    preflight.check_root()
    with locked(LOCK), Steps() as steps, steps.step("remove the cluster") as step:
        image_builds.release_storage()
        step.note(", ".join(lifecycle.remove()) or "nothing was there")
        if left := lifecycle.leftovers():
            raise Failure(f"Still on this machine: {', '.join(left)}. Run 'make down' again.")


@main.command()
@_guarded
def status() -> None:
    """Say in a few lines what runs."""
    nodes = lifecycle.current()
    if not nodes:
        click.echo("No cluster runs: start one with 'make up'.")
        return
    for node, groups in cgroups.system_processes().items():
        alive = [name for name, pids in groups.items() if pids and name != "anchor"]
        dead = [name for name, pids in groups.items() if not pids]
        click.echo(f"node {node}: {', '.join(alive)}{'; DEAD: ' + ', '.join(dead) if dead else ''}")
    cluster = _local()
    counts: dict[str, list[int]] = {}
    for pod in cluster.get("pods", "--all-namespaces")["items"]:
        ready = any(
            c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])
        )
        count = counts.setdefault(pod["metadata"]["namespace"], [0, 0])
        count[0] += ready
        count[1] += 1
    click.echo(
        "pods ready: "
        + ", ".join(f"{name} {ready}/{total}" for name, (ready, total) in sorted(counts.items()))
    )
    click.echo(f"bridge: {release.service_url(release.bridge_service(cluster, RELEASE, NAMESPACE))}")
    click.echo(f"kubeconfig: {KUBECONFIG}\nlogs: {LOGS}\ntools: {cluster.tools}\ncache: {CACHE}")


def _local() -> release.Cluster:
    if not KUBECONFIG.exists():
        raise Failure("No cluster runs: start one with 'make up'.")
    return release.Cluster(toolchain.helm_and_kubectl(Steps(quiet=True)), KUBECONFIG)


@main.command()
@_guarded
def kubeconfig() -> None:
    """Print the path of the cluster's kubeconfig."""
    _local()
    click.echo(KUBECONFIG)


@main.command()
@_guarded
def tools() -> None:
    """Print the folder with helm and kubectl."""
    with Steps() as steps:
        click.echo(toolchain.helm_and_kubectl(steps))


@main.command()
@_guarded
def helm3() -> None:
    """Print the folder with Helm 3, for tests of both majors."""
    with Steps() as steps:
        click.echo(toolchain.go_tool(toolchain.HELM3, steps))


@main.command()
@_guarded
def opa() -> None:
    """Print the folder with the policy server OPA, for tests and benches of rules in Rego."""
    with Steps() as steps:
        click.echo(toolchain.go_tool(toolchain.OPA, steps))


@main.command()
@_guarded
def url() -> None:
    """Print the bridge's address as the host sees it."""
    click.echo(release.service_url(release.bridge_service(_local(), RELEASE, NAMESPACE)))


@main.command()
@click.option(
    "--project", type=click.Path(path_type=Path), default=ROOT, show_default=False, help="The source tree."
)
@_guarded
def load(project: Path) -> None:
    """Load a source tree into the local cluster's bridge."""
    _load(_local(), project)


def _load(cluster: release.Cluster, project: Path) -> None:
    address = release.service_url(release.bridge_service(cluster, RELEASE, NAMESPACE))
    with release.role_key(cluster, RELEASE, NAMESPACE, "operator") as key:
        release.load(address, key, project)


@main.command()
@click.option("--namespace", default=NAMESPACE, show_default=True)
@click.option(
    "--values",
    type=click.Path(exists=True, dir_okay=False),
    multiple=True,
    help="A values file; may be repeated.",
)
@click.option("--set", "settings", multiple=True, help="helm's --set; may be repeated.")
@_guarded
def install(namespace: str, values: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Install the chart on the current kubeconfig context."""
    with Steps() as steps:
        cluster = release.Cluster(toolchain.helm_and_kubectl(steps))
        arguments = [word for file in values for word in ("--values", file)]
        arguments += [word for setting in settings for word in ("--set", setting)]
        context = cluster.context()
        with steps.step(f"helm install {RELEASE} in namespace {namespace} of {context}"):
            release.install(cluster, RELEASE, namespace, arguments)


@main.command()
@_guarded
def operators() -> None:
    """Install the operators that the production profile needs.

    On the local cluster from images built here; on the cluster that KUBECONFIG or the current context names, from
    the published ones, at the same pins.
    """
    with Steps() as steps:
        if os.environ.get("KUBECONFIG", str(KUBECONFIG)) == str(KUBECONFIG) and KUBECONFIG.exists():
            preflight.check_root()
            programs = toolchain.bin_folder(
                toolchain.go_tool(tool, steps) for tool in toolchain.CLUSTER_TOOLS
            )
            operator_installs.install_local(steps, _local(), programs)
            return
        cluster = release.Cluster(toolchain.helm_and_kubectl(steps))
        steps.say(f"operators for the cluster of the context {cluster.context()}")
        operator_installs.install_published(steps, cluster)


@main.command()
@_guarded
def check() -> None:
    """Prove offline what can be."""
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        proofs.lint(steps, helm)
    raise SystemExit(
        proofs.pytest(
            ["-m", "not live and not heavy and not scan and not replicas and not release", "-n", "2"],
            helm=helm,
            helm3=helm_3,
            live=False,
        )
    )


@main.command()
@_guarded
def test_scan() -> None:
    """Prove that the scanners find what is planted, and that a blind one fails the scan."""
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        toolchain.go_tool(toolchain.TRIVY, steps)
    raise SystemExit(proofs.pytest(["tests/scan", "-m", "scan"], helm=helm, helm3=helm_3, live=False))


@main.command()
@_guarded
def test_release() -> None:
    """Prove a release: its signatures, and that it installs on a fresh cluster from its bundle and from a registry."""
    with Steps() as steps:
        preflight.install_packages(steps)
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        for tool in (toolchain.TRIVY, toolchain.REGISTRY, toolchain.CRANE):
            toolchain.go_tool(tool, steps)
    raise SystemExit(proofs.pytest(["tests/release"], helm=helm, helm3=helm_3, live=False))


@main.command()
@click.option("--nodes", type=int, default=1, show_default=True)
@click.option("--evidence", type=click.Path(path_type=Path), help="Write the table of evidence to a file.")
@click.pass_context
@_guarded
def test(context: click.Context, nodes: int, evidence: Path | None) -> None:
    """Prove everything a change can break: offline first, then on the running cluster, which is started if need be."""
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        proofs.lint(steps, helm)
    context.invoke(up, nodes=nodes, project=ROOT, bare=False)
    wanted = "not replicas" if evidence else "not scan and not replicas and not release"
    arguments = ["-m", wanted, *(["--evidence", str(evidence)] if evidence else [])]
    raise SystemExit(proofs.pytest(arguments, helm=helm, helm3=helm_3, live=True))


@main.command()
@click.option("--nodes", type=int, default=1, show_default=True)
@click.pass_context
@_guarded
def test_replicas(context: click.Context, nodes: int) -> None:
    """Prove on the running cluster that three bridges on a PostgreSQL and a Redis act as one."""
    context.invoke(up, nodes=nodes, project=ROOT, bare=False)
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        stores = image_builds.stores_image(steps)
        # The node's ctr, which a running cluster has.
        ctr = toolchain.bin_folder(toolchain.go_tool(tool, steps) for tool in toolchain.CLUSTER_TOOLS) / "ctr"
        for node in lifecycle.current():
            image_builds.import_into(ctr, nodes_module.socket(node), [stores])
    arguments = ["tests/live/test_replicas.py", "-m", "replicas", "--stores-image", stores.reference]
    raise SystemExit(proofs.pytest(arguments, helm=helm, helm3=helm_3, live=True))


@main.command()
@click.option("--nodes", type=int, default=3, show_default=True)
@click.option("--part", default="", help="Only this part of the production profile, such as postgres.")
@_guarded
def test_production(nodes: int, part: str) -> None:
    """Prove on a running cluster what the production profile stands on, with its servers failing."""
    preflight.check_machine()
    parts = sorted(path.name for path in PRODUCTION.iterdir() if (path / "conftest.py").exists())
    if part and part not in parts:
        raise Failure(f"PART is {part} and must be one of {', '.join(parts)}, or empty for all.")
    with locked(LOCK), Steps() as steps:
        helm_3 = toolchain.go_tool(toolchain.HELM3, steps)
        cluster, _ = _start(steps, lifecycle.nodes_of(nodes))
        if part in {"", "postgres"}:
            operator_installs.install_local(steps, cluster, _cluster_programs(steps))
    folder = str((PRODUCTION / part).relative_to(ROOT))
    raise SystemExit(proofs.pytest([folder], helm=cluster.tools, helm3=helm_3, live=True))


def _cluster_programs(steps: Steps) -> Path:
    return toolchain.bin_folder([toolchain.go_tool(tool, steps) for tool in toolchain.CLUSTER_TOOLS])


@main.command()
@_guarded
def bench_harness() -> None:
    """Compare the chart harness with helm-unittest: the same assertions on the same chart."""
    with Steps() as steps:
        programs = {
            "HELM": toolchain.helm_and_kubectl(steps) / "helm",
            "HELM_UNITTEST": toolchain.go_tool(toolchain.HELM_UNITTEST, steps) / "helm-unittest",
        }
    raise SystemExit(proofs.program(["tests/harness/bench.py"], programs))


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1)
@_guarded
def bench_bridge(arguments: tuple[str, ...]) -> None:
    """Put the bridge under load and compare it with a policy server that has the same rules."""
    with Steps() as steps:
        programs = {
            "LOAD": toolchain.go_tool(toolchain.LOAD, steps) / "load",
            "OPA": toolchain.go_tool(toolchain.OPA, steps) / "opa",
            "PYTHONPATH": ROOT / "images" / "bridge",
        }
    raise SystemExit(proofs.program(["-m", "tests.bench.bridge", *arguments], programs))


@main.command()
@click.option("--day", type=int, required=True)
@_guarded
def gate(day: int) -> None:
    """Run the commands that show whether a day of the rollout has ended."""
    with Steps() as steps:
        tools, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
    raise SystemExit(0 if rollout.run_gate(day, tools, helm_3) else 1)


if __name__ == "__main__":
    main()
