"""The commands in the image's PATH run the installed package and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.images.agent.hooks import CALL, assert_blocked
from tests.images.agent.support import REPOSITORY


@pytest.fixture(scope="module")
def launchers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the launchers, made to use a virtual environment instead of the image's."""
    folder = tmp_path_factory.mktemp("opt")
    venv.create(folder / "environment", with_pip=False)
    (site,) = (folder / "environment").glob("lib/python*/site-packages")
    packages = Path(pytest.__file__).parents[1]
    (site / "packages.pth").write_text(
        f"{packages}\n{REPOSITORY / 'images' / 'agent'}\n{REPOSITORY / 'images' / 'bridge'}\n"
    )
    for name in ("lighthouse", "lighthouse-hook", "lighthouse-agent"):
        text = (REPOSITORY / "images" / "agent" / name).read_text()
        assert "/opt/lighthouse/bin/python" in text
        (folder / name).write_text(text.replace("/opt/lighthouse", str(folder / "environment")))
        (folder / name).chmod(0o755)
    return folder


def run(command: list[str | Path], call: object, cwd: Path, env: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        command, input=json.dumps(call).encode(), cwd=cwd, env=dict(env), capture_output=True, check=False
    )
    return done.returncode, done.stderr.decode()


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A current folder and an environment full of modules that would let everything through."""
    for name in ("json.py", "lighthouse_agent/__init__.py", "urllib3/__init__.py", "sitecustomize.py"):
        module = tmp_path / "project" / name
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text("import os; os._exit(0)\n")
    project = tmp_path / "project"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(project), "PYTHONSTARTUP": str(project / "json.py")}
    return project, {
        **env,
        "LIGHTHOUSE_BRIDGE_URL": "http://127.0.0.1:9",
        "LIGHTHOUSE_KEY_FILE": "/etc/hostname",
    }


def test_the_hook_ignores_modules_of_the_project(
    launchers: Path, hostile: tuple[Path, dict[str, str]]
) -> None:
    project, env = hostile
    assert_blocked(run([launchers / "lighthouse-hook"], CALL, project, env), "could not be judged")
    assert_blocked(run([launchers / "lighthouse-agent", "hook"], CALL, project, env), "could not be judged")


def test_the_agent_command_shows_its_help(launchers: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [launchers / "lighthouse-agent", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for command in ("hook", "load", "run", "wait-ready"):
        assert command in done.stdout


def test_the_command_line_ignores_modules_of_the_project(
    launchers: Path, hostile: tuple[Path, dict[str, str]]
) -> None:
    project, env = hostile
    rules = REPOSITORY / "policies" / "rules"
    done = subprocess.run(
        [launchers / "lighthouse", "rules", "validate", rules],
        cwd=project,
        env=env,
        capture_output=True,
        check=True,
    )
    assert b"can be used" in done.stdout


@pytest.mark.heavy  # builds a package
def test_pip_installs_the_command_line_and_the_hook(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("images/agent", "images/bridge/lighthouse_bridge/decisions"):
        shutil.copytree(REPOSITORY / folder, source / folder)
    shutil.copy(REPOSITORY / "pyproject.toml", source)
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    python = tmp_path / "venv" / "bin" / "python"
    # What it is built with and depends on, as the lock has it, is in this interpreter's environment.
    (site / "packages.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    options = ["--quiet", "--no-deps", "--no-build-isolation"]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(source)]
    subprocess.run(install, cwd=tmp_path, check=True)
    rules = REPOSITORY / "policies" / "rules"
    done = subprocess.run(
        [python.with_name("lighthouse"), "rules", "validate", rules],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert b"can be used" in done.stdout
    assert_blocked(run([python.with_name("lighthouse-hook")], CALL, tmp_path, {}), "could not be judged")
