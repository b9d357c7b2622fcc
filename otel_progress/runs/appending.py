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

from ..recording.descriptors import file_of, high
from ..recording.faults import report

try:
    import fcntl
except ImportError:  # Not a POSIX system.
    fcntl = None

SLOW = 0.02
"""Seconds that a write takes at most where all is well."""
_PAGE = 4096  # Bytes; where pages are larger, they are so many times larger.
_UNKNOWN, _WRITING = -1, -2  # Instead of what is left of a page.
_OF_DISKS = (errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class Appending:
    """A file that is made with the first line. Each line is appended at once, by one system call, so that none is torn.

    Linux breaks the write of a process that is killed off where a page of the file ends, and only there. So a line that
    would go over the end of a page has blanks before it, which are nothing to JSON, and begins on the next; one that is
    longer than a page may be torn.

    A forked child writes to it too, and has nothing of its parent's in a buffer. What cannot be written is said once.

    How long it takes is looked at where a line begins a page, where it is not known how much is left of one (as other
    processes write too), and where another thread is writing. Mostly it is to get another page that waits for a disk.
    """

    def __init__(self, path: Path, timed: Callable[[float], object] = lambda _: None) -> None:
        self.path = path
        self._timed = timed
        self.told_from = SLOW
        """Seconds from which on `timed` is told how long a line took that was looked at, and so the next."""
        self.fault: str | None = None
        """Why it is incomplete, if it is."""
        self.alone = False
        """Whether no other process writes to it now: then its end need not be asked for at every line."""
        self._left = _UNKNOWN
        """Bytes that are left of the page that it ends in."""
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None
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
        size = len(line)
        begun = perf_counter() if self._left < size else None  # While another thread writes that is not known.
        with self._lock:
            left = self._left - size
            if left < 0 and self._left >= 0 and size <= _PAGE:  # It begins the next page.
                left, size, line = _PAGE - size, self._left + size, b" " * self._left + line
            if left >= 0:  # Mostly.
                self._left = _WRITING  # Until then a signal's handler may raise, write a line itself, or fork.
                try:
                    sent = os.write(self._descriptor, line)
                except OSError:  # Something to find out about.
                    sent = 0
                if sent == size:
                    self._left = left if self._left == _WRITING else _UNKNOWN
                else:
                    self._append(line, sent)
            else:
                self._append_where_it_ends(line)
        if begun is not None and (took := perf_counter() - begun) > self.told_from:
            with self._lock:
                self._left = _UNKNOWN  # So that the next is timed too.
            self._timed(took)

    def _append_where_it_ends(self, line: bytes) -> None:
        """Where it is not known how much is left of the page that the file ends in."""
        sent, self._left = 0, _WRITING
        if not self._is_torn and self._is_ours():
            try:
                left = -os.lseek(self._descriptor, 0, os.SEEK_END) % _PAGE
                line = _blanks(left, line) + line
                sent = os.write(self._descriptor, line)
            except OSError:  # Something to find out about.
                pass
            else:
                if sent == len(line):
                    self._left = (left - sent) % _PAGE if self.alone and self._left == _WRITING else _UNKNOWN
                    return
        self._append(line, sent)

    def look_again(self, *, alone: bool) -> None:
        """Ask once more where it ends, and from now on at every line unless this process is alone."""
        with self._lock:
            self.alone, self._left = alone, _UNKNOWN

    def _append(self, line: bytes, sent: int) -> None:
        self._left = _UNKNOWN
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
        place = self.path.parent if error.errno in _OF_DISKS else self.path  # Said once, not of each file there.
        report(f"{place} cannot be written: what is recorded is incomplete ({error.strerror})")

    def _write(self, data: bytes) -> int:
        if self._is_ours():
            return os.write(self._descriptor, data)
        self._descriptor = self._open()
        blanks = _blanks(-os.lseek(self._descriptor, 0, os.SEEK_END) % _PAGE, data)  # The file may be there.
        return max(0, os.write(self._descriptor, blanks + data) - len(blanks))

    def _is_ours(self) -> bool:
        """Whether the descriptor is that of the file.

        Who writes alone asks each second, and has a number that no program comes to meanwhile.
        """
        return self._identity is not None and file_of(self._descriptor) == self._identity

    def _open(self) -> int:
        self.path.parent.mkdir(0o700, exist_ok=True)
        descriptor = high(os.open(self.path, _FLAGS, 0o600))
        self._identity = file_of(descriptor)
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # Held until the last process that has it open ends.
        return descriptor


def _blanks(left: int, line: bytes) -> bytes:
    """What stands before a line that would not fit into what is `left` of the page that the file ends in."""
    return b" " * left if left < len(line) <= _PAGE else b""


class Stream(io.TextIOBase):
    """What the SDK's exporter writes to."""

    def __init__(self, file: Appending) -> None:
        self._file = file

    def write(self, text: str, /) -> int:
        """Append it."""
        self._file.append(text.encode())
        return len(text)
