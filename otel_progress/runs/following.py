"""Following a record while it is written: what was added to it since the last time, and nothing twice."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from time import monotonic, time_ns  # The program's tests may put others into `time`.

from ..recording.descriptors import file_of, high
from ..recording.times import NANO
from .happenings import Happening, happenings
from .problems import Problems
from .processes import files_of_processes
from .states import NO_END, Process, Processes, pid_of, process_at
from .writer import EVENTS

_PIECE = 1024 * 1024
"""Bytes that are read, and held, at once."""
_LONGEST = 32 * _PIECE
"""Bytes of a line. What is longer is passed over."""
_SETTLED = 2_000_000_000
"""Nanoseconds since a change of the folder after which no other has the same time."""
_TOUCHED = 3.0
"""Seconds in which a process that lives touches its file for certain."""
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class Follower:
    """One record, from its beginning on. All processes of a record write to one file of events.

    It may be that of the own process. So the file is opened once, by a number that the program does not come to use by
    accident, and again where the program has closed it all the same.

    Args:
        folder: that of the record.
        at_once: bytes that are read by one `read`. It takes half the time by small pieces, where nobody waits.
    """

    def __init__(self, folder: Path, at_once: int = _PIECE) -> None:
        self.folder = folder
        self._at_once = at_once
        self._offset = 0
        self._rest = b""
        """Of a line whose end is not written yet."""
        self._passes_over = False
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None
        self._looked_at = -1
        self._processes: dict[str, Process] = {}
        self._touched: dict[str, tuple[int, float]] = {}
        """When the file of each was touched last, by the wall clock, and when that was seen, by the monotonic one."""

    def read(self) -> list[Happening]:
        """What happened since the last time, at most a megabyte of it.

        In the order in which it was written: where the wall clock is set meanwhile, a run may by its times end before
        what lies inside. Nothing may also mean that there is no such file, or none that can be read.
        """
        try:
            self._open()
            if hasattr(os, "pread"):
                data = os.pread(self._descriptor, self._at_once, self._offset)
            else:
                os.lseek(self._descriptor, self._offset, os.SEEK_SET)
                data = os.read(self._descriptor, self._at_once)
        except OSError:
            return []
        self._offset += len(data)
        return list(happenings(self._lines(data)))

    def skip(self) -> None:
        """Pass over all that happened until now."""
        with contextlib.suppress(OSError):  # There is no such file yet: then nothing happened.
            self._open()
            self._offset = os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Read no more."""
        if self._is_open():
            os.close(self._descriptor)
        self._descriptor = -1

    def processes(self, *, besides: int | None = None) -> Processes:
        """The processes that write to it, but for the one with this id, and what became of them.

        An end is final, and looked at once.
        """
        problems = Problems()
        for path in self._process_files():
            before = self._processes.get(path.name)
            if (before is None or before.lives) and pid_of(path.name.partition("-")[2]) != besides:
                process = process_at(path, problems, self._now(path))
                if process is None:  # It is being made.
                    self._looked_at = -1
                else:
                    self._processes[path.name] = process
        return Processes([*self._processes.values()], otherwise=NO_END)

    def _now(self, path: Path) -> float | None:
        """The time for a process's file: no later than it can be silent for, as far as that was seen.

        A clock that is set forth, or a machine that was suspended, makes it seem silent for hours, until it is touched.
        """
        try:
            touched = os.stat(path, follow_symlinks=False).st_mtime_ns  # noqa: PTH116 - much quicker
        except OSError:
            return None
        before, seen = self._touched.get(path.name, (touched, -math.inf))
        if touched != before:
            seen = monotonic()
        self._touched[path.name] = touched, seen
        return None if monotonic() - seen > _TOUCHED else touched / NANO

    def _process_files(self) -> list[Path]:
        """Those that are of interest: all, where the folder has changed, else those of processes that live."""
        try:
            changed = self.folder.stat().st_mtime_ns
        except OSError:
            changed = -1
        if changed == self._looked_at and time_ns() - changed > _SETTLED:
            return [self.folder / name for name, process in self._processes.items() if process.lives]
        self._looked_at = changed
        return files_of_processes(self.folder)

    def _open(self) -> None:
        if not self._is_open():
            self._descriptor = high(os.open(self.folder / EVENTS, _FLAGS))
            self._identity = file_of(self._descriptor)

    def _is_open(self) -> bool:
        return self._identity is not None and file_of(self._descriptor) == self._identity

    def _lines(self, data: bytes) -> bytes:
        """The lines that are whole now."""
        end = data.rfind(b"\n") + 1
        whole, rest = data[:end], data[end:]
        if end and self._passes_over:
            self._passes_over = False
            whole = whole[whole.find(b"\n") + 1 :]
        elif end:
            whole, self._rest = (self._rest + whole if self._rest else whole), b""
        if not self._passes_over and len(self._rest) + len(rest) <= _LONGEST:
            self._rest += rest
        else:
            self._rest, self._passes_over = b"", True
        return whole
