"""What all commands share: how to reach the bridge, and how an answer is shown."""

import getpass
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lighthouse_agent.client import BridgeClient
from lighthouse_agent.errors import one_line
from lighthouse_agent.settings import BridgeSettings, agent_id, bridge_tls_dir, bridge_url
from lighthouse_agent.tokens import FileTokens, MemoryTokens, private_folder

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PIPED_WIDTH = 200
_WRAPPED = frozenset({"ABOUT", "CALL", "CAPABILITIES", "PART", "REASON"})


class Access(msgspec.Struct, frozen=True):
    """How the options say the bridge is reached; unchecked until a client is wanted."""

    url: str | None
    key_file: Path
    agent: str | None

    @contextmanager
    def client(self, timeout: float = 10.0) -> Iterator[BridgeClient]:
        """A client; its session is kept in a private file for the next command. Raises SettingsError."""
        name = agent_id(self.agent or getpass.getuser(), source="--agent-id")
        settings = BridgeSettings(bridge_url(self.url), name, self.key_file, bridge_tls_dir())
        folder = private_folder()
        tokens = MemoryTokens() if folder is None else FileTokens(folder, settings)
        client = BridgeClient(settings, timeout=timeout, tokens=tokens)
        try:
            yield client
            if folder is None:
                client.end_session()
        finally:
            client.close()


pass_access = click.make_pass_decorator(Access)


def json_option(command: _Command) -> _Command:
    """Give a command `--json`, passed to it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def show_json(answer: Any) -> None:
    """Print an answer for programs."""
    click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows for people, or the sentence `empty`; foreign text cannot move the cursor or colour anything."""
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True, padding=(0, 2, 0, 0))
    for column in columns:
        # What is copied, such as an id, stays in one piece.
        table.add_column(column, overflow="fold", no_wrap=column not in _WRAPPED)
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    if table.row_count == 0:
        click.echo(empty)
        return
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPED_WIDTH
    Console(width=width, highlight=False, soft_wrap=False).print(table)


def plain(value: object) -> Text:
    """One line of foreign text, without control characters and markup."""
    return Text(one_line("" if value is None else str(value)))


def moment(iso: str) -> str:
    """A time of the bridge without its fraction of a second: 2026-01-31T10:20:30Z."""
    return iso[:19] + "Z" if len(iso) > 19 else iso


def call_text(tool_name: str | None, tool_input: dict[str, Any] | None) -> str:
    """A tool call in one line: a shell command itself, or the tool and its input."""
    if tool_name is None or tool_input is None:
        return "(forgotten)"
    command = tool_input.get("command")
    if isinstance(command, str):
        return command
    path = tool_input.get("file_path")
    return f"{tool_name} {path}" if isinstance(path, str) else f"{tool_name} {tool_input}"
