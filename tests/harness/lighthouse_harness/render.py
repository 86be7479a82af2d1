"""Running Helm: the one module that starts it. Renders are cached by content, in memory and on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .chart import chart_digest, default_values
from .documents import freeze, thaw
from .manifests import ManifestError, load_yaml, merge, read_objects
from .model import Render, Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FORMAT = "1"
"""Part of every key; raise it when what is stored changes."""

_TIMEOUT_SECONDS = 120
_KEPT_DAYS = 7


class RenderError(RuntimeError):
    """Helm refused to render, or what it rendered is not a set of Kubernetes objects."""


class ToolError(RuntimeError):
    """A program that the harness needs is not there."""


def cache_folder() -> Path:
    """Where renders and schemas are kept: `LIGHTHOUSE_HARNESS_CACHE`, or a folder in the user's cache."""
    named = os.environ.get("LIGHTHOUSE_HARNESS_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "lighthouse" / "harness"


def prune(folder: Path, days: float = _KEPT_DAYS) -> int:
    """Remove renders that nobody asked for in that many days; returns how many there were."""
    oldest = time.time() - days * 86_400
    removed = 0
    for path in (*folder.glob("renders/*"), *folder.glob("valid/*")):
        with contextlib.suppress(FileNotFoundError):  # another run prunes too
            if path.stat().st_mtime < oldest:
                path.unlink()
                removed += 1
    return removed


def helm_binary(major: int) -> Path:
    """The Helm of that major version: from `HELM3` or `HELM`, else `helm3` or `helm` on the PATH.

    Raises `ToolError` when there is none.
    """
    variable, program = ("HELM3", "helm3") if major == 3 else ("HELM", "helm")
    named = os.environ.get(variable)
    found = named or shutil.which(program)
    if not found or not Path(found).is_file():
        where = f"{variable}={named} is not a file" if named else f"{program} is not on the PATH"
        raise ToolError(
            f"Helm {major} is missing: {where}; set {variable} to the path of a Helm {major} binary."
        )
    return Path(found)


@dataclass(slots=True)
class Statistics:
    """What a renderer did, for the summary of a run."""

    renders: int = 0
    """Distinct renders asked for."""
    helm_runs: int = 0
    """How many of them Helm was started for; the rest came from the cache."""
    objects: int = 0
    containers: int = 0


@dataclass(slots=True, repr=False)
class Renderer:
    """Renders charts, each distinct request once."""

    folder: Path = field(default_factory=cache_folder)
    statistics: Statistics = field(default_factory=Statistics)
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    _memory: dict[str, Render | RenderError] = field(default_factory=dict)
    _binaries: dict[int, tuple[Path, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def render(self, request: Request) -> Render:
        """The render of one request. Raises `RenderError` with Helm's reason, in one line."""
        key = self._key(request)
        with self._lock:
            known = self._memory.get(key)
        if known is None:
            known = self._fresh(request, key)
            with self._lock:
                self._memory[key] = known
                self.statistics.renders += 1
                if isinstance(known, Render):
                    self.statistics.objects += len(known.objects)
                    self.statistics.containers += sum(len(pod.containers) for pod in known.pods)
        if isinstance(known, RenderError):
            raise known
        return known

    def prerender(self, requests: Iterable[Request]) -> tuple[Render, ...]:
        """Render many requests side by side, in the order given.

        The first request of each values set runs before the others, since Helm checks the values against
        the chart's schema only then. Raises the first `RenderError`.
        """
        wanted = tuple(requests)
        first = {self._values_key(request): request for request in reversed(wanted)}
        with ThreadPoolExecutor(self.workers) as pool:
            tuple(pool.map(self.render, first.values()))
            return tuple(pool.map(self.render, wanted))

    def _fresh(self, request: Request, key: str) -> Render | RenderError:
        stored, refused = self.folder / "renders" / f"{key}.yaml", self.folder / "renders" / f"{key}.error"
        if stored.is_file():
            stored.touch()
            text = stored.read_text(encoding="utf-8")
        elif refused.is_file():
            refused.touch()
            return RenderError(refused.read_text(encoding="utf-8"))
        else:
            try:
                text = self._run(request)
            except RenderError as error:
                write_whole(refused, str(error))
                return error
            write_whole(stored, text)
        try:
            objects = read_objects(text, request.namespace)
        except ManifestError as error:
            return RenderError(f"{request.title} does not render Kubernetes objects: {error}")
        return Render(request, objects, freeze(merge(default_values(request.chart), _user_values(request))))

    def _run(self, request: Request) -> str:
        valid = self.folder / "valid" / self._values_key(request)
        command = [str(self._binary(request.helm)[0]), "template", request.release, str(request.chart)]
        command += ["--namespace", request.namespace, "--kube-version", request.kubernetes, "--include-crds"]
        command += [item for version in request.api_versions for item in ("--api-versions", version)]
        command += [item for path in request.values for item in ("--values", str(path))]
        command += ["--is-upgrade"] if request.upgrade else []
        command += ["--values", "-"] if request.overrides else []
        command += ["--skip-schema-validation"] if valid.exists() else []
        with self._lock:
            self.statistics.helm_runs += 1
        with tempfile.TemporaryDirectory(prefix="lighthouse-harness-") as home:
            try:
                result = subprocess.run(
                    command,
                    input=json.dumps(thaw(request.overrides)),
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=_TIMEOUT_SECONDS,
                    env=_environment(home),
                )
            except subprocess.TimeoutExpired as error:
                raise ToolError(f"{request.title} was not rendered in {_TIMEOUT_SECONDS} s.") from error
        if result.returncode < 0:
            raise ToolError(f"{request.title}: Helm was ended by signal {-result.returncode}.")
        if result.returncode:
            raise RenderError(f"{request.title} does not render: {_reason(result.stderr)}")
        write_whole(valid, "")
        return result.stdout

    def _binary(self, major: int) -> tuple[Path, str]:
        known = self._binaries.get(major)
        if known is None:
            path = helm_binary(major)
            status = path.stat()
            known = path, f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
            self._binaries[major] = known
        return known

    def _values_key(self, request: Request) -> str:
        """Names the chart and the values: all that the chart's schema can judge."""
        parts = [_FORMAT, chart_digest(request.chart), json.dumps(thaw(request.overrides))]
        parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in request.values]
        return _hash(parts)

    def _key(self, request: Request) -> str:
        parts = [self._values_key(request), self._binary(request.helm)[1], request.release, request.namespace]
        parts += [request.kubernetes, *request.api_versions, "upgrade" if request.upgrade else "install"]
        return _hash(parts)


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Put a file in the cache whole or not at all: other test processes read it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as part:
        part.write(text)
    Path(part.name).replace(path)


def _environment(home: str) -> Mapping[str, str]:
    """Helm must see no user configuration, no plugin and no cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HELM", "KUBE"))}
    return kept | {
        "HELM_CACHE_HOME": home,
        "HELM_CONFIG_HOME": home,
        "HELM_DATA_HOME": home,
        "HELM_NO_PLUGINS": "1",
        "KUBECONFIG": os.devnull,
    }


def _user_values(request: Request) -> dict[str, object]:
    values: dict[str, object] = {}
    for path in request.values:
        values = merge(values, load_yaml(path.read_text(encoding="utf-8")) or {})
    return merge(values, request.overrides)


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("Use --debug", "walk.go", "level="))]
    return " ".join(" ".join(kept).removeprefix("Error: ").split()) or "Helm gave no reason"
