"""A signed release, built once from this checkout, the steps of its instructions, and a site without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci import toolchain
from ci.bundle.chart import version
from ci.console import Steps, run
from ci.release import Cluster
from ci.scan import targets
from ci.settings import ROOT
from tests.registry import serve_registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SIGNER = "Lighthouse test <test@lighthouse.example>"
NETWORKS = {
    "CLUSTER": "lh-airgap",
    "NODE_NETWORK": "10.220.0.0/24",
    "POD_NETWORK": "10.221.0.0/16",
    "SERVICE_NETWORK": "10.222.0.0/16",
}
REGISTRY = "127.0.0.1:5000"  # loopback of the node, the one address that is pulled from without TLS
WHERE = """
from ci.cluster import lifecycle, node
(one,) = lifecycle.current()
print(one.namespace, node.socket(one))
"""


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


def ours(*words: str, check: bool = True) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, **NETWORKS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass(frozen=True)
class Site:
    """A cluster without Lighthouse, its one node's network namespace, and programs that reach them."""

    cluster: Cluster
    programs: Path
    network: tuple[str, ...]

    @property
    def env(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.cluster.kubeconfig)}

    @property
    def path(self) -> tuple[Path, ...]:
        return (self.programs, self.cluster.tools)


@pytest.fixture(scope="module")
def site(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fresh cluster of one node, with DNS and storage and nothing else."""
    ours("-m", "ci", "down")
    try:
        ours("-m", "ci", "up", "--bare")
        namespace, socket = ours("-c", WHERE).split()
        programs = tmp_path_factory.mktemp("programs")
        steps = Steps(quiet=True)
        (containerd,) = [tool for tool in toolchain.CLUSTER_TOOLS if tool.name == "containerd"]
        ctr = programs / "ctr"
        ctr.write_text(
            f'#!/bin/sh\nexec {toolchain.go_tool(containerd, steps)}/ctr --address {socket} "$@"\n'
        )
        ctr.chmod(0o755)
        (programs / "crane").symlink_to(toolchain.go_tool(toolchain.CRANE, steps) / "crane")
        kubeconfig = Path(ours("-m", "ci", "kubeconfig"))
        yield Site(Cluster(helm, kubeconfig), programs, ("nsenter", f"--net=/run/netns/{namespace}", "--"))
    finally:
        ours("-m", "ci", "down")


@pytest.fixture
def registry(site: Site, tmp_path: Path) -> Iterator[str]:
    """An OCI registry on the node's loopback."""
    with serve_registry(tmp_path, REGISTRY, site.network):
        yield REGISTRY


def ci(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m ci.bundle` with these words."""
    command = [sys.executable, "-m", "ci.bundle", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
