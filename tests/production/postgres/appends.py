"""A steady load of appends, and what it saw: when the database answered, and which appends it acknowledged."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import psycopg

if TYPE_CHECKING:
    from tests.production.postgres.database import Database

PAUSE = 0.02
# A server that vanished sends nothing, not even an end: the client's kernel asks.
KEEPALIVES = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2, "tcp_user_timeout": 2000}


@dataclass(frozen=True)
class Outage:
    """The longest time without an acknowledged append, in seconds, and when it began, as of `time.monotonic`."""

    began: float
    seconds: float


@dataclass
class Appends:
    """Appends one row after the other, about 40 a second, over a connection that is renewed after any error."""

    database: Database
    run: str
    acknowledged: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        # Read once: the tests of faults must not need the API server to reconnect.
        self._parameters = self.database.parameters("bridge", **KEEPALIVES)

    def __enter__(self) -> Self:
        with self.database.connect("migrator") as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS appends (run text, number bigint, body text,"
                " at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (run, number))"
            )
        self._thread.start()
        self.reach(50)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the load."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def reach(self, more: int, seconds: float = 300.0) -> None:
        """Wait until so many more appends are acknowledged."""
        goal, deadline = len(self.times) + more, time.monotonic() + seconds
        while len(self.times) < goal:
            assert time.monotonic() < deadline, (
                f"{len(self.times) - goal + more} of {more} appends within {seconds:.0f} s; last errors: {self.errors[-3:]}"
            )
            time.sleep(0.05)

    def outage(self, since: float) -> Outage:
        """The longest pause between acknowledgements, of those that ended after `since`."""
        pairs = [pair for pair in zip(self.times, self.times[1:], strict=False) if pair[1] >= since]
        assert pairs, "no append was acknowledged since then"
        before, after = max(pairs, key=lambda pair: pair[1] - pair[0])
        return Outage(before, after - before)

    def lost(self) -> list[int]:
        """Acknowledged appends that are not in the database."""
        with self.database.connect("auditor") as connection:
            kept = connection.execute("SELECT number FROM appends WHERE run = %s", [self.run]).fetchall()
        return sorted(set(self.acknowledged) - {number for (number,) in kept})

    def _work(self) -> None:
        number = 0
        connection: psycopg.Connection[Any] | None = None
        while not self._stop.is_set():
            number += 1
            try:
                if connection is None:
                    connection = psycopg.connect(**self._parameters, autocommit=True)
                connection.execute(
                    "INSERT INTO appends (run, number, body) VALUES (%s, %s, %s)",
                    [self.run, number, f"event {number} of {self.run}"],
                )
                self.acknowledged.append(number)
                self.times.append(time.monotonic())
            except psycopg.Error as error:
                self.errors.append(str(error))
                if connection is not None:
                    connection.close()
                connection = None
            time.sleep(PAUSE)
        if connection is not None:
            connection.close()
