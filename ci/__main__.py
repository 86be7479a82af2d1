"""The commands behind the Makefile: the local cluster, the images and the release on it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ci import images as image_builds
from ci import local, preflight, release, suites, toolchain
from ci.cluster import cgroups, lifecycle
from ci.console import Failure, Steps, guarded, interrupt_on_sigterm
from ci.operators import install as operator_installs
from ci.settings import CACHE, KUBECONFIG, LOGS, NAMESPACE, RELEASE, ROOT


@click.group()
def main() -> None:
    """Lighthouse on a local Kubernetes cluster."""
    interrupt_on_sigterm()


@main.command()
@click.option("--nodes", type=int, default=1, show_default=True, help="How many nodes the cluster has.")
@click.option("--project", type=click.Path(path_type=Path), default=ROOT, help="The source tree to load.")
@click.option("--bare", is_flag=True, help="Only Kubernetes with DNS and storage, without Lighthouse.")
@guarded
def up(nodes: int, project: Path, bare: bool) -> None:
    """Start the cluster, install the chart with default values and load a source tree."""
    if bare:
        local.up_bare(nodes)
        return
    cluster, address = local.up(nodes, project)
    click.echo(_what_next(address, cluster.tools))


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
@guarded
def down() -> None:
    """Remove the cluster without a trace; built programs stay in the cache."""
    preflight.check_root()
    with local.alone(), Steps() as steps, steps.step("remove the cluster") as step:
        image_builds.release_storage()
        step.note(", ".join(lifecycle.remove()) or "nothing was there")
        if left := lifecycle.leftovers():
            raise Failure(f"Still on this machine: {', '.join(left)}. Run 'make down' again.")


@main.command()
@guarded
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
    cluster = local.running()
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


@main.command()
@guarded
def kubeconfig() -> None:
    """Print the path of the cluster's kubeconfig."""
    local.running()
    click.echo(KUBECONFIG)


@main.command()
@guarded
def tools() -> None:
    """Print the folder with helm and kubectl."""
    with Steps() as steps:
        click.echo(toolchain.helm_and_kubectl(steps))


@main.command()
@guarded
def helm3() -> None:
    """Print the folder with Helm 3, for tests of both majors."""
    with Steps() as steps:
        click.echo(toolchain.go_tool(toolchain.HELM3, steps))


@main.command()
@guarded
def opa() -> None:
    """Print the folder with the policy server OPA, for tests and benches of rules in Rego."""
    with Steps() as steps:
        click.echo(toolchain.go_tool(toolchain.OPA, steps))


@main.command()
@guarded
def url() -> None:
    """Print the bridge's address as the host sees it."""
    click.echo(release.service_url(release.bridge_service(local.running(), RELEASE, NAMESPACE)))


@main.command()
@click.option(
    "--project", type=click.Path(path_type=Path), default=ROOT, show_default=False, help="The source tree."
)
@guarded
def load(project: Path) -> None:
    """Load a source tree into the local cluster's bridge."""
    local.load(local.running(), project)


@main.command()
@click.option("--namespace", default=NAMESPACE, show_default=True)
@click.option("--values", multiple=True, help="A values file; may be repeated.")
@click.option("--set", "settings", multiple=True, help="helm's --set; may be repeated.")
@guarded
def install(namespace: str, values: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Install the chart on the current kubeconfig context."""
    if missing := [file for file in values if not Path(file).is_file()]:
        raise Failure(f"VALUES names {', '.join(missing)}, which is no file: name files that are there.")
    with Steps() as steps:
        cluster = release.Cluster(toolchain.helm_and_kubectl(steps))
        arguments = [word for file in values for word in ("--values", file)]
        arguments += [word for setting in settings for word in ("--set", setting)]
        context = cluster.context()
        with steps.step(f"helm install {RELEASE} in namespace {namespace} of {context}"):
            release.install(cluster, RELEASE, namespace, arguments)


@main.command()
@click.option("--namespace", default=NAMESPACE, show_default=True)
@guarded
def uninstall(namespace: str) -> None:
    """Take the release away from the current kubeconfig context; its data stay."""
    with Steps() as steps:
        cluster = release.Cluster(toolchain.helm_and_kubectl(steps))
        title = f"helm uninstall {RELEASE} from namespace {namespace} of {cluster.context()}"
        with steps.step(title):
            said = release.uninstall(cluster, RELEASE, namespace)
        steps.say(said.strip())


@main.command()
@guarded
def operators() -> None:
    """Install the operators that the production profile needs.

    On the local cluster from images built here; on the cluster that KUBECONFIG or the current context names, from
    the published ones, at the same pins.
    """
    with Steps() as steps:
        if os.environ.get("KUBECONFIG", str(KUBECONFIG)) == str(KUBECONFIG) and KUBECONFIG.exists():
            preflight.check_root()
            operator_installs.install_local(steps, local.running())
            return
        cluster = release.Cluster(toolchain.helm_and_kubectl(steps))
        steps.say(f"operators for the cluster of the context {cluster.context()}")
        operator_installs.install_published(steps, cluster)


for suite in suites.COMMANDS:
    main.add_command(suite)

if __name__ == "__main__":
    main()
