"""The driver's side of the control sockets: hands descriptors to sidecars, takes deposits, watches heartbeats."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import time
from threading import Thread
from typing import TYPE_CHECKING

import structlog

from lighthouse_fuse_csi import channel
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from lighthouse_fuse_csi.driver_metrics import DriverMetrics
    from lighthouse_fuse_csi.pods import Pod, Pods

_log = structlog.get_logger()
_TICK_SECONDS = 0.25
_REFUSAL_SECONDS = 1.0


class Handoff(Thread):
    """One thread that serves every pod's control socket."""

    def __init__(self, pods: Pods, metrics: DriverMetrics, abort_seconds: float) -> None:
        super().__init__(name="handoff", daemon=True)
        self._pods = pods
        self._metrics = metrics
        self._abort_seconds = abort_seconds
        self._selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ, None)
        self._waiting: dict[str, Hello] = {}
        self._refused: list[tuple[float, socket.socket]] = []
        pods.changed = self._wake
        self.turn_at = time.monotonic()

    def _wake(self) -> None:
        self._writer.send(b"\0")

    def healthy(self) -> bool:
        """Whether the thread still takes its turns."""
        return self.is_alive() and time.monotonic() - self.turn_at < 10

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            with self._pods.lock:
                self._guard(self._watch_sockets)
            ready = self._selector.select(_TICK_SECONDS)
            self.turn_at = time.monotonic()
            with self._pods.lock:
                for key, _ in ready:
                    self._guard(self._serve, key)
                self._guard(self._check_deadlines)

    @staticmethod
    def _guard(step: Callable[..., None], *arguments: object) -> None:
        """One pod's fault must not end the service for the others."""
        try:
            step(*arguments)
        except Exception:
            _log.exception("hand-off step failed")

    def _watch_sockets(self) -> None:
        """Bring the selector in line with the pods' sockets."""
        wanted: dict[socket.socket, Pod] = {}
        for pod in self._pods.all():
            for each in (pod.listener, pod.connection):
                if each is not None and each.fileno() >= 0:
                    wanted[each] = pod
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._reader and key.fileobj not in wanted:
                self._selector.unregister(key.fileobj)
        known = {key.fileobj for key in self._selector.get_map().values()}
        for each, pod in wanted.items():
            if each not in known:
                self._selector.register(each, selectors.EVENT_READ, pod)
        self._answer_waiting({pod.uid: pod for pod in wanted.values()})

    def _answer_waiting(self, pods: dict[str, Pod]) -> None:
        """Answer sidecars that dialled before their data volume was published."""
        for uid in list(self._waiting):
            pod = pods.get(uid)
            if pod is None or pod.connection is None:
                del self._waiting[uid]
            elif pod.data is not None:
                self._answer(pod, self._waiting.pop(uid), None)

    def _serve(self, key: selectors.SelectorKey) -> None:
        pod: Pod | None = key.data
        if pod is None:
            self._reader.recv(4096)
        elif key.fileobj is pod.listener:
            self._accept(pod)
        elif key.fileobj is pod.connection:
            self._listen(pod)

    def _accept(self, pod: Pod) -> None:
        assert pod.listener is not None  # noqa: S101 (the caller compared it)
        try:
            connection, _ = pod.listener.accept()
        except OSError:
            return
        size = struct.calcsize("3i")
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1]
        reason = ""
        if uid == 0:
            reason = "A sidecar must not run as root; set runAsNonRoot in its pod."
        elif pod.connection is not None and not _ended(pod.connection):
            reason = f"Pod {pod.uid} is served already; only one sidecar may hold its mount."
        if reason:
            self._count("hello", "refused")
            _log.warning("dial refused", pod=pod.uid, uid=uid, reason=reason)
            with contextlib.suppress(ClosedError):
                channel.send(connection, Refused(reason))
            # Closed at once, with what the dialler said unread, it would not get the answer.
            self._refused.append((time.monotonic(), connection))
            return
        self._drop(pod)
        connection.setblocking(False)
        pod.connection = connection

    def _listen(self, pod: Pod) -> None:
        assert pod.connection is not None  # noqa: S101 (the caller compared it)
        try:
            message, descriptor = channel.receive(pod.connection)
        except BlockingIOError:
            return
        except ClosedError:
            self._drop(pod)
            return
        try:
            self._answer(pod, message, descriptor)
        except (OSError, ClosedError) as error:
            _log.warning("hand-off failed", pod=pod.uid, error=str(error))
            self._count(type(message).__name__.lower(), "error")
            self._drop(pod)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _answer(self, pod: Pod, message: channel.Message, descriptor: int | None) -> None:
        connection = pod.connection
        assert connection is not None  # noqa: S101 (the callers checked it)
        match message:
            case Hello() if pod.data is None:
                self._waiting[pod.uid] = message
            case Hello(generation=generation) if descriptor is not None and self._pods.adopt(
                pod, descriptor, generation
            ):
                pod.session = message.session or pod.session
                channel.send(connection, Accepted(data_generation(pod)))
                self._taken(pod, "hello", "accepted")
            case Hello() if pod.descriptor is not None and not pod.aborted:
                channel.send(connection, Grant(data_generation(pod), pod.session), pod.descriptor)
                self._taken(pod, "hello", "granted")
            case Renew(generation=generation) if generation != data_generation(pod):
                self._grant_again(pod)
            case Hello() | Renew():
                kind = type(message).__name__.lower()
                fresh = self._pods.renew(pod)
                channel.send(connection, Grant(data_generation(pod), None), fresh)
                self._taken(pod, kind, "remounted")
                _log.info("fresh FUSE mount", pod=pod.uid, generation=data_generation(pod))
            case Deposit(generation=generation) if generation == data_generation(pod):
                pod.session = message.session
                self._pods.tune(pod)
                self._count("deposit", "kept")
            case Heartbeat(generation=generation) if generation == data_generation(pod):
                pod.alive_at = time.monotonic()
            case Heartbeat() | Deposit():
                _log.debug("message of an earlier mount", pod=pod.uid)
            case _:
                raise ClosedError(f"{type(message).__name__} is not for the driver.")

    def _grant_again(self, pod: Pod) -> None:
        """The sidecar asks for what it was sent already, or missed: give the present mount."""
        assert pod.connection is not None  # noqa: S101 (the caller checked it)
        descriptor = pod.descriptor if pod.descriptor is not None else self._pods.renew(pod)
        channel.send(pod.connection, Grant(data_generation(pod), pod.session), descriptor)
        self._taken(pod, "renew", "granted")

    def _taken(self, pod: Pod, kind: str, result: str) -> None:
        pod.taken = True
        pod.alive_at = time.monotonic()
        self._count(kind, result)

    def _count(self, kind: str, result: str) -> None:
        self._metrics.handoffs.labels(kind, result).inc()

    @staticmethod
    def _drop(pod: Pod) -> None:
        if pod.connection is not None:
            pod.connection.close()
            pod.connection = None

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        while self._refused and now - self._refused[0][0] > _REFUSAL_SECONDS:
            self._refused.pop(0)[1].close()
        for pod in self._pods.all():
            late = now - pod.alive_at > self._abort_seconds
            if pod.data is not None and pod.taken and not pod.aborted and late:
                self._pods.abort(pod, "deadline")
                if pod.connection is not None:
                    try:
                        channel.send(pod.connection, Aborted(pod.data.generation))
                    except ClosedError:
                        self._drop(pod)


def data_generation(pod: Pod) -> int:
    """The number of the pod's present FUSE mount; 0 when it has none."""
    return pod.data.generation if pod.data else 0


def _ended(connection: socket.socket) -> bool:
    """Whether the other side has closed, though nobody has read the end yet."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
