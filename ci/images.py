"""Images as OCI archives, built with buildah from the Containerfiles and cached by what is in them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci.cache import cached, digest, locked, tree_digest
from ci.console import Steps, run
from ci.settings import CACHE, ROOT, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# What is copied into an image, beside SHARED; PRODUCT is what runs without further values.
LINKED = ("images/redaction.py", "images/metrics_tls.py")
PRODUCT = {
    "bridge": ("images/bridge", *LINKED, "policies/rules", "policies/patterns"),
    "fuse-csi": ("images/fuse-csi", *LINKED, "images/agent/lighthouse_agent/bridge_pool.py"),
    "agent": ("images/agent", *LINKED, "images/bridge/lighthouse_bridge/decisions"),
}
REDIS = {
    "redis": ("images/redis",),
    "redis-exporter": ("images/redis-exporter",),
    "redis-keeper": ("images/redis-keeper", *LINKED),
}
RELEASED = PRODUCT | REDIS
SHARED = ("images/assemble.py", ".dockerignore")


@dataclass(frozen=True)
class Image:
    """An image in a file: `reference` is the name that pods use, `archive` the OCI archive."""

    reference: str
    archive: Path

    @property
    def tag(self) -> str:
        return self.reference.rpartition(":")[2]

    @property
    def values(self) -> dict[str, str]:
        """The name as the chart's values have it."""
        registry, _, path = self.reference.partition("/")
        return {"registry": registry, "repository": path.rpartition(":")[0], "tag": self.tag}


def buildah(*words: str | Path, log: Path | None = None) -> str:
    """Run buildah with a storage of our own, without a daemon or user namespaces."""
    env = dict(os.environ, BUILDAH_ISOLATION="chroot", STORAGE_DRIVER="overlay")
    storage: list[str | Path] = ["--root", CACHE / "buildah", "--runroot", "/run/lighthouse-buildah"]
    return run(["buildah", *storage, *words], env=env, cwd=ROOT, log=log)


def release_storage() -> int:
    """Remove the containers and mounts that builds, above all killed ones, left; returns how many mounts."""
    if not shutil.which("buildah"):
        return 0
    with locked(CACHE / "buildah.lock"):
        buildah("rm", "--all")
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        ours = [mount for mount in mounts if mount.startswith(f"{CACHE / 'buildah'}/")]
        for mount in reversed(ours):
            run(["umount", mount])
    return len(ours)


def archived(steps: Steps, name: str, reference: str, build: Callable[[str], None]) -> Image:
    """The cached archive of an image; `build` makes the image under its reference in buildah's storage."""
    tag = reference.rpartition(":")[2]
    with steps.step(f"image {name}") as step:

        def make(partial: Path) -> None:
            with locked(CACHE / "buildah.lock"):
                build(reference)
                buildah("push", "--quiet", reference, f"oci-archive:{partial / 'image.tar'}:{reference}")

        folder, hit = cached(f"images/{name}", tag, make)
        if hit:
            step.cached()
        else:
            step.note(f"{(folder / 'image.tar').stat().st_size / 1e6:.0f} MB")
    return Image(reference, folder / "image.tar")


def base_image(steps: Steps) -> Image:
    """A minimal Debian with Python, made from Debian's packages."""
    return _debian_image(steps, "base", VERSIONS["debian"]["base_packages"])


def stores_image(steps: Steps) -> Image:
    """A minimal Debian with the PostgreSQL and Redis that tests run beside the chart."""
    return _debian_image(steps, "stores", VERSIONS["debian"]["store_packages"])


def _debian_image(steps: Steps, name: str, names: list[str]) -> Image:
    debian = VERSIONS["debian"]
    packages = ",".join(names)
    omit = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
    key = digest(debian["suite"], packages, *omit)

    def build(reference: str) -> None:
        rootfs = CACHE / name / f"{key}.tar"
        rootfs.parent.mkdir(parents=True, exist_ok=True)
        options = [f"--dpkgopt=path-exclude={path}" for path in omit]
        log = CACHE / "logs" / f"{name}.log"
        run(
            ["mmdebstrap", "--variant=minbase", f"--include={packages}", *options, debian["suite"], rootfs],
            log=log,
        )
        container = buildah("from", "scratch").strip()
        try:
            buildah("add", "--quiet", container, rootfs, "/")
            buildah("config", "--cmd", "/bin/sh", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
            buildah("commit", "--quiet", container, reference)
        finally:
            buildah("rm", container)
            rootfs.unlink(missing_ok=True)

    return archived(steps, name, f"localhost/lighthouse-cluster/{name}:{key}", build)


def _present(image: Image) -> None:
    """Put an archived image back into buildah's storage if it is not there."""
    if image.reference not in buildah("images", "--noheading", "--format", "{{.Name}}:{{.Tag}}"):
        buildah("pull", "--quiet", f"oci-archive:{image.archive}:{image.reference}")


def build_product(name: str, base: Image, context: Path, reference: str, *, layers: bool = True) -> None:
    """Build an image from a copy of the repository, with what earlier builds left of its `layers` or anew."""
    _present(base)
    arguments = ["--build-arg", f"BASE_IMAGE={base.reference}", "--pull-never"]
    # Every file and the image have the same time, and no history says what was cached: two builds of the same
    # sources have the same digest.
    arguments += ["--timestamp", "0", "--omit-history", "--layers" if layers else "--no-cache"]
    # Nor does an annotation say on which cached layer the last one was put.
    arguments += ["--annotation", "org.opencontainers.image.base.digest="]
    file = context / "images" / name / "Containerfile"
    log = CACHE / "logs" / f"image-{name}.log"
    buildah("build", *host_certificates(), *arguments, "--file", file, "--tag", reference, context, log=log)


def product_image(steps: Steps, name: str, base: Image) -> Image:
    """One of the product's images, from images/<name>/Containerfile with the repository as context."""
    sources = [ROOT / source for source in (*RELEASED[name], *SHARED)]
    key = digest(base.reference, tree_digest(sources, ROOT))

    def build(reference: str) -> None:
        build_product(name, base, ROOT, reference)
        buildah("rmi", "--prune", "--force")

    return archived(steps, name, f"localhost/lighthouse/{name}:{key}", build)


def host_certificates() -> list[str]:
    """Options that let pip reach a package index behind a proxy with its own authority, by the host's certificates."""
    folder = Path("/etc/ssl/certs")
    return [f"--volume={folder}:{folder}:ro"] if folder.is_dir() else []


def container_image(
    steps: Steps, name: str, reference: str, file: Path, context: Path, base: Image, *options: str
) -> Image:
    """An image from a Containerfile on top of `base`, with the folder `context` at hand."""

    def build(reference: str) -> None:
        _present(base)
        arguments = ["--build-arg", f"BASE_IMAGE={base.reference}", "--pull-never", "--layers", *options]
        log = CACHE / "logs" / f"image-{name}.log"
        buildah("build", *arguments, "--file", file, "--tag", reference, context, log=log)
        buildah("rmi", "--prune", "--force")

    return archived(steps, name, reference, build)


def program_image(steps: Steps, name: str, program: Path) -> Image:
    """An image with nothing but one static program."""

    def fill(root: Path) -> None:
        shutil.copy2(program.resolve(), root / name)

    return files_image(steps, name, digest(str(program), name), fill, entrypoint=[f"/{name}"])


def files_image(
    steps: Steps,
    name: str,
    key: str,
    fill: Callable[[Path], None],
    *,
    entrypoint: Sequence[str],
    user: str = "65532:65532",
) -> Image:
    """An image with nothing but the files that `fill` puts into a folder; `key` stands for their content."""

    def build(reference: str) -> None:
        container = buildah("from", "scratch").strip()
        try:
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                root = Path(folder)
                root.chmod(0o755)
                fill(root)
                buildah("add", "--quiet", container, root, "/")
            words = ["--entrypoint", json.dumps(list(entrypoint)), "--user", user, "--workingdir", "/"]
            buildah("config", *words, container)
            buildah("commit", "--quiet", container, reference)
        finally:
            buildah("rm", container)

    key = digest(key, *entrypoint, user)
    return archived(steps, name, f"localhost/lighthouse-cluster/{name}:{key}", build)


def pause_image(steps: Steps) -> Image:
    """The image of the pods' sandboxes."""
    source = ROOT / "ci" / "cluster" / "pause.c"

    def compile_pause(partial: Path) -> None:
        run(["gcc", "-static", "-O2", "-Wall", "-Werror", "-o", partial / "pause", source])

    key = digest(source)
    folder, _ = cached("tools/pause", key, compile_pause)

    return program_image(steps, "pause", folder / "pause")


def import_into(ctr: Path, socket: Path, images: Iterable[Image]) -> int:
    """Load the images that a node does not have; returns how many."""
    command: list[str | Path] = [ctr, "--address", socket, "--namespace", "k8s.io", "images"]
    present = set(run([*command, "list", "--quiet"]).split())
    missing = [image for image in images if image.reference not in present]
    for image in missing:
        run([*command, "import", image.archive])
    return len(missing)


def free_disk() -> int:
    """Bytes free where the caches lie."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(CACHE).free
