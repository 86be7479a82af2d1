"""Write what is generated of monitoring, or check it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ci import toolchain
from ci.console import Steps
from ci.monitoring import boards, dashboards
from ci.monitoring import page as pages
from ci.monitoring import rules as chart_rules
from ci.monitoring.processes import processes
from ci.monitoring.queries import others
from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "metrics.md"
DASHBOARDS = ROOT / "charts" / "lighthouse" / "charts" / "monitoring" / "files" / "dashboards"


def generated() -> dict[Path, str]:
    """The content of every generated file by its path."""
    made = {
        DASHBOARDS / f"{name}.json": dashboards.text(document)
        for name, document in dashboards.documents().items()
    }
    return {PAGE: pages.page(processes(), others())} | made


@click.group()
def main() -> None:
    """What Lighthouse measures, and what is made of it."""


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a file is not current.")
def generate(check: bool) -> None:
    """Write the table of metrics and the dashboards."""
    files = generated()
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text() != text]
    for path in sorted(set(DASHBOARDS.glob("*")) - files.keys()):
        click.echo(f"{path.relative_to(ROOT)} is of no dashboard; remove it.", err=True)
        check, stale = True, [*stale, path]
    for path in stale:
        if check:
            click.echo(f"{path.relative_to(ROOT)} is not current; run `make generate`.", err=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
    raise SystemExit(1 if check and stale else 0)


@main.command()
def check() -> None:
    """Hold rules and dashboards against runbooks, cases, values and what programs expose; print the counts."""
    steps = Steps(quiet=True)
    rules = chart_rules.rules_of(chart_rules.rendered(toolchain.helm_and_kubectl(steps)))
    promtool = toolchain.go_tool(toolchain.PROMTOOL, steps) / "promtool"
    shown = dashboards.documents()
    found = list(chart_rules.problems(rules))
    found += boards.problems(shown, chart_rules.known(rules), rules.values, promtool)
    for problem in found:
        click.echo(problem, err=True)
    if not found:
        click.echo(chart_rules.summary(rules))
        click.echo(boards.summary(shown))
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main(prog_name="python -m ci.monitoring")
