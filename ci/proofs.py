"""The proofs behind `make check` and `make test`: linters, types, generated files and pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci.console import Failure, Steps, run
from ci.settings import CACHE, KUBECONFIG, ROOT
from ci.toolchain import ACTIONLINT, go_tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


TESTS_FAILED = 1  # pytest's exit code


@dataclass(frozen=True)
class Lint:
    """A check that runs a program over the whole tree."""

    name: str
    argv: tuple[str, ...]


def _lints(helm: Path, actionlint: Path) -> list[Lint]:
    python, zizmor = (sys.executable, "-m"), str(Path(sys.executable).with_name("zizmor"))
    return [
        Lint("ruff", (*python, "ruff", "check", "--quiet", ".")),
        Lint("ruff format", (*python, "ruff", "format", "--quiet", "--check", ".")),
        Lint("types", (*python, "mypy", "--cache-dir", str(CACHE / "mypy"), *_typed())),
        Lint(
            "yamllint",
            (
                *python,
                "yamllint",
                "--strict",
                *_tracked("*.yaml", "*.yml", ":(exclude,glob)charts/**/templates/**"),
            ),
        ),
        Lint("chart schema and README are generated", (*python, "ci.chart", "--check")),
        Lint(
            "docs/capacity.md and docs/rollout.md are generated", (*python, "ci.capacity", "pages", "--check")
        ),
        Lint(
            "docs/metrics.md and the dashboards are generated",
            (*python, "ci.monitoring", "generate", "--check"),
        ),
        Lint("alerts have runbooks, cases, thresholds and metrics", (*python, "ci.monitoring", "check")),
        Lint("actionlint", (str(actionlint / "actionlint"), "-shellcheck=", "-pyflakes=")),
        Lint(
            "check-jsonschema",
            (
                *(*python, "check_jsonschema", "--quiet", "--data-transform", "gitlab-ci"),
                *("--builtin-schema", "vendor.gitlab-ci", ".gitlab-ci.yml"),
            ),
        ),
        Lint("zizmor", (zizmor, "--offline", "--quiet", "--no-progress", ".github/workflows")),
        Lint("helm lint", (str(helm / "helm"), "lint", "--strict", "--quiet", "charts/lighthouse")),
    ]


def _tracked(*patterns: str) -> list[str]:
    listed = run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns], cwd=ROOT
    ).splitlines()
    if not listed:
        raise Failure(f"git knows no file like {' '.join(patterns)} in {ROOT}: run this in a checkout.")
    return [name for name in listed if (ROOT / name).exists()]


def _typed() -> list[str]:
    return [name for name in _tracked("*.py") if not name.endswith(("_pb2.py", "_pb2_grpc.py"))]


def lint(steps: Steps, helm: Path) -> None:
    """Run every linter; a `Failure` holds what all of them found."""
    actionlint = go_tool(ACTIONLINT, steps)
    found: list[str] = []

    def check(one: Lint) -> None:
        with steps.step(one.name):
            result = subprocess.run(one.argv, cwd=ROOT, capture_output=True, text=True, check=False)
            if result.returncode:
                found.append(f"{one.name}:\n{result.stdout}{result.stderr}")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, _lints(helm, actionlint)))
    if found:
        raise Failure("\n\n".join(found))


def program(arguments: Sequence[str], programs: Mapping[str, Path]) -> int:
    """Run a Python program of the tests with the given environment variables and return its exit code."""
    env = dict(os.environ, **{name: str(path) for name, path in programs.items()})
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, check=False).returncode


# A machine that stalls for a while fails a handful of the tests that time what they do, and a defect fails again.
AGAIN = ("--last-failed", "--last-failed-no-failures=none")


def pytest_twice(arguments: Sequence[str], *, helm: Path, helm3: Path, live: bool) -> int:
    """As `pytest`, and what failed is run once more by itself; the exit code is then that of the second run."""
    code = pytest(arguments, helm=helm, helm3=helm3, live=live)
    if code != TESTS_FAILED:
        return code
    print("What failed is run once more:", flush=True)
    return pytest([*arguments, *AGAIN], helm=helm, helm3=helm3, live=live)


def pytest(arguments: Sequence[str], *, helm: Path, helm3: Path, live: bool) -> int:
    """Run pytest with the tools at hand and return its exit code."""
    env = dict(os.environ, HELM=str(helm / "helm"), HELM3=str(helm3 / "helm"), KUBECTL=str(helm / "kubectl"))
    if live:
        env["KUBECONFIG"] = str(KUBECONFIG)
    command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={CACHE / 'pytest'}", *arguments]
    if os.environ.get("EVIDENCE"):
        command += ["--evidence", str(ROOT / "docs" / "evidence.md")]
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
