"""The cache of built things: whole results only, whoever is killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MAKE = """
import sys, time
from ci.cache import cached
def make(folder):
    (folder / "first").write_text(sys.argv[2])
    print("started", flush=True)
    time.sleep(float(sys.argv[3]))
    (folder / "second").write_text(sys.argv[2])
folder, hit = cached("kind", sys.argv[1], make, keep=2)
print(sorted(f.name for f in folder.iterdir()), (folder / "first").read_text(), hit)
"""


def start(cache: Path, key: str, value: str, seconds: float = 0) -> subprocess.Popen[str]:
    env = {**os.environ, "LIGHTHOUSE_CACHE": str(cache)}
    argv = [sys.executable, "-c", MAKE, key, value, str(seconds)]
    return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


def last_line(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return out.splitlines()[-1]


def test_killed_build_leaves_no_half_result(tmp_path: Path) -> None:
    killed = start(tmp_path, "a", "old", 60)
    assert killed.stdout
    assert killed.stdout.readline() == "started\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "kind" / "a").exists()
    assert last_line(start(tmp_path, "a", "new")) == "['first', 'second'] new False"
    assert list((tmp_path / "kind").glob("*.partial")) == []


def test_second_builder_waits_and_takes_the_first_ones_result(tmp_path: Path) -> None:
    first = start(tmp_path, "a", "first", 1)
    assert first.stdout
    first.stdout.readline()
    second = start(tmp_path, "a", "second")
    assert last_line(first) == "['first', 'second'] first False"
    assert last_line(second) == "['first', 'second'] first True"


def test_results_used_longest_ago_go(tmp_path: Path) -> None:
    for key in ("a", "b", "c"):
        last_line(start(tmp_path, key, key))
        time.sleep(0.02)
    assert sorted(path.name for path in (tmp_path / "kind").iterdir() if path.is_dir()) == ["b", "c"]


def test_who_finds_a_lock_held_says_so_and_waits(tmp_path: Path) -> None:
    hold = f"""
import pathlib
from ci.cache import locked
with locked(pathlib.Path({str(tmp_path / "lock")!r}), "somebody is here"):
    print("mine", flush=True)
    input()
"""

    def start_holder() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        argv = [sys.executable, "-c", hold]
        return subprocess.Popen(argv, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe)

    with start_holder() as first:
        assert first.stdout
        assert first.stdout.readline() == "mine\n"
        with start_holder() as second:
            assert second.stderr
            assert second.stdout
            assert second.stderr.readline() == "somebody is here\n"
            assert select.select([second.stdout], [], [], 0.2)[0] == []
            assert first.communicate("\n", timeout=30) == ("", "")
            assert second.communicate("\n", timeout=30) == ("mine\n", "")
