"""Knocking at addresses from pods: who may open a connection to whom."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.live.support import PAUSE, PYTHON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.live.support import Container

OPEN, REFUSED, SILENT = "open", "refused", "silent"
"""What a knock meets: somebody who listens, a pod without a listener, or a policy that drops the packet."""

# Prints what became of each "address port protocol". A refusal shows that the packet arrived: for TCP it is the pod's
# reset, for UDP its "port unreachable". Whoever listens on UDP here answers questions about names.
KNOCK = """
import concurrent.futures, json, socket, sys
def knock(target):
    address, port, protocol = target
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as s:
        try:
            s.settimeout(3)
            s.connect((address, port))
            if protocol == "TCP":
                return "open"
            s.settimeout(1)
            for _ in range(3):  # a datagram may be lost
                s.send(b"\\x12\\x34\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\1")  # a DNS query for the root
                try:
                    s.recv(512)
                    return "open"
                except TimeoutError:
                    pass
            return "silent"
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "silent"
targets = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(list(pool.map(knock, targets))))
"""
AT_ONCE = 4


@dataclass(frozen=True)
class Target:
    """A port to knock at; `endpoint` is the pod behind it, `listens` whether anybody should be there."""

    name: str
    address: str
    port: int
    protocol: str = "TCP"
    endpoint: str = ""
    listens: bool = True

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
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "1Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi", "ephemeral-storage": "8Mi"},
        },
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
    """What became of every pair: the answers by what they are, those that are not as expected, and idle listeners."""

    answers: Counter[str]
    wrong: list[str]
    unheard: list[str]
    """Targets where somebody should listen, but where nobody got through: being closed to others shows nothing."""

    @property
    def cells(self) -> int:
        """How many pairs were tried."""
        return self.answers.total()

    def __str__(self) -> str:
        counts = ", ".join(f"{self.answers[kind]} {kind}" for kind in (OPEN, REFUSED, SILENT))
        return f"{self.cells} cells: {counts}; {len(self.wrong)} wrong"


def knock(
    sources: Mapping[str, Container], targets: Sequence[Target], expected: Mapping[tuple[str, Target], str]
) -> Matrix:
    """Try every target from every source for which an answer is expected."""

    def ask(name: str) -> dict[tuple[str, Target], str]:
        mine = [target for target in targets if (name, target) in expected]
        asked = json.dumps([(target.address, target.port, target.protocol) for target in mine])
        told: list[str] = json.loads(sources[name].output(PYTHON, "-c", KNOCK, asked))
        return {(name, target): answer for target, answer in zip(mine, told, strict=True)}

    answers: dict[tuple[str, Target], str] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for told in pool.map(ask, sources):
            answers |= told
    assert answers.keys() == expected.keys(), "not every expected cell was tried"
    heard = {target for (_, target), answer in answers.items() if answer == OPEN}
    return Matrix(
        Counter(answers.values()),
        [
            f"{name} -> {target}: {answer}, expected {expected[name, target]}"
            for (name, target), answer in answers.items()
            if answer != expected[name, target]
        ],
        [str(target) for target in targets if target.listens and target not in heard],
    )
