"""Progress for people: one line rewritten on a terminal, a plain line every two seconds elsewhere."""

import time
from typing import TextIO

_TERMINAL_SECONDS = 0.1
_PLAIN_SECONDS = 2.0


def mebibytes(size: int) -> str:
    """A size in bytes as text in MiB."""
    return f"{size / (1024 * 1024):,.1f} MiB"


class Progress:
    """Shows how far a step is; totals are given when they are known."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._started = time.monotonic()
        self._shown = self._started if not self._terminal else 0.0
        self._open = False

    def show(
        self, step: str, files: int, size: int, *, of_files: int | None = None, of_size: int = 0
    ) -> None:
        """Show the step when it is time to; its last state, files equal to of_files, always."""
        now = time.monotonic()
        last = files == of_files
        if not last and now - self._shown < (_TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS):
            return
        self._shown = now
        of, of_bytes = ("", "") if of_files is None else (f" of {of_files:,}", f" of {mebibytes(of_size)}")
        elapsed = now - self._started
        line = f"{step}: {files:,}{of} files, {mebibytes(size)}{of_bytes}, {elapsed:.1f} s"
        self._stream.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()
        self._open = self._terminal

    def say(self, line: str) -> None:
        """A line of its own."""
        self.close()
        self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        """End the rewritten line."""
        if self._open:
            self._stream.write("\n")
            self._open = False

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started
