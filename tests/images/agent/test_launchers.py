"""The commands in the image's PATH run the installed package and nothing else."""

import json
import os
import subprocess
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
    venv.create(folder / "lighthouse", with_pip=False)
    (site,) = (folder / "lighthouse").glob("lib/python*/site-packages")
    packages = Path(pytest.__file__).parents[1]
    (site / "packages.pth").write_text(f"{packages}\n{REPOSITORY / 'images' / 'agent'}\n")
    for name in ("lighthouse-hook", "lighthouse-agent"):
        text = (REPOSITORY / "images" / "agent" / name).read_text()
        assert "/opt/lighthouse/bin/python" in text
        (folder / name).write_text(text.replace("/opt/lighthouse", str(folder / "lighthouse")))
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
