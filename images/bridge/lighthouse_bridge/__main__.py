"""`python -m lighthouse_bridge [serve|migrate]`: serve until told to end, or only bring the store's tables up to date.

Exit codes: 0 done, 1 the store cannot be reached or changed, 2 a setting cannot be used.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys

import uvloop

from .auth_keys import AuthKeys
from .decisions.rules import RulesError
from .environment import SettingsError
from .logs import configure_logs
from .migrations.command import migrate
from .problems import StoreUnavailableError
from .server import serve
from .settings import read_settings


def main() -> int:
    """Run the bridge; returns the exit code."""
    parser = argparse.ArgumentParser(prog="lighthouse-bridge", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("serve", "migrate"), default="serve")
    command = parser.parse_args().command
    try:
        settings = read_settings(os.environ)
        configure_logs(settings.log_level)
        if command == "migrate":
            migrate(settings)
            return 0
        auth_keys = AuthKeys(settings.auth_secret_file)
        _spare_the_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, auth_keys))
    except (SettingsError, RulesError) as error:
        sys.stderr.write(f"lighthouse-bridge: {error}\n")
        return 2
    except StoreUnavailableError as error:
        sys.stderr.write(f"lighthouse-bridge: {error}\n")
        return 1
    return 0


def _spare_the_collector() -> None:
    """Requests leave hardly any cycles: look for them seldom, and never among what was loaded at the start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


if __name__ == "__main__":
    sys.exit(main())
