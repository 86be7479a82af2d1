"""`python -m lighthouse_bridge`: exit code 0 after a drained stop, 2 for a setting that cannot be used."""

from __future__ import annotations

import asyncio
import os
import sys

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
        asyncio.run(serve(settings, secret))
    except (SettingsError, RulesError) as error:
        sys.stderr.write(f"lighthouse-bridge: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
