"""`lighthouse experts`: who is asked when no rule decides."""

import click
import msgspec

from lighthouse_agent.cli.console import Access, json_option, moment, pass_access, show_json, show_table


class Expert(msgspec.Struct, frozen=True):
    """An expert, as GET /experts lists it."""

    agent_id: str
    agent_type: str
    capabilities: list[str]
    status: str
    registered_at: str
    last_seen_at: str


class Experts(msgspec.Struct, frozen=True):
    """Answer of GET /experts."""

    experts: list[Expert]
    count: int


@click.command()
@json_option
@pass_access
def experts(access: Access, *, as_json: bool) -> None:
    """List the experts and whether they can be asked."""
    with access.client() as client:
        found = client.call("GET", "/experts", Experts)
    if as_json:
        show_json(found)
        return
    show_table(
        ("EXPERT", "TYPE", "STATUS", "CAPABILITIES", "SINCE", "LAST SEEN"),
        [
            (
                e.agent_id,
                e.agent_type,
                e.status,
                ", ".join(e.capabilities),
                moment(e.registered_at),
                moment(e.last_seen_at),
            )
            for e in found.experts
        ],
        empty="No expert is registered.",
    )
