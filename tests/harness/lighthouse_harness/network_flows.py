"""The table of allowed flows, held against the matrix: what is missing, and what is open beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from .model import Finding, Verdict, verdict
from .network_endpoints import Endpoint, EndpointKind, Port
from .network_policies import HIGHEST_PORT, PROTOCOLS
from .reachability import Network, other_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FLOWS = "network/flows"
MISSING_FLOW = "network/missing-flow"
EXCESS_FLOW = "network/excess-flow"
ANY_PORT = "*"
_FIELDS = frozenset({"from", "to", "port", "protocol", "why", "optional"})


@dataclass(frozen=True, slots=True)
class Flow:
    """One line of the table: who may connect to whom, where, and why.

    `sources` and `destinations` are patterns of endpoint names, such as `lighthouse/bridge-*`, `*/*` for
    every pod or `internet`. A port is a number, a name among the destination's ports, or `*` for any.
    """

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    ports: tuple[int | str, ...]
    protocols: tuple[str, ...] = ("TCP",)
    why: str = ""
    optional: bool = False
    """It counts only where both sides are there; otherwise a side that is not there is a finding."""

    def __str__(self) -> str:
        ports = ", ".join(map(str, self.ports))
        return (
            f"{', '.join(self.sources)} -> {', '.join(self.destinations)} {ports}/{', '.join(self.protocols)}"
        )


def parse_flows(table: Iterable[Mapping[str, Any]]) -> tuple[Flow, ...]:
    """Read rows with `from`, `to`, `port`, `protocol` (TCP unless given), `why` and `optional`.

    Each of the first four may be a list. Raises ValueError naming the row and what is wrong with it.
    """
    return tuple(_parse_flow(row, number) for number, row in enumerate(table, start=1))


def _parse_flow(row: Mapping[str, Any], number: int) -> Flow:
    missing = {"from", "to", "port", "why"} - set(row)
    unknown = set(row) - _FIELDS
    if missing or unknown:
        fault = (
            f"lacks {sorted(missing)[0]!r}" if missing else f"has the unknown field {sorted(unknown)[0]!r}"
        )
        raise ValueError(f"Flow {number} {fault}; a flow has from, to, port and why.")
    protocols = _listed(row.get("protocol", "TCP"))
    ports = _listed(row["port"])
    if wrong := [protocol for protocol in protocols if protocol not in PROTOCOLS]:
        raise ValueError(f"Flow {number} has the protocol {wrong[0]!r}; use {', '.join(PROTOCOLS)}.")
    if wrong := [port for port in ports if isinstance(port, int) and not 1 <= port <= HIGHEST_PORT]:
        raise ValueError(f"Flow {number} has the port {wrong[0]}; give 1 to {HIGHEST_PORT}, a name or '*'.")
    return Flow(
        sources=_listed(row["from"]),
        destinations=_listed(row["to"]),
        ports=ports,
        protocols=protocols,
        why=str(row["why"]),
        optional=bool(row.get("optional", False)),
    )


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def matching(endpoints: Iterable[Endpoint], patterns: Iterable[str]) -> tuple[Endpoint, ...]:
    """The endpoints whose name one of the patterns describes; `*` does not stand for a slash."""
    wanted = [pattern.split("/") for pattern in patterns]
    return tuple(
        endpoint
        for endpoint in endpoints
        if any(
            len(pattern) == len(parts) and all(map(fnmatchcase, parts, pattern))
            for pattern in wanted
            for parts in [endpoint.name.split("/")]
        )
    )


@dataclass(frozen=True, slots=True)
class _Connection:
    source: str
    destination: str
    port: int
    protocol: str


def compare(network: Network, flows: Sequence[Flow], *, beyond_declared: bool = True) -> Verdict:
    """Hold every cell that touches an owned endpoint against the table.

    A flow that is denied, or whose side or port is not there, is a `network/missing-flow`; a cell that is
    open without a flow is a `network/excess-flow`. With `beyond_declared`, ports that no container declares
    count too: those that rules single out, and for the rest one that stands for all. A node's own traffic
    to its pods is never counted, since nothing can forbid it. `examined` is the number of cells.
    """
    others = other_ports(network) if beyond_declared else ()
    findings: list[Finding] = []
    covered: set[_Connection] = set()
    for flow in flows:
        findings += _missing(network, flow, others, covered)
    singled_out = tuple(network.singled_out_ports()) if beyond_declared else ()
    cells = [
        cell
        for cell in network.cells((*others, *singled_out))
        if (cell.source.owned or cell.destination.owned) and cell.source.kind is not EndpointKind.NODE
    ]
    is_open = {
        _Connection(cell.source.name, cell.destination.name, cell.port.number, cell.port.protocol)
        for cell in cells
        if cell.allowed
    }
    rest = {port.protocol: port.number for port in others}
    examined = 0
    for cell in cells:
        source, destination, port = cell.source.name, cell.destination.name, cell.port
        declared = any(
            (own.number, own.protocol) == (port.number, port.protocol) for own in cell.destination.ports
        )
        stands_for_rest = rest.get(port.protocol) == port.number
        rest_is_open = _Connection(source, destination, rest.get(port.protocol, 0), port.protocol) in is_open
        if not declared and not stands_for_rest and rest_is_open:
            continue  # one of "all the others", which have their own cell
        examined += 1
        connection = _Connection(source, destination, port.number, port.protocol)
        if cell.allowed and connection not in covered:
            findings.append(_excess(network, cell.source, cell.destination, port, stands_for_rest))
    return verdict(FLOWS, range(examined), findings)


def _missing(
    network: Network, flow: Flow, others: Sequence[Port], covered: set[_Connection]
) -> Iterator[Finding]:
    sources = matching(network.endpoints, flow.sources)
    destinations = matching(network.endpoints, flow.destinations)
    for side, found in (("from", sources), ("to", destinations)):
        if not found and not flow.optional:
            patterns = ", ".join(flow.sources if side == "from" else flow.destinations)
            yield Finding(
                MISSING_FLOW,
                f"Flow/{flow}",
                side,
                patterns,
                "no endpoint has such a name; correct it or drop the flow",
            )
    for destination in destinations:
        for protocol in flow.protocols:
            numbers = _numbers(flow, destination, protocol, others)
            if not numbers:
                yield Finding(
                    MISSING_FLOW,
                    _ref(destination),
                    "ports",
                    f"no {protocol} port {', '.join(map(str, flow.ports))}",
                    f"declare the port on a container, for {flow} ({flow.why})",
                )
            for source in sources:
                if source is destination and (source.alone or source.kind is not EndpointKind.POD):
                    continue
                for number in numbers:
                    covered.add(_Connection(source.name, destination.name, number, protocol))
                    if not network.allows(source.name, destination.name, number, protocol):
                        yield _denied(network, source, destination, Port(number, protocol), flow)


def _numbers(flow: Flow, destination: Endpoint, protocol: str, others: Sequence[Port]) -> tuple[int, ...]:
    numbers: set[int] = set()
    for port in flow.ports:
        if port == ANY_PORT:
            numbers.update(own.number for own in (*destination.ports, *others) if own.protocol == protocol)
        else:
            numbers.update(destination.resolve(port, protocol))
    return tuple(sorted(numbers))


def _denied(network: Network, source: Endpoint, destination: Endpoint, port: Port, flow: Flow) -> Finding:
    denials = [
        str(decision)
        for decision in network.explain(source.name, destination.name, port.number, port.protocol)
        if not decision.allowed
    ]
    return Finding(
        MISSING_FLOW,
        _ref(destination if destination.owned else source),
        "",
        f"{source} -> {destination} {port} denied",
        f"admit it, for {flow.why}: {'; '.join(denials)}",
    )


def _excess(
    network: Network, source: Endpoint, destination: Endpoint, port: Port, stands_for_rest: bool
) -> Finding:
    egress, ingress = network.explain(source.name, destination.name, port.number, port.protocol)
    shown = f"any other {port.protocol} port" if stands_for_rest else str(port)
    return Finding(
        EXCESS_FLOW,
        _ref(destination if destination.owned else source),
        "",
        f"{source} -> {destination} {shown} open",
        f"close it or add it to the table: {egress}; {ingress}",
    )


def _ref(endpoint: Endpoint) -> str:
    return endpoint.pod.object.ref if endpoint.pod else f"Peer/{endpoint.name}"
