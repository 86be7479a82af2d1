"""`make release`: the chart by digests, bills of materials, checksums, signatures, and all of it in one file."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ci import images, preflight, toolchain
from ci.bundle import archive, others
from ci.bundle.chart import chart_images, pinned_chart, version
from ci.bundle.signing import Key
from ci.console import Failure, Steps, fail, interrupt_on_sigterm, run
from ci.scan.inventory import read_inventory
from ci.scan.targets import locks, unpack
from ci.scan.trivy import Trivy
from ci.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "build" / "release")
@click.option("--keyring", type=click.Path(path_type=Path), help="A file with the secret key.")
@click.option("--key", "name", default="", help="The key's user id.")
@click.option("--passphrase-file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--unsigned", is_flag=True, help="Make a release that nobody signs, to try it.")
@click.option(
    "--operators",
    type=click.Path(path_type=Path),
    help="A folder with operators' manifests, to take along with the images that they and the chart name.",
)
@click.option("--mirror", default="", help="The registry that has these images, in place of their own.")
def main(
    output: Path,
    keyring: Path | None,
    name: str,
    passphrase_file: Path | None,
    unsigned: bool,
    operators: Path | None,
    mirror: str,
) -> None:
    """Build a release from this checkout."""
    interrupt_on_sigterm()
    try:
        preflight.check_root()
        key = _key(keyring, name, passphrase_file, unsigned)
        with Steps() as steps, tempfile.TemporaryDirectory(prefix="lighthouse-release-") as folder:
            bundle = release(steps, key, Path(folder), output, operators, mirror)
    except Failure as failure:
        fail(str(failure))
    click.echo(f"{bundle}\n{output / archive.SUMS}")


def _key(keyring: Path | None, name: str, passphrase_file: Path | None, unsigned: bool) -> Key | None:
    if keyring and name:
        if changed := archive.changes():
            raise Failure(
                f"A signed release is made from a commit, and {', '.join(changed[:5])} differ from it: commit them, "
                "or give UNSIGNED=1 in place of the key to make one only to try it."
            )
        return Key(keyring, name, passphrase_file)
    if unsigned and not keyring and not name:
        return None
    raise Failure(
        "A release is signed: give SIGN_KEYRING and SIGN_KEY, or UNSIGNED=1 to make one only to try it."
    )


def release(
    steps: Steps, key: Key | None, folder: Path, output: Path, operators: Path | None = None, mirror: str = ""
) -> Path:
    """Build all files of the release in `output`; returns the one for sites without a network.

    With a folder of operators' manifests, these and the images of others are in it; `mirror` is the registry that has
    the images, if not their own.
    """
    inventory = read_inventory(ROOT / "policies" / "scan" / "images.yaml")
    manifests, named = others.read_operators(operators) if operators else ([], [])
    others.known_images(named, inventory)
    helm = toolchain.helm_and_kubectl(steps) / "helm"
    trivy = Trivy(toolchain.go_tool(toolchain.TRIVY, steps) / "trivy", folder / "no-database")
    base = images.base_image(steps)
    built = {name: images.product_image(steps, name, base) for name in images.RELEASED}
    bundle = folder / "bundle"
    layouts = {}
    for name, image in built.items():
        layouts[name] = unpack(image.archive, bundle / "images" / name)
        archive.name_image(layouts[name], f"localhost/lighthouse/{name}")
    with steps.step(f"chart {version()} with {len(layouts)} digests"):
        digests = {name: archive.image_digest(layout) for name, layout in layouts.items()}
        chart = pinned_chart(helm, digests, folder)
        run([helm, "package", chart, "--destination", bundle])
        package = bundle / f"lighthouse-{version()}.tgz"
        archive.settle(package)
        if key:
            key.sign_chart(helm, package)
    foreign: dict[others.ForeignImage, str] = {}
    if manifests:
        wanted = others.known_images([*named, *chart_images(helm, chart)], inventory)
        others.copy_manifests(manifests, bundle / "operators")
        crane = toolchain.go_tool(toolchain.CRANE, steps) / "crane"
        for one in wanted:
            with steps.step(f"image {one.reference}"):
                foreign[one] = others.pull(crane, one, mirror, bundle / "images" / one.name)
    with steps.step("bills of materials"):
        (bundle / "sbom").mkdir()
        for name, layout in layouts.items():
            (bundle / "sbom" / f"{name}.cdx.json").write_bytes(trivy.sbom(layout))
    subjects = {f"lighthouse/{name}": digest.removeprefix("sha256:") for name, digest in digests.items()}
    subjects[package.name] = archive.sha256(package)
    materials = {name: archive.sha256(path) for name, path in locks().items()}
    materials[base.reference] = archive.sha256(base.archive)
    materials |= {one.reference: digest.removeprefix("sha256:") for one, digest in foreign.items()}
    statement = archive.provenance(subjects, materials)
    (bundle / "provenance.json").write_text(json.dumps(statement, indent=1))
    words = {"version": version(), "names": " ".join(layouts)}
    (bundle / "LOAD.md").write_text(_fill(words | others.instructions(layouts, list(foreign), inventory)))
    _seal(bundle, key)
    with steps.step("one file for sites without a network") as step:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        file = output / f"lighthouse-{version()}-airgap.tar"
        archive.pack(bundle, file)
        step.note(f"{file.stat().st_size / 1e6:.0f} MB")
    for path in (package, package.with_name(f"{package.name}.prov"), bundle / "provenance.json"):
        if path.exists():
            shutil.copy2(path, output)
    shutil.copytree(bundle / "sbom", output / "sbom")
    _seal(output, key)
    return file


def _fill(words: Mapping[str, str]) -> str:
    text = Path(__file__).with_name("load.md").read_text()
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


def _seal(folder: Path, key: Key | None) -> None:
    sums = archive.write_sums(folder)
    if key:
        key.sign(sums)


if __name__ == "__main__":
    main()
