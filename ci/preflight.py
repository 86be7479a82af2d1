"""What the local cluster needs of the machine; each lack is one sentence."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from ci.console import Failure, Steps, run
from ci.images import free_disk
from ci.settings import CACHE, VERSIONS
from ci.toolchain import go_version

COLD_DISK = 14 * 2**30  # compiler cache, modules, programs and images of a first run
WARM_DISK = 4 * 2**30
MEMORY = 4 * 2**30
FILE_SYSTEMS = ("overlay", "fuse", "tmpfs")


def check_root() -> None:
    """Raise `Failure` for anyone but root."""
    if os.geteuid() != 0:
        raise Failure(
            f"The local cluster needs root for namespaces and mounts, and this is user {os.geteuid()}: run the command with sudo."
        )


def check_machine() -> None:
    """Raise `Failure` for the first thing that is missing and cannot be installed."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Failure(
            f"The local cluster needs Linux on x86_64, and this is {platform.system()} on {platform.machine()}: "
            "use 'make install' with the kubeconfig of another cluster."
        )
    check_root()
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    for name in FILE_SYSTEMS:
        if name not in known:
            raise Failure(
                f"The kernel has no file system '{name}': load it with 'modprobe {name}' or use a kernel that has it."
            )
    check_memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    go_version()
    check_disk(free_disk(), warm=(CACHE / "tools" / "kubernetes").is_dir())


def check_memory(memory: int) -> None:
    """Raise `Failure` when `memory` bytes will not do."""
    if memory < MEMORY:
        raise Failure(
            f"The machine has {memory / 2**30:.1f} GiB of memory and the local cluster needs {MEMORY >> 30}: use a larger one."
        )


def check_disk(free: int, *, warm: bool) -> None:
    """Raise `Failure` when `free` bytes will not do."""
    needed = WARM_DISK if warm else COLD_DISK
    if free < needed:
        raise Failure(
            f"{CACHE} has {free / 2**30:.1f} GiB free and {needed >> 30} GiB are needed: "
            "free some, or set LIGHTHOUSE_CACHE to a folder on a larger disk."
        )


def install_packages(steps: Steps) -> None:
    """Install the Debian packages that are missing."""
    packages = VERSIONS["debian"]["host_packages"]
    installed = _installed(packages)
    missing = [name for name in packages if name not in installed]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Failure(
            f"Programs of the packages {', '.join(missing)} are needed and this system has no apt-get: install them by its own means."
        )
    with steps.step(f"Debian packages {' '.join(missing)}"):
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        log = CACHE / "logs" / "apt.log"
        run(["apt-get", "update"], env=env, log=log, hint="Check that Debian's packages are reachable.")
        run(["apt-get", "install", "--yes", "--no-install-recommends", *missing], env=env, log=log)


def _installed(packages: list[str]) -> set[str]:
    if not shutil.which("dpkg-query"):
        return set()
    status = Path("/var/lib/dpkg/status").read_text()
    present: set[str] = set()
    for paragraph in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " "
        )
        if fields.get("Status") == "install ok installed":
            present.add(fields["Package"])
    return present & set(packages)
