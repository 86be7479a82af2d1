"""`load` makes the tree of a real bridge equal to a real source tree."""

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.agent.support import Bridge, answer, clean_env

COMMAND = [sys.executable, "-m", "lighthouse_agent", "load"]
Load = Callable[..., subprocess.CompletedProcess[str]]

BINARY = bytes(range(256)) * 8
LARGE = os.urandom(256 * 1024 + 1)


@pytest.fixture
def load(bridge: Bridge) -> Load:
    """Runs `load PATH`, as an operator unless a role is given."""

    def run(path: Path, *options: str, role: str = "operator") -> subprocess.CompletedProcess[str]:
        env = clean_env(LIGHTHOUSE_BRIDGE_URL=bridge.url, LIGHTHOUSE_KEY_FILE=str(bridge.key_file(role)))
        command = [*COMMAND, str(path), *options]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)

    return run


def git(tree: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", "-C", str(tree), *identity, *arguments], check=True, capture_output=True)


def make_tree(root: Path) -> Path:
    """A tree with one of each kind of file."""
    (root / "src" / "deep").mkdir(parents=True)
    (root / "README.md").write_text("# Project\n")
    (root / "src" / "main.py").write_text("print('ü')\r\n")
    (root / "src" / "deep" / "empty").touch()
    (root / "src" / "naïve 文.txt").write_text("unicode name\n")
    (root / "logo.bin").write_bytes(BINARY)
    (root / "large.bin").write_bytes(LARGE)
    (root / "large.txt").write_text("line of text\n" * 30_000)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "src" / "link").symlink_to("main.py")
    (root / "folder-link").symlink_to("src")
    return root


def on_disk(root: Path) -> dict[str, tuple[str, bool, str]]:
    """Kind, executable bit and hash by path of all below `root` but git's own."""
    found = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if ".git" in path.parts or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = ("symlink", False, hashlib.sha256(os.fsencode(path.readlink())).hexdigest())
        else:
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            found[name] = ("file", executable, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def in_bridge(bridge: Bridge) -> dict[str, tuple[str, bool, str]]:
    files = bridge.ask("/shadow/tree")["files"]
    return {path: (kind, executable, sha256) for path, kind, executable, _size, sha256, _mtime in files}


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def failed(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """It ended with one sentence that says all of `parts`, and claimed nothing on stdout."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    *_, sentence = done.stderr.splitlines()
    assert sentence.startswith("Error: ")
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in sentence


def test_every_kind_of_file_arrives_as_it_is(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    summary = succeeded(load(tree))
    assert ": 10 added, 0 changed, 0 deleted, 0 unchanged, 0 skipped; " in summary
    assert in_bridge(bridge) == on_disk(tree)
    assert bridge.read("logo.bin") == BINARY
    assert bridge.read("large.bin") == LARGE
    assert bridge.read("src/main.py") == "print('ü')\r\n".encode()


def test_only_what_changed_is_sent(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    succeeded(load(tree))
    before = bridge.ask("/shadow/tree")["files"]
    assert ": 0 added, 0 changed, 0 deleted, 10 unchanged, 0 skipped; 0.0 MiB" in succeeded(load(tree))
    assert bridge.ask("/shadow/tree")["files"] == before

    (tree / "src" / "main.py").write_text("print(2)\n")
    (tree / "run.sh").chmod(0o644)
    (tree / "src" / "link").unlink()
    (tree / "src" / "link").write_text("now a file\n")
    (tree / "large.bin").rename(tree / "renamed.bin")
    (tree / "logo.bin").unlink()
    assert ": 1 added, 3 changed, 2 deleted, 5 unchanged, 0 skipped; " in succeeded(load(tree))
    assert in_bridge(bridge) == on_disk(tree)


def test_files_and_folders_change_places(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "was-folder" / "inner").mkdir(parents=True)
    (tree / "was-folder" / "inner" / "a").write_text("a")
    (tree / "was-file").write_text("b")
    succeeded(load(tree))
    (tree / "was-folder" / "inner" / "a").unlink()
    (tree / "was-folder" / "inner").rmdir()
    (tree / "was-folder").rmdir()
    (tree / "was-folder").write_text("file")
    (tree / "was-file").unlink()
    (tree / "was-file").mkdir()
    (tree / "was-file" / "c").write_text("c")
    succeeded(load(tree, "--keep-missing"))
    assert in_bridge(bridge) == on_disk(tree)


def test_what_is_gone_stays_when_asked_to(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    succeeded(load(tree))
    (tree / "README.md").unlink()
    assert " 0 deleted, " in succeeded(load(tree, "--keep-missing"))
    assert "README.md" in in_bridge(bridge)
    assert " 1 deleted, " in succeeded(load(tree))
    assert "README.md" not in in_bridge(bridge)


def test_a_dry_run_names_the_changes_and_sends_none(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    succeeded(load(tree))
    before = in_bridge(bridge)
    (tree / "new\nline").write_text("new")
    (tree / "run.sh").write_text("#!/bin/bash\n")
    (tree / "logo.bin").unlink()
    out = succeeded(load(tree, "--dry-run")).splitlines()
    assert out[:-1] == ["+ new line", "~ run.sh", "- logo.bin"]
    assert out[-1].startswith("Would load ")
    assert in_bridge(bridge) == before


def test_a_git_work_tree_gives_what_git_knows(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    git(tmp_path, "init", "-q", str(tree))
    (tree / ".gitignore").write_text("*.log\n/build/\n")
    (tree / "forced.log").write_text("tracked although ignored\n")
    git(tree, "add", ".")
    git(tree, "add", "-f", "forced.log")
    git(tree, "commit", "-q", "-m", "first")
    (tree / "build").mkdir()
    (tree / "build" / "out.o").write_bytes(BINARY)
    (tree / "noise.log").write_text("ignored\n")
    (tree / "untracked.py").write_text("x = 1\n")
    (tree / "README.md").unlink()
    inner = tmp_path / "inner"
    inner.mkdir()
    git(tmp_path, "init", "-q", str(inner))
    (inner / "part.py").write_text("y = 2\n")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "part")
    git(tree, "submodule", "add", "-q", str(inner), "module")
    succeeded(load(tree))
    expected = {
        path: facts for path, facts in on_disk(tree).items() if path not in {"build/out.o", "noise.log"}
    }
    assert in_bridge(bridge) == expected
    assert {"forced.log", "untracked.py", "module/part.py", ".gitmodules"} <= expected.keys()

    succeeded(load(tree / "src"))
    assert in_bridge(bridge) == on_disk(tree / "src"), "a folder inside is a tree of its own"
    succeeded(load(tree, "--all-files"))
    assert {"build/out.o", "noise.log"} <= in_bridge(bridge).keys()


def test_a_tracked_file_behind_a_new_symlink_is_not_read(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("not of the project\n")
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder" / "secret").write_text("of the project\n")
    (tree / "kept").write_text("kept\n")
    git(tmp_path, "init", "-q", str(tree))
    git(tree, "add", ".")
    (tree / "folder" / "secret").unlink()
    (tree / "folder").rmdir()
    (tree / "folder").symlink_to(tmp_path / "outside")
    done = load(tree)
    succeeded(done)
    assert "Skipped folder: it is a symlink that leaves the tree" in done.stderr
    assert in_bridge(bridge).keys() == {"kept"}


def test_what_the_bridge_cannot_hold_is_named_and_skipped(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "fine").write_text("fine\n")
    (tree / "sub" / "up").symlink_to("../fine")
    (tree / "absolute").symlink_to("/etc/passwd")
    (tree / "sub" / "out").symlink_to("../../outside")
    (tree / "through").symlink_to("sub/../fine")
    (tree / "git-link").symlink_to(".git/config")
    os.mkfifo(tree / "pipe")
    latin = os.fsdecode(b"caf\xe9.txt")
    (tree / latin).write_text("latin-1 name\n")
    (tree / "latin-link").symlink_to(latin)
    with (tree / "huge").open("wb") as file:
        file.truncate(100 * 1024 * 1024 + 1)
    done = load(tree)
    assert " 8 skipped; " in succeeded(done)
    assert in_bridge(bridge).keys() == {"fine", "sub/up"}
    for line in (
        "Skipped absolute: it is a symlink that leaves the tree (to /etc/passwd).",
        "Skipped sub/out: it is a symlink that leaves the tree (to ../../outside).",
        "Skipped through: it is a symlink with '..' after a name (to sub/../fine), which may leave the tree.",
        "Skipped git-link: it is a symlink into a git folder.",
        "Skipped pipe: it is neither a file nor a symlink.",
        "Skipped caf\\xe9.txt: its name is not UTF-8.",
        "Skipped latin-link: it is a symlink to a name that is not UTF-8.",
        "Skipped huge: its 104857601 bytes are over the limit of 104857600.",
    ):
        assert line in done.stderr.splitlines()


def test_more_than_one_batch_of_changes(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(2003):
        path = tree / f"{number % 40}" / f"file-{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"number = {number}\n")
    for number in range(60):
        (tree / f"control-{number}.txt").write_bytes(b"\x01\x02" * 60_000)
    done = load(tree)
    assert ": 2063 added, " in succeeded(done)
    assert "Loading: 2,063 of 2,063 files" in done.stderr.splitlines()[-1]
    assert "\r" not in done.stderr
    assert in_bridge(bridge) == on_disk(tree)


def test_progress_on_a_terminal_is_one_rewritten_line(bridge: Bridge, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    env = clean_env(LIGHTHOUSE_BRIDGE_URL=bridge.url, LIGHTHOUSE_KEY_FILE=str(bridge.key_file("operator")))
    terminal, end = os.openpty()
    try:
        done = subprocess.run([*COMMAND, str(tree)], env=env, stdout=subprocess.PIPE, stderr=end, check=False)
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
        os.close(end)
    assert done.returncode == 0
    assert shown.count("\n") == 1
    assert "\r\x1b[KReading: 1 files, " in shown
    assert "\r\x1b[KLoading: 10 of 10 files, " in shown


def unprivileged(command: list[str]) -> list[str]:
    """The command without root's power to read everything."""
    return (
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
        if os.geteuid() == 0
        else command
    )


@pytest.mark.parametrize("in_git", [False, True])
def test_unreadable_files_are_named_and_nothing_is_loaded(
    bridge: Bridge, tmp_path: Path, *, in_git: bool
) -> None:
    tree = make_tree(tmp_path / "tree")
    if in_git:
        git(tmp_path, "init", "-q", str(tree))
    (tree / "src" / "main.py").chmod(0)
    (tree / "src" / "deep").chmod(0)
    env = clean_env(LIGHTHOUSE_BRIDGE_URL=bridge.url, LIGHTHOUSE_KEY_FILE=str(bridge.key_file("operator")))
    done = subprocess.run(
        unprivileged([*COMMAND, str(tree)]), env=env, capture_output=True, text=True, check=False
    )
    (tree / "src" / "deep").chmod(0o755)
    failed(done, "nothing was loaded", "src/main.py (Permission denied)", "src/deep", "make them readable")
    assert in_bridge(bridge) == {}


def test_what_stops_a_load_is_one_sentence(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    (tmp_path / "empty").mkdir()
    failed(load(tmp_path / "missing"), "missing is not a folder")
    failed(load(tree / "README.md"), "is not a folder")
    failed(load(tmp_path / "empty"), "holds no file to load")
    failed(load(tree, role="expert"), "403")
    failed(load(tree, "--bridge-url", "http://127.0.0.1:9"), "Connection refused")
    failed(load(tree, "--agent-id", "a b"), "--agent-id 'a b'")
    failed(load(tree, "--key-file", str(tmp_path / "no-key")), str(tmp_path / "no-key"))
    assert in_bridge(bridge) == {}


def test_a_git_that_refuses_is_reported_with_a_way_out(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    git(tmp_path, "init", "-q", str(tree))
    (tree / ".git" / "config").write_text("[broken\n")
    failed(load(tree), "git cannot list the files", "--all-files")
    succeeded(load(tree, "--all-files"))
    assert in_bridge(bridge) == on_disk(tree)


def test_without_git_a_work_tree_is_refused_and_a_plain_one_loaded(bridge: Bridge, tmp_path: Path) -> None:
    env = clean_env(LIGHTHOUSE_BRIDGE_URL=bridge.url, LIGHTHOUSE_KEY_FILE=str(bridge.key_file("operator")))
    env["PATH"] = str(tmp_path)
    tree = make_tree(tmp_path / "tree")
    command = [*COMMAND, str(tree)]
    assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0
    git(tmp_path, "init", "-q", str(tree))
    failed(
        subprocess.run(command, env=env, capture_output=True, text=True, check=False),
        "there is no git",
        "--all-files",
    )


def test_a_load_that_breaks_off_says_how_far_it_came(
    raw_server: object, tmp_path: Path, bridge: Bridge
) -> None:
    assert callable(raw_server)
    session = {"session_id": "0", "session_token": "token", "agent_id": "loader", "role": "operator"}
    batch = {"success": True, "first_sequence": 1, "last_sequence": 1000, "count": 1000}
    server = raw_server(
        {
            "/session/create": answer(200, session),
            "/session/end": answer(200, {"success": True}),
            "/shadow/tree": answer(200, b"\x82\xa8sequence\x00\xa5files\x90"),
            "/shadow/updates": [answer(200, batch), answer(503, {"detail": "The store is full."})],
        }
    )
    for number in range(1500):
        (tmp_path / f"file-{number}").write_text("x")
    env = clean_env(LIGHTHOUSE_BRIDGE_URL=server.url, LIGHTHOUSE_KEY_FILE=str(bridge.key_file("operator")))
    command = [*COMMAND, str(tmp_path), "--all-files"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    failed(done, "after 1000 of ", "503: The store is full", "run the same command again")


def test_the_session_ends_with_the_command(bridge: Bridge, load: Load, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    succeeded(load(tree, "--agent-id", "short-lived"))
    (tree / "README.md").unlink()
    failed(load(tree, "--agent-id", "short-lived", role="expert"), "after 0 of 1 changes", "403")
    query = "/event/query?agent_id=short-lived&event_type="
    for event_type in ("agent_session_started", "agent_session_ended"):
        assert bridge.ask(query + event_type)["count"] == 2
