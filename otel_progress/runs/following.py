"""Following a record while it is written: what was added to it since the last time, and nothing twice."""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path

from .happenings import Happening, happenings
from .problems import Problems
from .states import NO_END, PROCESS_FILES, Process, Processes, process_at
from .writer import EVENTS

_PIECE = 1024 * 1024
"""Bytes that are read, and held, at once."""
_LONGEST = 32 * _PIECE
"""Bytes of a line. What is longer is passed over."""
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_WHEN = attrgetter("at")


class Follower:
    """One record, from its beginning on. All processes of a record write to one file of events.

    The file is opened anew each time: a program may close what it finds open, and it may come to be later.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offset = 0
        self._rest = b""
        """Of a line whose end is not written yet."""
        self._passes_over = False
        self._processes: dict[str, Process] = {}

    def read(self) -> list[Happening]:
        """What happened since the last time, in the order of its times; at most a megabyte of it.

        Nothing may also mean that there is no such file, or none that can be read.
        """
        try:
            descriptor = os.open(self.folder / EVENTS, _FLAGS)
        except OSError:
            return []
        try:
            os.lseek(descriptor, self._offset, os.SEEK_SET)
            data = os.read(descriptor, _PIECE)
        except OSError:
            return []
        finally:
            os.close(descriptor)
        self._offset += len(data)
        return sorted(happenings(self._lines(data)), key=_WHEN)

    def processes(self) -> Processes:
        """The processes that write to it, and what became of them. An end is final, and looked at once."""
        problems = Problems()
        for path in self.folder.glob(PROCESS_FILES):
            before = self._processes.get(path.name)
            if (before is None or before.lives) and (process := process_at(path, problems)) is not None:
                self._processes[path.name] = process
        return Processes([*self._processes.values()], otherwise=NO_END)

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
