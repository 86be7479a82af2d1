"""Knocking at addresses from pods: who may open a connection to whom."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.live.support import PAUSE, PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.live.support import Container

# Prints which of "address port protocol" answer. A refusal is an answer: the packet arrived.
KNOCK = """
import concurrent.futures, json, socket, sys
def knock(target):
    address, port, protocol = target
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(2)
        try:
            s.connect((address, port))
            if protocol == "UDP":  # a DNS query for the root
                s.send(b"\\x12\\x34\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\1")
                s.recv(512)
            return True
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
targets = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(list(pool.map(knock, targets))))
"""


@dataclass(frozen=True)
class Target:
    """Something that listens: `name` as the table of expectations calls it."""

    name: str
    address: str
    port: int
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.name} {self.protocol}/{self.port}"


def restricted_pod(name: str, namespace: str, image: str, labels: dict[str, str]) -> dict[str, Any]:
    """A pod that does nothing, to knock from."""
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "knock",
        "image": image,
        "command": PAUSE,
        "securityContext": security,
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@dataclass(frozen=True)
class Matrix:
    """What became of every pair: how many were tried and opened, and those that are not as expected."""

    cells: int
    opened: int
    wrong: list[str]


def knock(
    sources: Mapping[str, Container], targets: Sequence[Target], may: Mapping[str, Iterable[str]]
) -> Matrix:
    """Try every target from every source; `may` says which names each reaches. A pod always reaches itself."""
    wrong, cells, opened = [], 0, 0
    asked = json.dumps([(target.address, target.port, target.protocol) for target in targets])
    for name, source in sources.items():
        own = source.cluster.get("pod", source.pod, "-n", source.namespace)["status"]["podIP"]
        answers = json.loads(source.output(PYTHON, "-c", KNOCK, asked))
        for target, answered in zip(targets, answers, strict=True):
            if target.address == own:
                continue
            cells += 1
            opened += answered
            if answered != (target.name in may[name]):
                wrong.append(f"{name} -> {target}: {'open' if answered else 'closed'}")
    return Matrix(cells, opened, wrong)
