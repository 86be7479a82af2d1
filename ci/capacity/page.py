"""docs/capacity.md, written from the renders, the measurements and the prices."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from ci.capacity.cost import bill
from ci.capacity.data import read_measured, read_prices, read_review
from ci.capacity.load import FILL, Load, plan
from ci.capacity.shapes import sources
from lighthouse_harness.capacity import GIB, total
from lighthouse_harness.packing import Node, amount, fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lighthouse_harness.capacity import Demand

NODES = 3
AGENTS = (100, 1000, 5000)
RETENTION = (7, 30, 90, 365)

HEAD = """# What it needs and what it costs

Written by `make generate` from the chart's renders, `ci/capacity/review.yaml`, `ci/capacity/measured.yaml` and
`ci/capacity/prices.yaml`; `make check` compares. Ask for your own case with `make capacity`:

```sh
make capacity ARGS="show --profile default"          # requests and limits by component; --format json, plot
make capacity ARGS="fit --nodes 3x16:64"             # whether it fits on 3 nodes of 16 CPU and 64 GiB
make capacity ARGS="fit --live"                      # whether it fits beside what else runs on the current context
make capacity ARGS="load --agents 2000"              # bridges, connections and storage for a load
make capacity ARGS="cost --retention 90"             # a month, by provider
make capacity ARGS="check reports/bridge.json"       # the load model against a run of make bench-bridge
```
"""


def page(shapes: Mapping[str, tuple[Demand, ...]], profiles: Mapping[str, tuple[Demand, ...]]) -> str:
    """The whole page: `shapes` are the review's, `profiles` the chart's."""
    parts = [HEAD]
    parts += [_profile(name, found) for name, found in profiles.items()]
    parts += [_review(shapes), _load(), _cost({**shapes, **profiles}), _prices()]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def rows_of(found: tuple[Demand, ...], nodes: int = NODES) -> list[tuple[str, ...]]:
    """One row for each kind of pod, and the sum; pods of every node are counted for `nodes`."""
    rows = []
    for demand in sorted(found, key=lambda one: (one.component, one.name)):
        count = demand.pods(nodes)
        figures = (demand.cpu, demand.memory / GIB, demand.cpu_limit, demand.memory_limit / GIB)
        disk = sum(demand.disks, Fraction(0)) / GIB
        rows.append((demand.name, str(count), *(amount(value * count) for value in (*figures, disk))))
    everything = total(found, nodes)
    sums = (everything.cpu, everything.memory / GIB, everything.cpu_limit, everything.memory_limit / GIB)
    rows.append(("sum", "", *map(amount, (*sums, everything.disk / GIB))))
    return rows


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A markdown table whose first column is text and whose others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


COLUMNS = ("", "pods", "CPU requested", "GiB requested", "CPU limit", "GiB limit", "GiB of disk")


def _profile(name: str, found: tuple[Demand, ...]) -> str:
    text = f"\n## Profile {name}\n\nOn {NODES} nodes; what runs on every node is counted for each.\n\n"
    return text + table(COLUMNS, rows_of(found))


def _review(shapes: Mapping[str, tuple[Demand, ...]]) -> str:
    review = read_review()
    first, second = shapes.values()
    one, two = total(first, NODES), total(second, NODES)
    host = Node("host", Fraction(str(review.host.cpu)), Fraction(str(review.host.memory_gib)) * GIB)
    reasons = fit(first, [host], by_limits=True).reasons
    origins = sources(review)
    lines = [
        "\n## The review's minimum, and what it left out\n",
        f"The review asks for {amount(one.cpu_limit)} CPU and {amount(one.memory_limit / GIB)} GB at least: the limits"
        f" of its databases and bridges. With what it names elsewhere or leaves out it is {amount(two.cpu_limit)} CPU"
        f" and {amount(two.memory_limit / GIB)} GB.\n",
        table(COLUMNS, rows_of(second)),
        "\nWhere the figures come from:\n",
        *(f"- {name}: {source}." for name, source in origins.items()),
        f"\nA host with {amount(host.cpu)} CPU and {amount(host.memory / GIB)} GiB is refused for the minimum alone:\n",
        *(f"- {reason}." for reason in reasons),
    ]
    return "\n".join(lines)


def _load() -> str:
    measured = read_measured()
    rows = []
    for agents in AGENTS:
        found = plan(Load(agents), measured)
        rows.append(
            (
                f"{agents:,} agents",
                amount(Fraction(found.load.per_second)),
                str(found.bridges),
                amount(Fraction(found.processors)),
                str(found.connections),
                str(found.postgres_connections),
                str(found.redis_connections),
                amount(Fraction(found.gib_a_day)),
            )
        )
    connections = ("connections", "to PostgreSQL", "to each Redis")
    head = ("", "validations/s", "bridges", "busy CPU", *connections, "GiB of events a day")
    return (
        "\n## Load\n\n"
        f"An agent asks {Load(1).per_minute:g} times a minute for {Load(1).hours_a_day:g} hours a day. Measured on"
        f" {measured.measured} ({measured.machine}): {measured.saturated_per_second:.0f} validations a second on one"
        f" processor, of which {FILL:.0%} are planned with; {measured.events_per_validation:g} events of"
        f" {measured.bytes_per_event:.0f} bytes each. Three bridges run in any case, so that one may be lost. Busy"
        f" processors are those of full load; a quiet bridge shares a commit between fewer and needs up to twice as"
        f" much for each. Connections are those of agents and experts to bridges, and the most that bridges hold to"
        " PostgreSQL's primary and to each server of Redis while an update runs one bridge more.\n\n"
        f"{table(head, rows)}"
    )


def _cost(shapes: Mapping[str, tuple[Demand, ...]]) -> str:
    prices, measured = read_prices(), read_measured()
    needed = plan(Load(1000), measured, least=0)
    rows = []
    for name, found in shapes.items():
        for provider in prices.providers.values():
            one = bill(found, provider, prices, stored_gib=needed.gib(30), bridges=needed.bridges)
            figures = (one.compute, one.disks, one.backups, one.control_plane, one.month)
            nodes = f"{one.nodes} x {provider.node.name}"
            rows.append((f"{name}: {provider.title}", nodes, *(f"{value:,.0f}" for value in figures)))
    head = ("US dollars a month", "nodes", "compute", "disks", "backups", "control plane", "month")
    built = [
        f"- {one.name}: {sum(one.parts):g} thousand US dollars = {' + '.join(f'{part:g}' for part in one.parts)}."
        for one in prices.build
    ]
    return "\n".join(
        [
            "\n## Cost\n",
            "Running, for 1,000 agents and 30 days of events: as many nodes as hold every pod by its limits with"
            " anti-affinity kept, also when any one node is lost; disks as claimed, or three copies of the events if"
            " that is more; backups of seven days.\n",
            table(head, rows),
            "\nBuilding, once:\n",
            *built,
            _sensitivity(list(shapes.values())[1]),
        ]
    )


def _sensitivity(shape: tuple[Demand, ...]) -> str:
    prices, measured = read_prices(), read_measured()
    provider = next(iter(prices.providers.values()))
    rows, lines = [], []
    for agents in AGENTS:
        load = plan(Load(agents), measured, least=0)
        months = [
            bill(shape, provider, prices, stored_gib=load.gib(days), bridges=load.bridges).month
            for days in RETENTION
        ]
        rows.append((f"{agents:,} agents", *(f"{month:,.0f}" for month in months)))
        lines.append(f"  line [{', '.join(f'{month:.0f}' for month in months)}]")
    head = ("US dollars a month", *(f"{days} days" for days in RETENTION))
    return "\n".join(
        [
            f"\n### Agents and retention ({provider.title}, the review's shape with what it left out)\n",
            table(head, rows),
            "\n```mermaid",
            "xychart-beta",
            '  title "US dollars a month by days of retention, a line for each number of agents"',
            f"  x-axis [{', '.join(map(str, RETENTION))}]",
            *lines,
            "```",
        ]
    )


def _prices() -> str:
    lines = ["\n## Where the prices come from\n"]
    for provider in read_prices().providers.values():
        lines.append(f"{provider.title}, {provider.node.name} at {provider.node.per_hour:g} an hour:\n")
        lines += [
            f"- {one.price}, as of {one.as_of}: {one.obtained} ({one.where})." for one in provider.sources
        ]
        lines.append("")
    lines.append("Not in them: taxes, discounts, traffic, support contracts and people.")
    return "\n".join(lines)
