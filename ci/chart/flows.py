"""The chart's table of network flows, read strictly, and the page that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ci.chart.values import ValuesError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

KINDS = ("component", "label", "peers")
PARTY_FIELDS = {*KINDS, "hookWith", "namespacesOf", "operatedBy", "what"}
FLOW_FIELDS = {"from", "to", "port", "protocol", "why"}
OPTIONAL_FIELDS = {"when"}
PROTOCOLS = {"TCP", "UDP", "SCTP"}
HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Party:
    """One side of flows. Exactly one of `component`, `label` and `peers` is not empty.

    `namespaces_of` names the components in whose namespaces the pods are; it is empty for `peers`, which
    is the name of the value that lists them. `operated_by` is the label that tells the pods of a component
    which an operator makes; it is empty for those that the chart makes.
    """

    name: str
    what: str
    component: str = ""
    label: str = ""
    peers: str = ""
    namespaces_of: tuple[str, ...] = ()
    operated_by: str = ""


@dataclass(frozen=True)
class Flow:
    """Connections that are open. `ports` are the receiver's; if empty, the value `ports_value` lists them. `when`
    names values; without all of them the flow does not exist. Empty, it always does."""

    source: Party
    destination: Party
    ports: tuple[int, ...]
    ports_value: str
    protocols: tuple[str, ...]
    why: str
    when: tuple[str, ...] = ()


def read_flows(path: Path) -> tuple[Flow, ...]:
    """Read a table of flows; raises ValuesError naming the file, the entry and its fault."""
    table = yaml.safe_load(path.read_text())
    try:
        parties = {name: _party(name, fields) for name, fields in table["parties"].items()}
        flows = tuple(_flow(fields, parties) for fields in table["flows"])
        _require_each_is_used(parties, flows)
    except ValuesError as error:
        raise ValuesError(f"{path}: {error}") from None
    return flows


def _party(name: str, fields: Mapping[str, Any]) -> Party:
    if unknown := sorted(set(fields) - PARTY_FIELDS):
        raise ValuesError(f"the party {name} has the unknown field {unknown[0]}; correct or drop it.")
    if not fields.get("what") or sum(bool(fields.get(kind)) for kind in KINDS) != 1:
        raise ValuesError(f"the party {name} must have `what` and exactly one of {', '.join(KINDS)}.")
    component, label = fields.get("component", ""), fields.get("label", "")
    namespaces = (component,) if component else tuple(fields.get("namespacesOf", ()))
    if bool(label) != ("namespacesOf" in fields):
        raise ValuesError(f"the party {name} must have namespacesOf if, and only if, it has a label.")
    operated_by = fields.get("operatedBy", "")
    if operated_by and not component:
        raise ValuesError(
            f"the party {name} has operatedBy without a component; name the component or drop it."
        )
    if fields.get("hookWith") and not label:
        raise ValuesError(f"the party {name} has hookWith without a label; give its pods one or drop it.")
    return Party(name, fields["what"], component, label, fields.get("peers", ""), namespaces, operated_by)


def _flow(fields: Mapping[str, Any], parties: Mapping[str, Party]) -> Flow:
    shown = f"the flow {fields.get('from')} --> {fields.get('to')}"
    if set(fields) - OPTIONAL_FIELDS != FLOW_FIELDS:
        fault = sorted((set(fields) - OPTIONAL_FIELDS) ^ FLOW_FIELDS)[0]
        known = ", ".join(sorted(FLOW_FIELDS))
        raise ValuesError(f"{shown} lacks or adds {fault}; a flow has exactly {known}.")
    for side in ("from", "to"):
        if fields[side] not in parties:
            raise ValuesError(f"{shown} names no party as {side}; use one of {', '.join(parties)}.")
    source, destination = parties[fields["from"]], parties[fields["to"]]
    if source.peers and destination.peers:
        raise ValuesError(f"{shown} has no side with pods of ours; drop it.")
    port, protocols = fields["port"], fields["protocol"]
    ports = () if isinstance(port, str) else tuple(port)
    if not port or not all(isinstance(number, int) and 1 <= number <= HIGHEST_PORT for number in ports):
        raise ValuesError(f"{shown} has the port {port!r}; give a list of numbers or the name of a value.")
    if not protocols or not set(protocols) <= PROTOCOLS:
        raise ValuesError(f"{shown} has the protocol {protocols!r}; give a list of TCP, UDP or SCTP.")
    if not fields["why"] or "\n" in fields["why"]:
        raise ValuesError(f"{shown} has no reason; write one line as `why`.")
    when = fields.get("when", ())
    if isinstance(when, str) or not all(isinstance(name, str) for name in when):
        raise ValuesError(f"{shown} has `when` {when!r}; give a list of names of values.")
    named = port if isinstance(port, str) else ""
    return Flow(source, destination, ports, named, tuple(protocols), fields["why"], tuple(when))


def _require_each_is_used(parties: Mapping[str, Party], flows: Iterable[Flow]) -> None:
    """A component may be without flows: it is a party all the same, since its pods are isolated."""
    used = {party.name for flow in flows for party in (flow.source, flow.destination)}
    idle = [name for name, party in parties.items() if name not in used and not party.component]
    if idle:
        raise ValuesError(f"the party {idle[0]} is in no flow; use it or drop it.")


def flows_section(flows: Iterable[Flow]) -> str:
    """The flows and their parties as two tables."""
    rows = tuple(flows)
    parties = {party.name: party for flow in rows for party in (flow.source, flow.destination)}
    lines = ["| From | To | Port | Why |", "|---|---|---|---|"]
    lines += [
        f"| {f.source.name} | {f.destination.name} | {_ports(f)} | {f.why}{_condition(f)} |" for f in rows
    ]
    lines += ["", "| Party | Who that is | How policies know it |", "|---|---|---|"]
    lines += [f"| {p.name} | {p.what} | {_selection(p)} |" for p in parties.values()]
    return "\n".join(lines)


def _ports(flow: Flow) -> str:
    numbers = ", ".join(map(str, flow.ports)) or f"`{flow.ports_value}`"
    return f"{numbers} {' and '.join(flow.protocols)}"


def _condition(flow: Flow) -> str:
    return f"; only with {' or '.join(f'`{name}`' for name in flow.when)}" if flow.when else ""


def _selection(party: Party) -> str:
    if party.peers:
        return f"value `{party.peers}`"
    places = " and ".join(party.namespaces_of)
    if party.label:
        return f'label `{party.label}: "true"`, in the namespaces of {places}'
    if party.operated_by:
        return (
            f"label `{party.operated_by}` with the name of the component {party.component}, in its namespace"
        )
    return f"pods of the component {party.component}, in its namespace"
