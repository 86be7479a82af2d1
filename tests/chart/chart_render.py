"""Renders of the chart for its tests: Helm in, objects out."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "lighthouse"
KUBE_VERSION = "1.33.0"  # the oldest that the chart supports; Helm built from source assumes a far older one
Manifest = dict[str, Any]
NOTHING: dict[str, Any] = {}


@dataclass(frozen=True)
class Container:
    """One container of a workload; `path` names it in a failure."""

    path: str
    spec: Manifest


class RefusedError(Exception):
    """Helm refused to render; the text is what it said."""


def helms() -> dict[str, Path | None]:
    """The Helm programs to prove the chart with; None where one is not there."""
    four = os.environ.get("HELM") or shutil.which("helm")
    three = os.environ.get("HELM3")
    return {"helm4": Path(four) if four else None, "helm3": Path(three) if three else None}


def helm(program: Path, *words: str | Path, values: Manifest = NOTHING) -> str:
    """What Helm prints; raises RefusedError with what it says on failure."""
    command = [program, *words, "--values", "-"]
    done = subprocess.run(command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout


def render(
    program: Path,
    values: Manifest = NOTHING,
    *,
    chart: Path = CHART,
    release: str = "lighthouse",
    kubernetes: str = KUBE_VERSION,
) -> list[Manifest]:
    """All objects of a render into the namespace `lighthouse`; raises RefusedError."""
    version = ("--kube-version", kubernetes)
    text = helm(program, "template", release, chart, "--namespace", "lighthouse", *version, values=values)
    documents = [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]
    assert documents, "the render is empty"
    return documents


def one(objects: list[Manifest], kind: str, name: str) -> Manifest:
    """The only object of this kind and name."""
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name} among {sorted(map(label, objects))}"
    return found[0]


def label(manifest: Manifest) -> str:
    """Kind and name, for failures."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def workloads(objects: list[Manifest]) -> list[Manifest]:
    """The objects that make pods."""
    found = [each for each in objects if "template" in each.get("spec", {})]
    assert found, "the render has no workload"
    return found


def containers(objects: list[Manifest]) -> list[Container]:
    """Every container and init container of every workload."""
    return [
        Container(f"{label(each)} {field}/{container['name']}", container)
        for each in workloads(objects)
        for field in ("initContainers", "containers")
        for container in each["spec"]["template"]["spec"].get(field, [])
    ]


def set_value(path: str, value: object) -> Manifest:
    """Nested values from a dotted path."""
    values: Manifest = {}
    *parents, last = path.split(".")
    node = values
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    return values
