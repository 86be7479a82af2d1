"""The other file systems of the comparison, built when they are needed and mounted in the agent's namespace."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from tests.images.fuse_csi.support import Program, eventually

if TYPE_CHECKING:
    from tests.images.fuse_csi.machine import Pod

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lighthouse"
EXAMPLES = Path("/usr/share/doc/libfuse3-dev/examples")


def passthrough() -> Path:
    """libfuse's passthrough_ll, compiled from the example's source in Debian's libfuse3-dev."""
    source, helpers = (_example(name) for name in ("passthrough_ll.c", "passthrough_helpers.h"))
    flags = subprocess.run(
        ["pkg-config", "fuse3", "--cflags", "--libs"], capture_output=True, text=True, check=True
    ).stdout.split()
    key = hashlib.sha256(source + helpers + " ".join(flags).encode()).hexdigest()[:12]
    folder = CACHE / f"passthrough-{key}"
    program = folder / "passthrough_ll"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "passthrough_ll.c").write_bytes(source)
        (folder / "passthrough_helpers.h").write_bytes(helpers)
        draft = folder / "draft"
        subprocess.run(
            ["gcc", "-O2", "-w", "-o", str(draft), str(folder / "passthrough_ll.c"), *flags], check=True
        )
        draft.rename(program)
    return program


def _example(name: str) -> bytes:
    path = EXAMPLES / name
    packed = path.with_name(name + ".gz")
    if packed.exists():
        return gzip.decompress(packed.read_bytes())
    if not path.exists():
        raise SystemExit(f"{path} is missing; install libfuse3-dev.")
    return path.read_bytes()


def pyfuse3_python() -> Path:
    """A Python that has pyfuse3, from hash-locked requirements."""
    requirements = HERE / "requirements.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"pyfuse3-{key}"
    if not (folder / "ready").exists():
        print("building pyfuse3 (half a minute, once)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", str(requirements)], check=True)
        (folder / "ready").touch()
    return folder / "bin" / "python"


class Peer:
    """A file system process mounted at a folder of the agent's namespace."""

    def __init__(self, pod: Pod, arguments: list[str], target: Path, log: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._program = Program(pod.enter(arguments), {"PATH": os.environ["PATH"]}, log)
        try:
            eventually(lambda: pod.run("mountpoint", "-q", str(target)).returncode == 0, 30, str(target))
        except AssertionError:
            self.close()
            raise SystemExit(f"{arguments[0]} did not mount: {log.read_text()[-500:]}") from None

    def close(self) -> None:
        self._program.end(signal.SIGTERM)
