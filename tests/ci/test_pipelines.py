"""Both pipelines prove the same by the same targets, from pinned images and actions, with few rights."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from ci.settings import ROOT

GITHUB = ROOT / ".github" / "workflows" / "lighthouse.yaml"
GITLAB = ROOT / ".gitlab-ci.yml"
FILES = [GITHUB, GITLAB]
COMMANDS = re.compile(r"^\s*(?:- )?(?:run: )?make ([a-z-]+)", re.MULTILINE)


def github() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(GITHUB.read_text())
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_jobs_call_targets_of_the_makefile(file: Any) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set(COMMANDS.findall(file.read_text()))
    assert {"check", "test", "scan", "release"} <= called
    assert called <= targets


def test_both_call_the_same_targets() -> None:
    first, second = (set(COMMANDS.findall(file.read_text())) for file in FILES)
    assert first == second


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_images_and_actions_are_pinned_by_digest_or_commit(file: Any) -> None:
    used = re.findall(r"^\s*(?:- )?(?:image|uses): *(\S+)", file.read_text(), re.MULTILINE)
    assert used
    assert [one for one in used if not re.search(r"@(sha256:[0-9a-f]{64}|[0-9a-f]{40})$", one)] == []


def test_every_job_reads_the_contents_and_nothing_else() -> None:
    workflow = github()
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        name: {"contents": "read"} for name in workflow["jobs"]
    }


def test_only_the_release_sees_a_secret_and_only_on_a_tag() -> None:
    jobs = github()["jobs"]
    assert [name for name, job in jobs.items() if "secrets." in str(job)] == ["release"]
    assert jobs["release"]["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert jobs["release"]["environment"] == "release"
