"""PID 1 of the sidecar: holds the descriptor and the session, and keeps a daemon serving them.

It is single-threaded and has all modules of the daemon imported, so that a fork is a daemon within milliseconds.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import time
from typing import TYPE_CHECKING

import structlog

from lighthouse_fuse_csi import channel, daemon, web
from lighthouse_fuse_csi.channel import (
    Aborted,
    Accepted,
    ClosedError,
    Deposit,
    Grant,
    Heartbeat,
    Hello,
    Refused,
    Renew,
)
from lighthouse_fuse_csi.errors import SettingsError

if TYPE_CHECKING:
    from lighthouse_fuse_csi.settings import SidecarSettings

_log = structlog.get_logger()
_SILENT_SECONDS = 5.0
_SHORT_LIFE_SECONDS, _SHORT_LIVES, _PAUSE_SECONDS = 1.0, 5, 2.0
_DIAL_SECONDS = (0.05, 1.0)


class Supervisor:
    """The state of the sidecar's first process."""

    def __init__(self, settings: SidecarSettings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._wake_reader, wake_writer = socket.socketpair()
        for each in (self._wake_reader, wake_writer):
            each.setblocking(False)
        signal.set_wakeup_fd(wake_writer.fileno(), warn_on_full_buffer=False)
        self._wake_writer = wake_writer
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._woken)
        self._stopping = 0
        self._connection: socket.socket | None = None
        self._dial_at = 0.0
        self._dial_pause = _DIAL_SECONDS[0]
        self._descriptor: int | None = None
        self._generation = 0
        self._session: bytes | None = None
        self._pid = 0
        self._pipe: socket.socket | None = None
        self._started_at = self._beat_at = self._start_at = 0.0
        self._short_lives = 0
        self._resumes = -1
        self._heartbeat_at = 0.0

    def stop(self, number: int) -> None:
        """End at the next turn."""
        self._stopping = number

    def run(self) -> int:
        """Turn until a signal ends it; returns the exit status."""
        while not self._stopping:
            self._reap()
            self._tend()
            for key, _ in self._selector.select(self._pause()):
                key.data()
        self._kill()
        self._reap(wait=True)
        return 0

    def _pause(self) -> float:
        now = time.monotonic()
        times = [0.5]
        if self._connection is None:
            times.append(self._dial_at - now)
        if not self._pid and self._descriptor is not None:
            times.append(self._start_at - now)
        return max(0.0, min(times))

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_reader.recv(4096)

    def _tend(self) -> None:
        now = time.monotonic()
        if self._connection is None and now >= self._dial_at:
            self._dial()
        if self._descriptor is not None and not self._pid and now >= self._start_at:
            self._start()
        if self._pid and now - self._beat_at > _SILENT_SECONDS:
            _log.warning("daemon is silent and is replaced", pid=self._pid)
            self._kill()
        serving = self._pid and now - self._beat_at < 3 * daemon.BEAT_SECONDS
        if self._connection and serving and now >= self._heartbeat_at:
            self._heartbeat_at = now + channel.HEARTBEAT_SECONDS
            self._say(Heartbeat(self._generation))

    # The driver

    def _dial(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(str(self._settings.control / channel.SOCKET_NAME))
        except OSError as error:
            connection.close()
            _log.debug("driver not reached", error=str(error))
            self._later()
            return
        connection.setblocking(False)
        self._connection = connection
        self._selector.register(connection, selectors.EVENT_READ, self._hear)
        if self._descriptor is None:
            self._say(Hello())
        else:
            self._say(Hello(self._generation, self._session), self._descriptor)

    def _later(self) -> None:
        self._dial_at = time.monotonic() + self._dial_pause
        self._dial_pause = min(2 * self._dial_pause, _DIAL_SECONDS[1])

    def _say(self, message: channel.Message, descriptor: int | None = None) -> None:
        if self._connection is None:
            return
        try:
            channel.send(self._connection, message, descriptor)
        except ClosedError as error:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        if self._connection is not None:
            _log.warning("driver lost; the daemon goes on", reason=why)
            self._selector.unregister(self._connection)
            self._connection.close()
            self._connection = None
            self._later()

    def _hear(self) -> None:
        if self._connection is None:
            return
        try:
            message, descriptor = channel.receive(self._connection)
        except BlockingIOError:
            return
        except ClosedError as error:
            self._lose(str(error))
            return
        match message:
            case Grant() if descriptor is not None:
                self._dial_pause = _DIAL_SECONDS[0]
                self._take(descriptor, message)
            case Accepted():
                self._dial_pause = _DIAL_SECONDS[0]
            case Aborted(generation=generation) if generation == self._generation:
                self._drop()
                self._say(Renew(generation))
            case Refused(reason=reason):
                _log.error("driver refused", reason=reason)
                self._dial_pause = _DIAL_SECONDS[1]
                self._lose(reason)
            case _:
                _log.debug("message passed over", message=type(message).__name__)

    def _take(self, descriptor: int, grant: Grant) -> None:
        """Serve the mount that the driver gives, in place of any other."""
        self._drop()
        self._descriptor = descriptor
        self._generation = grant.generation
        self._session = grant.session
        self._start_at = 0.0
        _log.info("mount taken", generation=grant.generation, resumed=grant.session is not None)

    def _drop(self) -> None:
        self._kill()
        self._reap(wait=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._session = None

    # The daemon

    def _start(self) -> None:
        assert self._descriptor is not None  # noqa: S101 (the caller checked it)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._resumes += 1
        pid = os.fork()
        if pid == 0:
            self._become_daemon(ours, theirs)
        theirs.close()
        ours.setblocking(False)
        self._pid, self._pipe = pid, ours
        self._selector.register(ours, selectors.EVENT_READ, self._hear_daemon)
        self._started_at = self._beat_at = time.monotonic()

    def _become_daemon(self, ours: socket.socket, theirs: socket.socket) -> None:
        """The child's whole life."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for each in (ours, self._wake_reader, self._wake_writer, self._connection):
                if each is not None:
                    each.close()
            self._selector.close()
            assert self._descriptor is not None  # noqa: S101 (the caller checked it)
            status = daemon.run(
                self._settings, self._descriptor, self._session, theirs, self._listener, self._resumes
            )
        except BaseException:
            _log.exception("daemon failed")
        finally:
            os._exit(status)

    def _hear_daemon(self) -> None:
        if self._pipe is None:
            return
        try:
            message = self._pipe.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            # Its end comes as SIGCHLD too; until then the pipe would be ready all the time.
            self._selector.unregister(self._pipe)
            self._pipe.close()
            self._pipe = None
        elif message == daemon.ALIVE:
            self._beat_at = time.monotonic()
        else:
            self._session = message
            self._say(Deposit(self._generation, message))

    def _kill(self) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _reap(self, *, wait: bool = False) -> None:
        """Bury children: the daemon, and as PID 1 any process that lost its parent."""
        while True:
            try:
                pid, status = os.waitpid(
                    self._pid if wait and self._pid else -1, 0 if wait and self._pid else os.WNOHANG
                )
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._buried(os.waitstatus_to_exitcode(status))

    def _buried(self, code: int) -> None:
        now = time.monotonic()
        _log.warning("daemon ended", pid=self._pid, code=code)
        self._pid = 0
        if self._pipe is not None:
            self._selector.unregister(self._pipe)
            self._pipe.close()
            self._pipe = None
        self._short_lives = self._short_lives + 1 if now - self._started_at < _SHORT_LIFE_SECONDS else 0
        self._start_at = now + _PAUSE_SECONDS if self._short_lives >= _SHORT_LIVES and code >= 0 else now
        if code == daemon.GONE and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = self._session = None
            self._say(Renew(self._generation))


def run(settings: SidecarSettings) -> int:
    """Serve until a signal; returns the exit status."""
    if os.geteuid() == 0:
        raise SettingsError("The sidecar runs as root; set runAsNonRoot and a runAsUser other than 0.")
    try:
        listener = web.listen(settings.port, settings.metrics_tls)
    except OSError as error:
        raise SettingsError(f"LIGHTHOUSE_FUSE_PORT {settings.port} cannot be bound: {error}.") from error
    supervisor = Supervisor(settings, listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: supervisor.stop(signum))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.collect()
    gc.freeze()
    return supervisor.run()
