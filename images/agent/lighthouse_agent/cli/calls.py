"""`lighthouse validate` and `lighthouse explain`: what is decided about a tool call, and why."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from lighthouse_agent.cli.console import Access, json_option, pass_access, show_json, show_table
from lighthouse_agent.cli.sources import Given, given, refuse, source_options
from lighthouse_agent.errors import SettingsError, one_line

BLOCKED = 2
_MAX_CONTENT = 1024 * 1024
_Command = TypeVar("_Command", bound=Callable[..., Any])


class ExplainedPart(msgspec.Struct, frozen=True):
    """One part of a call and the rule that spoke about it."""

    part: str
    decision: str
    risk_level: str
    rule: str
    layer: str
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """Answer of POST /rules/explain."""

    tool_name: str
    decision: str
    risk_level: str
    tier: str
    rule: str
    layer: str
    rules_version: str
    reason: str
    instead: str
    parts: list[ExplainedPart]


def call_options(command: _Command) -> _Command:
    """Give a command the ways to name a tool call: a shell command, an edit, or any tool and its input."""
    for decorate in (
        click.option("--input", "tool_input", metavar="JSON", help="With --tool: its input, a JSON object."),
        click.option("--tool", metavar="NAME", help="Any tool, such as WebFetch."),
        click.option(
            "--content", type=click.Path(path_type=Path), help="With --edit: what to write; - is stdin."
        ),
        click.option("--edit", "edited", metavar="PATH", help="A file to be written."),
        click.argument("command", required=False),
    ):
        command = decorate(command)
    return command


@click.command()
@call_options
@click.option(
    "--wait",
    type=click.FloatRange(0, 30),
    metavar="SECONDS",
    help="How long to wait for experts and people; 3 for experts alone by default.",
)
@json_option
@click.pass_context
def validate(context: click.Context, /, *, wait: float | None, as_json: bool, **call: Any) -> None:
    """Ask whether a tool call may run, as the hook does: exit code 0 it may, 2 it may not (yet).

    COMMAND is one shell command, quoted as a whole.
    """
    tool_name, tool_input = tool_call(**call)
    access: Access = context.obj
    with access.client(timeout=(wait or 3) + 10) as client:
        verdict = client.validate(tool_name, tool_input, wait_seconds=wait)
    if as_json:
        show_json(verdict)
    else:
        click.echo(f"{verdict.metadata.decision}: {one_line(verdict.reasoning)}")
        if verdict.metadata.decision == "escalate":
            click.echo(
                f"A person can decide it: lighthouse approvals approve {verdict.metadata.validation_id}"
            )
    approved = verdict.approved and verdict.metadata.decision == "approved"
    context.exit(0 if approved else BLOCKED)


@click.command()
@call_options
@source_options("--rules")
@json_option
@pass_access
@click.pass_context
def explain(context: click.Context, access: Access, /, *, as_json: bool, **options: Any) -> None:
    """Say part by part which rule of which layer decides a tool call, and what to do instead. Nothing is recorded."""
    sources = given(options)
    tool_name, tool_input = tool_call(**options)
    if sources.here:
        found = _explain_here(context, sources, tool_name, tool_input)
    else:
        body = msgspec.json.encode({"tool_name": tool_name, "tool_input": tool_input})
        with access.client() as client:
            found = client.call("POST", "/rules/explain", Explanation, body=body)
    if as_json:
        show_json(found)
        return
    by = f"{found.rule} ({found.layer})" if found.tier != "pattern" else f"{found.rule} (classifier)"
    click.echo(f"{found.decision} ({found.risk_level} risk) by {by}, rules {found.rules_version}")
    click.echo(f"{one_line(found.reason)}\n{one_line(found.instead)}\n")
    show_table(
        ("PART", "DECISION", "RISK", "LAYER", "RULE", "REASON"),
        [(p.part, p.decision, p.risk_level, p.layer, p.rule, p.reason) for p in found.parts],
        empty="No part of it could be judged.",
    )


def _explain_here(
    context: click.Context, sources: Given, tool_name: str, tool_input: dict[str, Any]
) -> Explanation:
    engine = sources.engine(context)
    from lighthouse_agent.cli.engine import RulesInvalidError  # noqa: PLC0415 - needs the shell's grammar

    try:
        return msgspec.convert(engine.explain(tool_name, tool_input), Explanation, from_attributes=True)
    except RulesInvalidError as error:
        refuse(context, error)


def tool_call(
    command: str | None, edited: str | None, content: Path | None, tool: str | None, tool_input: str | None
) -> tuple[str, dict[str, Any]]:
    """The tool and its input that the options name; raises UsageError for none or several."""
    if sum(given is not None for given in (command, edited, tool)) != 1:
        raise click.UsageError("Name one tool call: a quoted COMMAND, --edit PATH, or --tool NAME.")
    if (content is not None and edited is None) or (tool_input is not None and tool is None):
        raise click.UsageError("--content belongs to --edit, and --input to --tool.")
    if command is not None:
        return "Bash", {"command": command}
    if edited is not None:
        return "Write", {"file_path": edited, "content": "" if content is None else _read(content)}
    try:
        return str(tool), msgspec.json.decode(tool_input or "{}", type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise click.UsageError(f"--input is no JSON object ({error})") from None


def _read(path: Path) -> str:
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(_MAX_CONTENT).decode()
        with path.open("rb") as file:
            return file.read(_MAX_CONTENT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--content {path} cannot be read as text ({error}).") from None
