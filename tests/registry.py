"""An OCI registry for tests: distribution, on loopback or in another network namespace."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from ci import toolchain
from ci.console import Steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def serve_registry(folder: Path, address: str, before: tuple[str, ...] = ()) -> Iterator[None]:
    """An OCI registry at an address; `before` is a program that runs it elsewhere."""
    config, log = folder / "registry.yaml", folder / "registry.log"
    storage = {"filesystem": {"rootdirectory": str(folder / "storage")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    program = toolchain.go_tool(toolchain.REGISTRY, Steps(quiet=True)) / "registry"
    with log.open("wb") as output:
        process = subprocess.Popen([*before, program, "serve", config], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 30
        probe = [*before, "curl", "--silent", "--fail", f"http://{address}/v2/"]
        while subprocess.run(probe, capture_output=True, check=False).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


def push_artifact(address: str, reference: str, kind: str, name: str, layer: bytes) -> None:
    """Put one named blob of a media type under a repository and tag, as an artifact without a configuration."""
    repository, _, tag = reference.partition(":")
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    blobs = {"application/vnd.oci.empty.v1+json": b"{}", kind: layer}
    described: list[dict[str, Any]] = []
    with httpx.Client(base_url=f"http://{address}/v2/{repository}") as client:
        for media_type, blob in blobs.items():
            digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
            place = client.post("/blobs/uploads/").raise_for_status().headers["Location"]
            target = httpx.URL(place).copy_merge_params({"digest": digest})
            client.put(target, content=blob).raise_for_status()
            described.append({"mediaType": media_type, "digest": digest, "size": len(blob)})
        config, content = described
        content["annotations"] = {"org.opencontainers.image.title": name}
        manifest = {"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [content]}
        headers = {"Content-Type": manifest_type}
        client.put(f"/manifests/{tag}", content=json.dumps(manifest), headers=headers).raise_for_status()
