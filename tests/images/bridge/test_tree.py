"""The project's tree: changes, reads, history, search, annotations."""

import base64
import hashlib
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.images.bridge.support import Agent, Bridge


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files(agent: Agent, **query: Any) -> dict[str, list[Any]]:
    answer = agent.get("/shadow/tree", params=query)
    assert answer.status_code == 200, answer.text
    rows = answer.json()["files"]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    return {row[0]: row for row in rows}


def test_what_is_written_is_read_back(builder: Agent, expert: Agent) -> None:
    for path, content in (("rw/a.txt", "hällo\n"), ("rw/empty", ""), ("rw/ü ö/%2e.txt", "x" * 5000)):
        answer = builder.update(path, content, "create")
        assert answer.status_code == 200, answer.text
        assert answer.json()["content_hash"] == sha(content.encode())
        read = expert.get("/shadow/read/" + path.replace("%", "%25"))
        assert (read.status_code, read.content) == (200, content.encode())
        assert read.headers["etag"] == f'"{sha(content.encode())}"'
    binary = bytes(range(256)) * 40
    builder.update("rw/b.bin", base64.b64encode(binary).decode(), encoding="base64", executable=True)
    assert expert.get("/shadow/read/rw/b.bin").content == binary
    listed = files(expert, prefix="rw")
    assert listed["rw/b.bin"][1:5] == ["file", True, len(binary), sha(binary)]
    assert set(listed) == {"rw/a.txt", "rw/empty", "rw/b.bin", "rw/ü ö/%2e.txt"}
    packed = expert.get("/shadow/tree?prefix=rw", headers={"Accept": "application/msgpack"})
    assert packed.headers["content-type"] == "application/msgpack"
    assert {row[0]: row for row in msgspec.msgpack.decode(packed.content)["files"]} == listed


def test_unchanged_content_is_not_asked_for_twice(builder: Agent, expert: Agent) -> None:
    builder.update("etag.txt", "x")
    tag = expert.get("/shadow/read/etag.txt").headers["etag"]
    again = expert.get("/shadow/read/etag.txt", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_a_batch_is_all_or_nothing_and_skips_what_is_the_same(builder: Agent, expert: Agent) -> None:
    updates = [{"operation": "create", "file_path": f"batch/{i}", "content": str(i)} for i in range(50)]
    body = {"agent_id": builder.agent_id, "updates": updates}
    answer = builder.post("/shadow/updates", body).json()
    assert answer["count"] == 50
    assert answer["last_sequence"] - answer["first_sequence"] == 49
    again = builder.post("/shadow/updates", body).json()
    assert again == {"success": True, "first_sequence": None, "last_sequence": None, "count": 0}
    before = expert.bridge.sequence()
    bad = [
        {"operation": "update", "file_path": "batch/0", "content": "new"},
        {"operation": "delete", "file_path": "batch/none"},
    ]
    refused = builder.post("/shadow/updates", {"agent_id": builder.agent_id, "updates": bad})
    assert refused.status_code == 404
    assert expert.get("/shadow/read/batch/0").text == "0"
    assert expert.bridge.sequence() == before


def test_conflicts_are_told_and_change_nothing(builder: Agent) -> None:
    builder.update("c/file", "one", "create")
    assert builder.update("c/file", "one", "create").status_code == 200
    assert builder.update("c/file", "two", "create").status_code == 409
    assert builder.update("c/file/below", "x").status_code == 409
    assert builder.update("c", "x").status_code == 409
    assert builder.update("c/file", "two", expected_hash=sha(b"zero")).status_code == 409
    assert builder.update("c/file", "two", expected_hash=sha(b"one")).status_code == 200
    assert builder.update("c/new", "x", expected_hash="").status_code == 200
    assert builder.update("c/new", "y", expected_hash="").status_code == 409
    assert builder.update("c/none", None, "delete").status_code == 404


def test_only_an_operator_deletes_critical_files(builder: Agent, operator: Agent) -> None:
    operator.update("crit/README.md", "x")
    assert builder.update("crit/README.md", None, "delete").status_code == 403
    assert operator.update("crit/README.md", None, "delete").status_code == 200


def test_symlinks_stay_inside_the_tree(builder: Agent, expert: Agent) -> None:
    for target in ("file", "../links/file", "./a/b", "../../top"):
        assert builder.update("links/sub/ok", target, kind="symlink").status_code == 200, target
    assert expert.get("/shadow/read/links/sub/ok").headers["x-lighthouse-kind"] == "symlink"
    for target in (
        "/etc/passwd",
        "../../../etc/passwd",
        "a/../../../../x",
        "",
        "x\0y",
        "../.git/config",
        "a/..",
    ):
        refused = builder.update("links/sub/bad", target, kind="symlink")
        assert refused.status_code == 400, target
        assert "detail" in refused.json()
    escape = b"../../../../etc/passwd"
    builder.bridge.http.put(f"/shadow/blobs/{sha(escape)}", content=escape, headers=builder.headers)
    by_hash = builder.update("links/sub/bad", None, kind="symlink", content_hash=sha(escape))
    assert by_hash.status_code == 400
    assert "links/sub/bad" not in files(expert, prefix="links")


def test_the_past_is_read_by_sequence_and_by_time(builder: Agent, expert: Agent) -> None:
    first = builder.update("past/a", "one").json()["sequence"]
    moment = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    builder.update("past/a", "two")
    builder.update("past/b", "new")
    builder.update("past/a", None, "delete")
    assert set(files(expert, prefix="past")) == {"past/b"}
    assert {p: row[4] for p, row in files(expert, prefix="past", sequence=first).items()} == {
        "past/a": sha(b"one")
    }
    assert files(expert, prefix="past", at=moment) == files(expert, prefix="past", sequence=first)
    assert expert.get("/shadow/read/past/a", params={"at": moment}).text == "one"
    assert expert.get("/shadow/read/past/a").status_code == 404
    versions = expert.get("/shadow/history/past/a").json()["versions"]
    assert [(v["operation"], v["content_hash"]) for v in versions] == [
        ("create", sha(b"one")),
        ("update", sha(b"two")),
        ("delete", None),
    ]
    assert expert.get("/shadow/tree", params={"at": "2000-01-01T00:00:00Z"}).json()["files"] == []
    for wrong in ("2999-01-01T00:00:00Z", "yesterday", "", "2026-13-01"):
        assert expert.get("/shadow/tree", params={"at": wrong}).status_code == 400
    assert expert.get("/shadow/tree", params={"at": moment, "sequence": 1}).status_code == 400


def test_blobs_are_kept_by_hash(builder: Agent, expert: Agent) -> None:
    contents = [b"blob" * 5000 + bytes([i]) for i in range(20)]
    for content in contents:
        put = builder.bridge.http.put(
            f"/shadow/blobs/{sha(content)}", content=content, headers=builder.headers
        )
        assert put.status_code == 201
    again = builder.bridge.http.put(
        f"/shadow/blobs/{sha(contents[0])}", content=contents[0], headers=builder.headers
    )
    assert again.status_code == 200
    assert expert.get(f"/shadow/blobs/{sha(contents[0])}").content == contents[0]
    wrong = builder.bridge.http.put(f"/shadow/blobs/{sha(b'x')}", content=b"y", headers=builder.headers)
    assert wrong.status_code == 400
    assert builder.update("by-hash", None, content_hash=sha(contents[1])).status_code == 200
    assert expert.get("/shadow/read/by-hash").content == contents[1]
    assert builder.update("by-hash", None, content_hash=sha(b"nowhere")).status_code == 400
    hashes = [sha(content) for content in contents] + [sha(b"nowhere")]
    fetched = msgspec.msgpack.decode(expert.post("/shadow/blobs/fetch", {"hashes": hashes}).content)
    assert fetched == {sha(content): content for content in contents}


def test_a_fetch_is_filled_up_to_its_limit_and_never_empty(builder: Agent, expert: Agent) -> None:
    big = [bytes([i]) * 9_000_000 for i in range(2)]
    for content in big:
        builder.bridge.http.put(f"/shadow/blobs/{sha(content)}", content=content, headers=builder.headers)
    fetched = msgspec.msgpack.decode(
        expert.post("/shadow/blobs/fetch", {"hashes": [sha(c) for c in big]}).content
    )
    assert fetched == {sha(big[0]): big[0]}


def test_search_finds_lines_and_gives_up_in_time(builder: Agent, expert: Agent) -> None:
    builder.update("search/a.py", "import os\nprint('needle-7')\n")
    builder.update("search/b.txt", "needle-8\n")
    builder.update("search/evil.txt", "a" * 5000 + "!\n")
    found = expert.post("/shadow/search", {"pattern": r"needle-\d"}).json()
    assert [(m["file_path"], m["line"]) for m in found["matches"]] == [
        ("search/a.py", 2),
        ("search/b.txt", 1),
    ]
    assert found["truncated"] is False
    only = expert.post("/shadow/search", {"pattern": r"needle-\d", "file_types": ["py"]}).json()
    assert [m["file_path"] for m in only["matches"]] == ["search/a.py"]
    assert expert.post("/shadow/search", {"pattern": "needle", "limit": 1}).json()["truncated"] is True
    assert expert.post("/shadow/search", {"pattern": "("}).status_code == 400
    started = time.monotonic()
    slow = expert.post("/shadow/search", {"pattern": "(a|aa)+$"})
    assert (slow.status_code, slow.json()["truncated"]) == (200, True)
    assert time.monotonic() - started < 5
    assert expert.get("/health").elapsed.total_seconds() < 1


def test_annotations_are_shown_in_the_document(builder: Agent, expert: Agent) -> None:
    builder.update("doc/a.py", "one\ntwo\n")
    first = expert.get("/shadow/document/doc/a.py")
    note = {"file_path": "doc/a.py", "line": 2, "annotation": "why?", "expert_id": expert.agent_id}
    made = expert.post("/shadow/annotate", note).json()
    document = expert.get("/shadow/document/doc/a.py")
    assert document.headers["etag"] != first.headers["etag"]
    assert expert.get("/shadow/document/doc/a.py").content == document.content
    shown = document.json()
    assert set(shown) == {"original_content", "encoding", "ast_annotations", "file_path", "generated_at"}
    assert (shown["original_content"], shown["file_path"]) == ("one\ntwo\n", "doc/a.py")
    assert shown["ast_annotations"][0]["annotation_id"] == made["annotation_id"]
    assert expert.post("/shadow/annotate", {**note, "line": 3}).status_code == 400
    assert expert.post("/shadow/annotate", {**note, "file_path": "doc/none"}).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "a/",
        "..",
        ".",
        ".git/config",
        "a/.GIT/x",
        "a\0b",
        "x" * 256,
        "a/" * 2500 + "b",
    ],
)
def test_a_path_outside_the_tree_is_refused_and_nothing_written(builder: Agent, path: str) -> None:
    before = builder.bridge.sequence()
    for operation in ("create", "update", "delete"):
        answer = builder.update(path, None if operation == "delete" else "x", operation)
        assert answer.status_code in {400, 422}, answer.text
        assert answer.json()["detail"]
    assert builder.bridge.sequence() == before


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fetc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "%2fetc/passwd",
        "a/%2e%2e/b",
        "a%00b",
        "%ff",
        ".git/config",
    ],
)
def test_a_traversal_in_a_url_is_refused(bridge: Bridge, expert: Agent, path: str) -> None:
    for route in ("read", "history", "document"):
        # httpx would tidy the path: ask with the raw one.
        url = expert.bridge.http.base_url.copy_with(raw_path=f"/shadow/{route}/{path}".encode())
        answer = bridge.http.get(url, headers=expert.headers)
        assert answer.status_code == 400, (path, answer.text)


@pytest.mark.heavy
def test_a_tree_of_ten_thousand_files_is_loaded_in_seconds(start_bridge: Any) -> None:
    own: Bridge = start_bridge()
    operator = own.join("operator")
    contents = {f"src/d{i % 100}/f{i}.py": f"# {i}\n" * 200 for i in range(10_000)}
    paths = list(contents)
    started = time.monotonic()
    for start in range(0, len(paths), 1000):
        updates = [
            {"operation": "create", "file_path": path, "content": contents[path]}
            for path in paths[start : start + 1000]
        ]
        answer = operator.post("/shadow/updates", {"agent_id": operator.agent_id, "updates": updates})
        assert answer.status_code == 200, answer.text
    took = time.monotonic() - started
    assert len(files(operator)) == 10_000
    assert took < 20, f"{took:.1f} s"
