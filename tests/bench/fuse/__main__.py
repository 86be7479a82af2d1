"""`python -m tests.bench.fuse`: one run of all comparisons; leaves reports/fuse.json and reports/fuse.md.

*Cold*: the kernel holds nothing of the mount, while what lies behind it (the sidecar's cache, the source of
passthrough_ll) is in memory; native cold means from the disk. *Warm*: the same again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.fuse.peers import Peer, passthrough, pyfuse3_python
from tests.images.fuse_csi.machine import Node, Pod
from tests.images.fuse_csi.support import REPOSITORY, BridgeProgram, eventually, folder, sources

if TYPE_CHECKING:
    from collections.abc import Callable

ROOTS = ("/usr/lib/python3.11", "/usr/include", "/usr/lib/python3", "/usr/share")
LARGE = 64 << 20
TARGETS = ("native", "lighthouse", "passthrough_ll", "pyfuse3")
GOALS = (("warm", "native", 0.9), ("cold", "passthrough_ll", 1.0))


def fio(pod: Pod, root: Path, mode: str, block: str) -> float:
    """Seconds that fio spends in reading the large file once."""
    result = pod.run(
        *("fio", "--name=read", f"--filename={root}/large.bin", f"--rw={mode}", f"--bs={block}"),
        *("--ioengine=psync", "--invalidate=0", "--readonly", "--output-format=json", "--fadvise_hint=0"),
        seconds=120,
    )
    if result.returncode:
        raise SystemExit(f"fio failed: {result.stderr.decode()}")
    read = json.loads(result.stdout)["jobs"][0]["read"]
    # Its own run time is in whole milliseconds, too coarse here.
    return float(read["lat_ns"]["mean"] * read["total_ios"] / 1e9)


def timed(pod: Pod, *arguments: str) -> float:
    """Seconds that a program needs, in the agent's namespace."""
    started = time.perf_counter()
    result = pod.run(*arguments, seconds=300)
    took = time.perf_counter() - started
    if result.stderr and b"binary file matches" not in result.stderr:
        raise SystemExit(f"{arguments[0]} failed: {result.stderr.decode()[:300]}")
    return took


WORKLOADS: dict[str, Callable[[Pod, Path], float]] = {
    "find": lambda pod, root: timed(pod, "find", str(root / "tree"), "-type", "f"),
    "find -size": lambda pod, root: timed(pod, "find", str(root / "tree"), "-size", "+100k"),
    "grep -r": lambda pod, root: timed(pod, "grep", "-rc", "import", str(root / "tree")),
    "random 4 KiB": lambda pod, root: fio(pod, root, "randread", "4k"),
    "sequential 128 KiB": lambda pod, root: fio(pod, root, "read", "128k"),
}


def drop(pod: Pod, source: Path, target: str) -> None:
    """Empty the kernel's caches, then bring what lies behind the mounts back into memory."""
    Path("/proc/sys/vm/drop_caches").write_text("3")
    if target == "native":
        return
    behind = pod.cache if target == "lighthouse" else source
    subprocess.run(f"find {behind} -type f -exec cat {{}} + >/dev/null", shell=True, check=True)  # noqa: S602 - a path of ours
    # The programs themselves were dropped too.
    for arguments in (
        ("find", "/proc/sys/vm", "-maxdepth", "0"),
        ("grep", "--version"),
        ("fio", "--version"),
    ):
        pod.run(*arguments)


def measure(
    pod: Pod, roots: dict[str, Path], source: Path, rounds: int, requests: dict[str, float]
) -> dict[str, dict[str, list[float]]]:
    """Times by row and target, interleaved so that the machine's moods meet all alike.

    `requests` is told how many FUSE requests reached our daemon in the last run of each row.
    """
    times: dict[str, dict[str, list[float]]] = {}
    for index in range(rounds):
        for name, work in WORKLOADS.items():
            for target in TARGETS[index % len(TARGETS) :] + TARGETS[: index % len(TARGETS)]:
                drop(pod, source, target)
                before = pod.metric("lighthouse_fuse_requests_total")
                cold = work(pod, roots[target])
                between = pod.metric("lighthouse_fuse_requests_total")
                warm = statistics.median(work(pod, roots[target]) for _ in range(3))
                if target == "lighthouse":
                    requests[f"{name}, cold"] = between - before
                    requests[f"{name}, warm"] = pod.metric("lighthouse_fuse_requests_total") - between
                times.setdefault(f"{name}, cold", {}).setdefault(target, []).append(cold)
                times.setdefault(f"{name}, warm", {}).setdefault(target, []).append(warm)
            print(f"round {index + 1}/{rounds}: {name}", flush=True)
    return times


def table(medians: dict[str, dict[str, float]], requests: dict[str, float]) -> str:
    """The rows as markdown, with the speed relative to native and to passthrough_ll."""
    lines = [
        "| | "
        + " | ".join(f"{target} ms" for target in TARGETS)
        + " | x native | x passthrough_ll | requests |",
        "|---|" + "---:|" * (len(TARGETS) + 3),
    ]
    for row, values in medians.items():
        ours = values["lighthouse"]
        cells = [f"{1000 * values[target]:.1f}" for target in TARGETS]
        ratios = [f"{values[target] / ours:.2f}" for target in ("native", "passthrough_ll")]
        lines.append(f"| {row} | " + " | ".join([*cells, *ratios, f"{requests[row]:.0f}"]) + " |")
    return "\n".join(lines)


def goals(medians: dict[str, dict[str, float]]) -> list[str]:
    """One line for each goal that a row misses or meets."""
    lines = []
    for kind, peer, least in GOALS:
        for row, values in medians.items():
            if row.endswith(kind):
                ratio = values[peer] / values["lighthouse"]
                word = "met" if ratio >= least else "MISSED"
                lines.append(f"{word}: {row}: {ratio:.2f} x {peer}, goal {least}")
    return lines


def prepare(place: Path, files: int) -> Path:
    """The tree on the native file system, and one large file."""
    source = place / "source"
    found: dict[str, bytes] = {}
    for root in ROOTS:
        more = sources(files - len(found), Path(root)) if Path(root).is_dir() else {}
        found.update({f"tree{root}/{path}": content for path, content in more.items()})
    found["large.bin"] = hashlib.shake_256(b"lighthouse").digest(LARGE)
    for path, content in found.items():
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return source


def load(bridge: BridgeProgram, source: Path) -> None:
    """Put the tree into the bridge."""
    files = {str(path.relative_to(source)): path for path in source.rglob("*") if path.is_file()}
    large = files.pop("large.bin").read_bytes()
    bridge.load({name: path.read_bytes() for name, path in files.items()})
    digest = hashlib.sha256(large).hexdigest()
    bridge.upload(digest, large)
    update = {"operation": "create", "file_path": "large.bin", "content_hash": digest, "agent_id": "tests"}
    bridge.call("POST", "/shadow/update", update)


def run(files: int, rounds: int) -> dict[str, object]:
    """Set all up, measure, take all down."""
    programs = (passthrough(), pyfuse3_python())
    with folder() as place:
        source = prepare(place, files)
        bridge = BridgeProgram(place / "bridge")
        node = Node(place)
        pod = Pod(node, bridge.url, bridge.keys / "expert", LIGHTHOUSE_CACHE_MIB="1024")
        peers: list[Peer] = []
        requests: dict[str, float] = {}
        try:
            load(bridge, source)
            pod.start(60)
            size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
            distinct = len(
                {hashlib.sha256(path.read_bytes()).digest() for path in source.rglob("*") if path.is_file()}
            )
            eventually(lambda: cached(pod) >= distinct - 1, 120, "the sidecar's cache is filled")
            roots = {
                "native": source,
                "lighthouse": Path("/mnt/project/current"),
                "passthrough_ll": place / "passthrough",
                "pyfuse3": place / "pyfuse3",
            }
            options = f"source={source},cache=never,allow_other,default_permissions"
            arguments = [str(programs[0]), "-f", "-o", options, str(roots["passthrough_ll"])]
            peers.append(Peer(pod, arguments, roots["passthrough_ll"], place / "passthrough.log"))
            script = str(Path(__file__).with_name("pyfuse3_tree.py"))
            arguments = [str(programs[1]), script, str(source), str(roots["pyfuse3"])]
            peers.append(Peer(pod, arguments, roots["pyfuse3"], place / "pyfuse3.log"))
            times = measure(pod, roots, source, rounds, requests)
        finally:
            for peer in peers:
                peer.close()
            pod.close()
            node.close()
            bridge.stop()
    return {
        "files": files,
        "bytes": size,
        "rounds": rounds,
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "seconds": times,
        "requests": requests,
    }


def cached(pod: Pod) -> int:
    """How many contents the sidecar holds."""
    return int(json.loads((pod.project / "debug/cache_stats.json").read_text())["contents"])


def main() -> int:
    """Run, print, and write the reports; returns 0 whether or not the goals are met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fuse", description=__doc__)
    parser.add_argument("--files", type=int, default=5000, help="size of the tree (default 5000)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs of each row (default 5)")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        print("The comparison mounts file systems: run it as root where /dev/fuse exists.", file=sys.stderr)
        return 2
    missing = [name for name in ("fio", "gcc", "pkg-config", "nsenter", "setpriv") if not shutil.which(name)]
    if missing:
        print(
            f"Missing: {', '.join(missing)}; apt-get install fio gcc pkg-config util-linux.", file=sys.stderr
        )
        return 2
    report = run(arguments.files, arguments.rounds)
    seconds = report["seconds"]
    requests = report["requests"]
    assert isinstance(seconds, dict)
    assert isinstance(requests, dict)
    medians = {
        row: {target: statistics.median(values) for target, values in each.items()}
        for row, each in seconds.items()
    }
    verdict = goals(medians)
    text = (
        f"# FUSE compared: {report['files']} files, {LARGE >> 20} MiB file, kernel {report['kernel']},"
        f" {report['processors']} processors, median of {report['rounds']} interleaved runs\n\n"
        "Ratios are speeds: above 1 Lighthouse is faster. The last column says how many FUSE requests reached our"
        " daemon (three runs in the warm rows; find and grep ask for statfs once): warm, the kernel answers alone,"
        " and what is left is its own FUSE path, with pages of 4 KiB where native file systems use larger ones.\n\n"
        f"{table(medians, requests)}\n\n" + "\n".join(f"- {line}" for line in verdict) + "\n"
    )
    reports = REPOSITORY / "reports"
    reports.mkdir(exist_ok=True)
    (reports / "fuse.json").write_text(json.dumps({**report, "medians": medians, "goals": verdict}, indent=2))
    (reports / "fuse.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
