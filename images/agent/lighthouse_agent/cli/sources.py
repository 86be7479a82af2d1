"""The options by which a command judges here instead of asking the bridge: where rules, policies and patterns are."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec

if TYPE_CHECKING:
    from lighthouse_agent.cli.engine import Engine

INVALID = 2
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Given(msgspec.Struct, frozen=True):
    """The options as they were given; see `lighthouse_agent.cli.engine.Sources`."""

    rules: Path | None
    organisation: Path | None
    project: Path | None
    rego: Path | None
    patterns: Path | None

    @property
    def here(self) -> bool:
        """Whether to judge here; raises UsageError for further layers without the first."""
        more = [name for name in self.__struct_fields__ if name != "rules" and getattr(self, name)]
        if self.rules is None and more:
            raise click.UsageError(f"--{more[0]} adds to --rules FOLDER, which is missing.")
        return self.rules is not None

    def engine(self, context: click.Context) -> "Engine":
        """The tiers of these sources; ends the command with code 2 when a bridge would not take them."""
        # Only this way needs the shell's grammar.
        from lighthouse_agent.cli.engine import Engine, RulesInvalidError, Sources  # noqa: PLC0415 - as said

        if not self.here or self.rules is None:
            raise click.UsageError("--rules FOLDER is missing.")
        try:
            return Engine(Sources(self.rules, self.organisation, self.project, self.rego, self.patterns))
        except RulesInvalidError as error:
            refuse(context, error)


def refuse(context: click.Context, error: Exception) -> NoReturn:
    """End the command: a bridge would not take the rules, or would deny whatever they are asked."""
    click.echo(str(error), err=True)
    context.exit(INVALID)


def source_options(*names: str) -> Callable[[_Command], _Command]:
    """Give a command the options of the layers, that of the first under each of `names`; `given` gathers them."""
    options = (
        (("--patterns",), "Then also the pattern classifier, by its file."),
        (("--rego",), "Then also by the policies in Rego (*.rego) of a folder."),
        (("--project",), "Then also by a project's own rules and links, by its root."),
        (("--organisation",), "Then also by the organisation's rules, in a folder."),
        ((*names, "rules"), "Judge here, by the rules of a folder, instead of by the bridge's."),
    )

    def decorate(command: _Command) -> _Command:
        for declarations, text in options if names else options[:-1]:
            command = click.option(*declarations, type=click.Path(path_type=Path), help=text)(command)
        return command

    return decorate


def given(options: dict[str, Any]) -> Given:
    """Take the layers' options out of a command's."""
    return Given(**{name: options.pop(name, None) for name in Given.__struct_fields__})
