"""The search process: standard library only, so that it starts in milliseconds.

Reads a request from standard input, writes a JSON list per match and a final object to standard output.
"""

from __future__ import annotations

import json
import re
import resource
import sqlite3
import sys
import warnings
import zlib
from typing import Any

MEMORY_BYTES = 1024 * 1024 * 1024
LINE_CHARACTERS = 1000


def say(value: Any) -> None:
    """Write one line and let it go at once: the parent may end this process any time."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve the one request on standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    try:
        pattern = re.compile(request["pattern"])
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        say({"refused": f"The pattern cannot be used: {error}."})
        return
    endings = tuple("." + kind.lstrip(".") for kind in request["file_types"])
    try:
        say({"truncated": search(sys.argv[1], pattern, endings, request["limit"])})
    except sqlite3.Error as error:
        say({"failed": f"the event store cannot be searched: {error}"})


def search(path: str, pattern: re.Pattern[str], endings: tuple[str, ...], limit: int) -> bool:
    """Say every match up to `limit`; returns whether there were more."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT f.path, b.encoding, b.data FROM files f JOIN blobs b ON b.hash = f.content_hash "
        "WHERE f.kind = 'file' AND b.is_text ORDER BY f.path"
    )
    found = 0
    for file_path, encoding, data in rows:
        if endings and not file_path.endswith(endings):
            continue
        text = (zlib.decompress(data) if encoding == "zlib" else data).decode()
        for number, line in enumerate(text.split("\n"), 1):
            if pattern.search(line):
                if found == limit:
                    return True
                found += 1
                say([file_path, number, line[:LINE_CHARACTERS]])
    return False


if __name__ == "__main__":
    main()
