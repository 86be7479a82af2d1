"""The search process: standard library only, so that it starts in milliseconds.

Reads a request and then files from standard input, writes a JSON list per match and a final object to standard output.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import warnings
import zlib
from typing import Any, BinaryIO

MEMORY_BYTES = 1024 * 1024 * 1024
LINE_CHARACTERS = 1000


def say(value: Any) -> None:
    """Write one line and let it go at once: the parent may end this process any time."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve the one request on standard input; the files to search come after it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    request = json.loads(sys.stdin.buffer.readline())
    warnings.simplefilter("ignore")
    try:
        pattern = re.compile(request["pattern"])
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        say({"refused": f"The pattern cannot be used: {error}."})
        return
    endings = tuple("." + kind.lstrip(".") for kind in request["file_types"])
    truncated = search(sys.stdin.buffer, pattern, endings, request["limit"])
    if truncated is not None:
        say({"truncated": truncated})


def search(files: BinaryIO, pattern: re.Pattern[str], endings: tuple[str, ...], limit: int) -> bool | None:
    """Say every match up to `limit`; returns whether there were more, or None when files are missing."""
    found = 0
    while header := files.readline():
        file_path, encoding, size = json.loads(header)
        if not file_path:
            return False
        data = files.read(size)
        if endings and not file_path.endswith(endings):
            continue
        text = (zlib.decompress(data) if encoding == "zlib" else data).decode()
        for number, line in enumerate(text.split("\n"), 1):
            if pattern.search(line):
                if found == limit:
                    return True
                found += 1
                say([file_path, number, line[:LINE_CHARACTERS]])
    return None


if __name__ == "__main__":
    main()
