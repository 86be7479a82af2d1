"""The local cluster with the product's images on it, as commands and suites use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ci import images as image_builds
from ci import preflight, release, toolchain
from ci.cache import locked
from ci.cluster import addons, lifecycle
from ci.cluster import node as nodes_module
from ci.console import Failure, Steps, background
from ci.settings import KUBECONFIG, LOCK, NAMESPACE, RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ci.cluster.network import Node


def alone() -> AbstractContextManager[None]:
    """Within it no other command starts, uses or removes the local cluster; what comes second says that it waits."""
    return locked(LOCK, "… another command works on the local cluster; this one goes on when that has ended")


def up(nodes: int, project: Path) -> tuple[release.Cluster, str]:
    """Start the cluster, install the chart with default values and load a source tree; returns the bridge's address too."""
    wanted = lifecycle.nodes_of(nodes)
    release.check_project(project)
    preflight.check_machine()
    with alone():  # to the end: another command would take the cluster away from what is still to come
        with Steps() as steps:
            cluster, product_images = start(steps, wanted)
            with steps.step("helm install lighthouse"):
                release.install(cluster, RELEASE, NAMESPACE, release.local_values(product_images))
        load(cluster, project)
        return cluster, release.service_url(release.bridge_service(cluster, RELEASE, NAMESPACE))


def up_bare(nodes: int) -> None:
    """Start the cluster with DNS and storage only."""
    preflight.check_machine()
    with alone(), Steps() as steps:
        start(steps, lifecycle.nodes_of(nodes), ())


def start(
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
    node_programs = toolchain.bin_folder(built.values())
    if not lifecycle.is_healthy(wanted, node_programs):
        with steps.step("remove what an earlier cluster left") as step:
            step.note(", ".join(lifecycle.remove()) or "nothing")
        with steps.step(f"Kubernetes with {len(wanted)} node{'s' if len(wanted) > 1 else ''}"):
            lifecycle.start(wanted, node_programs, tools.result() / "kubectl", pause.reference)
    cluster = release.Cluster(tools.result(), KUBECONFIG)
    kubectl = cluster.tools / "kubectl"
    put_on_nodes(steps, [pause, coredns, local_path, base.result(), *product_images])
    with steps.step("DNS and storage"):
        addons.apply(kubectl, coredns=coredns, local_path=local_path, base=base.result())
        addons.wait(kubectl)
    return cluster, product_images


def _product(steps: Steps, name: str, base: Any) -> image_builds.Image:
    return image_builds.product_image(steps, name, base.result())


def put_on_nodes(steps: Steps, images: Iterable[image_builds.Image]) -> None:
    """Load images into every node of the running cluster that does not have them."""
    wanted = list(images)
    programs = toolchain.bin_folder(
        toolchain.go_tool(tool, Steps(quiet=True)) for tool in toolchain.CLUSTER_TOOLS
    )
    with steps.step("load images into the nodes") as step:
        loaded = [
            image_builds.import_into(programs / "ctr", nodes_module.socket(node), wanted)
            for node in lifecycle.current()
        ]
        step.note(f"{sum(loaded)} new")


def product_on_nodes(steps: Steps, names: Iterable[str]) -> dict[str, image_builds.Image]:
    """The product's images of these names, built if need be and on every node of the running cluster."""
    base = image_builds.base_image(steps)
    built = {name: image_builds.product_image(steps, name, base) for name in names}
    put_on_nodes(steps, built.values())
    return built


def running() -> release.Cluster:
    """The cluster that runs; raises `Failure` when none does."""
    if not KUBECONFIG.exists():
        raise Failure("No cluster runs: start one with 'make up'.")
    return release.Cluster(toolchain.helm_and_kubectl(Steps(quiet=True)), KUBECONFIG)


def load(cluster: release.Cluster, project: Path) -> None:
    """Load a source tree into the bridge."""
    address = release.service_url(release.bridge_service(cluster, RELEASE, NAMESPACE))
    with release.role_key(cluster, RELEASE, NAMESPACE, "operator") as key:
        release.load(address, key, project)
