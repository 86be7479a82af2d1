"""The commands that prove, measure and compare: each leaves pytest's or the bench's own exit code."""

from __future__ import annotations

import click

from ci import images as image_builds
from ci import local, preflight, proofs, rollout, toolchain
from ci.cluster import lifecycle
from ci.console import Failure, Steps, guarded
from ci.operators import install as operator_installs
from ci.operators import prometheus, traefik
from ci.settings import ROOT

PRODUCTION = ROOT / "tests" / "production"
# Suites that build images, wait for operators or break servers again and again, within one test.
PATIENT = "--timeout=3600"
OFFLINE = "not live and not heavy and not scan and not replicas and not release"
WORKERS = ("-n", "2")
# Its heavy tests render the chart hundreds of times and time nothing.
RENDERS = "tests/chart"


@click.command()
@guarded
def check() -> None:
    """Prove offline what can be."""
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        proofs.lint(steps, helm)
    raise SystemExit(proofs.pytest(["-m", OFFLINE, *WORKERS], helm=helm, helm3=helm_3, live=False))


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@guarded
def explore(rounds: int) -> None:
    """Try what is said of all inputs with inputs that no run had before."""
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
    arguments = ["-m", f"hypothesis and {OFFLINE}", "--hypothesis-profile=default", *WORKERS]
    for _ in range(rounds):
        if failed := proofs.pytest(arguments, helm=helm, helm3=helm_3, live=False):
            raise SystemExit(failed)


@click.command()
@guarded
def test_scan() -> None:
    """Prove that the scanners find what is planted, and that a blind one fails the scan."""
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        toolchain.go_tool(toolchain.TRIVY, steps)
    raise SystemExit(
        proofs.pytest(["tests/scan", "-m", "scan", PATIENT], helm=helm, helm3=helm_3, live=False)
    )


@click.command()
@guarded
def test_release() -> None:
    """Prove a release: its signatures, and that it installs on a fresh cluster from its bundle and from a registry."""
    with Steps() as steps:
        preflight.install_packages(steps)
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        for tool in (toolchain.TRIVY, toolchain.REGISTRY, toolchain.CRANE):
            toolchain.go_tool(tool, steps)
    raise SystemExit(proofs.pytest(["tests/release", PATIENT], helm=helm, helm3=helm_3, live=False))


@click.command()
@click.option("--nodes", type=int, default=1, show_default=True)
@click.option("--whole", is_flag=True, help="With the scanners' proofs and the release's.")
@guarded
def test(nodes: int, whole: bool) -> None:
    """Prove everything a change can break: offline first, then on the running cluster, which is started if need be."""
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        proofs.lint(steps, helm)
    if failed := proofs.pytest_twice(["-m", OFFLINE, *WORKERS], helm=helm, helm3=helm_3, live=False):
        raise SystemExit(failed)
    if failed := proofs.pytest_twice([RENDERS, "-m", "heavy", *WORKERS], helm=helm, helm3=helm_3, live=False):
        raise SystemExit(failed)
    local.up(nodes, ROOT)
    # One by one: these time what they do, and some take the cluster away from the others.
    rest = f"not ({OFFLINE}) and not replicas"
    selected = rest if whole else f"{rest} and not scan and not release"
    arguments = ["-m", selected, f"--ignore={RENDERS}"]
    raise SystemExit(proofs.pytest_twice(arguments, helm=helm, helm3=helm_3, live=True))


@click.command()
@click.option("--nodes", type=int, default=1, show_default=True)
@guarded
def test_replicas(nodes: int) -> None:
    """Prove on the running cluster that three bridges on a PostgreSQL and a Redis act as one."""
    local.up(nodes, ROOT)
    with Steps() as steps:
        helm, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
        stores = image_builds.stores_image(steps)
        local.put_on_nodes(steps, [stores])
    arguments = ["tests/live/test_replicas.py", "-m", "replicas", "--stores-image", stores.reference, PATIENT]
    raise SystemExit(proofs.pytest(arguments, helm=helm, helm3=helm_3, live=True))


@click.command()
@click.option("--nodes", type=int, default=3, show_default=True)
@click.option("--part", default="", help="Only this part of the production profile, such as postgres.")
@guarded
def test_production(nodes: int, part: str) -> None:
    """Prove on a running cluster what the production profile stands on, with its servers failing."""
    preflight.check_machine()
    parts = sorted(path.name for path in PRODUCTION.iterdir() if (path / "conftest.py").exists())
    if part and part not in parts:
        raise Failure(f"PART is {part} and must be one of {', '.join(parts)}, or empty for all.")
    with local.alone(), Steps() as steps:
        helm_3 = toolchain.go_tool(toolchain.HELM3, steps)
        cluster, _ = local.start(steps, lifecycle.nodes_of(nodes))
        with_edge = part in {"", "edge"}
        # First, since cert-manager looks for the Gateway API when it starts.
        if with_edge:
            traefik.install(steps, cluster)
        if part in {"", "postgres", "certificates"}:
            operator_installs.install_local(steps, cluster, gateway=with_edge)
        elif part == "edge":
            operator_installs.install_cert_manager(steps, cluster, gateway=True)
    folder = str((PRODUCTION / part).relative_to(ROOT))
    raise SystemExit(proofs.pytest([folder, PATIENT], helm=cluster.tools, helm3=helm_3, live=True))


@click.command()
@click.option("--nodes", type=int, default=1, show_default=True)
@click.option(
    "--pictures", is_flag=True, help="Draw each dashboard into docs/dashboards from what was measured."
)
@guarded
def test_monitoring(nodes: int, pictures: bool) -> None:
    """Prove on a running cluster that a real Prometheus sees what the chart measures, and that alerts fire and clear."""
    preflight.check_machine()
    with local.alone(), Steps() as steps:
        helm_3 = toolchain.go_tool(toolchain.HELM3, steps)
        cluster, _ = local.start(steps, lifecycle.nodes_of(nodes))
        traefik.install(steps, cluster)
        operator_installs.install_local(steps, cluster)
        prometheus.install(steps, cluster)
    drawn = ["--pictures", str(ROOT / "docs" / "dashboards")] if pictures else []
    raise SystemExit(
        proofs.pytest(["tests/monitoring", PATIENT, *drawn], helm=cluster.tools, helm3=helm_3, live=True)
    )


@click.command()
@guarded
def bench_harness() -> None:
    """Compare the chart harness with helm-unittest: the same assertions on the same chart."""
    with Steps() as steps:
        programs = {
            "HELM": toolchain.helm_and_kubectl(steps) / "helm",
            "HELM_UNITTEST": toolchain.go_tool(toolchain.HELM_UNITTEST, steps) / "helm-unittest",
        }
    raise SystemExit(proofs.program(["tests/harness/bench.py"], programs))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
@guarded
def bench_bridge(arguments: tuple[str, ...]) -> None:
    """Put the bridge under load and compare it with a policy server that has the same rules.

    ARGUMENTS are those of `python -m tests.bench.bridge`.
    """
    with Steps() as steps:
        programs = {
            "LOAD": toolchain.go_tool(toolchain.LOAD, steps) / "load",
            "OPA": toolchain.go_tool(toolchain.OPA, steps) / "opa",
            "PYTHONPATH": ROOT / "images" / "bridge",
        }
    raise SystemExit(proofs.program(["-m", "tests.bench.bridge", *arguments], programs))


@click.command()
@click.option("--day", type=int, required=True)
@guarded
def gate(day: int) -> None:
    """Run the commands that show whether a day of the rollout has ended."""
    with Steps() as steps:
        tools, helm_3 = toolchain.helm_and_kubectl(steps), toolchain.go_tool(toolchain.HELM3, steps)
    raise SystemExit(0 if rollout.run_gate(day, tools, helm_3) else 1)


COMMANDS = (
    explore,
    check,
    test,
    test_scan,
    test_release,
    test_replicas,
    test_production,
    test_monitoring,
    bench_harness,
    bench_bridge,
    gate,
)
