"""The S3 server of the tests: put up, filled with a bucket, taken away and given back."""

from __future__ import annotations

import base64
import json
import secrets
import string
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ci.settings import NAMESPACE

if TYPE_CHECKING:
    from ci.release import Cluster

MANIFESTS = Path(__file__).with_name("s3.yaml")
SPACE = "s3"
HOST = "s3.s3.svc.cluster.local"
PORT = 7070
BUCKET = "lighthouse"


class ObjectStore:
    """An S3 server in the cluster with a bucket; the database's namespace has its login and its authority."""

    def __init__(self, cluster: Cluster, image: str, folder: Path) -> None:
        self.cluster = cluster
        self.authority = folder / "s3-ca.crt"
        self._apply(f'{{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{SPACE}"}}}}')
        login = self._login()
        self.key, self.secret = login.values()
        for namespace in (SPACE, NAMESPACE):
            self._keep("s3-credentials", namespace, login)
        self._apply(string.Template(MANIFESTS.read_text()).substitute(image=image))
        cluster.kubectl("wait", "--for=condition=Ready", "certificate/s3", "-n", SPACE, "--timeout=60s")
        self.give_back()
        made = cluster.get("secret", "s3-tls", "-n", SPACE)["data"]["ca.crt"]
        self.authority.write_bytes(base64.b64decode(made))
        self._keep("s3-ca", NAMESPACE, {"ca.crt": self.authority.read_text()})
        self._make_bucket()

    def take_away(self) -> None:
        """Stop the server; its bucket stays."""
        self.cluster.kubectl("scale", "deployment/s3", "-n", SPACE, "--replicas=0")
        self.cluster.kubectl("wait", "--for=delete", "pod", "-l", "app=s3", "-n", SPACE, "--timeout=60s")

    def give_back(self) -> None:
        """Start the server again and wait for it."""
        self.cluster.kubectl("scale", "deployment/s3", "-n", SPACE, "--replicas=1")
        self.cluster.kubectl("rollout", "status", "deployment/s3", "-n", SPACE, "--timeout=90s")

    def _login(self) -> dict[str, str]:
        """The login that the server has from an earlier run, or a new one."""
        kept = self.cluster.get("secrets", "-n", SPACE, "--field-selector", "metadata.name=s3-credentials")[
            "items"
        ]
        if kept:
            return {key: base64.b64decode(value).decode() for key, value in sorted(kept[0]["data"].items())}
        return {"ACCESS_KEY_ID": f"key{secrets.token_hex(8)}", "ACCESS_SECRET_KEY": secrets.token_hex(24)}

    def _apply(self, manifest: str) -> None:
        self.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=manifest.encode())

    def _keep(self, name: str, namespace: str, content: dict[str, str]) -> None:
        metadata = {"name": name, "namespace": namespace}
        self._apply(
            json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content})
        )

    def _make_bucket(self) -> None:
        address = self.cluster.get("service", "s3", "-n", SPACE)["spec"]["clusterIP"]
        lines = [
            f'url = "https://{HOST}:{PORT}/{BUCKET}"',
            f'resolve = "{HOST}:{PORT}:{address}"',
            f'cacert = "{self.authority}"',
            f'user = "{self.key}:{self.secret}"',
            'aws-sigv4 = "aws:amz:us-east-1:s3"',
            'header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"',
            'request = "PUT"',
        ]
        # By curl's standard input, so that the key is in no argument.
        words = ["curl", "--silent", "--show-error", "--max-time", "20", "--output", "/dev/null"]
        words += ["--write-out", "%{http_code}", "--config", "-"]
        done = subprocess.run(words, input="\n".join(lines), text=True, check=False, capture_output=True)
        assert done.stdout in {"200", "409"}, f"the bucket was not made: {done.stdout} {done.stderr}"
