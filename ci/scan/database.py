"""Trivy's vulnerability database: fetched or given, and refused when it is missing, stale or empty."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ci.console import Failure, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 2


class _Metadata(msgspec.Struct, frozen=True, rename="pascal"):
    version: int
    updated_at: datetime.datetime


@dataclass(frozen=True)
class Database:
    """A database that was checked; `folder` holds trivy.db and metadata.json."""

    folder: Path
    updated: datetime.datetime
    entries: int


def download(trivy: Path, cache: Path) -> Path:
    """Fetch or renew the database in Trivy's cache; returns its folder."""
    words: list[str | Path] = [trivy, "--quiet", "--cache-dir", cache, "image", "--download-db-only"]
    hint = "Without a network, give a mirrored database by DATABASE=folder, or its OCI address by TRIVY_DB_REPOSITORY."
    run([*words, "--skip-version-check", "--disable-telemetry"], hint=hint)
    return cache / "db"


def check_database(
    lister: Path,
    folder: Path,
    maximum_age: datetime.timedelta,
    minimum_entries: Mapping[str, int],
    now: datetime.datetime,
) -> Database:
    """The database in a folder; `Failure` when a scan with it would pass because it knows too little.

    `lister` is the program ci/tools/trivy-db, `minimum_entries` what the buckets whose names begin so must hold
    together. Trivy itself accepts a stale or empty database in silence.
    """
    file, described = folder / "trivy.db", folder / "metadata.json"
    for path in (file, described):
        if not path.is_file():
            raise Failure(
                f"The vulnerability database has no {path}: fetch it with a network, or give another DATABASE."
            )
    try:
        metadata = msgspec.json.decode(described.read_bytes(), type=_Metadata)
    except msgspec.MsgspecError as error:
        raise Failure(f"{described} does not describe a vulnerability database: {error}.") from error
    if metadata.version != SCHEMA:
        raise Failure(
            f"The vulnerability database {folder} has schema {metadata.version} and must have {SCHEMA}: fetch it anew."
        )
    age = now - metadata.updated_at
    if not datetime.timedelta(minutes=-5) <= age <= maximum_age:
        hours, limit = age.total_seconds() / 3600, maximum_age.total_seconds() / 3600
        raise Failure(
            f"The vulnerability database {folder} is {hours:.0f} hours old and must be from 0 to {limit:.0f}: fetch it anew."
        )
    buckets: dict[str, int] = json.loads(run([lister, "list", file]))
    _refuse_poor(folder, buckets, minimum_entries)
    return Database(folder, metadata.updated_at, sum(buckets.values()))


def _refuse_poor(folder: Path, buckets: dict[str, int], minimum_entries: Mapping[str, int]) -> None:
    held = {
        prefix: sum(count for name, count in buckets.items() if name.startswith(prefix))
        for prefix in minimum_entries
    }
    poor = [
        f"{count} entries for '{prefix}' and must have {minimum_entries[prefix]}"
        for prefix, count in held.items()
        if count < minimum_entries[prefix]
    ]
    if poor:
        raise Failure(
            f"The vulnerability database {folder} has {', '.join(poor)}: fetch it anew, or give another DATABASE."
        )
