"""What is written to the bridge is seen in the mount, soon, by readers that have everything cached."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.images.fuse_csi.machine import Node, Pod
from tests.images.fuse_csi.support import BridgeProgram, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(pod: Pod, bridge: BridgeProgram, request: pytest.FixtureRequest) -> Path:
    """A folder of the test's own with two files, all of it in the kernel's caches."""
    name = f"changes/{request.node.name.replace('[', '-').replace(']', '')}"
    bridge.load({f"{name}/one": b"1", f"{name}/deep/two": b"22"})
    path = pod.project / "current" / name
    eventually(lambda: (path / "deep/two").read_text() == "22")
    assert sorted(os.listdir(path)) == ["deep", "one"]  # noqa: PTH208 (names only)
    assert not (path / "new").exists()
    return path


def within_a_second(check: Callable[[], Any]) -> float:
    """Wait for the check to hold; returns how long it took."""
    started = time.monotonic()
    eventually(check, 1)
    return time.monotonic() - started


def name_of(folder: Path) -> str:
    return f"changes/{folder.name}"


def test_changed_content_and_size(folder: Path, bridge: BridgeProgram) -> None:
    bridge.write(f"{name_of(folder)}/one", "changed, longer")
    took = within_a_second(lambda: (folder / "one").read_text() == "changed, longer")
    assert (folder / "one").stat().st_size == 15
    bridge.write(f"{name_of(folder)}/one", "s")
    within_a_second(lambda: (folder / "one").stat().st_size == 1)
    assert (folder / "one").read_text() == "s"
    print(f"visible {1000 * took:.1f} ms after the bridge's answer")


def test_created_file_and_folder(folder: Path, bridge: BridgeProgram) -> None:
    bridge.write(f"{name_of(folder)}/new/inner/file", "x", "create")
    within_a_second(lambda: (folder / "new/inner/file").read_text() == "x")
    assert sorted(os.listdir(folder)) == ["deep", "new", "one"]  # noqa: PTH208 (names only)
    assert (folder).stat().st_nlink == 4


def test_deleted_file(folder: Path, bridge: BridgeProgram) -> None:
    bridge.delete(f"{name_of(folder)}/one")
    within_a_second(lambda: not (folder / "one").exists())
    assert os.listdir(folder) == ["deep"]  # noqa: PTH208 (names only)


def test_folder_goes_with_its_last_file(folder: Path, bridge: BridgeProgram) -> None:
    bridge.delete(f"{name_of(folder)}/deep/two")
    within_a_second(lambda: not (folder / "deep").exists())
    assert os.listdir(folder) == ["one"]  # noqa: PTH208 (names only)
    bridge.delete(f"{name_of(folder)}/one")
    within_a_second(lambda: not folder.exists())


def test_renamed_file(folder: Path, bridge: BridgeProgram) -> None:
    name = name_of(folder)
    bridge.call(
        "POST",
        "/shadow/updates",
        {
            "agent_id": "tests",
            "updates": [
                {"operation": "delete", "file_path": f"{name}/one"},
                {"operation": "create", "file_path": f"{name}/new", "content": "1"},
            ],
        },
    )
    within_a_second(lambda: (folder / "new").exists() and not (folder / "one").exists())
    assert sorted(os.listdir(folder)) == ["deep", "new"]  # noqa: PTH208 (names only)


def test_file_becomes_folder_and_folder_becomes_file(folder: Path, bridge: BridgeProgram) -> None:
    name = name_of(folder)
    bridge.delete(f"{name}/one")
    bridge.write(f"{name}/one/inner", "x", "create")
    within_a_second(lambda: (folder / "one/inner").read_text() == "x")
    bridge.delete(f"{name}/deep/two")
    bridge.write(f"{name}/deep", "now a file", "create")
    within_a_second(lambda: (folder / "deep").read_text() == "now a file")


def test_mode_and_kind_change(folder: Path, bridge: BridgeProgram) -> None:
    name = name_of(folder)
    bridge.write(f"{name}/one", "1", executable=True)
    within_a_second(lambda: (folder / "one").stat().st_mode & 0o111)
    bridge.delete(f"{name}/one")
    bridge.write(f"{name}/one", "deep/two", "create", kind="symlink")
    within_a_second((folder / "one").is_symlink)
    assert (folder / "one").read_text() == "22"


def test_open_file_keeps_what_it_was_opened_with(folder: Path, bridge: BridgeProgram) -> None:
    with (folder / "one").open("rb") as file:
        bridge.write(f"{name_of(folder)}/one", "something else")
        within_a_second(lambda: (folder / "one").read_text() == "something else")
        assert file.read() == b"1"
        bridge.delete(f"{name_of(folder)}/one")
        within_a_second(lambda: not (folder / "one").exists())
        file.seek(0)
        assert file.read() == b"1"


def test_listing_under_way_misses_and_repeats_nothing_that_stays(pod: Pod, bridge: BridgeProgram) -> None:
    bridge.load({f"listing/keep-{index:04}": b"" for index in range(1000)})
    bridge.load({f"listing/drop-{index:04}": b"" for index in range(100)})
    folder = pod.project / "current/listing"
    eventually(lambda: len(os.listdir(folder)) == 1100)  # noqa: PTH208 (names only)
    with os.scandir(folder) as entries:
        names = [next(entries).name for _ in range(10)]
        updates = [{"operation": "delete", "file_path": f"listing/drop-{index:04}"} for index in range(100)]
        bridge.call("POST", "/shadow/updates", {"agent_id": "tests", "updates": updates})
        eventually(lambda: not (folder / "drop-0099").exists(), 1)
        names += [entry.name for entry in entries]
    kept = [name for name in names if name.startswith("keep")]
    assert len(kept) == len(set(kept)) == 1000


def test_many_changes_at_once_are_all_seen(pod: Pod, bridge: BridgeProgram) -> None:
    bridge.load({f"burst/{index % 10}/{index}": b"old" for index in range(1000)})
    folder = pod.project / "current/burst"
    eventually(lambda: len(list(folder.rglob("*"))) == 1010)
    bridge.load({f"burst/{index % 10}/{index}": b"newer" for index in range(1000)})
    within_a_second(lambda: all(path.stat().st_size == 5 for path in folder.glob("*/*")))
    assert {path.read_bytes() for path in folder.glob("*/*")} == {b"newer"}


def test_first_files_of_an_empty_project_are_seen_by_those_who_looked_before(node: Node, place: Path) -> None:
    empty = BridgeProgram(place / "empty-bridge")
    pod = Pod(node, empty.url, empty.keys / "expert")
    try:
        pod.start()
        current = pod.project / "current"
        assert os.listdir(current) == []  # noqa: PTH208 (names only)
        assert not (current / "src").exists()
        empty.load({"src/one": b"1", "two": b"2"})
        within_a_second(lambda: (current / "src/one").exists() and (current / "two").read_text() == "2")
        assert sorted(os.listdir(current)) == ["src", "two"]  # noqa: PTH208 (names only)
    finally:
        pod.close()
        empty.stop()
