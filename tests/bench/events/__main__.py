"""`python -m tests.bench.events`: one run of all comparisons; leaves reports/events.json and reports/events.md.

The store is measured through `Database.write`, as routes use it: each client appends one event and waits until it is
durable. pgbench uses the same server, transport and durability with as many connections. Rounds are interleaved.
On a quiet machine all of it takes less than ten minutes; a store that grows too slowly for that is left where it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

from lighthouse_bridge.postgres_database import PostgresDatabase
from lighthouse_bridge.sqlite_database import SqliteDatabase
from lighthouse_bridge.streams import read_page
from tests.bench.events.peers import AGENT, DATA, TYPE, bare_sqlite, pgbench
from tests.images.bridge.postgres import Postgres, postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from lighthouse_bridge.database import Database
    from lighthouse_bridge.transactions import Transaction

ROOT = Path(__file__).parents[3]
CLIENTS = (1, 8, 32, 64)
GOAL = 1.0
FILL = 1_000
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, run in the event loop that the bridge has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def ignore(_lines: object) -> None:
    """Nobody listens in a benchmark."""


def sqlite_store(folder: Path) -> Database:
    """The embedded engine."""
    return SqliteDatabase(folder / "events.db", 0, ignore)


def postgres_store(server: Postgres) -> Database:
    """The engine of several bridges."""
    settings = server.client_settings()
    return PostgresDatabase(settings, ignore)


async def append(store: Database, clients: int, seconds: float) -> tuple[float, float]:
    """Acknowledged appends a second, and the 99th percentile of one in milliseconds."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    def work(transaction: Transaction) -> None:
        transaction.append(TYPE, AGENT, f"{transaction.sequence:032x}", DATA)

    async def client() -> None:
        while (started := time.perf_counter()) < end:
            await store.write(work)
            took.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    rate = len(took) / (time.perf_counter() - started)
    return rate, statistics.quantiles(took, n=100)[98] * 1000


async def fill(store: Database, until: int, deadline: float) -> None:
    """Append in large commits until the store holds so many events, or the time of `perf_counter` is over."""

    def work(transaction: Transaction) -> None:
        for _ in range(min(FILL, until - transaction.sequence)):
            transaction.append(TYPE, AGENT, f"{transaction.sequence:032x}", DATA)

    told = time.perf_counter()
    while store.last_sequence < until and time.perf_counter() < deadline:
        await store.write(work)
        if time.perf_counter() >= told + 10:
            told = time.perf_counter()
            print(f"filling: {store.last_sequence} of {until} events", flush=True)


async def replay(store: Database) -> float:
    """Events a second, read from the first to the last as a stream that resumes reads them."""
    sequence = count = 0
    started = time.perf_counter()
    while page := await store.read(lambda connection: read_page(connection, sequence)):  # noqa: B023 - used at once
        sequence, count = page[-1].sequence, count + len(page)
    return count / (time.perf_counter() - started)


async def compare(
    make: Callable[[], Database], peer: Callable[[int], float], seconds: float, rounds: int
) -> dict[str, Any]:
    """Rates by number of clients, ours and the peer's, and their ratio: medians of interleaved rounds."""
    found: dict[int, dict[str, list[float]]] = {count: {} for count in CLIENTS}
    store = make()
    await store.start()
    for index in range(rounds):
        for count in CLIENTS:
            theirs = await asyncio.to_thread(peer, count)
            rate, p99 = await append(store, count, seconds)
            for name, value in (("ours", rate), ("peer", theirs), ("p99_ms", p99)):
                found[count].setdefault(name, []).append(value)
            print(
                f"round {index + 1}/{rounds}, {count} clients: {rate:.0f}/s, peer {theirs:.0f}/s", flush=True
            )
    await store.close()
    rows = {}
    for count, values in found.items():
        medians = {name: statistics.median(series) for name, series in values.items()}
        rows[str(count)] = {**medians, "ratio": medians["ours"] / medians["peer"]}
    return rows


async def grow(
    make: Callable[[], Database], events: int, seconds: float, limit: float
) -> list[dict[str, float]]:
    """Appends, their p99 and a replay's rate as the store grows, for which there are `limit` seconds."""
    store = make()
    await store.start()
    rows = []
    deadline = time.perf_counter() + limit
    for quarter in range(5):
        await fill(store, events * quarter // 4, deadline)
        rate, p99 = await append(store, 32, seconds)
        rows.append({"events": store.last_sequence, "ours": rate, "p99_ms": p99})
        print(f"{store.last_sequence} events: {rate:.0f}/s, p99 {p99:.1f} ms", flush=True)
    rows[-1]["replay"] = await replay(store)
    await store.close()
    return rows


def markdown(results: dict[str, Any]) -> str:
    """The tables."""
    lines = [f"# Event store\n\n{results['machine']}\n"]
    for engine, peer in (("postgresql", "pgbench"), ("sqlite", "bare sqlite3")):
        lines += [f"\n## {engine}\n", f"| clients | appends/s | {peer} rows/s | ratio | p99 ms |"]
        lines += ["|---:|---:|---:|---:|---:|"]
        for count, row in results[engine]["appends"].items():
            cells = (
                f"{row['ours']:.0f}",
                f"{row['peer']:.0f}",
                f"{row['ratio']:.2f}",
                f"{row['p99_ms']:.1f}",
            )
            lines.append(f"| {count} | " + " | ".join(cells) + " |")
        lines += ["\n| events stored | appends/s, 32 clients | p99 ms |", "|---:|---:|---:|"]
        for row in results[engine]["growth"]:
            lines.append(f"| {row['events']} | {row['ours']:.0f} | {row['p99_ms']:.1f} |")
        lines.append(f"\nReplay: {results[engine]['growth'][-1]['replay']:.0f} events/s.")
    return "\n".join([*lines, "", *results["goals"], ""])


def goals(results: dict[str, Any]) -> list[str]:
    """One line for each goal that was met or missed."""
    lines = []
    for engine in ("postgresql", "sqlite"):
        for count, row in results[engine]["appends"].items():
            met = "met" if row["ratio"] >= GOAL else "MISSED"
            lines.append(f"{met}: {engine}, {count} clients: {row['ratio']:.2f} x, goal {GOAL}\n")
        grown = results[engine]["growth"][-1]["events"]
        met = "met" if grown >= results["events"] else "MISSED"
        lines.append(f"{met}: {engine} grew to {grown} events, goal {results['events']}\n")
    return lines


def main() -> None:
    """Run everything and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=1_000_000, help="how far the store grows")
    parser.add_argument("--growth-seconds", type=float, default=150.0, help="what growing may take")
    arguments = parser.parse_args()
    seconds, rounds = arguments.seconds, arguments.rounds
    results: dict[str, Any] = {
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
        "events": arguments.events,
    }
    with tempfile.TemporaryDirectory(prefix="lighthouse-events-") as name:
        folder = Path(name)
        with postgres_server(shared_buffers="512MB", max_wal_size="4GB", max_connections="200") as server:
            own, grown = server.create_database(), server.create_database()
            results["postgresql"] = {
                "appends": run(
                    compare(
                        lambda: postgres_store(own),
                        lambda n: pgbench(own, folder, n, seconds),
                        seconds,
                        rounds,
                    )
                ),
                "growth": run(
                    grow(lambda: postgres_store(grown), arguments.events, seconds, arguments.growth_seconds)
                ),
            }
        sources = iter(range(1_000_000))

        def peer(_clients: int) -> float:
            return bare_sqlite(folder / "events.db", folder / f"bare-{next(sources)}.db", seconds)

        (folder / "grown").mkdir()
        results["sqlite"] = {
            "appends": run(compare(lambda: sqlite_store(folder), peer, seconds, rounds)),
            "growth": run(
                grow(
                    lambda: sqlite_store(folder / "grown"),
                    arguments.events,
                    seconds,
                    arguments.growth_seconds,
                )
            ),
        }
    results["goals"] = goals(results)
    (ROOT / "reports").mkdir(exist_ok=True)
    (ROOT / "reports" / "events.json").write_text(json.dumps(results, indent=1) + "\n")
    (ROOT / "reports" / "events.md").write_text(markdown(results))
    print("\n".join(results["goals"]))


if __name__ == "__main__":
    main()
