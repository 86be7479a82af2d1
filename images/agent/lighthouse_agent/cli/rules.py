"""`lighthouse rules`: the rules in force, and rules that are still being written."""

from pathlib import Path

import click
import msgspec

from lighthouse_agent.cli.console import Access, json_option, pass_access, show_json, show_table
from lighthouse_agent.cli.engine import Engine, RulesInvalidError

INVALID = 2


class Rule(msgspec.Struct, frozen=True):
    """One rule, as GET /rules lists it."""

    id: str
    kind: str
    about: list[str]
    decision: str
    risk_level: str
    reason: str


class Rules(msgspec.Struct, frozen=True):
    """Answer of GET /rules."""

    rules_version: str
    rules: list[Rule]
    count: int


@click.group()
def rules() -> None:
    """List, check and test rules."""


@rules.command(name="list")
@click.option("--folder", type=click.Path(path_type=Path), help="Those of a folder instead of the bridge's.")
@json_option
@pass_access
@click.pass_context
def list_(context: click.Context, access: Access, *, folder: Path | None, as_json: bool) -> None:
    """List every rule."""
    if folder is None:
        with access.client() as client:
            found = client.call("GET", "/rules", Rules)
    else:
        engine = _engine(context, folder)
        entries = msgspec.convert(engine.entries(), list[Rule], from_attributes=True)
        found = Rules(engine.version, entries, len(entries))
    if as_json:
        show_json(found)
        return
    show_table(
        ("RULE", "KIND", "ABOUT", "DECISION", "RISK", "REASON"),
        [(r.id, r.kind, ", ".join(r.about), r.decision, r.risk_level, r.reason) for r in found.rules],
        empty="There are no rules.",
    )
    click.echo(f"{found.count} rules of version {found.rules_version}")


@rules.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_context
def validate(context: click.Context, folder: Path) -> None:
    """Check that a bridge can use the rules of a FOLDER: exit code 0 it can, 2 it cannot."""
    engine = _engine(context, folder)
    click.echo(f"{len(engine.entries())} rules of version {engine.version} can be used.")


@rules.command()
@click.argument("cases", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--rules", "folder", required=True, type=click.Path(path_type=Path), help="The folder of rules."
)
@json_option
@click.pass_context
def test(context: click.Context, folder: Path, cases: tuple[Path, ...], *, as_json: bool) -> None:
    """Judge the calls that the files CASES list, and compare: exit code 0 all are as listed, 2 some are not."""
    engine = _engine(context, folder)
    outcomes = [outcome for path in cases for outcome in engine.test(path)]
    wrong = [outcome for outcome in outcomes if not outcome.passed]
    if as_json:
        show_json({"rules_version": engine.version, "cases": len(outcomes), "wrong": wrong})
    else:
        if wrong:
            show_table(
                ("FILE", "CALL", "EXPECTED", "DECISION", "RULE", "REASON"),
                [(o.file, o.call, o.expected, o.decision, o.rule, o.reason) for o in wrong],
                empty="",
            )
        as_listed = len(outcomes) - len(wrong)
        click.echo(f"{as_listed} of {len(outcomes)} calls are decided as listed, by rules {engine.version}.")
    context.exit(INVALID if wrong else 0)


def _engine(context: click.Context, folder: Path) -> Engine:
    try:
        return Engine(folder)
    except RulesInvalidError as error:
        click.echo(str(error), err=True)
        context.exit(INVALID)
