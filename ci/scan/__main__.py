"""`make scan`: prove that the scanners find what is planted, scan everything of ours, and judge it by policies/scan."""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from ci import images, preflight, toolchain
from ci.console import Failure, Steps, fail, interrupt_on_sigterm
from ci.scan import canary, database, inventory, policy, reports, targets
from ci.scan.advisories import PipAudit
from ci.scan.checkov import Checkov
from ci.scan.trivy import DEBIAN, GO, PYTHON, Expected, Trivy
from ci.settings import CACHE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci.scan.findings import Scan

POLICIES = ROOT / "policies" / "scan"
CHECKS = ROOT / "policies" / "checkov"
KINDS = ("images", "locks", "manifests", "sources")


@dataclass(frozen=True)
class Scanners:
    """The scanners, each of which must find what is planted before it is asked about anything else."""

    trivy: Trivy
    pip_audit: PipAudit
    checkov: Checkov

    def prove(self, kinds: tuple[str, ...], folder: Path) -> None:
        """Raise `Failure` if a scanner of these kinds misses a planted finding."""
        proofs: dict[str, Callable[[], None]] = {
            "images": lambda: self._prove_image(folder / "image"),
            "sources": lambda: self._prove_secret(folder / "sources"),
            "manifests": lambda: self._prove_manifests(folder / "manifest.yaml"),
            "locks": lambda: self._prove_lock(folder / "requirements.txt"),
        }
        for kind in kinds:
            proofs[kind]()

    def _prove_image(self, folder: Path) -> None:
        layout = canary.write_layout(folder, canary.canary_files())
        scan = self.trivy.image("canary image", layout, Expected(packages=(DEBIAN, PYTHON, GO)))
        planted = {f"{name} {version}": ("", f"{name} {version}") for name, version in canary.PACKAGES}
        canary.require(scan, {**planted, "a key in srv/canary.ini": (canary.SECRET_RULE, "srv/canary.ini")})

    def _prove_secret(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "canary.ini").write_text(canary.secret_file())
        scan = self.trivy.secrets("canary sources", folder)
        canary.require(scan, {"a key in canary.ini": (canary.SECRET_RULE, "canary.ini")})

    def _prove_manifests(self, file: Path) -> None:
        file.write_text(canary.MANIFEST)
        for scan in (
            *self.checkov.manifests({"canary manifest": file}),
            self.trivy.manifests("canary manifest", file),
        ):
            canary.require(
                scan, {"a privileged pod": (canary.PRIVILEGED_RULES[scan.scanner], "Pod.canary.canary")}
            )

    def _prove_lock(self, file: Path) -> None:
        file.write_text(canary.LOCK)
        canary.require(self.pip_audit.lock("canary lock", file), {"pyyaml 5.3": ("", "pyyaml 5.3")})


def _scan(
    scanners: Scanners, kind: str, steps: Steps, folder: Path, listed: inventory.Inventory
) -> list[Scan]:
    if kind == "images":
        preflight.check_root()
        expected = {name: listed.expected(name) for name in images.RELEASED}
        base = images.base_image(steps)
        built = {name: images.product_image(steps, name, base) for name in images.RELEASED}
        return [
            scanners.trivy.image(name, targets.unpack(image.archive, folder / name), expected[name])
            for name, image in built.items()
        ]
    if kind == "locks":
        return [scanners.pip_audit.lock(name, file) for name, file in targets.locks().items()]
    if kind == "manifests":
        renders = targets.render(toolchain.helm_and_kubectl(steps) / "helm", folder / "renders")
        second = [scanners.trivy.manifests(name, file) for name, file in renders.items()]
        return [*scanners.checkov.manifests(renders), *second]
    return [scanners.trivy.secrets("sources", targets.copy_sources(folder / "sources"))]


@click.command()
@click.option(
    "--only",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    default=KINDS,
    help="What to scan; may be repeated.",
)
@click.option(
    "--database",
    "given",
    type=click.Path(path_type=Path),
    help="A folder with trivy.db and metadata.json, in place of fetching them.",
)
@click.option("--osv-url", default="", help="The address of an OSV query service, in place of osv.dev's.")
@click.option(
    "--policies", type=click.Path(path_type=Path), default=POLICIES, help="Thresholds and exceptions."
)
@click.option(
    "--reports", "output", type=click.Path(path_type=Path), default=ROOT / "build" / "scan", help="A folder."
)
def main(kinds: tuple[str, ...], given: Path | None, osv_url: str, policies: Path, output: Path) -> None:
    """Scan images, locks, manifests and sources; fails on what policies/scan does not allow."""
    interrupt_on_sigterm()
    try:
        with Steps() as steps, tempfile.TemporaryDirectory(prefix="lighthouse-scan-") as folder:
            passed = scan(steps, Path(folder), kinds, given, osv_url, policies, output)
    except Failure as failure:
        fail(str(failure))
    if not passed:
        fail(
            f"The scan failed: see the findings above or {output / 'scan.txt'}, and policies/scan for what may pass."
        )


def scan(
    steps: Steps,
    folder: Path,
    kinds: tuple[str, ...],
    given: Path | None,
    osv_url: str,
    policies: Path,
    output: Path,
) -> bool:
    """Scan, write the reports, and say whether nothing fails; `folder` is for what is needed meanwhile."""
    now = datetime.datetime.now(tz=datetime.UTC)
    thresholds = policy.read_thresholds(policies / "thresholds.yaml")
    exceptions = policy.read_exceptions(policies / "exceptions.yaml")
    listed = inventory.read_inventory(policies / "images.yaml")
    if unknown := sorted(listed.buckets() - set(thresholds.database_minimum_entries)):
        raise Failure(
            f"{policies / 'thresholds.yaml'} asks no entries of {', '.join(unknown)}, which {policies / 'images.yaml'} "
            "needs: name them under databaseMinimumEntries."
        )
    program = toolchain.go_tool(toolchain.TRIVY, steps) / "trivy"
    lister = toolchain.go_tool(toolchain.TRIVY_DB, steps) / "trivy-db"
    python = toolchain.scanners(steps)
    source = given or CACHE / "trivy" / "db"
    if "images" in kinds:
        with steps.step("vulnerability database") as step:
            if not given:
                database.download(program, CACHE / "trivy")
            age = datetime.timedelta(hours=thresholds.database_maximum_age_hours)
            least = thresholds.database_minimum_entries
            known = database.check_database(lister, source, age, least, now)
            step.note(f"of {known.updated:%Y-%m-%d %H:%M}, {known.entries} entries")
    scanners = Scanners(Trivy(program, source), PipAudit(python, osv_url), Checkov(python, CHECKS))
    with steps.step("the scanners find what is planted"):
        (folder / "planted").mkdir()
        scanners.prove(kinds, folder / "planted")
    scans: list[Scan] = []
    for kind in kinds:
        with steps.step(f"scan {kind}") as step:
            found = _scan(scanners, kind, steps, folder, listed)
            step.note(f"{len(found)} scanned")
            scans += found
    judgement = policy.judge(scans, thresholds, exceptions, now.date())
    if "manifests" in kinds:
        named = {
            image
            for file in (folder / "renders").iterdir()
            for image in inventory.images_of(file.read_text())
        }
        unlisted = inventory.problems(listed, named, now.date())
        judgement = dataclasses.replace(judgement, problems=(*judgement.problems, *unlisted))
    reports.write_reports(output, scans, judgement)
    reports.print_table(Console(), scans, judgement)
    return judgement.passed


if __name__ == "__main__":
    main()
