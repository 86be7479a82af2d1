"""What is measured: each scenario returns figures for the report and the goals they meet or miss."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.bridge.deciders import by_expert, by_person, pattern_calls
from tests.bench.bridge.mix import corpus, fresh, mixed
from tests.bench.bridge.processes import connections, descriptors, resident_bytes
from tests.bench.bridge.stacks import Sampler

if TYPE_CHECKING:
    from tests.bench.bridge.generator import Generator
    from tests.bench.bridge.mix import Call
    from tests.bench.bridge.servers import BridgeServer, PolicyServer, Server

AGENTS = 1000
RATE = 1000
CONNECTIONS = 64
SAMPLE_SECONDS = 5.0
# Where a server runs in the comparison; the load tool has the second processor.
PLACES = {"one processor": "0", "both processors": "0,1"}


@dataclass(frozen=True)
class Goal:
    """A figure and what it must be; `least` says in which direction."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is good enough."""
        return self.value >= self.bound if self.least else self.value <= self.bound

    def __str__(self) -> str:
        relation = "at least" if self.least else "at most"
        return f"{'met' if self.met else 'MISSED'}: {self.name}: {self.value:.4g}, {relation} {self.bound:g}"


Outcome = tuple[dict[str, Any], list[Goal]]


def correctness(load: Generator, bridge: BridgeServer, policy: PolicyServer) -> Outcome:
    """10,000 calls of the mix to each server; every answer is held against the corpus's label."""
    figures: dict[str, Any] = {}
    goals = []
    calls = mixed(10_000, corpus())
    for name, server in (("bridge", bridge), ("policy server", policy)):
        path = server.requests("mix", calls)
        run = load.attack(server.address, path, server.pid, requests=len(calls), connections=CONNECTIONS)
        figures[name] = run.report
        goals += [
            Goal(f"wrong decisions of the {name} in 10,000", run.report["wrong"], 0),
            Goal(f"errors of the {name} in 10,000", run.errors, 0),
        ]
    return figures, goals


def latency(load: Generator, bridge: BridgeServer, seconds: int) -> Outcome:
    """1,000 agents with a connection each, 1,000 requests a second together, open loop."""
    path = bridge.requests("mix", mixed(10_000, corpus()))
    before = bridge.hits()
    run = load.attack(
        bridge.address, path, bridge.pid, rate=RATE, duration=f"{seconds}s", connections=AGENTS, timeout="5s"
    )
    hits, misses = (after - first for after, first in zip(bridge.hits(), before, strict=True))
    figures = {**run.report, "hit_rate": hits / (hits + misses), "server_us": run.server_microseconds}
    return figures, [
        Goal("p99 at 1,000 requests/s, ms", run.report["latency"]["p99"], 100),
        Goal("errors, %", 100 * run.errors / run.report["requests"], 0.1),
        Goal("wrong decisions", run.report["wrong"], 0),
        Goal("hit rate on the repeating mix, %", 100 * figures["hit_rate"], 95, least=True),
    ]


def throughput(
    load: Generator, bridge: BridgeServer, policy: PolicyServer, rounds: int, seconds: int
) -> Outcome:
    """As fast as answers come: each server on one processor with the load tool on the other, then on both."""
    calls = mixed(10_000, corpus())
    servers: dict[str, Server] = {"bridge": bridge, "policy server": policy}
    paths = {name: server.requests("mix", calls) for name, server in servers.items()}
    figures: dict[str, Any] = {"load_share": 0.0, "runs": {}}
    goals = []
    wrong = errors = 0
    for place, processors in PLACES.items():
        rates: dict[str, list[float]] = {name: [] for name in servers}
        costs: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, server in servers.items():
                server.run_on(processors)
                run = load.attack(
                    server.address, paths[name], server.pid, duration=f"{seconds}s", connections=CONNECTIONS
                )
                rates[name].append(run.report["rate"])
                costs[name].append(run.server_microseconds)
                figures["load_share"] = max(figures["load_share"], run.generator_share)
                wrong += run.report["wrong"]
                errors += run.errors
        ratio = statistics.median(rates["bridge"]) / statistics.median(rates["policy server"])
        cheaper = statistics.median(costs["policy server"]) / statistics.median(costs["bridge"])
        figures["runs"][place] = {"rates": rates, "server_us": costs, "ratio": ratio, "cost_ratio": cheaper}
        goals += [
            Goal(f"throughput over the policy server's, {place}", ratio, 1.5, least=True),
            Goal(f"processor time of the policy server over ours, {place}", cheaper, 1.5, least=True),
        ]
    return figures, [
        *goals,
        Goal("share of its processor that the load tool used", figures["load_share"], 0.8),
        Goal("wrong decisions under full load", wrong, 0),
        Goal("errors under full load", errors, 0),
    ]


def ceiling(load: Generator, address: str, bridge: BridgeServer) -> dict[str, float]:
    """What the load tool alone can send: against a server on the other processor that only answers."""
    path = bridge.requests("mix", mixed(10_000, corpus()))
    with load.answering(address, "0") as pid:
        run = load.attack(address, path, pid, duration="3s", connections=CONNECTIONS)
    return {"rate": run.report["rate"], "share": run.generator_share}


def tiers(
    load: Generator, bridge: BridgeServer, with_rego: BridgeServer, count: int
) -> dict[str, dict[str, float]]:
    """What a decision costs by the tier that makes it, with authentication and the durable event."""
    by_label = corpus()
    safe, reviewed = by_label["approved"], by_label["review"]
    # A comment would end in what a here-document holds.
    single = [call for call in safe if "\n" not in call.tool_input["command"]]
    cases: dict[str, tuple[BridgeServer, list[Call]]] = {
        "memory": (bridge, [safe[n % len(safe)] for n in range(count)]),
        "policy": (bridge, list(fresh(count, single))),
        "policy and Rego in process": (with_rego, list(fresh(count, single))),
        "review, asked before": (bridge, [reviewed[n % len(reviewed)] for n in range(count)]),
        # Half of them: what the classifier refuses is put before people, who would have no room left for the rest.
        "pattern": (bridge, list(fresh(count // 2, pattern_calls(bridge)))),
    }
    found = {}
    for name, (server, calls) in cases.items():
        path = server.requests(name.replace(", ", "-").replace(" ", "-"), calls)
        run = load.attack(server.address, path, server.pid, requests=len(calls), connections=CONNECTIONS)
        if run.errors or run.report["wrong"]:
            raise SystemExit(f"The tier {name!r} answers wrongly: {run.report}")
        found[name] = {"rate": run.report["rate"], "server_us": run.server_microseconds}
    deciders = {"expert, one at a time": by_expert, "person, one at a time": by_person}
    return found | {name: decide(bridge, min(count, 300)) for name, decide in deciders.items()}


def profile(load: Generator, bridge: BridgeServer, seconds: int) -> dict[str, float]:
    """The share of the bridge's processor time by module, while it answers the mix as fast as it can."""
    path = bridge.requests("mix", mixed(10_000, corpus()))
    bridge.run_on("0")
    with Sampler(bridge.pid, bridge.folder / "stacks") as sampler:
        load.attack(bridge.address, path, bridge.pid, duration=f"{seconds}s", connections=CONNECTIONS)
    return sampler.shares("lighthouse_bridge")


def endurance(load: Generator, bridge: BridgeServer, seconds: int) -> Outcome:
    """Full load for a while; memory, connections, descriptors and tasks are sampled and must end as they were."""
    path = bridge.requests("mix", mixed(10_000, corpus()))

    def state() -> dict[str, float]:
        return {
            "resident_mib": resident_bytes(bridge.pid) / 2**20,
            "connections": connections(bridge.pid),
            "descriptors": descriptors(bridge.pid),
            "tasks": bridge.metric("lighthouse_bridge_tasks"),
        }

    time.sleep(3)
    idle = state()
    samples: list[dict[str, float]] = []
    over = threading.Event()

    def sample() -> None:
        began = time.monotonic()
        while not over.wait(SAMPLE_SECONDS):
            samples.append({"seconds": time.monotonic() - began, **state()})

    sampler = threading.Thread(target=sample)
    sampler.start()
    sequence = bridge.sequence()
    try:
        run = load.attack(
            bridge.address, path, bridge.pid, duration=f"{seconds}s", connections=CONNECTIONS, timeout="10s"
        )
    finally:
        over.set()
        sampler.join()
    # The connections are closed; the sample of tasks is at most two seconds old.
    time.sleep(5)
    ended = state()
    if len(samples) < 4:
        raise SystemExit(f"{seconds} s are too short to see a leak; use at least {4 * SAMPLE_SECONDS:g}.")
    half = [sample["resident_mib"] for sample in samples[len(samples) // 2 :]]
    grown = statistics.mean(half[len(half) // 2 :]) / statistics.mean(half[: len(half) // 2])
    store = bridge.folder / "data" / "events.db"
    events = bridge.sequence() - sequence
    figures = {
        **run.report,
        "samples": samples,
        "idle": idle,
        "ended": ended,
        "events": events,
        "bytes_per_event": store.stat().st_size / max(1, bridge.sequence()),
    }
    return figures, [
        Goal("memory of the last quarter over the quarter before it", grown, 1.03),
        Goal("connections kept after the load", ended["connections"] - idle["connections"], 2),
        # Each of the store's four readers opens the file, its log and its index when it is first needed.
        Goal("file descriptors kept after the load", ended["descriptors"] - idle["descriptors"], 12),
        Goal("tasks kept after the load", ended["tasks"] - idle["tasks"], 1),
        Goal("wrong decisions in the endurance run", run.report["wrong"], 0),
        Goal("errors in the endurance run", run.errors, 0),
    ]
