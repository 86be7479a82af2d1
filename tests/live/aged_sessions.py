"""Sessions of several ages, put into the bridge's own store beside the bridge: it runs in the bridge's container.

    python aged_sessions.py AGENT_ID

Their tokens are signed with the bridge's true secret, which does not leave the container, so that only their age tells
them from a valid one. Prints one JSON object: the token of each. The store must be SQLite.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import sys
import time

from lighthouse_bridge.auth_keys import read_auth_keys
from lighthouse_bridge.credentials import sign_token
from lighthouse_bridge.settings import read_settings

MINUTE = 60
HOUR = 60 * MINUTE
# Seconds since the session began and since it was used. The bridge ends one after eight hours, or an hour unused.
AGES = {
    "in time": (7 * HOUR, 0),
    "older than eight hours": (8 * HOUR + MINUTE, 0),
    "unused for an hour": (2 * HOUR, HOUR + MINUTE),
}
ROW = (
    "INSERT INTO sessions (session_id, agent_id, role, created_us, last_seen_us, ip_address, user_agent, metadata, "
    "sequence) VALUES (?,?,'expert',?,?,'','','{}',0)"
)


def main() -> None:
    """Put them there and print their tokens."""
    (agent_id,) = sys.argv[1:]
    settings = read_settings(os.environ)
    secret, *_ = read_auth_keys(settings.auth_secret_file)
    now = time.time()
    tokens = {}
    with sqlite3.connect(settings.event_store_path, timeout=10) as store:
        for name, (age, idle) in AGES.items():
            session = secrets.token_hex(16)
            store.execute(ROW, (session, agent_id, int((now - age) * 1e6), int((now - idle) * 1e6)))
            tokens[name] = sign_token(secret, session, agent_id, now - age)
    print(json.dumps(tokens))


if __name__ == "__main__":
    main()
