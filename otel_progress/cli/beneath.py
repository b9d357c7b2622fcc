"""What the process that holds the terminal shows there: beneath the program's output, and after an end without a table.

It is told by the program's process, on a pipe, where the record is, and when the table is about to come.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from pathlib import Path

from ..insight.histories import Histories
from ..live.display import Display
from ..live.known import Known, size_of
from ..report import table
from ..report.recorded import totals_of
from ..runs import SourceError, read
from ..runs.following import Follower
from ..runs.processes import mark_crashed
from .said import show_command
from .told import END

_LONGEST = 4096  # Bytes of a path.
_AT_ONCE = 65_536


class Beneath:
    """The display, and what is known of the program's record.

    Args:
        heard: the pipe that is read.
        size: columns and rows of the terminal.
        takes: what the terminal is known to take.
    """

    def __init__(self, heard: int, size: tuple[int, int], takes: Known) -> None:
        self._heard = heard
        os.set_blocking(heard, False)
        encoding = "utf-8" if sys.__stderr__ is None else sys.__stderr__.encoding or "utf-8"
        self.display = Display(size, takes, encoding=encoding)
        self._told = b""
        self._folder: Path | None = None
        self._is_open = True

    @property
    def sources(self) -> list[int]:
        """What is to be read, by `hear`."""
        return [self._heard] if self._is_open else []

    def hear(self) -> bytes:
        """Read what the program's process tells. Gives what is to be written to the terminal."""
        try:
            told = os.read(self._heard, _LONGEST)
        except BlockingIOError:
            return b""
        self._is_open = bool(told)
        self._told += told
        if self._folder is None and END in self._told and (name := self._told.partition(END)[0]):
            self._folder = Path(os.fsdecode(name))
            self.display.follow(Follower(self._folder, _AT_ONCE), Histories(self._folder.parent).expected)
        return self.display.finish() if self._is_at_end else b""

    def resize(self, of_terminal: tuple[int, int]) -> bytes:
        """The terminal has another size now. Gives what is to be written to it."""
        return self.display.resize(*size_of(of_terminal, os.environ))

    @property
    def _is_at_end(self) -> bool:
        return self._told.count(END) > 1

    def ended(self, pid: int, code: int) -> None:
        """Note how the program came to its end, if it did not say so itself, and show the table that it owes."""
        self.hear()
        if self._folder is None:
            return
        known = {"exit_code": code} if code >= 0 else {"signal": -code}
        for file in self._folder.glob(f"process-{pid}-*.json"):
            mark_crashed(file, **known)
        if not self._is_at_end and self._folder.is_dir():
            with contextlib.suppress(OSError, SourceError):  # The terminal may have gone, or the record.
                _show_table(self._folder)


def _show_table(folder: Path) -> None:
    workflows = [each for each in totals_of(read(folder)) if each.runs or each.row.rows]
    if not workflows or sys.__stderr__ is None:
        return
    here = Path.cwd()
    path = folder.relative_to(here) if folder.is_relative_to(here) else folder
    console = table.console(sys.__stderr__)
    table.show(console, workflows, partial(show_command, record=path))
    console.print(f"Record: {path}", style="dim")
