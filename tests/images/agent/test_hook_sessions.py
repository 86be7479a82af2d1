"""The hook keeps its session between calls, in a place nobody else can read or plant."""

import json
import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.images.agent.hooks import APPROVED, CALL, HOOK, assert_blocked, hook
from tests.images.agent.support import SESSION_ANSWER, TOKEN, RawServer, answer

Server = Callable[[Mapping[str, Any]], RawServer]


def token_files(env: Mapping[str, str]) -> list[Path]:
    return sorted(Path(env["XDG_RUNTIME_DIR"], "lighthouse").glob("session-*[0-9a-f]"))


def test_a_second_call_uses_the_first_ones_session(raw_server: Server, env: dict[str, str]) -> None:
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": APPROVED})
    assert hook(env, url=server.url) == (0, "")
    assert hook(env, url=server.url) == (0, "")
    assert server.count("/session/create") == 1
    (file,) = token_files(env)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_an_expired_session_is_replaced_once(raw_server: Server, env: dict[str, str]) -> None:
    expired = answer(401, {"detail": "The session has ended."})
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": [APPROVED, expired, APPROVED]})
    assert hook(env, url=server.url) == (0, "")
    assert hook(env, url=server.url) == (0, "")
    assert server.count("/session/create") == 2


def test_a_session_refused_twice_blocks(raw_server: Server, env: dict[str, str]) -> None:
    server = raw_server(
        {"/session/create": SESSION_ANSWER, "/validate": answer(401, {"detail": "No session."})}
    )
    assert_blocked(hook(env, url=server.url), "401: No session")
    assert server.count("/validate") == 2


def test_agents_do_not_share_sessions(raw_server: Server, env: dict[str, str]) -> None:
    other = {"session_id": "1", "session_token": "other-token", "agent_id": "agent-2", "role": "builder"}
    server = raw_server({"/session/create": [SESSION_ANSWER, answer(200, other)], "/validate": APPROVED})
    assert hook(env, url=server.url) == (0, "")
    assert hook(env, {**CALL, "agent_id": "agent-2"}, url=server.url) == (0, "")
    assert server.requests[-1][2]["authorization"] == "Bearer other-token"
    assert len(token_files(env)) == 2


def make_symlinked_folder(run: Path) -> None:
    (run / "elsewhere").mkdir(mode=0o700)
    (run / "lighthouse").symlink_to("elsewhere")


def make_open_folder(run: Path) -> None:
    (run / "lighthouse").mkdir()
    (run / "lighthouse").chmod(0o770)


def make_foreign_folder(run: Path) -> None:
    (run / "lighthouse").mkdir(mode=0o700)
    os.chown(run / "lighthouse", 65533, 65533)


@pytest.mark.parametrize("prepare", [make_symlinked_folder, make_open_folder, make_foreign_folder])
def test_an_untrusted_folder_is_not_used(
    raw_server: Server, env: dict[str, str], prepare: Callable[[Path], None]
) -> None:
    if prepare is make_foreign_folder and os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    prepare(Path(env["XDG_RUNTIME_DIR"]))
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": APPROVED})
    for _ in range(2):
        assert hook(env, url=server.url) == (0, "")
    assert server.count("/session/create") == 2
    assert list(Path(env["XDG_RUNTIME_DIR"]).rglob("session-*")) == []


def spoil_mode(file: Path) -> None:
    file.chmod(0o644)


def spoil_by_link(file: Path) -> None:
    file.rename(file.with_name("real"))
    file.symlink_to("real")


def spoil_by_second_name(file: Path) -> None:
    file.with_name("second").hardlink_to(file)


def spoil_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def spoil_content(file: Path) -> None:
    file.write_bytes(b"x\r\nInjected: header\r\n")


@pytest.mark.parametrize(
    "spoil", [spoil_mode, spoil_by_link, spoil_by_second_name, spoil_by_fifo, spoil_content]
)
def test_an_untrusted_token_file_is_replaced(
    raw_server: Server, env: dict[str, str], spoil: Callable[[Path], None]
) -> None:
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": APPROVED})
    assert hook(env, url=server.url) == (0, "")
    (file,) = token_files(env)
    spoil(file)
    assert hook(env, url=server.url) == (0, "")
    assert server.count("/session/create") == 2
    assert stat.S_ISREG(file.lstat().st_mode)
    assert file.read_text() == TOKEN


def test_hooks_that_run_at_once_open_one_session(raw_server: Server, env: dict[str, str]) -> None:
    def slow_session(connection: socket.socket) -> None:
        time.sleep(0.4)
        connection.sendall(SESSION_ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    server = raw_server({"/session/create": slow_session, "/validate": APPROVED})
    full = {**env, "LIGHTHOUSE_BRIDGE_URL": server.url}
    running = [subprocess.Popen(HOOK, stdin=subprocess.PIPE, env=full) for _ in range(4)]
    for process in running:
        process.communicate(json.dumps(CALL).encode(), timeout=10)
    assert [process.returncode for process in running] == [0] * 4
    assert server.count("/session/create") == 1
