"""`lighthouse status`."""

import click
import msgspec

from lighthouse_agent.cli.console import Access, json_option, pass_access, show_json, show_table


class Status(msgspec.Struct, frozen=True):
    """Answer of GET /status."""

    status: str
    mode: str
    components: dict[str, str]
    active_agents: int
    pending_validations: int
    uptime_seconds: float
    sequence: int
    rules_version: str


@click.command()
@json_option
@pass_access
def status(access: Access, *, as_json: bool) -> None:
    """Say whether the bridge works, and what it does."""
    with access.client() as client:
        found = client.public("/status", Status)
    if as_json:
        show_json(found)
        return
    rows = [
        ("status", f"{found.status}, {found.mode}"),
        *((name.replace("_", " "), state) for name, state in sorted(found.components.items())),
        ("agents", found.active_agents),
        ("waiting for a decision", found.pending_validations),
        ("last event", found.sequence),
        ("rules", found.rules_version),
        ("up for", f"{found.uptime_seconds / 3600:.1f} h"),
    ]
    show_table(("", ""), rows, empty="")
