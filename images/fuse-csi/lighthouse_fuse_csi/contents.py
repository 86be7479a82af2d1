"""File contents from the cache on disk, else from the bridge; and filling the cache ahead of need."""

from __future__ import annotations

import errno
from collections import deque
from concurrent.futures import Future
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING

import structlog

from lighthouse_fuse_csi.blobs import WrongContentError
from lighthouse_fuse_csi.bridge import BridgeError
from lighthouse_fuse_csi.nodes import SlowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lighthouse_fuse_csi.blobs import Blobs
    from lighthouse_fuse_csi.bridge import Bridge
    from lighthouse_fuse_csi.fuse_metrics import Metrics
    from lighthouse_fuse_csi.nodes import Content

_log = structlog.get_logger()
# Small enough that taking an answer apart does not keep the request loop waiting.
_BATCH_BYTES, _BATCH_COUNT = 2 << 20, 500


class Contents:
    """Where every node gets its bytes."""

    def __init__(self, blobs: Blobs, bridge: Bridge, metrics: Metrics) -> None:
        self.blobs = blobs
        self._bridge = bridge
        self._metrics = metrics
        self._lock = Lock()
        self._under_way: dict[bytes, Future[Content]] = {}

    def get(self, digest: bytes, *, wait: bool, source: Callable[[], bytes] | None = None) -> Content:
        """The content of this hash; `source` gives it when the bridge has it by another way than by its hash.

        Raises SlowError when it is not here and `wait` is false; else BridgeError.
        """
        content = self.blobs.get(digest)
        if content is not None:
            return content
        if not wait:
            raise SlowError
        with self._lock:
            under_way = self._under_way.get(digest)
            if under_way is None:
                future: Future[Content] = Future()
                self._under_way[digest] = future
        if under_way is not None:
            return under_way.result()
        try:
            content = self.keep(digest, source() if source else self._bridge.blob(digest.hex()))
            future.set_result(content)
        except WrongContentError as error:
            failure = BridgeError(errno.EIO, str(error))
            _log.warning("the bridge gave wrong content", sha256=digest.hex())
            future.set_exception(failure)
            raise failure from error
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            with self._lock:
                self._under_way.pop(digest, None)
        return content

    def keep(self, digest: bytes, content: bytes) -> Content:
        """Put content into the cache; a full disk only costs the caching. Raises WrongContentError."""
        try:
            return self.blobs.put(digest, content)
        except OSError as error:
            _log.warning("content not cached", error=str(error))
            return content


class Prefetch(Thread):
    """Fetches wanted contents in bulk, in the background."""

    def __init__(self, contents: Contents, bridge: Bridge, limit: int) -> None:
        super().__init__(name="prefetch", daemon=True)
        self._contents = contents
        self._bridge = bridge
        self._limit = min(limit, contents.blobs.limit * 3 // 4)
        self._wanted: deque[tuple[bytes, int]] = deque()
        self._changed = Condition()
        self.busy = False

    def want(self, contents: Iterable[tuple[bytes, int]]) -> None:
        """Ask for contents, given as digest and size; those beyond the limit are left for when they are read."""
        room = self._limit - self._contents.blobs.size
        with self._changed:
            room -= sum(size for _, size in self._wanted)
            for digest, size in contents:
                if size and size <= room and digest not in self._contents.blobs:
                    self._wanted.append((digest, size))
                    room -= size
            self.busy = bool(self._wanted)
            self._changed.notify()

    def run(self) -> None:
        """Fetch what is wanted until the process ends."""
        while True:
            with self._changed:
                self.busy = bool(self._wanted)
                while not self._wanted:
                    self._changed.wait()
                batch = self._take()
            if not batch:
                continue
            try:
                for name, content in self._bridge.blobs(batch).items():
                    self._contents.keep(bytes.fromhex(name), content)
            except (BridgeError, WrongContentError, ValueError) as error:
                # Not retried: what is missing is fetched when it is read.
                _log.info("prefetch failed", error=str(error), contents=len(batch))

    def _take(self) -> list[str]:
        batch: list[str] = []
        size = 0
        while self._wanted and len(batch) < _BATCH_COUNT and size < _BATCH_BYTES:
            digest, length = self._wanted.popleft()
            if digest not in self._contents.blobs:
                batch.append(digest.hex())
                size += length
        return batch
