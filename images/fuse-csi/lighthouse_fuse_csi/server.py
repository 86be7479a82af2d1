"""The FUSE server: reads requests from the kernel, answers from memory at once, leaves waiting to workers."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from threading import Condition, Thread
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from lighthouse_fuse_csi import protocol
from lighthouse_fuse_csi.nodes import File, Folder, SlowError
from lighthouse_fuse_csi.protocol import ATTR_OUT, BUFFER, IN_HEADER, OUT_HEADER, READ_IN, Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from lighthouse_fuse_csi.fuse_metrics import Metrics
    from lighthouse_fuse_csi.nodes import Content, Node

_log = structlog.get_logger()
_WORKERS = 12
_NAMES = {op.value: op.name.lower() for op in Op}


class FileSystem(Protocol):
    """What is served."""

    def node(self, nodeid: int, *, wait: bool) -> Node:
        """The node of this number; raises SlowError, OSError."""

    def statistics(self) -> tuple[int, int]:
        """Number of files and bytes."""


class Session(msgspec.Struct, frozen=True):
    """What was agreed with the kernel; a successor on the same descriptor needs it."""

    major: int
    minor: int
    flags: int
    max_readahead: int


def _too_late(*_: object) -> Content:
    raise TimeoutError(errno.EIO, "waited too long for a worker")


class Request:
    """A request that waits for the bridge."""

    __slots__ = ("body", "nodeid", "opcode", "started", "unique")

    def __init__(self, opcode: int, unique: int, nodeid: int, body: bytes, started: int) -> None:
        self.opcode = opcode
        self.unique = unique
        self.nodeid = nodeid
        self.body = body
        self.started = started


class Server:
    """Serves one descriptor."""

    def __init__(self, descriptor: int, system: FileSystem, metrics: Metrics, wait_seconds: float) -> None:
        self._descriptor = descriptor
        self._system = system
        self._metrics = metrics
        self._wait_ns = int(wait_seconds * 1e9)
        self._handlers: dict[int, Callable[[int, bytes | bytearray, int, bool], Content]] = {
            Op.LOOKUP: self._lookup,
            Op.GETATTR: self._getattr,
            Op.READLINK: self._readlink,
            Op.READ: self._read,
            Op.STATFS: self._statfs,
            Op.READDIR: self._readdir,
            Op.READDIRPLUS: self._readdirplus,
            Op.DESTROY: lambda *_: b"",
        }
        self._queue: deque[Request] = deque()
        self._queued = Condition()
        self._waiting: dict[int, Request] = {}
        self.session: Session | None = None
        self.initialized: Callable[[Session], None] = lambda _: None
        # Since when the request loop is in one request, in nanoseconds; 0 while it waits for the kernel.
        self.busy_since = 0

    def run(self) -> int:
        """Serve until the connection ends; returns the errno that ended it."""
        for index in range(_WORKERS):
            Thread(target=self._work, name=f"worker-{index}", daemon=True).start()
        try:
            # What the predecessor had taken and not answered comes again.
            os.write(self._descriptor, protocol.message(protocol.Notify.RESEND))
        except OSError as error:
            _log.info("the kernel cannot resend requests", error=str(error))
        return self._loop()

    def _loop(self) -> int:
        descriptor, handlers = self._descriptor, self._handlers
        buffer = bytearray(BUFFER)
        buffers = (buffer,)
        readv, writev, write, clock = os.readv, os.writev, os.write, time.perf_counter_ns
        unpack, pack, head = IN_HEADER.unpack_from, OUT_HEADER.pack, OUT_HEADER.size
        requests, durations = self._metrics.requests, self._metrics.durations
        while True:
            self.busy_since = 0
            try:
                readv(descriptor, buffers)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                return error.errno or errno.EIO
            self.busy_since = started = clock()
            length, opcode, unique, nodeid, _, _, _, _, _ = unpack(buffer)
            handler = handlers.get(opcode)
            code = 0
            try:
                if handler is None:
                    self._other(opcode, unique, buffer, length)
                    continue
                payload = handler(nodeid, buffer, length, False)
                size = len(payload)
                if size > 512:
                    writev(descriptor, (pack(head + size, 0, unique), payload))
                else:
                    write(descriptor, pack(head + size, 0, unique) + payload)
            except SlowError:
                self._postpone(Request(opcode, unique, nodeid, bytes(buffer[:length]), started))
                continue
            except OSError as error:
                code = self._refuse(unique, error)
            except Exception:
                _log.exception("request failed", op=opcode, nodeid=nodeid)
                code = self._refuse(unique, OSError(errno.EIO, ""))
            name = _NAMES[opcode]
            requests[name, errno.errorcode[code] if code else ""] += 1
            durations[name].add(clock() - started)

    def _refuse(self, unique: int, error: OSError) -> int:
        code = error.errno or errno.EIO
        try:
            os.write(self._descriptor, OUT_HEADER.pack(OUT_HEADER.size, -code, unique))
        except OSError as failure:
            # ENOENT: the caller was killed meanwhile and waits no longer.
            if failure.errno != errno.ENOENT:
                _log.debug("answer not taken", error=str(failure))
        return code

    def _other(self, opcode: int, unique: int, buffer: bytearray, length: int) -> None:
        match opcode:
            case Op.FORGET | Op.BATCH_FORGET:
                # Numbers are made from what a node is: there is nothing to forget, and no answer is expected.
                return
            case Op.INIT:
                self._init(unique, buffer, length)
            case Op.INTERRUPT:
                self._interrupt(protocol.UNIQUE.unpack_from(buffer, IN_HEADER.size)[0])
            case _:
                # The kernel remembers ENOSYS for open, opendir, flush, xattr and lseek, and does not ask again.
                self._refuse(unique, OSError(errno.ENOSYS, ""))

    def _init(self, unique: int, buffer: bytearray, length: int) -> None:
        body = bytes(buffer[IN_HEADER.size : length]).ljust(protocol.INIT_IN.size, b"\0")
        major, minor, readahead, low, high = protocol.INIT_IN.unpack_from(body)
        if major < protocol.MAJOR or minor < 31:
            _log.error("the kernel's FUSE is too old", major=major, minor=minor)
            self._refuse(unique, OSError(errno.EPROTO, ""))
            return
        flags = (low | (high << 32 if low & protocol.Flag.INIT_EXT else 0)) & int(protocol.WANTED)
        readahead = max(readahead, protocol.MAX_READ)
        answer = protocol.INIT_OUT.pack(
            protocol.MAJOR,
            protocol.MINOR,
            readahead,
            flags & 0xFFFFFFFF,
            64,
            48,
            4096,
            1000,
            protocol.MAX_READ // 4096,
            0,
            flags >> 32,
            0,
            0,
        )
        os.write(self._descriptor, OUT_HEADER.pack(OUT_HEADER.size + len(answer), 0, unique) + answer)
        self.session = Session(protocol.MAJOR, min(minor, protocol.MINOR), flags, readahead)
        self.initialized(self.session)

    def _lookup(self, nodeid: int, buffer: bytes | bytearray, length: int, wait: bool) -> Content:
        folder = self._system.node(nodeid, wait=wait)
        if not isinstance(folder, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "")
        node = folder.lookup(bytes(buffer[IN_HEADER.size : length - 1]), wait=wait)
        if node is not None:
            return node.entry(wait=wait)
        seconds = folder.absent_seconds()
        if not seconds:
            raise FileNotFoundError(errno.ENOENT, "")
        return protocol.ENTRY_OUT.pack(0, 0, seconds, 0, 0, 0) + bytes(protocol.ATTR.size)

    def _getattr(self, nodeid: int, buffer: bytes | bytearray, length: int, wait: bool) -> Content:
        del buffer, length
        node = self._system.node(nodeid, wait=wait)
        return ATTR_OUT.pack(node.attr_seconds, 0, 0) + node.attributes(wait=wait)

    def _readlink(self, nodeid: int, buffer: bytes | bytearray, length: int, wait: bool) -> Content:
        del buffer, length
        return self._file(nodeid, wait).read(0, 4096, wait=wait)

    def _read(self, nodeid: int, buffer: bytes | bytearray, length: int, wait: bool) -> Content:
        del length
        _, offset, size = READ_IN.unpack_from(buffer, IN_HEADER.size)
        content = self._file(nodeid, wait).read(offset, size, wait=wait)
        self._metrics.read_bytes += len(content)
        return content

    def _file(self, nodeid: int, wait: bool) -> File:
        node = self._system.node(nodeid, wait=wait)
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, "")
        return node

    def _statfs(self, nodeid: int, buffer: bytes | bytearray, length: int, wait: bool) -> Content:
        del nodeid, buffer, length, wait
        files, size = self._system.statistics()
        return protocol.STATFS_OUT.pack((size + 4095) // 4096, 0, 0, files, 0, 4096, 255, 4096)

    def _readdir(self, nodeid: int, buffer: bytes | bytearray, length: int, wait: bool) -> Content:
        del length
        _, offset, size = READ_IN.unpack_from(buffer, IN_HEADER.size)
        return self._folder(nodeid, wait).listing(wait=wait).simple(offset, size)

    def _readdirplus(self, nodeid: int, buffer: bytes | bytearray, length: int, wait: bool) -> Content:
        del length
        _, offset, size = READ_IN.unpack_from(buffer, IN_HEADER.size)
        return self._folder(nodeid, wait).listing(wait=wait).plus(offset, size)

    def _folder(self, nodeid: int, wait: bool) -> Folder:
        node = self._system.node(nodeid, wait=wait)
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "")
        return node

    def _postpone(self, request: Request) -> None:
        self._waiting[request.unique] = request
        with self._queued:
            self._queue.append(request)
            self._metrics.in_flight = len(self._waiting)
            self._queued.notify()

    def _interrupt(self, unique: int) -> None:
        """Answer a waiting request at once; its worker finds it gone and says nothing."""
        if self._waiting.pop(unique, None) is not None:
            self._refuse(unique, InterruptedError(errno.EINTR, ""))

    def _work(self) -> None:
        while True:
            with self._queued:
                while not self._queue:
                    self._queued.wait()
                request = self._queue.popleft()
            if request.unique in self._waiting:
                self._answer(request)
            self._metrics.in_flight = len(self._waiting)

    def _answer(self, request: Request) -> None:
        error: OSError | None = None
        payload: Content = b""
        handler = self._handlers[request.opcode]
        if time.perf_counter_ns() - request.started > self._wait_ns:
            # It waited for a worker so long that its time is up.
            handler = _too_late
        try:
            payload = handler(request.nodeid, request.body, len(request.body), True)
        except OSError as failure:
            error = failure
        except Exception:
            _log.exception("request failed", op=request.opcode, nodeid=request.nodeid)
            error = OSError(errno.EIO, "")
        if self._waiting.pop(request.unique, None) is None:
            return
        code = 0
        if error is not None:
            code = self._refuse(request.unique, error)
        else:
            try:
                header = OUT_HEADER.pack(OUT_HEADER.size + len(payload), 0, request.unique)
                os.writev(self._descriptor, (header, payload))
            except OSError as failure:
                code = failure.errno or errno.EIO
        name = _NAMES[request.opcode]
        self._metrics.requests[name, errno.errorcode.get(code, str(code)) if code else ""] += 1
        self._metrics.durations[name].add(time.perf_counter_ns() - request.started)
