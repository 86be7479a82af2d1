"""The planner's inputs: files beside this module, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

HERE = Path(__file__).resolve().parent
MEASURED = HERE / "measured.yaml"
PRICES = HERE / "prices.yaml"
REVIEW = HERE / "review.yaml"


class Input(msgspec.Struct, forbid_unknown_fields=True):
    """Base of everything read from a file."""


T = TypeVar("T", bound=Input)


class Tiers(Input):
    """Microseconds of processor time for a validation that a tier decides."""

    memory: float
    policy: float
    review: float


class Measured(Input):
    """What one bridge does, from a run of the bench."""

    measured: Any
    machine: str
    saturated_per_second: float
    microseconds: Tiers
    events_per_validation: float
    bytes_per_event: float
    resident_mib: float


class Share(Input):
    """A kind of pod in the review's sums; a `chart` takes its size from that component's render."""

    name: str
    replicas: int
    apart: bool
    source: str
    cpu: float = 0
    memory_gib: float = 0
    disk_gib: float = 0
    chart: str = ""


class Host(Input):
    """A sum of processors and memory."""

    cpu: float
    memory_gib: float


class Review(Input):
    """The review's minimum, what it left out, and the host it refused."""

    counted: list[Share]
    left_out: list[Share]
    host: Host


class NodeType(Input):
    """A machine and its price for an hour."""

    name: str
    cpu: float
    memory_gib: float
    per_hour: float


class Source(Input):
    """Where a price comes from."""

    price: str
    as_of: Any
    obtained: str
    where: str


class Provider(Input):
    """Prices of one place to run in, US dollars."""

    title: str
    node: NodeType
    disk_gib_month: float
    object_gib_month: float
    control_plane_per_hour: float
    sources: list[Source]


class Estimate(Input):
    """What building costs, thousands of US dollars in parts."""

    name: str
    parts: list[float]


class Prices(Input):
    """The price file."""

    hours_per_month: float
    reserved: Host
    providers: dict[str, Provider]
    build: list[Estimate]


def read_prices(path: Path = PRICES) -> Prices:
    """The price file; raises ValueError that names file and field."""
    return _read(path, Prices)


def read_review() -> Review:
    """The review's inputs."""
    return _read(REVIEW, Review)


def read_measured(path: Path = MEASURED) -> Measured:
    """What was measured."""
    return _read(path, Measured)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
