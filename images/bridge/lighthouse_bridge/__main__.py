"""`python -m lighthouse_bridge`: exit code 0 after a drained stop, 2 for a setting that cannot be used."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

import uvloop

from .decisions.rules import RulesError
from .logs import configure_logs
from .server import serve
from .settings import SettingsError, read_auth_secret, read_settings


def main() -> int:
    """Run the bridge; returns the exit code."""
    try:
        settings = read_settings(os.environ)
        secret = read_auth_secret(settings.auth_secret_file)
        configure_logs(settings.log_level)
        _spare_the_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, secret))
    except (SettingsError, RulesError) as error:
        sys.stderr.write(f"lighthouse-bridge: {error}\n")
        return 2
    return 0


def _spare_the_collector() -> None:
    """Requests leave hardly any cycles: look for them seldom, and never among what was loaded at the start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


if __name__ == "__main__":
    sys.exit(main())
