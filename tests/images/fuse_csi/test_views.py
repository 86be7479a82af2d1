"""shadows/, history/, context/ and debug/."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.images.fuse_csi.support import BridgeProgram, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.images.fuse_csi.machine import Pod


def test_shadow_is_the_bridges_document_with_its_true_size(pod: Pod, bridge: BridgeProgram) -> None:
    path = pod.project / "shadows/src/abc.py"
    document = bridge.call("GET", "/shadow/document/src/abc.py")
    assert json.loads(path.read_text()) == document
    assert path.stat().st_size == len(path.read_bytes())
    assert document["original_content"] == (pod.project / "current/src/abc.py").read_text()
    assert path.stat().st_mode & 0o777 == 0o444


def test_shadows_have_the_same_tree(pod: Pod, tree: Mapping[str, bytes]) -> None:
    ours = pod.run("sh", "-c", "cd /mnt/project/shadows/src/json && find . | sort").stdout
    live = pod.run("sh", "-c", "cd /mnt/project/current/src/json && find . | sort").stdout
    assert ours == live != b""
    out = pod.run("grep", "-rLe", "original_content", "/mnt/project/shadows/src/json")
    assert (out.stdout, out.stderr) == (b"", b"")


def test_shadow_follows_changes_and_annotations(pod: Pod, bridge: BridgeProgram) -> None:
    bridge.write("shadowed/file.py", "x = 1\n", "create")
    path = pod.project / "shadows/shadowed/file.py"
    eventually(lambda: json.loads(path.read_text())["original_content"] == "x = 1\n", 2)
    bridge.write("shadowed/file.py", "x = 2\n")
    eventually(lambda: json.loads(path.read_text())["original_content"] == "x = 2\n", 1)
    bridge.call(
        "POST",
        "/shadow/annotate",
        {"file_path": "shadowed/file.py", "line": 1, "annotation": "look here", "expert_id": "tests"},
    )
    eventually(lambda: "look here" in path.read_text(), 1)
    assert path.stat().st_size == len(path.read_bytes())
    bridge.delete("shadowed/file.py")
    eventually(lambda: not path.exists(), 1)


def test_history_lists_the_last_24_hours(pod: Pod) -> None:
    names = sorted(os.listdir(pod.project / "history"))  # noqa: PTH208 (names only)
    last = [name for name in names if name.endswith(":00:00Z")]
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    expected = [(hour - timedelta(hours=each)).strftime("%Y-%m-%dT%H:00:00Z") for each in range(24)]
    assert last == sorted(expected)
    assert (pod.project / "history" / names[0]).stat().st_mode & 0o777 == 0o555


def test_history_shows_the_tree_of_then(pod: Pod, bridge: BridgeProgram) -> None:
    bridge.write("past/file", "before", "create")
    time.sleep(0.05)
    between = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    time.sleep(0.05)
    bridge.write("past/file", "after")
    bridge.write("past/later", "x", "create")
    view = pod.project / "history" / between
    assert (view / "past/file").read_text() == "before"
    assert os.listdir(view / "past") == ["file"]  # noqa: PTH208 (names only)
    old = pod.project / "history" / (datetime.now(UTC) - timedelta(days=300)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert os.listdir(old) == []  # noqa: PTH208 (names only)


@pytest.mark.parametrize("name", ["tomorrow", "2099-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "T", "x" * 200])
def test_history_of_no_time_is_not_found(pod: Pod, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        (pod.project / "history" / name).stat()


def test_history_goes_on_after_the_daemon_dies(pod: Pod, bridge: BridgeProgram) -> None:
    bridge.write("past/again", "before", "create")
    time.sleep(0.05)
    between = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    time.sleep(0.05)
    bridge.write("past/again", "after")
    view = pod.project / "history" / between
    with (view / "past/again").open() as file:
        number = os.fstat(file.fileno()).st_ino
        os.kill(pod.daemon(), signal.SIGKILL)
        assert file.read() == "before"
    assert (view / "past/again").stat().st_ino == number


def test_number_of_kept_views_is_bounded(make_pod: Callable[..., Pod]) -> None:
    pod = make_pod(LIGHTHOUSE_HISTORY_VIEWS="2").start()
    moment = datetime.now(UTC) - timedelta(seconds=1)
    for index in range(6):
        name = (moment - timedelta(milliseconds=index)).isoformat(timespec="milliseconds")
        assert (pod.project / "history" / name / "src/abc.py").stat().st_size > 0


def test_context_packages_are_shown_with_their_documents(pod: Pod, bridge: BridgeProgram) -> None:
    folder = pod.project / "context"
    before = set(os.listdir(folder))  # noqa: PTH208 (names only)
    answer = bridge.call(
        "POST",
        "/validate",
        {"tool_name": "Bash", "tool_input": {"command": "frobnicate --all"}, "agent_id": "tests"},
    )
    name = answer["metadata"]["validation_id"]
    eventually(lambda: name in os.listdir(folder), 3)  # noqa: PTH208 (names only)
    assert name not in before
    package = bridge.call("GET", f"/context/{name}")
    assert sorted(os.listdir(folder / name)) == ["context.json", "files.json", "manifest.json"]  # noqa: PTH208 - names, not paths
    for part in ("context", "files", "manifest"):
        path = folder / name / f"{part}.json"
        assert json.loads(path.read_text()) == package[part]
        assert path.stat().st_size == len(path.read_bytes())
    with pytest.raises(FileNotFoundError):
        (folder / "no-such-package").stat()


def test_debug_documents_are_whole_at_every_look(pod: Pod) -> None:
    deadline = time.monotonic() + 1.2
    seen = set()
    while time.monotonic() < deadline:
        for name in ("performance", "cache_stats", "health"):
            with (pod.project / f"debug/{name}.json").open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = file.read()
            assert len(data) == size
            seen.add((name, json.loads(data)["generated_at"]))
    assert len(seen) > 3
    health = json.loads((pod.project / "debug/health.json").read_text())
    assert health["status"] == "healthy"


def test_operation_log_tells_what_happened(pod: Pod, bridge: BridgeProgram) -> None:
    path = pod.project / "debug/operation_log.txt"
    assert "serves" in path.read_text()
    bridge.write("logged", "x", "create")
    eventually(lambda: "1 file_created" in path.read_text().splitlines()[-1], 2)
    assert path.read_text().endswith("\n")
    assert path.stat().st_size == len(path.read_bytes())
