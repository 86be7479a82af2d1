"""`lighthouse events`: watch, find, export and verify what the bridge keeps."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import click
import msgspec

from lighthouse_agent.cli.console import Access, json_option, moment, pass_access, show_json, show_table
from lighthouse_agent.cli.parquet import ParquetFile
from lighthouse_agent.client import BridgeClient
from lighthouse_agent.errors import AgentError, BridgeRefusedError, BridgeUnreachableError, SettingsError

BROKEN = 2
_PAGE = 5_000
_LIMIT = 64 * 1024 * 1024
_RETRY_SECONDS = 0.5
# The bridge says at least every five seconds that it lives.
_SILENCE_SECONDS = 20.0
_STREAM_FILTERS = frozenset({"types", "agents", "aggregates"})
# Refusals that pass by themselves.
_PASSING = frozenset({429, 503})
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Event(msgspec.Struct, frozen=True):
    """An event, as GET /events gives it."""

    sequence: int
    event_id: str
    event_type: str
    timestamp: str
    agent_id: str | None
    aggregate_id: str | None
    data: msgspec.Raw


class Line(msgspec.Struct, frozen=True):
    """A line of GET /events/stream: an event, or where the stream stands."""

    sequence: int
    event_id: str | None = None


class Events(msgspec.Struct, frozen=True):
    """Answer of GET /events."""

    events: list[Event]
    count: int
    more: bool


class Head(msgspec.Struct, frozen=True):
    """Answer of GET /events/head; a file of it is an anchor."""

    sequence: int
    hash: str
    signature: str
    earlier_signatures: list[str] = []


class Verified(msgspec.Struct, frozen=True):
    """Answer of GET /events/verify."""

    sequence: int
    hash: str
    count: int
    gaps: list[tuple[int, int]]
    problems: list[str]
    more: bool


class Stats(msgspec.Struct, frozen=True):
    """Answer of GET /events/stats."""

    events: int
    first_sequence: int
    last_sequence: int
    missing_sequences: int
    first_timestamp: str | None
    last_timestamp: str | None
    types: dict[str, int]
    agents: int
    aggregates: int


class Outcome(msgspec.Struct, frozen=True):
    """What a verification found."""

    events: int
    sequence: int
    hash: str
    gaps: list[tuple[int, int]]
    problems: list[str]


@click.group()
def events() -> None:
    """Watch, find, export and verify events."""


def filter_options(command: _Command) -> _Command:
    """Give a command the filters of GET /events."""
    for decorate in (
        click.option("--text", help="Only events that say all these words."),
        click.option(
            "--correlation", "correlation_id", metavar="ID", help="Only events of this correlation."
        ),
        click.option("--until-time", "end_time", metavar="TIME", help="Not after this time."),
        click.option("--since", "start_time", metavar="TIME", help="Not before this time."),
        click.option("--until", type=int, metavar="SEQUENCE", help="Not after this event."),
        click.option("--after", type=int, metavar="SEQUENCE", help="Only after this event."),
        click.option("--agent", "agents", multiple=True, help="Only of this agent; may be repeated."),
        click.option("--aggregate", "aggregates", multiple=True, help="Only about this; may be repeated."),
        click.option("--type", "types", multiple=True, help="Only of this type; may be repeated."),
    ):
        command = decorate(command)
    return command


@events.command()
@filter_options
@click.option("--latest", is_flag=True, help="The last events instead of the first.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@json_option
@pass_access
def query(access: Access, /, *, latest: bool, limit: int, as_json: bool, **filters: Any) -> None:
    """Find events by type, agent, sequence, time, correlation and words."""
    direction = "descending" if latest else "ascending"
    with access.client(timeout=60) as client:
        found = _fetch(client, {**_given(filters), "limit": limit, "direction": direction})
    if as_json:
        show_json(found)
        return
    ordered = found.events[::-1] if latest else found.events
    show_table(
        ("SEQUENCE", "TIME", "TYPE", "AGENT", "ABOUT"),
        [(e.sequence, moment(e.timestamp), e.event_type, e.agent_id, e.aggregate_id) for e in ordered],
        empty="No event passes the filters.",
    )


@events.command()
@filter_options
@click.option("--once", is_flag=True, help="End at the last event instead of waiting for more.")
@pass_access
def tail(access: Access, /, *, once: bool, after: int | None, **filters: Any) -> None:
    """Print events as they happen, one JSON object a line; resume with --after."""
    with access.client(timeout=60) as client:
        at = client.call("GET", "/events/head", Head).sequence if after is None else after
        followed = _Tail(client, _given(filters), at)
        while not followed.ended:
            # A bridge that is away for a while is waited for: nothing is missed, since each look goes on behind
            # what was printed.
            try:
                followed.print_stored()
                if once:
                    return
                followed.print_streamed()
            except BridgeUnreachableError:
                time.sleep(_RETRY_SECONDS)
            except BridgeRefusedError as error:
                if error.status not in _PASSING:
                    raise
                time.sleep(_RETRY_SECONDS)


@events.command()
@filter_options
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--format", "form", type=click.Choice(["jsonl", "parquet"]), help="Else by the file's ending.")
@pass_access
def export(access: Access, /, target: Path, *, form: str | None, **filters: Any) -> None:
    """Write events to TARGET, as JSON lines or Parquet; an existing file is not overwritten."""
    form = form or ("parquet" if target.suffix == ".parquet" else "jsonl")
    partial = target.with_name(target.name + ".partial")
    if target.exists():
        raise SettingsError(f"{target} exists; name another file or remove it.")
    count = 0
    try:
        with (
            access.client(timeout=60) as client,
            ParquetFile(partial) if form == "parquet" else _Lines(partial) as file,
        ):
            for page in _pages(client, filters):
                file.write(page)
                count += len(page)
        partial.rename(target)
    except OSError as error:
        raise SettingsError(f"{target} cannot be written ({error.strerror}).") from None
    finally:
        partial.unlink(missing_ok=True)
    click.echo(f"{count} events in {target}.")


@events.command()
@click.option(
    "--anchor",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A head that was saved before: finds a tail that was cut off, and a chain that was rewritten.",
)
@click.option(
    "--save-anchor",
    "save",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Save the head that was reached.",
)
@json_option
@pass_access
def verify(access: Access, /, *, anchor: Path | None, save: Path | None, as_json: bool) -> None:
    """Check every event: exit code 2 when one was changed, removed, inserted or moved.

    A tail that was cut off and a chain that was rewritten to its end are seen by a head that the bridge keeps in
    the store. Who may write there can remove that one: against them, save a head as an anchor elsewhere.
    """
    kept = None if anchor is None else _read_anchor(anchor)
    with access.client(timeout=120) as client:
        outcome = _walk(client)
        if kept is not None:
            outcome = msgspec.structs.replace(outcome, problems=[*outcome.problems, *_compare(client, kept)])
        if save is not None and not outcome.problems:
            head = client.call("GET", f"/events/head?sequence={outcome.sequence}", Head)
            try:
                save.write_bytes(msgspec.json.encode(head) + b"\n")
            except OSError as error:
                raise SettingsError(f"{save} cannot be written ({error.strerror}).") from None
    if as_json:
        show_json(outcome)
    else:
        for first, last in outcome.gaps:
            click.echo(f"gap: no events from {first} to {last}; the chain goes on behind it")
        for problem in outcome.problems:
            click.echo(f"BROKEN: {problem}")
        state = "broken" if outcome.problems else "whole"
        click.echo(f"{outcome.events} events up to {outcome.sequence}: the chain is {state}.")
    if outcome.problems:
        sys.exit(BROKEN)


@events.command()
@json_option
@pass_access
def stats(access: Access, /, *, as_json: bool) -> None:
    """Count events by type."""
    with access.client(timeout=60) as client:
        found = client.call("GET", "/events/stats", Stats)
    if as_json:
        show_json(found)
        return
    click.echo(
        f"{found.events} events, sequences {found.first_sequence} to {found.last_sequence} "
        f"({found.missing_sequences} missing), {found.agents} agents, {found.aggregates} aggregates"
    )
    rows = sorted(found.types.items(), key=lambda row: -row[1])
    show_table(("EVENTS", "TYPE"), [(count, name) for name, count in rows], empty="There is no event.")


class _Tail:
    """Prints the events behind `at` that pass the filters, each once and in order."""

    def __init__(self, client: BridgeClient, given: dict[str, Any], at: int) -> None:
        self._client = client
        self._given = given
        self._at = at
        self._until = given.get("until", sys.maxsize)

    @property
    def ended(self) -> bool:
        """Whether nothing that is wanted can come any more."""
        return bool(self._at >= self._until)

    def print_stored(self) -> None:
        """Print what is stored already."""
        more = True
        while more:
            found = _fetch(self._client, {**self._given, "after": self._at, "limit": _PAGE})
            for event in found.events:
                click.echo(msgspec.json.encode(event))
                self._at = event.sequence
            more = found.more

    def print_streamed(self) -> None:
        """Print what happens until the bridge ends the stream."""
        known = {name: value for name, value in self._given.items() if name in _STREAM_FILTERS}
        path = f"/events/stream?{urlencode({**known, 'after': self._at})}"
        for raw, line in self._client.lines(path, Line, silence=_SILENCE_SECONDS):
            if line.event_id is not None and line.sequence <= self._until:
                if len(known) == len(self._given):
                    click.echo(raw)
                else:
                    self._print_if_it_passes(line.sequence)
            self._at = line.sequence
            if self.ended:
                return

    def _print_if_it_passes(self, sequence: int) -> None:
        # The other filters are the store's.
        one = {**self._given, "after": sequence - 1, "until": sequence}
        for event in _fetch(self._client, one).events:
            click.echo(msgspec.json.encode(event))


class _Lines:
    """A file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, events: list[Event]) -> None:
        """Add events."""
        self._file.writelines(msgspec.json.encode(event) + b"\n" for event in events)


def _given(filters: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in filters.items():
        if isinstance(value, tuple):
            if any("," in part for part in value):
                raise click.UsageError(f"--{name.removesuffix('s')} names cannot have commas.")
            value = ",".join(value) or None  # noqa: PLW2901 - the same value, written as the query has it
        if value is not None:
            found[name] = value
    return found


def _fetch(client: BridgeClient, query: dict[str, Any]) -> Events:
    return client.call("GET", f"/events?{urlencode(query)}", Events, limit=_LIMIT)


def _pages(client: BridgeClient, filters: dict[str, Any]) -> Iterator[list[Event]]:
    given = _given(filters)
    # What comes while we read is left to the next export.
    given.setdefault("until", client.call("GET", "/events/head", Head).sequence)
    while True:
        found = _fetch(client, {**given, "limit": _PAGE})
        yield found.events
        if not found.more:
            return
        given["after"] = found.events[-1].sequence


def _walk(client: BridgeClient) -> Outcome:
    count, gaps, problems = 0, list[tuple[int, int]](), list[str]()
    path = "/events/verify"
    while True:
        page = client.call("GET", path, Verified, limit=_LIMIT)
        count, gaps, problems = count + page.count, gaps + page.gaps, problems + page.problems
        if not page.more:
            return Outcome(count, page.sequence, page.hash, gaps, problems)
        path = f"/events/verify?after={page.sequence}&hash={page.hash}"


def _compare(client: BridgeClient, kept: Head) -> list[str]:
    try:
        now = client.call("GET", f"/events/head?sequence={kept.sequence}", Head)
    except BridgeRefusedError as error:
        if error.status != 404:
            raise
        return [f"event {kept.sequence}, which the anchor names, is gone: the end was cut off"]
    if now.hash != kept.hash:
        return [f"event {kept.sequence} is not the one that the anchor names: the chain was rewritten"]
    if kept.signature not in {now.signature, *now.earlier_signatures}:
        return ["the anchor's signature is not this bridge's: it was made for another store, or forged"]
    return []


def _read_anchor(path: Path) -> Head:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Head)
    except OSError as error:
        raise SettingsError(f"The anchor {path} cannot be read ({error.strerror}).") from None
    except msgspec.MsgspecError as error:
        raise AgentError(f"The anchor {path} is not one ({error}); save one with --save-anchor.") from None
