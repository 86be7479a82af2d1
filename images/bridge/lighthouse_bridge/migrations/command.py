"""`migrate`: brings a PostgreSQL store's tables up to date before bridges of a new release start."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg

from ..logs import log
from ..postgres_connection import connect, upgrade
from ..problems import StoreUnavailableError
from . import REVISION

if TYPE_CHECKING:
    from ..settings import Settings


def migrate(settings: Settings) -> None:
    """Upgrade the store, waiting for one that is not there yet; raises StoreUnavailableError.

    A file is left to the one bridge that may open it, which upgrades it itself.
    """
    if settings.postgres is None:
        log.info("nothing to migrate: the store is a file, and its bridge upgrades it")
        return
    name = f"the database {settings.postgres.database} at {settings.postgres.hosts}"
    deadline = time.monotonic() + settings.migration_wait_seconds
    while True:
        try:
            with connect(settings.postgres).raw as raw:
                upgrade(settings.postgres, raw, name)
            break
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                reason = str(error).splitlines()[0]
                raise StoreUnavailableError(f"{name} cannot be reached: {reason}") from None
            time.sleep(1)
    log.info("store migrated", revision=REVISION)
