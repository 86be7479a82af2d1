"""`lighthouse rules`: the rules in force, and rules that are still being written."""

from pathlib import Path

import click
import msgspec

from lighthouse_agent.cli.console import Access, json_option, pass_access, show_json, show_table
from lighthouse_agent.cli.engine import RulesInvalidError
from lighthouse_agent.cli.sources import INVALID, given, refuse, source_options


class Rule(msgspec.Struct, frozen=True):
    """One rule, as GET /rules lists it."""

    id: str
    layer: str
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
@source_options("--rules", "--folder")
@json_option
@pass_access
@click.pass_context
def list_(context: click.Context, access: Access, /, *, as_json: bool, **layers: Path | None) -> None:
    """List every rule."""
    sources = given(layers)
    if sources.here:
        engine = sources.engine(context)
        entries = msgspec.convert(engine.entries(), list[Rule], from_attributes=True)
        found = Rules(engine.version, entries, len(entries))
    else:
        with access.client() as client:
            found = client.call("GET", "/rules", Rules)
    if as_json:
        show_json(found)
        return
    show_table(
        ("RULE", "LAYER", "KIND", "ABOUT", "DECISION", "RISK", "REASON"),
        [
            (r.id, r.layer, r.kind, ", ".join(r.about), r.decision, r.risk_level, r.reason)
            for r in found.rules
        ],
        empty="There are no rules.",
    )
    click.echo(f"{found.count} rules of version {found.rules_version}")


@rules.command()
@click.argument("folder", type=click.Path(path_type=Path))
@source_options()
@click.pass_context
def validate(context: click.Context, /, folder: Path, **layers: Path | None) -> None:
    """Check that a bridge can use the rules of a FOLDER, and what is added to them: exit code 0 it can, 2 it
    cannot."""
    engine = given({"rules": folder, **layers}).engine(context)
    click.echo(f"{len(engine.entries())} rules of version {engine.version} can be used.")


@rules.command()
@click.argument("cases", nargs=-1, required=True, type=click.Path(path_type=Path))
@source_options("--rules")
@click.option("--all", "show_all", is_flag=True, help="Show every call, not only those decided otherwise.")
@json_option
@click.pass_context
def test(
    context: click.Context,
    /,
    cases: tuple[Path, ...],
    *,
    show_all: bool,
    as_json: bool,
    **layers: Path | None,
) -> None:
    """Judge the calls that the files CASES list, and compare: exit code 0 all are as listed, 2 some are not."""
    engine = given(layers).engine(context)
    try:
        outcomes = [outcome for path in cases for outcome in engine.test(path)]
    except RulesInvalidError as error:
        refuse(context, error)
    wrong = [outcome for outcome in outcomes if not outcome.passed]
    if as_json:
        found = {"rules_version": engine.version, "cases": len(outcomes), "wrong": wrong}
        show_json(found | ({"outcomes": outcomes} if show_all else {}))
    else:
        if shown := outcomes if show_all else wrong:
            show_table(
                ("FILE", "CALL", "EXPECTED", "DECISION", "LAYER", "RULE", "REASON"),
                [(o.file, o.call, o.expected, o.decision, o.layer, o.rule, o.reason) for o in shown],
                empty="",
            )
        as_listed = len(outcomes) - len(wrong)
        click.echo(f"{as_listed} of {len(outcomes)} calls are decided as listed, by rules {engine.version}.")
    context.exit(INVALID if wrong else 0)
