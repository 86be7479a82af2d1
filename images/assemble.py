"""Assembles the root file system of an image from installed Debian packages: those named, and what they need.

    python3 assemble.py FOLDER PACKAGE... [--tree PATH]...

What only installs packages stays out: no dpkg, apt, debconf or Perl. Neither does a shell come in, unless its package
is named. The result says of itself what it holds, in /var/lib/dpkg/status.d, which scanners read.
"""

from __future__ import annotations

import argparse
import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

DPKG = Path("/var/lib/dpkg")
# Needed by maintainer scripts or for what no image of ours does.
LEFT_OUT = {"adduser", "debconf", "debconf-2.0", "dpkg", "install-info", "mawk", "openssl", "perl-base"}
LEFT_OUT |= {"libdb5.3", "libncursesw6", "libnsl2", "libreadline8", "libtinfo6", "libtirpc3"}
LEFT_OUT |= {"init-system-helpers", "lsb-base", "media-types", "readline-common", "sysvinit-utils"}
# Made by maintainer scripts, hence in no package's list.
GENERATED = ("etc/ssl/certs", "usr/lib/ssl", "etc/nsswitch.conf", "etc/ld.so.conf", "etc/ld.so.conf.d")
UNUSED = re.compile(
    r"/usr/share/doc/(?!.*/copyright/)|/usr/share/(man|info|locale|lintian|bug|bash-completion|menu|pixmaps|perl5)/"
    r"|/usr/lib/python3\.\d+/(ensurepip|idlelib|lib2to3|pydoc_data|test|tkinter|turtledemo|distutils)/"
    r"|/usr/lib/python3\.\d+/lib-dynload/(_curses|_dbm|_tkinter|nis|readline)"
    r"|/usr/share/python3?/|/usr/lib/x86_64-linux-gnu/(gconv|audit)/|/__pycache__/|/etc/(cron|init)\.|/lib/systemd/"
    r"|/var/tmp/|/usr/bin/py3|/usr/sbin/update-ca-certificates/"
)
USERS = "root:x:0:0:root:/root:/sbin/nologin\nlighthouse:x:65532:65532:lighthouse:/:/sbin/nologin\n"
GROUPS = "root:x:0:\nlighthouse:x:65532:\n"


def installed() -> dict[str, str]:
    """The paragraph of each installed package in dpkg's status file."""
    paragraphs = (DPKG / "status").read_text().strip().split("\n\n")
    return {field(one, "Package"): one for one in paragraphs if "\nStatus: install ok installed\n" in one}


def field(paragraph: str, name: str) -> str:
    """A field of a paragraph on one line; empty if it has none."""
    found = re.search(rf"^{name}:(.*(?:\n .*)*)", paragraph, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def closure(names: list[str], packages: dict[str, str]) -> list[str]:
    """The named packages and all that they need, but for what is left out."""
    provided = {
        name.split()[0]: package
        for package, paragraph in packages.items()
        for name in filter(None, field(paragraph, "Provides").split(", "))
    }
    found: set[str] = set()
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name in found or name in LEFT_OUT:
            continue
        if name not in packages:
            sys.exit(f"The package {name} is not installed in this stage: install it, or do not ask for it.")
        found.add(name)
        needs = f"{field(packages[name], 'Depends')}, {field(packages[name], 'Pre-Depends')}"
        for need in filter(None, needs.split(", ")):
            choices = [re.split(r"[ :(]", choice.strip())[0] for choice in need.split("|")]
            known = [provided.get(choice, choice) for choice in choices]
            wanted += [choice for choice in known if choice in packages][:1] or [choices[0]]
    return sorted(found)


def files_of(package: str, paragraph: str) -> list[str]:
    """The paths that a package installed, without what no container of ours reads."""
    qualified = DPKG / "info" / f"{package}:{field(paragraph, 'Architecture')}.list"
    listed = qualified if qualified.exists() else DPKG / "info" / f"{package}.list"
    return [path for path in listed.read_text().splitlines() if not UNUSED.search(f"{path}/")]


def copy(source: Path, root: Path) -> None:
    """Copy a file, link or folder's own entry to the same place below `root`."""
    target = root / source.relative_to("/")
    if source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_symlink():
            target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        target.chmod(source.stat().st_mode & 0o1777)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(source.stat().st_mode & 0o1777)  # nothing raises who runs it


def copy_tree(source: Path, root: Path) -> None:
    """Copy a folder with all that is in it."""
    for folder, folders, names in os.walk(source):
        copy(Path(folder), root)
        for name in [*folders, *names]:
            if not (Path(folder, name).is_dir() and not Path(folder, name).is_symlink()):
                copy(Path(folder, name), root)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("packages", nargs="+")
    parser.add_argument(
        "--tree", type=Path, action="append", default=[], help="a folder that no package owns"
    )
    arguments = parser.parse_args()
    root: Path = arguments.root
    root.mkdir()
    for link in ("bin", "sbin", "lib", "lib64"):
        copy(Path("/", link), root)
    packages = installed()
    status = root / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for name in closure(arguments.packages, packages):
        for path in files_of(name, packages[name]):
            resolved = Path(path).parent.resolve() / Path(path).name
            copy(resolved, root)
        (status / name).write_text(packages[name] + "\n")
    for tree in (*(Path("/", name) for name in GENERATED), *arguments.tree):
        if tree.is_dir():
            copy_tree(tree, root)
        else:
            copy(tree, root)
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    # Bytecode that is never checked against its source: the root file system is read-only.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for library in root.glob("usr/lib/python3.*"):
        if not compileall.compile_dir(library, quiet=1, stripdir=str(root), invalidation_mode=mode):
            sys.exit(f"{library} has modules that cannot be compiled.")
    subprocess.run(["/sbin/ldconfig", "-r", str(root)], check=True)
    shutil.rmtree(root / "var/cache/ldconfig", ignore_errors=True)


if __name__ == "__main__":
    main()
