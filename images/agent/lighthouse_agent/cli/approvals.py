"""`lighthouse approvals`: what waits for a person, and what people decided in advance."""

import click
import msgspec

from lighthouse_agent.cli.console import (
    Access,
    call_text,
    json_option,
    moment,
    pass_access,
    show_json,
    show_table,
)


class Waiting(msgspec.Struct, frozen=True):
    """A validation that waits, as GET /pending lists it."""

    id: str
    created_at: str
    agent_id: str
    tool_name: str
    tool_input: dict[str, object]
    reason: str
    risk_level: str
    stage: str
    expires_at: str


class Pending(msgspec.Struct, frozen=True):
    """Answer of GET /pending."""

    pending: list[Waiting]


class Standing(msgspec.Struct, frozen=True):
    """A decision in advance, as GET /approvals lists it."""

    approval_id: str
    status: str
    agent_id: str | None
    tool_name: str | None
    tool_input: dict[str, object] | None
    uses_left: int | None
    decided_by: str
    reason: str
    validation_id: str
    created_at: str
    expires_at: str


class Approvals(msgspec.Struct, frozen=True):
    """Answer of GET /approvals."""

    approvals: list[Standing]


class Decided(msgspec.Struct, frozen=True):
    """Answer of POST /approve."""

    id: str
    status: str
    decided_by: str
    remembered_until: str


class Revoked(msgspec.Struct, frozen=True):
    """Answer of POST /approvals/revoke."""

    approval_id: str


@click.group()
def approvals() -> None:
    """Decide what no rule and no expert decided; needs an operator's key."""


@approvals.command(name="list")
@json_option
@pass_access
def list_(access: Access, *, as_json: bool) -> None:
    """List what waits for a decision, and the decisions that hold in advance."""
    with access.client() as client:
        waiting = client.call("GET", "/pending?limit=1000", Pending).pending
        standing = client.call("GET", "/approvals?limit=1000", Approvals).approvals
    if as_json:
        show_json({"pending": waiting, "approvals": standing})
        return
    show_table(
        ("VALIDATION", "AGENT", "CALL", "RISK", "WAITS FOR", "UNTIL", "REASON"),
        [
            (
                w.id,
                w.agent_id,
                call_text(w.tool_name, w.tool_input),
                w.risk_level,
                w.stage,
                moment(w.expires_at),
                w.reason,
            )
            for w in waiting
        ],
        empty="Nothing waits for a decision.",
    )
    click.echo()
    show_table(
        ("APPROVAL", "DECISION", "FOR", "CALL", "USES", "UNTIL", "BY", "REASON"),
        [
            (
                s.approval_id,
                s.status,
                s.agent_id or "all agents",
                call_text(s.tool_name, s.tool_input),
                "any" if s.uses_left is None else s.uses_left,
                moment(s.expires_at),
                s.decided_by,
                s.reason,
            )
            for s in standing
        ],
        empty="Nothing is decided in advance.",
    )


_remember = click.option(
    "--remember",
    type=click.Choice(["once", "agent", "always"]),
    default="once",
    show_default=True,
    help="For the agent's next same call, all its same calls, or those of every agent.",
)
_expires = click.option(
    "--for", "seconds", type=click.IntRange(1, 31_536_000), metavar="SECONDS", help="How long it holds."
)


@approvals.command()
@click.argument("validation_id")
@click.option("--reason", required=True, help="Why; the agent and the record get it.")
@_remember
@_expires
@json_option
@pass_access
def approve(access: Access, /, validation_id: str, *, as_json: bool, **more: object) -> None:
    """Let a call run that waits."""
    _decide(access, validation_id, "approved", as_json=as_json, **more)


@approvals.command()
@click.argument("validation_id")
@click.option("--reason", required=True, help="Why, and what to do instead; the agent gets it.")
@_remember
@_expires
@json_option
@pass_access
def deny(access: Access, /, validation_id: str, *, as_json: bool, **more: object) -> None:
    """Refuse a call that waits."""
    _decide(access, validation_id, "blocked", as_json=as_json, **more)


@approvals.command()
@click.argument("approval_id")
@click.option("--reason", required=True, help="Why; the record gets it.")
@json_option
@pass_access
def revoke(access: Access, approval_id: str, reason: str, *, as_json: bool) -> None:
    """Take back a decision that holds in advance."""
    body = msgspec.json.encode({"approval_id": approval_id, "reason": reason})
    with access.client() as client:
        found = client.call("POST", "/approvals/revoke", Revoked, body=body)
    if as_json:
        show_json(found)
    else:
        click.echo(f"Approval {found.approval_id} is revoked.")


def _decide(
    access: Access,
    validation_id: str,
    status: str,
    *,
    as_json: bool,
    reason: object,
    remember: object,
    seconds: object,
) -> None:
    body = {
        "id": validation_id,
        "status": status,
        "reason": reason,
        "remember": remember,
        "expires_in": seconds,
    }
    with access.client() as client:
        found = client.call("POST", "/approve", Decided, body=msgspec.json.encode(body))
    if as_json:
        show_json(found)
    else:
        until = moment(found.remembered_until)
        click.echo(f"Validation {found.id} is {found.status} by {found.decided_by}, until {until}.")
