"""`lighthouse sessions`: who has joined."""

import click
import msgspec

from lighthouse_agent.cli.console import Access, json_option, moment, pass_access, show_json, show_table


class Session(msgspec.Struct, frozen=True):
    """A live session, as GET /sessions lists it."""

    session_id: str
    agent_id: str
    role: str
    created_at: str
    last_seen_at: str
    expires_at: str
    ip_address: str
    user_agent: str


class Sessions(msgspec.Struct, frozen=True):
    """Answer of GET /sessions."""

    sessions: list[Session]
    count: int


class Ended(msgspec.Struct, frozen=True):
    """Answer of POST /session/end."""

    success: bool


@click.group()
def sessions() -> None:
    """List and end sessions; needs an operator's key."""


@sessions.command(name="list")
@json_option
@pass_access
def list_(access: Access, *, as_json: bool) -> None:
    """List the live sessions."""
    with access.client() as client:
        found = client.call("GET", "/sessions", Sessions)
    if as_json:
        show_json(found)
        return
    show_table(
        ("SESSION", "AGENT", "ROLE", "SINCE", "LAST SEEN", "EXPIRES", "ADDRESS"),
        [
            (
                s.session_id,
                s.agent_id,
                s.role,
                *map(moment, (s.created_at, s.last_seen_at, s.expires_at)),
                s.ip_address,
            )
            for s in found.sessions
        ],
        empty="Nobody has a session.",
    )


@sessions.command()
@click.argument("session_ids", nargs=-1, required=True)
@pass_access
def end(access: Access, session_ids: tuple[str, ...]) -> None:
    """End sessions by their ids; whoever holds one must join again."""
    with access.client() as client:
        for session_id in session_ids:
            body = msgspec.json.encode({"session_id": session_id})
            client.call("POST", "/session/end", Ended, body=body)
            click.echo(f"Session {session_id} is ended.")
