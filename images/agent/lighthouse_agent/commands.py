"""The command line: run, load, wait-ready, hook."""

import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from lighthouse_agent.client import BridgeClient
from lighthouse_agent.errors import AgentError, BridgeError
from lighthouse_agent.hook import main as run_hook
from lighthouse_agent.load import send
from lighthouse_agent.plan import Plan, compare
from lighthouse_agent.progress import Progress, mebibytes
from lighthouse_agent.settings import (
    DEFAULT_KEY_FILE,
    BridgeSettings,
    agent_id,
    bridge_tls_dir,
    bridge_url,
    run_settings,
)
from lighthouse_agent.source import Source, read_tree, show

_LOAD_TIMEOUT = 60.0
_SIGNS = {"create": "+", "update": "~", "delete": "-"}

_bridge_url = click.option(
    "--bridge-url", "url", envvar="LIGHTHOUSE_BRIDGE_URL", metavar="URL", help="Address of the bridge."
)


class _Command(click.Command):
    """A command whose errors are one sentence on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except AgentError as error:
            raise click.ClickException(str(error)) from None


class _Group(click.Group):
    command_class = _Command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Lighthouse in an agent's container."""


@cli.command()
def hook() -> NoReturn:
    """Judge the tool call on stdin: exit 0 allows it, 2 blocks it, 1 means it is no tool call."""
    run_hook()


@cli.command()
def run() -> None:
    """Run the expert agent until SIGTERM; settings come from LIGHTHOUSE_* variables."""
    from lighthouse_agent.agent import run as run_agent  # noqa: PLC0415 - the loader needs no metrics and logs

    run_agent(run_settings())


@cli.command(name="wait-ready")
@_bridge_url
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS")
def wait_ready(url: str | None, timeout: float) -> None:
    """Wait until the bridge takes work."""
    settings = BridgeSettings(bridge_url(url), "nobody", Path(DEFAULT_KEY_FILE), bridge_tls_dir())
    client = BridgeClient(settings, timeout=5.0)
    deadline = time.monotonic() + timeout
    while True:
        try:
            return client.ready()
        except BridgeError as error:
            if time.monotonic() >= deadline:
                raise AgentError(f"Bridge was not ready within {timeout:g} s: {error}") from None
        time.sleep(0.2)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@_bridge_url
@click.option(
    "--key-file",
    envvar="LIGHTHOUSE_KEY_FILE",
    default=DEFAULT_KEY_FILE,
    type=click.Path(path_type=Path),
    show_default=True,
    help="File with a join key that may write the tree.",
)
@click.option("--agent-id", "agent", envvar="LIGHTHOUSE_AGENT_ID", default="loader", show_default=True)
@click.option("--keep-missing", is_flag=True, help="Keep what the bridge has and the source has not.")
@click.option("--all-files", is_flag=True, help="Load all but .git, also in a git work tree.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
def load(
    path: Path,
    url: str | None,
    key_file: Path,
    agent: str,
    *,
    keep_missing: bool,
    all_files: bool,
    dry_run: bool,
) -> None:
    """Make the bridge's tree equal to the source tree at PATH.

    In a git work tree its tracked files and the untracked that are not ignored are loaded, elsewhere all.
    """
    settings = BridgeSettings(
        bridge_url(url), agent_id(agent, source="--agent-id"), key_file, bridge_tls_dir()
    )
    progress = Progress(sys.stderr)
    source = read_tree(path, all_files=all_files, report=lambda n, size: progress.show("Reading", n, size))
    for line in source.skipped:
        progress.say(f"Skipped {line}.")
    client = BridgeClient(settings, timeout=_LOAD_TIMEOUT)
    try:
        plan = compare(source.entries, client.tree().files, keep_missing=keep_missing)
        sequence = 0
        if dry_run:
            for change in plan.changes:
                click.echo(f"{_SIGNS[change.operation]} {show(change.path)}")
        else:
            total, of_size = len(plan.changes), plan.size
            sequence = send(
                client,
                settings.agent_id,
                path,
                plan.changes,
                lambda n, size: progress.show("Loading", n, size, of_files=total, of_size=of_size),
            )
    finally:
        progress.close()
        _end_session(client)
    click.echo(_summary(source, plan, settings.url, sequence, progress.elapsed, dry_run=dry_run))


def _end_session(client: BridgeClient) -> None:
    try:
        client.end_session()
    except BridgeError:
        # It ends by itself when idle; the outcome of the command is what counts.
        return
    finally:
        client.close()


def _summary(source: Source, plan: Plan, url: str, sequence: int, elapsed: float, *, dry_run: bool) -> str:
    verb = "Would load" if dry_run else "Loaded"
    at = f", sequence {sequence}" if sequence else ""
    return (
        f"{verb} {source.root} into {url}: {plan.count('create')} added, {plan.count('update')} changed, "
        f"{plan.count('delete')} deleted, {plan.unchanged} unchanged, {len(source.skipped)} skipped; "
        f"{mebibytes(plan.size)} in {elapsed:.1f} s{at}."
    )
