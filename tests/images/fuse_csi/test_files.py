"""What an agent finds under current/: the same bytes, names and sizes as the source, and no way to write."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci.monitoring.processes import process
from tests.images.fuse_csi.support import BridgeProgram, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.images.fuse_csi.machine import Pod

CURRENT = "/mnt/project/current/src"


@pytest.fixture(scope="session")
def source(place: Path, tree: Mapping[str, bytes]) -> Path:
    """The same tree on the native file system."""
    root = place / "source"
    for path, content in tree.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return root


def lines(output: bytes, root: str) -> list[bytes]:
    """Output lines without the root's path, sorted: folders may be listed in any order."""
    return sorted(line.replace(root.encode() + b"/", b"") for line in output.splitlines())


def test_sidecar_runs_without_root_and_capabilities(pod: Pod) -> None:
    assert pod.sidecar is not None
    for pid in (pod.sidecar.pid, pod.daemon()):
        text = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        assert fields["Uid"].split()[0] == "65532"
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
        assert fields["NoNewPrivs"] == "1"


def test_grep_is_byte_identical_to_the_source(pod: Pod, source: Path) -> None:
    ours = pod.run("grep", "-rn", "import", CURRENT)
    native = subprocess.run(["grep", "-rn", "import", str(source)], capture_output=True, check=False)
    assert lines(ours.stdout, CURRENT) == lines(native.stdout, str(source))
    # Both tell of the same binary files there.
    assert lines(ours.stderr, CURRENT) == lines(native.stderr, str(source))
    assert len(ours.stdout) > 100_000


def test_cat_of_everything_is_byte_identical(pod: Pod, source: Path, tree: Mapping[str, bytes]) -> None:
    script = 'cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum'
    ours = pod.run("sh", "-c", script, "sh", CURRENT)
    native = subprocess.run(["sh", "-c", script, "sh", str(source)], capture_output=True, check=True)
    assert ours.stderr == b""
    assert ours.stdout == native.stdout
    assert len(ours.stdout.splitlines()) == len(tree)


def test_find_lists_the_same_names_types_and_sizes(pod: Pod, source: Path) -> None:
    arguments = ("-printf", "%P %y\n")
    sizes = ("-type", "f", "-printf", "%P %s\n")
    for extra in (arguments, sizes):
        ours = pod.run("find", CURRENT, *extra)
        native = subprocess.run(["find", str(source), *extra], capture_output=True, check=True)
        assert sorted(ours.stdout.splitlines()) == sorted(native.stdout.splitlines())


def test_root_shows_the_six_folders_and_nothing_else(pod: Pod) -> None:
    names = ["context", "current", "debug", "history", "shadows", "streams"]
    assert sorted(os.listdir(pod.project)) == names  # noqa: PTH208 (names only)
    for name in names:
        status = (pod.project / name).stat()
        assert stat.S_ISDIR(status.st_mode)
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o555, 0, 0)


def test_files_are_read_only_and_programs_stay_programs(pod: Pod, bridge: BridgeProgram) -> None:
    bridge.write("bin/tool", "#!/bin/sh\n", "create", executable=True)
    bridge.write("bin/data", "x", "create")
    bridge.write("bin/link", "data", "create", kind="symlink")
    tool = pod.project / "current/bin/tool"
    eventually(lambda: tool.stat().st_mode & 0o777 == 0o555)
    assert (pod.project / "current/bin/data").stat().st_mode & 0o777 == 0o444
    link = pod.project / "current/bin/link"
    assert eventually(link.is_symlink)
    assert (str(link.readlink()), link.read_text(), link.lstat().st_size) == ("data", "x", 4)


@pytest.mark.parametrize(
    "action",
    [
        lambda root: os.open(root / "current/new", os.O_CREAT | os.O_WRONLY),
        lambda root: os.open(root / "current/src/abc.py", os.O_WRONLY),
        lambda root: os.truncate(root / "current/src/abc.py", 0),
        lambda root: (root / "current/src/abc.py").unlink(),
        lambda root: (root / "current/new").mkdir(),
        lambda root: (root / "current/src/abc.py").rename(root / "current/other"),
        lambda root: (root / "current/src/abc.py").chmod(0o777),
        lambda root: os.utime(root / "current/src/abc.py"),
        lambda root: (root / "current/link").symlink_to("abc.py"),
        lambda root: os.setxattr(root / "current/src/abc.py", "user.x", b"y"),
        lambda root: (root / "shadows/new").touch(),
        lambda root: (root.parent / "new").touch(),
    ],
)
def test_every_write_is_refused_as_read_only(pod: Pod, action: Callable[[Path], object]) -> None:
    # Even root of the node is refused: the mount itself is read-only.
    with pytest.raises(OSError, match="Read-only") as caught:
        action(pod.project)
    assert caught.value.errno == errno.EROFS


def test_statfs_tells_files_and_bytes_and_no_room(pod: Pod, tree: Mapping[str, bytes]) -> None:
    status = os.statvfs(pod.project)
    assert status.f_files >= len(tree)
    assert status.f_bavail == 0
    assert status.f_blocks * status.f_frsize >= sum(map(len, tree.values()))
    assert status.f_namemax == 255


def test_extended_attributes_are_not_supported(pod: Pod) -> None:
    with pytest.raises(OSError, match="not supported"):
        os.getxattr(pod.project / "current/src/abc.py", "user.x")


def test_names_that_do_not_exist_are_not_found(pod: Pod) -> None:
    for path in (
        "current/no/such",
        "nothing",
        "current/src/abc.py/below",
        "streams/none",
        "history/yesterday",
    ):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            (pod.project / path).stat()


def test_large_file_is_read_whole_and_at_random(pod: Pod, bridge: BridgeProgram) -> None:
    content = hashlib.shake_256(b"large").digest(24 << 20)
    digest = hashlib.sha256(content).hexdigest()
    bridge.upload(digest, content)
    bridge.call(
        "POST",
        "/shadow/update",
        {"operation": "create", "file_path": "large.bin", "content_hash": digest, "agent_id": "tests"},
    )
    path = pod.project / "current/large.bin"
    eventually(lambda: path.stat().st_size == len(content))
    with path.open("rb") as file:
        for offset in (0, 1, 4095, 20 << 20, len(content) - 1, len(content), len(content) + 5):
            assert os.pread(file.fileno(), 5000, offset) == content[offset : offset + 5000]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_odd_names_and_large_folders_are_shown(pod: Pod, bridge: BridgeProgram) -> None:
    names = {f"odd/{'n' * 255}", "odd/with space", "odd/ümläut", "odd/new\nline", "odd/.hidden", "odd/-rf"}
    names |= {f"odd/many-{index:05}" for index in range(3000)}
    bridge.load(dict.fromkeys(names, b""))
    folder = pod.project / "current/odd"
    eventually(lambda: len(os.listdir(folder)) == len(names))  # noqa: PTH208 (names only)
    assert {f"odd/{path.name}" for path in folder.iterdir()} == names
    assert all(path.stat().st_size == 0 and path.read_bytes() == b"" for path in folder.iterdir())


def test_metrics_tell_of_requests_cache_and_readiness(pod: Pod, bridge: BridgeProgram) -> None:
    for content in (b"one", b"two"):
        bridge.load({"src/measured.txt": content})
        eventually(lambda: pod.run("cat", f"{CURRENT}/measured.txt").stdout == content)  # noqa: B023 - called at once
    text = pod.get("/metrics")[1]
    assert process("fuse").departures(text) == []
    for name in (
        'lighthouse_fuse_requests_total{errno="",op="lookup"}',
        'lighthouse_fuse_requests_total{errno="EIO",op="read"} 0.0',
        'lighthouse_fuse_request_duration_seconds_bucket{le="+Inf",op="read"}',
        "lighthouse_fuse_requests_in_flight",
        "lighthouse_fuse_read_bytes_total",
        'lighthouse_fuse_bridge_request_duration_seconds_count{code="200",route="tree"}',
        'lighthouse_fuse_cache_lookups_total{cache="blobs",result="hit"}',
        "lighthouse_fuse_cache_size_bytes",
        'lighthouse_fuse_invalidations_total{kind="entry"}',
        "lighthouse_fuse_last_event_timestamp_seconds",
        "lighthouse_fuse_ready 1.0",
        "lighthouse_fuse_resumes_total",
    ):
        assert name in text, name
    assert pod.get("/ready") == (200, "ready\n")
    assert pod.get("/other")[0] == 404
