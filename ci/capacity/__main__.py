"""`lighthouse-capacity`, here as `python -m ci.capacity`: what a release needs, whether it fits, what it costs.

Exit code 0 when it fits or agrees, 1 when not, 2 for wrong input.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from ci import rollout, toolchain
from ci.capacity import page as pages
from ci.capacity import shapes
from ci.capacity.cost import bill
from ci.capacity.data import MEASURED, PRICES, read_measured, read_prices
from ci.capacity.live import live_nodes
from ci.capacity.load import Load, check, from_report, plan
from ci.console import Failure, Steps
from ci.settings import ROOT
from lighthouse_harness.capacity import GIB, Demand
from lighthouse_harness.packing import Node, amount, fit, fit_without_one
from lighthouse_harness.render import RenderError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE = ROOT / "docs" / "capacity.md"
WIDTH = 60


def _guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except (ValueError, OSError, KeyError, Failure, RenderError) as error:
            click.echo(f"error: {error}", err=True)
            raise SystemExit(2) from None

    return wrapper


def _helm() -> Path:
    return toolchain.helm_and_kubectl(Steps(quiet=True))


def _chosen(profile: str, values: tuple[Path, ...]) -> tuple[Demand, ...]:
    chart = shapes.rendered(helm=_helm())
    found = shapes.review_shapes(chart)
    if profile in found:
        return found[profile]
    known = shapes.profiles()
    if profile not in known:
        raise ValueError(f"There is no profile {profile!r}; use one of {', '.join([*known, *found])}.")
    return shapes.rendered((*known[profile], *values))


_profile = click.option("--profile", default="default", show_default=True, help="A profile, or 'the review'.")
_values = click.option(
    "--values", type=click.Path(exists=True, path_type=Path), multiple=True, help="A values file."
)
_format = click.option("--format", "form", type=click.Choice(["table", "json", "plot"]), default="table")


@click.group()
def main() -> None:
    """What a release needs, whether it fits and what it costs."""


@main.command()
@_profile
@_values
@_format
@_guarded
def show(profile: str, values: tuple[Path, ...], form: str) -> None:
    """Requests and limits by component, on three nodes."""
    _print(pages.COLUMNS, pages.rows_of(_chosen(profile, values)), form, plotted=4)


@main.command("fit")
@_profile
@_values
@click.option("--nodes", "described", help="Nodes such as 3x16:64 (number x CPU : GiB), separated by commas.")
@click.option("--live", is_flag=True, help="What other pods leave of the current context's nodes.")
@click.option("--requests", is_flag=True, help="Place by requests; otherwise by limits.")
@_guarded
def fit_command(
    profile: str, values: tuple[Path, ...], described: str | None, live: bool, requests: bool
) -> None:
    """Whether all pods fit on nodes, and still do when one is lost."""
    if bool(described) == live:
        raise ValueError("Give either --nodes, such as 3x16:64, or --live.")
    nodes = _live(by_limits=not requests) if live else describe(described or "")
    found = _chosen(profile, values)
    first = fit(found, nodes, by_limits=not requests)
    for node, pods in first.placement.items():
        click.echo(f"{node}: {', '.join(pods) or 'nothing'}")
    for reason in first.reasons:
        click.echo(f"does not fit: {reason}")
    if not first.fits:
        raise SystemExit(1)
    second = fit_without_one(found, nodes, by_limits=not requests)
    for reason in second.reasons:
        click.echo(f"does not fit: {reason}")
    if not second.fits:
        raise SystemExit(1)
    click.echo("fits, also when one node is lost" + (f"; {second.note}" if second.note else ""))


def describe(text: str) -> tuple[Node, ...]:
    """Nodes written as `3x16:64`, three of 16 CPU and 64 GiB, over three zones."""
    nodes: list[Node] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)x(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", part.strip())
        if match is None:
            raise ValueError(f"{part!r} describes no nodes; write 3x16:64 for three with 16 CPU and 64 GiB.")
        for _ in range(int(match[1])):
            zone = {"topology.kubernetes.io/zone": f"zone-{len(nodes) % 3}"}
            nodes.append(
                Node(f"node-{len(nodes)}", Fraction(match[2]), Fraction(match[3]) * GIB, labels=zone)
            )
    return tuple(nodes)


def _live(*, by_limits: bool) -> tuple[Node, ...]:
    def listed(*words: str) -> list[dict[str, Any]]:
        command = [str(_helm() / "kubectl"), "get", *words, "-o", "json"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ValueError(f"The cluster's {words[0]} cannot be listed: {result.stderr.strip()}")
        items: list[dict[str, Any]] = json.loads(result.stdout)["items"]
        return items

    return live_nodes(listed("nodes"), listed("pods", "--all-namespaces"), by_limits=by_limits)


@main.command("load")
@click.option("--agents", type=int, required=True)
@click.option("--per-minute", type=float, default=6.0, show_default=True, help="Validations of one agent.")
@click.option("--hours", type=float, default=10.0, show_default=True, help="Of work a day.")
@click.option("--retention", type=float, default=30.0, show_default=True, help="Days that events are kept.")
@_format
@_guarded
def load_command(agents: int, per_minute: float, hours: float, retention: float, form: str) -> None:
    """Bridges, connections and storage for a load."""
    found = plan(Load(agents, per_minute, hours), read_measured())
    rows = [
        ("validations a second", amount(Fraction(found.load.per_second))),
        ("bridges", str(found.bridges)),
        ("busy processors", amount(Fraction(found.processors))),
        ("connections to bridges", str(found.connections)),
        ("connections to PostgreSQL, at most", str(found.postgres_connections)),
        ("connections to each Redis server, at most", str(found.redis_connections)),
        ("GiB a day", amount(Fraction(found.gib_a_day))),
        (f"GiB in {retention:g} days", amount(Fraction(found.gib(retention)))),
    ]
    _print(("", "needed"), rows, form, plotted=1)


@main.command("cost")
@_profile
@_values
@click.option("--agents", type=int, default=1000, show_default=True)
@click.option("--retention", type=float, default=30.0, show_default=True, help="Days that events are kept.")
@click.option("--prices", type=click.Path(exists=True, path_type=Path), default=PRICES, help="A price file.")
@_format
@_guarded
def cost_command(
    profile: str, values: tuple[Path, ...], agents: int, retention: float, prices: Path, form: str
) -> None:
    """A month in US dollars, by provider."""
    known, found = read_prices(prices), _chosen(profile, values)
    needed = plan(Load(agents), read_measured(), least=0)
    rows = []
    for provider in known.providers.values():
        one = bill(found, provider, known, stored_gib=needed.gib(retention), bridges=needed.bridges)
        figures = (one.nodes, one.compute, one.disks, one.backups, one.control_plane, one.month)
        rows.append((provider.title, *(f"{figure:.0f}" for figure in figures)))
    head = ("", "nodes", "compute", "disks", "backups", "control plane", "month")
    _print(head, rows, form, plotted=6)


@main.command("check")
@click.argument("report", type=click.Path(exists=True, path_type=Path))
@_guarded
def check_command(report: Path) -> None:
    """Hold the load model against a report of make bench-bridge."""
    found = check(read_measured(), json.loads(report.read_text()))
    for one in found:
        word = "agrees" if one.holds else "DIFFERS"
        click.echo(f"{word}: {one.name}: model {one.model:.0f}, run {one.run:.0f}")
    raise SystemExit(0 if all(one.holds for one in found) else 1)


@main.command("measured")
@click.argument("report", type=click.Path(exists=True, path_type=Path))
@_guarded
def measured_command(report: Path) -> None:
    """Take the measurements of a report of make bench-bridge over into measured.yaml."""
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    text = MEASURED.read_text()
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    figures = from_report(json.loads(report.read_text()), day)
    MEASURED.write_text(comments + yaml.safe_dump(figures, sort_keys=False))


@main.command("pages")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail when a page is not current.")
@_guarded
def pages_command(only_check: bool) -> None:
    """Write docs/capacity.md and docs/rollout.md, or check them."""
    helm = _helm()
    found = {name: shapes.rendered(shapes.profiles()[name], helm) for name in shapes.SHOWN}
    texts = {
        PAGE: pages.page(shapes.review_shapes(found["default"]), found),
        rollout.PAGE: rollout.page(rollout.read_rollout()),
    }
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if only_check:
            click.echo(f"{path.relative_to(ROOT)} is not current; run `make generate`.", err=True)
        else:
            path.write_text(texts[path])
    raise SystemExit(1 if only_check and stale else 0)


def _print(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], form: str, plotted: int) -> None:
    if form == "json":
        click.echo(json.dumps([dict(zip(head, row, strict=True)) for row in rows], indent=2))
        return
    if form == "plot":
        figures = [(row[0], float(row[plotted].replace(",", ""))) for row in rows if row[0] != "sum"]
        most = max(value for _, value in figures) or 1
        for name, value in figures:
            click.echo(f"{name:32.32} {'█' * round(WIDTH * value / most)} {value:g}")
        click.echo(f"({head[plotted]})")
        return
    shown = Table(*head, box=None)
    for row in rows:
        shown.add_row(*row)
    Console(width=140).print(shown)


if __name__ == "__main__":
    main(prog_name="lighthouse-capacity")
