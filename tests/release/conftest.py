"""A signed release, built once from this checkout, and the steps of its instructions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ci import toolchain
from ci.bundle.chart import version
from ci.console import Steps, run
from ci.scan import targets
from ci.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SIGNER = "Lighthouse test <test@lighthouse.example>"


@dataclass(frozen=True)
class Keys:
    """OpenPGP keys made for a test: a secret keyring and a public one."""

    secret: Path
    public: Path


def make_keys(folder: Path, passphrase: str = "") -> Keys:
    """A new key, in the forms that Helm reads."""
    home = folder / "gnupg"
    home.mkdir(mode=0o700, parents=True)
    gpg: list[str | Path] = ["gpg", "--homedir", home, "--batch", "--quiet"]
    gpg += ["--pinentry-mode", "loopback", "--passphrase", passphrase]
    try:
        run([*gpg, "--quick-generate-key", SIGNER, "rsa3072", "sign", "never"])
        keys = Keys(folder / "secret.gpg", folder / "public.gpg")
        run([*gpg, "--output", keys.secret, "--export-secret-keys", SIGNER])
        run([*gpg, "--output", keys.public, "--export", SIGNER])
    finally:
        run(["gpgconf", "--homedir", home, "--kill", "all"])
    return keys


@dataclass(frozen=True)
class Release:
    """What `make release` wrote, and its one file unpacked."""

    output: Path
    bundle: Path
    keys: Keys

    @property
    def package(self) -> Path:
        return self.output / f"lighthouse-{version()}.tgz"

    def step(
        self, name: str, env: Mapping[str, str], path: tuple[Path, ...] = (), before: tuple[str, ...] = ()
    ) -> str:
        """Run the commands of one step of LOAD.md as they stand there; returns what they print.

        `path` is searched for programs first, and `before` is a program that runs the shell elsewhere.
        """
        (commands,) = re.findall(
            rf"^```sh {name}\n(.*?)^```", (self.bundle / "LOAD.md").read_text(), re.M | re.S
        )
        environment = {**os.environ, **env}
        environment["PATH"] = ":".join([*map(str, path), environment["PATH"]])
        done = subprocess.run(
            [*before, "sh", "-euc", commands],
            cwd=self.bundle,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def helm() -> Path:
    """The folder with helm and kubectl."""
    return toolchain.helm_and_kubectl(Steps(quiet=True))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout with its history, all of them committed: what a signed release is made from."""
    folder = tmp_path_factory.mktemp("checkout") / "tree"
    run(["git", "clone", "--quiet", ROOT, folder])
    run(["git", "rm", "-r", "--quiet", "."], cwd=folder)
    targets.copy_sources(folder)
    run(["git", "add", "--all"], cwd=folder)
    author = ["-c", "user.name=test", "-c", "user.email=test@lighthouse.example"]
    run(["git", *author, "commit", "--quiet", "--allow-empty", "--message", "As it is"], cwd=folder)
    return folder


@pytest.fixture(scope="session")
def release(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release signed by a key made for it."""
    folder = tmp_path_factory.mktemp("release")
    keys = make_keys(folder / "keys")
    output = folder / "output"
    words = [f"SIGN_KEYRING={keys.secret}", f"SIGN_KEY={SIGNER}", f"RELEASE={output}"]
    done = subprocess.run(["make", "release", *words], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (bundle,) = output.glob("*-airgap.tar")
    with tarfile.open(bundle) as archive:
        archive.extractall(folder, filter="data")
    return Release(output, folder / bundle.stem, keys)


def ci(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m ci.bundle` with these words."""
    command = [sys.executable, "-m", "ci.bundle", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
