"""Where a session token is kept between calls: in memory, or in a private file shared by an agent's hooks."""

import fcntl
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from lighthouse_agent.settings import BridgeSettings

_MAX_TOKEN_BYTES = 1024
_LOCK_SECONDS = 1.5
_LOCK_STEP = 0.01


class Tokens(Protocol):
    """Keeps at most one token."""

    def current(self) -> str | None:
        """The token, if there is one."""

    def keep(self, token: str) -> None:
        """Remember a token."""

    def forget(self) -> None:
        """Drop the token."""

    def exclusive(self) -> AbstractContextManager[object]:
        """Held while a session is opened, so that hooks that run at once open one session, not many."""


class MemoryTokens:
    """Keeps the token in this object; clients in several threads may share it and so one session."""

    def __init__(self) -> None:
        self._token: str | None = None
        self._lock = threading.Lock()

    def current(self) -> str | None:
        """See Tokens."""
        return self._token

    def keep(self, token: str) -> None:
        """See Tokens."""
        self._token = token

    def forget(self) -> None:
        """See Tokens."""
        self._token = None

    def exclusive(self) -> AbstractContextManager[object]:
        """See Tokens."""
        return self._lock


class FileTokens:
    """Keeps the token in a 0600 file of a private folder.

    All access goes through the folder's descriptor and never follows a link; a file of another owner, with
    other permissions or with a second name counts as absent. Failing to write is not an error: the next call
    then opens its own session.
    """

    def __init__(self, folder: int, settings: BridgeSettings) -> None:
        """`folder` is from `private_folder`; the file's name ties the token to bridge, agent and key file."""
        identity = "\0".join((settings.url, settings.agent_id, str(settings.key_file)))
        self._name = "session-" + hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._folder = folder
        # Kept too, so that a full disk does not make this process open a session for each request.
        self._token: str | None = None

    def current(self) -> str | None:
        """See Tokens."""
        return self._read() or self._token

    def keep(self, token: str) -> None:
        """See Tokens."""
        self._token = token
        draft = f".{self._name}.{os.urandom(8).hex()}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(draft, flags, 0o600, dir_fd=self._folder)
        except OSError:
            return
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(token.encode("ascii"))
            os.rename(draft, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            self._unlink(draft)

    def forget(self) -> None:
        """See Tokens."""
        self._token = None
        self._unlink(self._name)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See Tokens; goes on without the lock after 1.5 s: an extra session does less harm than a wait."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._name + ".lock", flags, 0o600, dir_fd=self._folder)
        except OSError:
            yield
            return
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _lock(fd) and time.monotonic() < deadline:
                time.sleep(_LOCK_STEP)
            yield
        finally:
            os.close(fd)

    def _read(self) -> str | None:
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._name, flags, dir_fd=self._folder)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode) or not _is_private(facts) or facts.st_nlink != 1:
                return None
            raw = file.read(_MAX_TOKEN_BYTES + 1)
        token = raw.decode("ascii", "replace")
        usable = 0 < len(raw) <= _MAX_TOKEN_BYTES and all("!" <= c <= "~" for c in token)
        return token if usable else None

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._folder)
        except OSError:
            return


def private_folder(env: Mapping[str, str] = os.environ) -> int | None:
    """A descriptor of a folder only this user can enter, made when absent; None when none can be trusted.

    It is `lighthouse` in XDG_RUNTIME_DIR, else `lighthouse-<uid>` in /tmp.
    """
    runtime = env.get("XDG_RUNTIME_DIR", "")
    # A name in /tmp can be taken by others before; that is what the checks below are for.
    fallback = Path("/tmp", f"lighthouse-{os.geteuid()}")  # noqa: S108 - its owner and mode are checked
    path = Path(runtime, "lighthouse") if runtime.startswith("/") else fallback
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if _is_private(os.fstat(fd)):
        return fd
    os.close(fd)
    return None


def _is_private(facts: os.stat_result) -> bool:
    return facts.st_uid == os.geteuid() and stat.S_IMODE(facts.st_mode) & 0o077 == 0


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
