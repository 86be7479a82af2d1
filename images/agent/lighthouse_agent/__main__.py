"""`python -m lighthouse_agent`."""

import sys


def main() -> None:
    """Run the command; each way imports only what it needs, as the hook runs before every tool call."""
    if sys.argv[1:] == ["hook"]:
        from lighthouse_agent.hook import main as hook  # noqa: PLC0415 - the hook starts often and needs little

        hook()
    from lighthouse_agent.commands import cli  # noqa: PLC0415 - the hook starts often and needs little

    cli(prog_name="lighthouse-agent")


if __name__ == "__main__":
    main()
