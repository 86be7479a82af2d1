"""The parts that need no mount: numbers, listings, journals, the content cache, the tree."""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING

import pytest

from lighthouse_fuse_csi import journal, protocol
from lighthouse_fuse_csi.blobs import Blobs, WrongContentError
from lighthouse_fuse_csi.history import read_time
from lighthouse_fuse_csi.journal import Journal
from lighthouse_fuse_csi.nodes import Listing, Node
from lighthouse_fuse_csi.numbers import Area, area_of, moved, number, view_number, view_of
from lighthouse_fuse_csi.streams import NAMES, Spool, stream_of
from lighthouse_fuse_csi.tree import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_fuse_csi.bridge import Entry


def entry(path: str, content: bytes = b"x", mtime_us: int = 1) -> Entry:
    return (path, "file", False, len(content), hashlib.sha256(content).hexdigest(), mtime_us)


def make_tree(bits: int = 60) -> Tree:
    """A tree; with few bits its numbers collide."""
    mask = (1 << bits) - 1
    return Tree(lambda key: number(Area.CURRENT, key) & ~(((1 << 60) - 1) ^ mask), None)  # type: ignore[arg-type] # no content is read


def test_structures_have_the_sizes_of_the_kernels_header() -> None:
    sizes = {
        "IN_HEADER": 40,
        "OUT_HEADER": 16,
        "INIT_OUT": 64,
        "ATTR": 88,
        "ATTR_OUT": 16,
        "ENTRY_OUT": 40,
        "DIRENT": 24,
        "STATFS_OUT": 80,
        "INVAL_INODE": 24,
        "INVAL_ENTRY": 16,
    }
    assert {name: getattr(protocol, name).size for name in sizes} == sizes


def test_numbers_tell_their_area_and_view_and_are_the_same_in_any_process() -> None:
    nodeid = number(Area.CURRENT, b"key")
    assert nodeid == 0x1E7CCCADC3A94CF5
    assert area_of(nodeid) == Area.CURRENT
    assert area_of(moved(nodeid, Area.SHADOWS)) == Area.SHADOWS
    assert moved(moved(nodeid, Area.SHADOWS), Area.CURRENT) == nodeid
    viewed = view_number(77, b"key")
    assert (area_of(viewed), view_of(viewed)) == (Area.HISTORY, 77)


def test_colliding_numbers_are_moved_and_stay_so_in_a_successor() -> None:
    tree = make_tree(bits=8)
    entries = [entry(f"folder-{index % 7}/file-{index}") for index in range(150)]
    tree.update(entries)
    assert len(tree.nodes) == 150 + 7 + 1
    assert tree.salts
    successor = make_tree(bits=8)
    successor.salts = dict(tree.salts)
    random.Random(1).shuffle(entries)  # noqa: S311 (repeatable, not secret)
    successor.update(entries)
    assert {path: file.nodeid for path, file in successor.files.items()} == {
        path: file.nodeid for path, file in tree.files.items()
    }


def test_tree_after_any_changes_is_the_tree_of_the_result() -> None:
    chance = random.Random(7)  # noqa: S311 (repeatable, not secret)
    tree = make_tree()
    model: dict[str, Entry] = {}
    for step in range(3000):
        path = "/".join(chance.choices("abc", k=chance.randint(1, 4)))
        if chance.random() < 0.4:
            tree.update([], [(path, step)])
            model.pop(path, None)
        else:
            new = entry(path, b"%d" % step, step)
            tree.update([new])
            above = {path[:index] for index, letter in enumerate(path) if letter == "/"}
            for other in list(model):
                if other in above or other.startswith(path + "/"):
                    del model[other]
            model[path] = new
    assert sorted(tree.entries()) == sorted(model.values())
    folders = {path[:index] for path in model for index, letter in enumerate(path) if letter == "/"} | {""}
    assert set(tree.folders) == folders
    for path, folder in tree.folders.items():
        below = {name.decode() for name in folder.children}
        prefix = path + "/" if path else ""
        wanted = {each[len(prefix) :].split("/")[0] for each in model if each.startswith(prefix)}
        assert below == wanted
        assert folder.folders == sum(f"{prefix}{name}" in tree.folders for name in below)


def test_listing_is_cut_at_records_and_positions_survive_changes() -> None:
    members = [(b"name-%d" % index, Node(1000 + index)) for index in range(500)]
    listing = Listing(1, members)

    def walk(size: int, fresh: bool) -> list[bytes]:
        found, position = [], 0
        current = listing
        while data := bytes(current.simple(position, size)):
            assert len(data) <= size
            while data:
                _, position, length, _ = protocol.DIRENT.unpack_from(data)
                found.append(data[24 : 24 + length])
                data = data[24 + length + -length % 8 :]
            if fresh:
                # As after a restart, or after names that were listed already have gone.
                current = Listing(1, [each for each in members if each[0] not in found[::2]])
        return found

    everything = {b".", b".."} | {name for name, _ in members}
    for size in (64, 512, 4096, 1 << 20):
        for fresh in (False, True):
            found = walk(size, fresh)
            assert len(found) == len(set(found))
            assert set(found) == everything


@pytest.mark.parametrize("lost", range(1, 40, 3))
def test_journal_with_a_torn_end_keeps_all_whole_records(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "journal"
    first = Journal(path)
    first.append([b"one" * 5, b"two" * 5])
    first.append([b"three" * 5])
    first.close()
    os.truncate(path, path.stat().st_size - lost)
    second = Journal(path)
    whole = [b"one" * 5, b"two" * 5] if lost <= 33 else [b"one" * 5]
    assert second.records == whole
    second.append([b"four"])
    second.close()
    third = Journal(path)
    assert third.records == [*whole, b"four"]
    third.close()


def test_damaged_document_is_no_document(tmp_path: Path) -> None:
    path = tmp_path / "document"
    assert journal.load(path) is None
    journal.save(path, b"content")
    assert journal.load(path) == b"content"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    assert journal.load(path) is None
    path.write_bytes(b"short")
    assert journal.load(path) is None


def test_cache_gives_back_what_it_was_given_over_restarts_and_within_its_limit(tmp_path: Path) -> None:
    limit = 8 << 20
    blobs = Blobs(tmp_path, limit)
    contents = {}
    for index in range(100):
        content = bytes([index]) * (200_000 if index % 10 else 1_500_000)
        digest = hashlib.sha256(content).digest()
        contents[digest] = content
        assert bytes(blobs.put(digest, content)) == content
        assert blobs.size <= limit + 1_500_000
    assert blobs.evictions > 0
    held = {digest for digest in contents if digest in blobs}
    assert list(contents)[-1] in held
    again = Blobs(tmp_path, limit)
    for digest in held:
        found = again.get(digest)
        assert found is not None
        assert bytes(found) == contents[digest]
    assert len(again) == len(held)


def test_cache_refuses_content_of_another_hash(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, 16 << 20)
    with pytest.raises(WrongContentError):
        blobs.put(hashlib.sha256(b"right").digest(), b"wrong")
    assert len(blobs) == 0
    assert blobs.get(hashlib.sha256(b"").digest()) == b""


def test_cache_with_damaged_records_forgets_only_those(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, 16 << 20)
    contents = [os.urandom(1000) for _ in range(10)]
    for content in contents:
        blobs.put(hashlib.sha256(content).digest(), content)
    (index,) = tmp_path.glob("*.index")
    os.truncate(index, index.stat().st_size - 70)
    again = Blobs(tmp_path, 16 << 20)
    assert len(again) == 8
    for content in contents:
        assert bytes(again.put(hashlib.sha256(content).digest(), content)) == content


def test_spool_holds_whole_lines_within_its_limit_over_torn_ends(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    spool = Spool(path, 1000)
    for index in range(200):
        spool.append(b"line %d\n" % index * (index % 90 + 1))
        data = path.read_bytes()
        assert len(data) == spool.size <= 1000
        assert data == b"" or data.endswith(b"line %d\n" % index)
        assert data.startswith(b"line") or not data
    os.truncate(path, spool.size - 3)
    again = Spool(path, 1000)
    assert again.read(0, 2000) == path.read_bytes() == data[: data.rindex(b"\n", 0, -1) + 1]
    size = again.size
    # A line that never fits is left out.
    assert again.append(b"x" * 2000 + b"\n") == size == again.size


@pytest.mark.parametrize(
    ("event_type", "stream"),
    [
        ("validation_decision_made", "validation_requests"),
        ("command_executed", "validation_requests"),
        ("expert_agent_summoned", "expert_responses"),
        ("shadow_annotation_created", "expert_responses"),
        ("pair_suggestion_made", "pair_sessions"),
        ("file_modified", "file_changes"),
        ("directory_moved", "file_changes"),
        ("shadow_updated", "file_changes"),
        ("agent_session_started", "agent_activities"),
        ("system_started", "debug_events"),
        ("snapshot_created", "debug_events"),
        ("something_new", "debug_events"),
    ],
)
def test_every_event_type_has_a_stream(event_type: str, stream: str) -> None:
    assert stream_of(event_type) == stream
    assert stream in NAMES


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2026-11-23T18:00:00Z", True),
        ("2026-11-23T18:00", True),
        ("2026-11-23T18:00:00.123+02:00", True),
        ("2026-11-23", False),
        ("now", False),
        ("2026-11-23T25:00:00Z", False),
        ("2026-11-23T18:00:00" + "0" * 50, False),
    ],
)
def test_times_of_history(text: str, valid: bool) -> None:
    assert (read_time(text) is not None) == valid
