"""Which server the tests of Redis run: the installed Redis, or another of its kind that a person names."""

import os
import shutil


def redis_server() -> str:
    """The program that REDIS_SERVER names, such as a valkey-server; the installed redis-server by default."""
    wanted = os.environ.get("REDIS_SERVER") or "redis-server"
    program = shutil.which(wanted)
    # Its absence fails the tests, since nothing else proves what they prove.
    assert program, f"{wanted} is not a program here: apt-get install redis-server, or run 'make up' once"
    return program
