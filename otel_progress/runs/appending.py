"""Appending whole lines to a file that several processes write to."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from ..recording.descriptors import high
from ..recording.faults import report

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None

SLOW = 0.02
"""Seconds that a write takes at most where all is well."""
_PAGE = 4096  # Bytes; where pages are larger, they are so many times larger.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class Appending:
    """A file that is made with the first line. Each line is appended at once, by one system call, so that none is torn.

    Linux breaks the write of a process that is killed off where a page of the file ends, and only there. So a line that
    would go over the end of a page has blanks before it, which are nothing to JSON, and begins on the next; one that is
    longer than a page may be torn.

    A forked child writes to it too, and has nothing of its parent's in a buffer. What cannot be written is said once.
    """

    def __init__(self, path: Path, timed: Callable[[float], object] | None = None) -> None:
        self.path = path
        self._timed = timed
        """Told how many seconds a line took that took long, or that `is_watched`."""
        self.is_watched = False
        self.fault: str | None = None
        """Why it is incomplete, if it is."""
        self.alone = False
        """Whether no other process writes to it now: then its end need not be asked for at every line."""
        self._end = -1
        """Where it is known to end; -1 where that is to be asked for."""
        self._descriptor = -1
        self._is_torn = False
        self._renew()
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._renew)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    def _renew(self) -> None:
        self._lock = threading.RLock()
        """One line after the other, since where one begins is what the one before it has left. A new one in a forked
        child, as a thread that is no more may hold it; reentrant, because signal handlers call what they like."""

    def append(self, line: bytes) -> None:
        """Append `line`, which ends with a newline. Raises nothing of its own."""
        begun = perf_counter()
        with self._lock:
            sent, is_whole = 0, False
            try:
                if not self._is_torn:
                    end = self._end
                    if end < 0:
                        end = os.lseek(self._descriptor, 0, os.SEEK_END)
                    length = len(line)
                    if -end % _PAGE < length:  # Mostly not.
                        line = _in_one_page(end, line)
                        length = len(line)
                    self._end = -1  # Until it is known again: a signal's handler may raise now, or write a line itself.
                    sent = os.write(self._descriptor, line)
                    is_whole = sent == length
                    self._end = end + sent if is_whole and self.alone and self._end < 0 else -1
            except OSError:  # Not opened yet; or something to find out about.
                pass
            if not is_whole:
                self._end = -1
                self._append(line, sent)
        if (perf_counter() - begun > SLOW or self.is_watched) and self._timed is not None:
            self._timed(perf_counter() - begun)

    def look_again(self, *, alone: bool) -> None:
        """Ask once more where it ends, and from now on at every line unless this process is alone."""
        with self._lock:
            self.alone, self._end = alone, -1

    def _append(self, line: bytes, sent: int) -> None:
        if self._is_torn:
            line = b"\n" + line
        try:
            while sent < len(line):
                sent += self._write(line[sent:])
            self._is_torn = False
        except OSError as error:
            if sent:
                self._is_torn = sent > self._is_torn  # Not by a newline alone.
            self.fail(error)

    def fail(self, error: OSError) -> None:
        """Note why it is incomplete, and say it once."""
        self.fault = error.strerror
        report(f"{self.path} cannot be written: what is recorded is incomplete ({error.strerror})")

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            if error.errno != errno.EBADF:  # It is not open, or the program has closed it, as daemons do.
                raise
        self._descriptor = self._open()
        whole = _in_one_page(os.lseek(self._descriptor, 0, os.SEEK_END), data)  # The file may be there.
        return max(0, os.write(self._descriptor, whole) - (len(whole) - len(data)))

    def _open(self) -> int:
        self.path.parent.mkdir(0o700, exist_ok=True)
        descriptor = high(os.open(self.path, _FLAGS, 0o600))
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # Held until the last process that has it open ends.
        return descriptor


def _in_one_page(end: int, line: bytes) -> bytes:
    """`line`, with blanks before it for the rest of the page that the file ends in, where it would not fit there."""
    left = -end % _PAGE
    return b" " * left + line if left < len(line) <= _PAGE else line


class Stream(io.TextIOBase):
    """What the SDK's exporter writes to."""

    def __init__(self, file: Appending) -> None:
        self._file = file

    def write(self, text: str, /) -> int:
        """Append it."""
        self._file.append(text.encode())
        return len(text)
