"""`python -m tests.bench.bridge`: the bridge under load, and against a policy server with the same rules;
leaves reports/bridge.json and reports/bridge.md. LOAD and OPA name the programs.

Throughput compares ratios of interleaved runs, so that the machine's moods meet both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from tests.bench.bridge import scenarios
from tests.bench.bridge.generator import Generator
from tests.bench.bridge.servers import bridge_server, policy_server
from tests.images.bridge.support import REPOSITORY
from tests.ports import free_port


def run(load: Generator, opa: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Set both servers up, measure, take them down."""
    report: dict[str, Any] = {}
    goals: list[scenarios.Goal] = []

    def keep(name: str, outcome: scenarios.Outcome) -> None:
        report[name] = outcome[0]
        goals.extend(outcome[1])
        print(f"{name}: " + "; ".join(map(str, outcome[1])), flush=True)

    with tempfile.TemporaryDirectory(prefix="lighthouse-bench-", dir=arguments.folder) as folder:
        place = Path(folder)
        with (
            bridge_server(place / "bridge", scenarios.AGENTS) as bridge,
            policy_server(opa, place / "policy") as policy,
        ):
            keep("correctness", scenarios.correctness(load, bridge, policy))
            keep("latency", scenarios.latency(load, bridge, arguments.seconds))
            with bridge_server(
                place / "rego", scenarios.AGENTS, LIGHTHOUSE_REGO_DIR=str(REPOSITORY / "policies" / "rego")
            ) as with_rego:
                report["tiers"] = scenarios.tiers(load, bridge, with_rego, 10_000)
            report["ceiling"] = scenarios.ceiling(load, f"127.0.0.1:{free_port()}", bridge)
            keep(
                "throughput",
                scenarios.throughput(load, bridge, policy, arguments.rounds, min(arguments.seconds, 10)),
            )
            report["profile"] = scenarios.profile(load, bridge, min(arguments.seconds, 10))
            bridge.run_on("0,1")
            keep("endurance", scenarios.endurance(load, bridge, arguments.endurance))
    report["goals"] = [str(goal) for goal in goals]
    report["missed"] = sum(not goal.met for goal in goals)
    return report


def table(report: dict[str, Any]) -> str:
    """The report as markdown."""
    rows = [
        "| | requests/s | p50 ms | p95 ms | p99 ms | errors | wrong |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    runs = {
        "mix, 1,000 agents, open loop": report["latency"],
        "endurance, full load": report["endurance"],
        "10,000 calls, bridge": report["correctness"]["bridge"],
        "10,000 calls, policy server": report["correctness"]["policy server"],
    }
    for name, one in runs.items():
        quantiles = " | ".join(f"{one['latency'][q]:.2f}" for q in ("p50", "p95", "p99"))
        errors = sum(one["errors"].values())
        rows.append(f"| {name} | {one['rate']:.0f} | {quantiles} | {errors} | {one['wrong']} |")
    versus = report["throughput"]
    rows += ["", "| compared on | | requests/s | processor µs a request |", "|---|---|---:|---:|"]
    for place, one in versus["runs"].items():
        for name, rates in one["rates"].items():
            cost = statistics.median(one["server_us"][name])
            rows.append(f"| {place} | {name} | {statistics.median(rates):.0f} | {cost:.0f} |")
    rows += ["", "| tier | requests/s | processor µs a decision |", "|---|---:|---:|"]
    rows += [
        f"| {name} | {one['rate']:.0f} | {one['server_us']:.0f} |" for name, one in report["tiers"].items()
    ]
    rows += ["", "| module of the bridge, or other file | share of its processor time % |", "|---|---:|"]
    rows += [f"| {name} | {100 * share:.1f} |" for name, share in islice(report["profile"].items(), 20)]
    ceiling = report["ceiling"]
    rows += [
        "",
        f"The load tool alone sends {ceiling['rate']:.0f} requests a second; it used at most"
        f" {100 * versus['load_share']:.0f} % of its processor in the comparison. Latencies count from when a request"
        f" was due. The policy server is given commands parsed, unwrapped and with their paths judged, which is most"
        f" of a decision's work; the bridge does that itself, authenticates, limits, and answers when the event is on"
        f" disk.",
    ]
    return "\n".join(rows)


def main() -> int:
    """Run, print, and write the reports; returns 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bridge", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of the latency run (default 60)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved throughput runs (default 5)")
    parser.add_argument("--endurance", type=int, default=300, help="seconds at full load (default 300)")
    parser.add_argument("--folder", default="/var/tmp", help="where the store lies: on a disk, not in memory")
    arguments = parser.parse_args()
    missing = [name for name in ("LOAD", "OPA") if not Path(os.environ.get(name, "/nowhere")).is_file()]
    if missing or not shutil.which("taskset"):
        print(f"Run 'make bench-bridge'; {', '.join(missing) or 'taskset'} is missing.", file=sys.stderr)
        return 2
    load = Generator(Path(os.environ["LOAD"]), "1")
    report = run(load, Path(os.environ["OPA"]), arguments)
    report["machine"] = {"kernel": platform.release(), "processors": os.cpu_count()}
    lines = "\n".join(f"- {goal}" for goal in report["goals"])
    text = (
        f"# The bridge under load: {os.cpu_count()} processors, kernel {platform.release()}\n\n"
        f"{table(report)}\n\n{lines}\n"
    )
    reports = REPOSITORY / "reports"
    reports.mkdir(exist_ok=True)
    (reports / "bridge.json").write_text(json.dumps(report, indent=2))
    (reports / "bridge.md").write_text(text)
    print(text)
    return 1 if report["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
