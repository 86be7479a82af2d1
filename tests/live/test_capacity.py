"""Somebody is told before the installation that the cluster at hand is too small, and by how much."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from ci.release import Cluster

pytestmark = pytest.mark.live


def fit(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ci.capacity", "fit", "--live", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.proves(7, level="running")
@pytest.mark.usefixtures("cluster")
def test_a_database_that_is_too_large_for_the_cluster_is_refused_with_what_is_short(tmp_path: Path) -> None:
    resources = {"cpu": "10000", "memory": "1Pi"}  # more than any machine has on which the tests run
    values = tmp_path / "values.json"
    values.write_text(json.dumps({"postgres": {"resources": {"requests": resources, "limits": resources}}}))
    done = fit("--profile", "production", "--values", values)
    assert done.returncode == 1, done.stderr
    reasons = [line for line in done.stdout.splitlines() if line.startswith("does not fit: ")]
    assert any("CPU are needed and" in reason and "short" in reason for reason in reasons), reasons
    assert any("GiB of memory are needed and" in reason for reason in reasons), reasons


def test_the_pods_of_the_default_profile_are_placed_on_the_clusters_own_nodes(cluster: Cluster) -> None:
    names = {node["metadata"]["name"] for node in cluster.get("nodes")["items"]}
    placed = {line.partition(":")[0] for line in fit("--requests").stdout.splitlines()}
    assert placed & names
