"""What the commands say when something is missing: one sentence with the way out, and a non-zero exit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ci import preflight
from ci.console import Failure
from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def ci(
    *words: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "ci", *words]
    environment = {**os.environ, "CLUSTER": "absent", **(env or {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "env", "sentence"),
    [
        (("up", "--nodes", "0"), {}, "NODES is 0 and must be from 1 to 9."),
        (("up", "--project", "/nowhere"), {}, "PROJECT is /nowhere, which is not a folder"),
        (("up",), {"PATH": "/nonexistent"}, "Go is missing: install Go 1.26 or newer"),
        (("install", "--values", "/no.yaml"), {}, "VALUES names /no.yaml, which is no file"),
        (("load",), {}, "No cluster runs: start one with 'make up'."),
        (("url",), {}, "No cluster runs: start one with 'make up'."),
        (("kubeconfig",), {}, "No cluster runs: start one with 'make up'."),
        (("up",), {"CLUSTER": "Not A Name"}, "CLUSTER is 'Not A Name'"),
    ],
)
def test_wrong_value_or_missing_thing_is_one_sentence(
    words: tuple[str, ...], env: dict[str, str], sentence: str
) -> None:
    done = ci(*words, env=env)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert sentence in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try what someone without root is told")
@pytest.mark.parametrize("command", ["up", "down"])
def test_someone_without_root_is_told_so(command: str) -> None:
    done = ci(command, before=("unshare", "--user"))
    assert done.returncode == 1
    assert "needs root" in done.stderr
    assert "sudo" in done.stderr


def test_status_without_a_cluster_is_a_sentence() -> None:
    done = ci("status")
    assert done.returncode == 0
    assert "No cluster runs" in done.stdout


@pytest.mark.parametrize(
    ("free", "warm", "enough"), [(13, False, False), (15, False, True), (3, True, False), (5, True, True)]
)
def test_too_little_disk_is_refused(free: int, warm: bool, enough: bool) -> None:
    if enough:
        preflight.check_disk(free * 2**30, warm=warm)
        return
    with pytest.raises(Failure, match=r"GiB free and \d+ GiB are needed: free some"):
        preflight.check_disk(free * 2**30, warm=warm)


@pytest.mark.parametrize(("memory", "enough"), [(3, False), (5, True)])
def test_too_little_memory_is_refused(memory: int, enough: bool) -> None:
    if enough:
        preflight.check_memory(memory * 2**30)
        return
    with pytest.raises(
        Failure, match=r"has 3\.0 GiB of memory and the local cluster needs 4: use a larger one"
    ):
        preflight.check_memory(memory * 2**30)


def test_python_too_old_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ncase "$*" in *"%d.%d.%d"*) echo 3.9.2;; *) exit 1;; esac\n')
    old.chmod(0o755)
    done = subprocess.run(
        [ROOT / "ci" / "python", "-c", ""],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "python3 is 3.9.2, which is too old: install Python 3.11 or newer" in done.stderr


def test_make_lists_every_target_with_its_meaning() -> None:
    make = shutil.which("make")
    assert make
    listed = subprocess.run([make, "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY"))
    missing = [target for target in phony.split()[1:] if f"make {target} " not in listed]
    assert missing == []
