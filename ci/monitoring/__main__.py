"""Write what is generated of monitoring, or check it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ci import toolchain
from ci.console import Steps
from ci.monitoring import page as pages
from ci.monitoring import rules as chart_rules
from ci.monitoring.processes import processes
from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "metrics.md"


def generated() -> dict[Path, str]:
    """The content of every generated file by its path."""
    return {PAGE: pages.page(processes())}


@click.group()
def main() -> None:
    """What Lighthouse measures, and what is made of it."""


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a file is not current.")
def generate(check: bool) -> None:
    """Write the table of metrics and the dashboards."""
    files = generated()
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if check:
            click.echo(f"{path.relative_to(ROOT)} is not current; run `make generate`.", err=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
    raise SystemExit(1 if check and stale else 0)


@main.command()
def check() -> None:
    """Hold the chart's rules against runbooks, cases, thresholds and what programs expose; print the counts."""
    rules = chart_rules.rules_of(chart_rules.rendered(toolchain.helm_and_kubectl(Steps(quiet=True))))
    found = list(chart_rules.problems(rules))
    for problem in found:
        click.echo(problem, err=True)
    if not found:
        click.echo(chart_rules.summary(rules))
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main(prog_name="python -m ci.monitoring")
