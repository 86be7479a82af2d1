"""Images of the operators for the local cluster, from programs built here and Debian's packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci.cache import digest, tree_digest
from ci.images import Image, container_image, files_image, host_certificates, program_image
from ci.settings import ROOT
from ci.toolchain import OPERATOR_TOOLS, VERSITYGW, go_tool

if TYPE_CHECKING:
    from pathlib import Path

    from ci.console import Steps

HERE = ROOT / "ci" / "operators"
CERT_MANAGER_ROLES = ("controller", "webhook", "cainjector", "acmesolver")


@dataclass(frozen=True)
class LocalImages:
    """Every image that the operators and their tests need on the local cluster's nodes."""

    cert_manager: dict[str, Image]
    cloudnative_pg: Image
    barman_plugin: Image
    barman_sidecar: Image
    postgresql: Image
    versitygw: Image

    def all(self) -> list[Image]:
        """All of them."""
        others = (self.cloudnative_pg, self.barman_plugin, self.barman_sidecar)
        return [*self.cert_manager.values(), *others, self.postgresql, self.versitygw]


def cert_manager(steps: Steps) -> dict[str, Image]:
    """The images of cert-manager alone, by their roles."""
    (tool,) = (tool for tool in OPERATOR_TOOLS if tool.name == "cert-manager")
    programs = go_tool(tool, steps)
    return {role: _cert_manager(steps, programs, role) for role in CERT_MANAGER_ROLES}


def build(steps: Steps, base: Image) -> LocalImages:
    """Build the programs and the images, or take them from the cache."""
    programs = {tool.name: go_tool(tool, steps) for tool in (*OPERATOR_TOOLS, VERSITYGW)}
    return LocalImages(
        cert_manager(steps),
        _cloudnative_pg(steps, programs["cloudnative-pg"] / "manager"),
        program_image(steps, "plugin-barman-cloud", programs["barman-plugin"] / "manager"),
        _barman_sidecar(steps, base, programs["barman-plugin"]),
        _postgresql(steps, base),
        program_image(steps, "versitygw", programs["versitygw"] / "versitygw"),
    )


def _cert_manager(steps: Steps, programs: Path, role: str) -> Image:
    """One of cert-manager's: the same program, told by the entrypoint which one it is."""
    program = programs / "allinone"

    def fill(root: Path) -> None:
        (root / "cert-manager").hardlink_to(program)

    entrypoint = ["/cert-manager", role]
    return files_image(steps, f"cert-manager-{role}", digest(str(program)), fill, entrypoint=entrypoint)


def _cloudnative_pg(steps: Steps, manager: Path) -> Image:
    """The operator; instances take its program from `operator/manager_<architecture>`, relative to the work folder."""

    def fill(root: Path) -> None:
        (root / "operator").mkdir()
        (root / "operator" / "manager_amd64").hardlink_to(manager)
        (root / "manager").symlink_to("operator/manager_amd64")
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)

    return files_image(steps, "cloudnative-pg", digest(str(manager)), fill, entrypoint=["/manager"])


def _barman_sidecar(steps: Steps, base: Image, programs: Path) -> Image:
    folder = HERE / "barman-sidecar"
    key = digest(base.reference, tree_digest([folder], ROOT), str(programs))
    reference = f"localhost/lighthouse-cluster/barman-sidecar:{key}"
    options = [*host_certificates(), f"--build-context=programs={programs}"]
    file = folder / "Containerfile"
    return container_image(steps, "barman-sidecar", reference, file, folder, base, *options)


def _postgresql(steps: Steps, base: Image) -> Image:
    """The tag begins with the major version, by which CloudNativePG knows what it runs."""
    folder = HERE / "postgresql"
    key = digest(base.reference, tree_digest([folder], ROOT))
    reference = f"localhost/lighthouse-cluster/postgresql:15-{key}"
    return container_image(steps, "postgresql", reference, folder / "Containerfile", folder, base)
