"""Users of Redis: rules from one file, passwords from one file a user. Pure but for reading them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_redis_keeper.settings import Access


def user_commands(rules: Path, access: Access) -> list[list[str]]:
    """ACL SETUSER commands that make each user what the files say, at once and without ending connections.

    A line of `rules` is `user NAME RULE...`. Raises OSError when a file cannot be read.
    """
    commands = []
    for line in rules.read_text().splitlines():
        word, _, rest = line.strip().partition(" ")
        if word != "user":
            continue
        name, *granted = rest.split()
        digests = [] if name == "default" else [_digest(password) for password in access.passwords(name)]
        commands.append(["ACL", "SETUSER", name, "reset", *digests, *granted])
    return commands


def _digest(password: str) -> str:
    """How Redis writes a password that it does not store."""
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"
