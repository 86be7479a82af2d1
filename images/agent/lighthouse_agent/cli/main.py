"""The command `lighthouse` itself: finds the module of a command when it is asked for."""

import importlib
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from lighthouse_agent import __version__
from lighthouse_agent.cli.console import Access
from lighthouse_agent.errors import AgentError
from lighthouse_agent.settings import DEFAULT_KEY_FILE

FAILED = 1

# Each command's or group's module and the name in it. Imported only when asked for, so that each starts fast.
COMMANDS = {
    "approvals": "approvals:approvals",
    "events": "events:events",
    "experts": "experts:experts",
    "explain": "calls:explain",
    "rules": "rules:rules",
    "sessions": "sessions:sessions",
    "status": "status:status",
    "validate": "calls:validate",
}


class LazyGroup(click.Group):
    """The group whose commands lie in the modules that COMMANDS names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click.Group."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click.Group."""
        module, _, name = COMMANDS.get(cmd_name, "").partition(":")
        if not name:
            return None
        command: click.Command = getattr(importlib.import_module(f"lighthouse_agent.cli.{module}"), name)
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="%(version)s")
@click.option(
    "--bridge-url", "url", envvar="LIGHTHOUSE_BRIDGE_URL", metavar="URL", help="The bridge's address."
)
@click.option(
    "--key-file",
    envvar="LIGHTHOUSE_KEY_FILE",
    default=DEFAULT_KEY_FILE,
    type=click.Path(path_type=Path),
    help="File with the join key of your role.",
)
@click.option("--agent-id", "agent", envvar="LIGHTHOUSE_AGENT_ID", help="Your name; else that of your login.")
@click.pass_context
def cli(context: click.Context, url: str | None, key_file: Path, agent: str | None) -> None:
    """Ask a Lighthouse bridge: what it decides, why, and who works with it.

    Exit codes: 0 done, 1 it could not be done, 2 the answer is no.
    """
    context.obj = Access(url, key_file, agent)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code; every error is one sentence on stderr."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> Any:
    try:
        return cli.main(arguments, prog_name="lighthouse", standalone_mode=False)
    except click.UsageError as error:
        # click would exit with 2, which here means that the answer is no.
        hint = f" See '{error.ctx.command_path} --help'." if error.ctx else ""
        click.echo(f"{error.format_message().rstrip('.')}.{hint}", err=True)
    except click.ClickException as error:
        click.echo(error.format_message(), err=True)
    except AgentError as error:
        click.echo(str(error), err=True)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
    return FAILED
